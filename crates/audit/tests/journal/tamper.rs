//! Each kind of tampering, and what `verify` says of it.

use super::*;

/// A sealed journal of 500 records in several files.
fn house(key: Option<&SealKey>) -> House {
    let house = House { segment_bytes: 30_000, key: key.cloned(), ..House::new() };
    let journal = house.open();
    house.add(&journal, 450);
    journal.close().unwrap();
    house.add(&journal, 50);
    journal.close().unwrap();
    assert!(house.files().len() >= 3);
    let report = house.verify();
    assert_eq!((report.records, report.sealed_through, report.problems), (500, 500, vec![]));
    house
}

fn edit(file: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(file).unwrap();
    let mut lines: Vec<String> = text.lines().map(|line| format!("{line}\n")).collect();
    change(&mut lines);
    fs::write(file, lines.concat()).unwrap();
}

/// Says what is wrong after a change to the lines of one of the files, in the words that must come up.
#[track_caller]
fn check(file: usize, change: impl Fn(&mut Vec<String>), expect: &[&str]) {
    for key in [None, Some(SealKey::new(&[3; 32]))] {
        let house = house(key.as_ref());
        let index = file.min(house.files().len() - 1);
        edit(&house.files()[index], &change);
        assert_says(&house, expect);
        // Neither does a journal that was opened again look sound.
        let journal = house.open();
        journal.append(&pull("")).unwrap();
        journal.close().unwrap();
        drop(journal);
        drop(house.open());
        assert!(!house.verify().is_sound());
    }
}

#[track_caller]
fn assert_says(house: &House, expect: &[&str]) {
    let report = house.verify();
    let said: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert!(!report.is_sound());
    for words in expect {
        assert!(said.iter().any(|said| said.contains(words)), "{words}: {said:#?}");
    }
}

const LAST: usize = usize::MAX;

#[test]
fn changed_lines_are_found() {
    for file in [0, 1] {
        let change = |lines: &mut Vec<String>| lines[20] = lines[20].replace("alice", "malle");
        check(file, change, &["some were changed"]);
    }
    check(0, |lines| lines[20] = lines[20].replace("}\n", " }\n"), &["some were changed"]);
    check(0, |lines| lines[20] = "{}\n".into(), &["line 21 of file 1 cannot be read", "some were changed"]);
    check(0, |lines| lines[20].insert(5, '\u{1}'), &["line 21 of file 1 cannot be read"]);
    check(0, |lines| lines[20] = "x".repeat(200_000) + "\n", &["line 21 of file 1 cannot be read"]);
}

#[test]
fn changes_in_the_last_file_are_found_when_they_were_durable() {
    check(LAST, |lines| lines[3] = lines[3].replace("alice", "malle"), &["some were changed"]);
    check(LAST, |lines| lines[3].clear(), &["are missing", "some were changed"]);
}

#[test]
fn missing_lines_are_found() {
    let is_record = |lines: &[String], at: usize| assert!(lines[at].starts_with("{\"v\":1,\"seq\""));
    let remove = |lines: &mut Vec<String>| {
        is_record(lines, 20);
        lines.remove(20);
    };
    check(0, remove, &["the records 20 to 20 are missing", "some were changed"]);
    let is_seal = |line: &String| line.starts_with("{\"v\":1,\"seal\"");
    check(0, |lines| lines.retain(|line| !is_seal(line)), &["does not go on"]);
    check(0, |lines| lines.truncate(30), &["are missing"]);
    check(0, |lines| drop(lines.remove(0)), &["line 1 of file 1 cannot be read"]);
}

#[test]
fn moved_and_repeated_lines_are_found() {
    check(0, |lines| lines.swap(20, 21), &["record 20 is not at its place", "some were changed"]);
    check(
        0,
        |lines| lines.insert(20, lines[10].clone()),
        &["record 10 is not at its place", "some were changed"],
    );
    check(0, |lines| lines.insert(1, lines[0].clone()), &["line 2 of file 1 cannot be read"]);
}

