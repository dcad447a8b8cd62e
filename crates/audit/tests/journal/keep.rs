//! When files end, and when they go.

use super::*;

fn names(house: &House) -> Vec<u64> {
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    house.files().iter().map(stem).collect()
}

#[test]
fn a_file_ends_at_its_size() {
    let house = House { segment_bytes: 10_000, ..House::new() };
    let journal = house.open();
    house.add(&journal, 500);
    let files = house.files();
    assert!(files.len() > 5);
    for file in &files {
        // The seal at the end comes on top.
        assert!(fs::metadata(file).unwrap().len() <= 10_200);
    }
    drop(journal);
    let journal = house.open();
    house.add(&journal, 500);
    journal.close().unwrap();
    assert_eq!(house.verify().problems, []);
    assert_gapless(&house.all(), 1);
    assert_eq!(house.all().len(), 1000);
}

#[test]
fn a_record_that_is_longer_than_a_file_is_there_all_the_same() {
    let house = House { segment_bytes: 10, ..House::new() };
    let journal = house.open();
    house.add(&journal, 5);
    journal.close().unwrap();
    assert_eq!(names(&house), [1, 2, 3, 4, 5]);
    assert_eq!(house.verify().problems, []);
}

#[test]
fn a_file_ends_with_its_day() {
    let house = House::new();
    let journal = house.open();
    // A day without records begins no file.
    house.pass(3 * DAY);
    journal.append(&pull("1")).unwrap();
    house.pass(DAY / 2 - 1);
    journal.append(&pull("2")).unwrap();
    house.pass(1);
    journal.append(&pull("3")).unwrap();
    drop(journal);
    house.pass(DAY);
    let journal = house.open();
    journal.append(&pull("4")).unwrap();
    // The clock was set back: it must not begin a file with each record.
    house.pass(-2 * DAY);
    journal.append(&pull("5")).unwrap();
    journal.append(&pull("6")).unwrap();
    journal.close().unwrap();
    assert_eq!(names(&house), [1, 3, 4]);
    assert_eq!(house.verify().problems, []);
}

#[test]
fn the_oldest_files_go_when_all_are_too_long() {
    let house = House { segment_bytes: 10_000, ..House::new() };
    let options = Options { keep_bytes: 35_000, ..house.options() };
    let journal = Journal::open(&house.path(), options.clone()).unwrap();
    house.add(&journal, 1000);
    let length = |path: &PathBuf| fs::metadata(path).unwrap().len();
    assert!(house.files().iter().map(length).sum::<u64>() <= 35_000);
    journal.close().unwrap();
    let report = house.verify();
    assert!(report.is_sound() && report.sealed_through == 1000 && report.records < 400, "{report:?}");
    let all = house.all();
    assert_gapless(&all, names(&house)[0]);
    assert_eq!(all.last().unwrap().seq, 1000);
    // It goes on after another start, and the one that is open always stays.
    drop(journal);
    let journal = Journal::open(&house.path(), Options { keep_bytes: 0, ..options }).unwrap();
    journal.append(&pull("")).unwrap();
    journal.close().unwrap();
    assert_eq!(house.files().len(), 1);
    assert_eq!(house.verify().problems, []);
}

#[test]
fn files_go_when_their_last_record_is_too_old() {
    let house = House::new();
    let options = Options { keep_age: days(3), ..house.options() };
    let journal = Journal::open(&house.path(), options).unwrap();
    for _ in 0..6 {
        house.add(&journal, 100);
        house.pass(DAY - 1_200_000);
    }
    assert_eq!(names(&house), [301, 401, 501]);
    // Without news files get old as well.
    house.pass(DAY);
    journal.flush().unwrap();
    assert_eq!(names(&house), [401, 501]);
    house.pass(100 * DAY);
    journal.flush().unwrap();
    assert_eq!(names(&house), [501]);
    assert_eq!(house.verify().problems, []);
}

#[test]
fn a_removal_that_a_crash_has_cut_off_is_finished() {
    let house = House { segment_bytes: 10_000, ..House::new() };
    let journal = house.open();
    house.add(&journal, 500);
    journal.close().unwrap();
    drop(journal);
    let first = house.files().remove(0);
    let content = fs::read(&first).unwrap();
    drop(Journal::open(&house.path(), Options { keep_bytes: 20_000, ..house.options() }).unwrap());
    fs::write(&first, content).unwrap();
    assert_eq!(house.verify().problems, []);
    house.open();
    assert!(!first.exists());
    assert_eq!(house.verify().problems, []);
}