#[test]
fn a_journal_that_was_cut_off_is_found() {
    let cut = |lines: &mut Vec<String>| {
        // The last seal and its fifty records; or the file is begun within these.
        let end = lines.len().saturating_sub(20);
        lines.truncate(end);
    };
    check(LAST, cut, &["its end was cut off"]);
    check(LAST, |lines| drop(lines.pop()), &["its end was cut off"]);
    check(LAST, Vec::clear, &["its end was cut off"]);
}

#[test]
fn missing_files_are_found() {
    let check = |file: fn(usize) -> usize, expect: &[&str]| {
        let house = house(None);
        let files = house.files();
        fs::remove_file(&files[file(files.len())]).unwrap();
        assert_says(&house, expect);
        let journal = house.open();
        journal.append(&pull("")).unwrap();
        journal.close().unwrap();
        assert!(!house.verify().is_sound());
    };
    check(|_| 0, &["the records 1 to "]);
    check(|_| 1, &["are missing"]);
    check(|count| count - 1, &["its end was cut off"]);
}

#[test]
fn all_files_together_cannot_be_missing() {
    let house = house(None);
    house.files().iter().for_each(|file| fs::remove_file(file).unwrap());
    assert_says(&house, &["its end was cut off"]);
    let journal = house.open();
    assert_eq!(journal.append(&pull("")).unwrap(), 502);
    journal.close().unwrap();
    assert_says(&house, &["the records 1 to 500 are missing"]);
    assert_eq!(house.all()[0].action, "journal.damaged");
}

#[test]
fn files_that_change_places_are_found() {
    let house = house(None);
    let files = house.files();
    let other = house.path().join("other");
    fs::rename(&files[0], &other).unwrap();
    fs::rename(&files[1], &files[0]).unwrap();
    fs::rename(&other, &files[1]).unwrap();
    assert_says(&house, &["does not go on", "are missing"]);
}

#[test]
fn damage_to_what_was_durable_stays_as_evidence() {
    let house = house(None);
    let last = house.files().pop().unwrap();
    edit(&last, |lines| lines.truncate(lines.len() - 3));
    let left = fs::read(&last).unwrap();
    let journal = house.open();
    assert_eq!(fs::read(&last).unwrap(), left);
    journal.append(&pull("after")).unwrap();
    journal.close().unwrap();
    let all = house.all();
    let note = &all[all.len() - 2];
    assert_eq!((note.seq, note.action.as_str(), note.outcome), (501, "journal.damaged", Outcome::Failed));
    assert_says(&house, &["are missing"]);
}

#[test]
fn a_missing_head_is_found_and_told_of() {
    let house = house(None);
    let head = house.path().join("HEAD");
    let text = fs::read_to_string(&head).unwrap();
    fs::remove_file(&head).unwrap();
    assert_says(&house, &["HEAD"]);
    fs::write(&head, text.replace("500", "400")).unwrap();
    assert_says(&house, &["HEAD"]);
    house.open();
    assert_eq!(house.all().last().unwrap().action, "journal.damaged");
}

#[test]
fn a_beginning_that_was_cut_off_is_no_retention() {
    let key = SealKey::new(&[3; 32]);
    let house = house(Some(&key));
    let first = house.files().remove(0);
    let content = fs::read(&first).unwrap();
    drop(Journal::open(&house.path(), Options { keep_bytes: 60_000, ..house.options() }).unwrap());
    assert!(!first.exists());
    assert_eq!(house.verify().problems, []);
    // Who has no key can copy what the header of the next file tells, but not prove it.
    let anchor = house.path().join("ANCHOR");
    let text = fs::read_to_string(&anchor).unwrap();
    let (told, _) = text.split_once(",\"proof\":").unwrap();
    fs::write(&anchor, format!("{told},\"proof\":\"{}\"}}\n", "00".repeat(32))).unwrap();
    assert_says(&house, &["ANCHOR", "are missing"]);
    fs::remove_file(&anchor).unwrap();
    assert_says(&house, &["are missing"]);
    fs::write(&first, content).unwrap();
    assert_eq!(house.verify().problems, []);
}

/// Who can write the folder makes all seals anew, but has no key.
#[test]
fn a_key_cannot_be_done_without() {
    let key = SealKey::new(&[3; 32]);
    let forged = House { segment_bytes: 20_000, ..House::new() };
    let journal = forged.open();
    forged.add(&journal, 500);
    journal.close().unwrap();
    assert!(forged.verify().is_sound());
    assert!(!verify(&forged.path(), Some(&key)).unwrap().is_sound());

    let sealed = house(Some(&key));
    assert!(!verify(&sealed.path(), None).unwrap().is_sound());
    assert!(!verify(&sealed.path(), Some(&SealKey::new(&[4; 32]))).unwrap().is_sound());
    // With its end cut off at a seal, and that seal in HEAD: what HEAD proves cannot be copied from a seal.
    let last = sealed.files().pop().unwrap();
    edit(&last, |lines| {
        let seals = lines.iter().enumerate().filter(|(_, line)| line.starts_with("{\"v\":1,\"seal\""));
        let seals: Vec<usize> = seals.map(|(at, _)| at).collect();
        lines.truncate(seals[seals.len() - 2] + 1);
    });
    assert_says(&sealed, &["its end was cut off"]);
    let text = fs::read_to_string(&last).unwrap();
    let seal = text.lines().last().unwrap().replace('}', &format!(",\"proof\":\"{}\"}}", "00".repeat(32)));
    fs::write(sealed.path().join("HEAD"), seal).unwrap();
    assert_says(&sealed, &["HEAD"]);
}

#[test]
fn a_journal_that_is_opened_with_another_key_is_not_destroyed() {
    let key = SealKey::new(&[3; 32]);
    let house = house(Some(&key));
    let lines = house.all().len();
    let other = House { key: Some(SealKey::new(&[4; 32])), ..House::new() };
    drop(Journal::open(&house.path(), Options { key: other.key, ..house.options() }).unwrap());
    let all = house.all();
    assert_eq!(all.len(), lines + 1);
    assert_eq!(all.last().unwrap().action, "journal.damaged");
}

#[test]
fn a_last_file_without_header_stays_as_evidence() {
    let house = house(None);
    let file = house.path().join("00000000000000000501.jsonl");
    fs::write(&file, "x\n".repeat(1000)).unwrap();
    house.open();
    assert_eq!(fs::metadata(&file).unwrap().len(), 2000);
    let page = search(&house.path(), &Query::default(), &Window { records: 1, ..Window::default() }).unwrap();
    assert_eq!(page.records[0].action, "journal.damaged");
    assert_says(&house, &["line 1 of file 501 cannot be read"]);
}

#[test]
fn absurd_numbers_are_told_of() {
    let most = u64::MAX;
    let record = format!("{{\"v\":1,\"seq\":{most},\"time\":\"2026-11-02T10:11:12.000042Z\"}}\n");
    let seal = format!("{{\"v\":1,\"seal\":{most},\"through\":{most},\"hash\":\"{}\"}}\n", "00".repeat(32));
    for line in [record, seal] {
        check(1, |lines| lines.insert(20, line.clone()), &[]);
        let house = house(None);
        let header =
            format!("{{\"v\":1,\"file\":{most},\"seal\":{most},\"previous\":\"{}\"}}\n", "00".repeat(32));
        fs::write(house.path().join(format!("{most}.jsonl")), format!("{header}{line}")).unwrap();
        edit(&house.files()[0], |lines| lines.push(line.clone()));
        assert!(!house.verify().is_sound());
        assert_eq!(house.open().append(&pull("")).unwrap(), 501);
        assert!(!house.verify().is_sound());
    }
}

#[test]
fn problems_are_bounded() {
    let house = house(None);
    edit(&house.files()[0], |lines| lines.extend(std::iter::repeat_n("\n".to_owned(), 5000)));
    let report = house.verify();
    assert_eq!(report.problems.len(), 100);
    assert!(report.more_problems >= 4900);
}

#[test]
fn a_journal_is_verified_while_it_is_written() {
    let house = House { segment_bytes: 5000, ..House::new() };
    let options = Options { keep_bytes: 20_000, ..house.options() };
    let journal = Journal::open(&house.path(), options).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| house.add(&journal, 5000));
        while !writer.is_finished() {
            let report = house.verify();
            assert_eq!(report.problems, []);
        }
    });
}
