//! Kills, power cuts, full disks.

use super::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Set for a test that runs again, as a process of its own, in this folder.
const CHILD: &str = "AUDIT_TEST_CHILD";

/// This very program, running one test in a folder.
fn child(test: &str, house: &House) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, house.folder.path());
    command.stdout(Stdio::piped());
    command
}

fn child_options() -> Option<(PathBuf, Options)> {
    let folder = PathBuf::from(std::env::var_os(CHILD)?);
    Some((folder.join("audit"), Options::new(Arc::new(|| START))))
}

#[test]
fn a_killed_process_loses_nothing() {
    if let Some((folder, options)) = child_options() {
        let journal = Journal::open(&folder, Options { segment_bytes: 30_000, ..options }).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    loop {
                        let seq = journal.append(&pull("from a process that will be killed")).unwrap();
                        println!("seq {seq}");
                    }
                });
            }
            loop {
                journal.flush().unwrap();
            }
        });
    }
    let house = House::new();
    for round in 1..=5 {
        let mut process = child("crash::a_killed_process_loses_nothing", &house).spawn().unwrap();
        let (mut count, mut told) = (0, Vec::new());
        for line in BufReader::new(process.stdout.take().unwrap()).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8(line).unwrap();
            let seq = line.strip_prefix("seq ").and_then(|seq| seq.parse::<u64>().ok());
            told.extend(seq);
            count += 1;
            if count == 1_000 * round {
                process.kill().unwrap();
            }
        }
        process.wait().unwrap();
        assert!(told.len() >= 100, "{}", told.len());
        let journal = house.open();
        journal.close().unwrap();
        let all = house.all();
        assert_gapless(&all, 1);
        for seq in told {
            assert_eq!(all[usize::try_from(seq - 1).unwrap()].detail, "from a process that will be killed");
        }
        assert_eq!(house.verify().problems, []);
    }
    assert!(house.files().len() > 3);
}

/// What is at the end of the file after a crash, and what becomes of it.
#[track_caller]
fn check_tail(damage: impl FnOnce(&mut Vec<u8>), expect: &[&str]) {
    let house = House::new();
    let journal = house.open();
    journal.append(&pull("durable")).unwrap();
    journal.close().unwrap();
    journal.append(&pull("second")).unwrap();
    journal.append(&pull("third")).unwrap();
    journal.settle().unwrap();
    drop(journal);
    let file = house.files().remove(0);
    let mut content = fs::read(&file).unwrap();
    damage(&mut content);
    fs::write(&file, content).unwrap();
    let journal = house.open();
    journal.append(&pull("after")).unwrap();
    journal.close().unwrap();
    let all = house.all();
    assert_gapless(&all, 1);
    let told =
        |record: &Record| if record.action == "pull" { record.detail.clone() } else { record.action.clone() };
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expect);
    assert_eq!(house.verify().problems, []);
}

#[test]
fn what_a_crash_has_left_unfinished_is_cut_off_and_told_of() {
    check_tail(|_| {}, &["durable", "second", "third", "after"]);
    check_tail(|file| file.truncate(file.len() - 1), &["durable", "second", "journal.cut", "after"]);
    check_tail(|file| file.truncate(file.len() - 60), &["durable", "second", "journal.cut", "after"]);
    check_tail(|file| file.extend(b"{\"v\":1,"), &["durable", "second", "third", "journal.cut", "after"]);
    check_tail(|file| file.extend([0; 5000]), &["durable", "second", "third", "journal.cut", "after"]);
    check_tail(|file| file.extend(b"\n\n"), &["durable", "second", "third", "journal.cut", "after"]);
    // A page of the middle did not reach the disk.
    let zeros = |file: &mut Vec<u8>| {
        let end = file.len() - 10;
        file[end - 200..end].fill(0);
    };
    check_tail(zeros, &["durable", "journal.cut", "after"]);
}

#[test]
fn a_file_that_was_only_just_begun_is_begun_again() {
    let house = House::new();
    let journal = house.open();
    house.add(&journal, 10);
    journal.close().unwrap();
    drop(journal);
    for torn in ["", "{\"v\":1,\"file\":11,\"se", "\0\0\0\n"] {
        fs::write(house.path().join("00000000000000000011.jsonl"), torn).unwrap();
        house.open();
        assert_eq!(house.files().len(), 1);
        assert_eq!(house.verify(), Report { files: 1, records: 10, sealed_through: 10, ..Report::default() });
    }
}

#[test]
fn a_crash_before_the_first_record_leaves_nothing_to_repair() {
    let house = House::new();
    house.open();
    fs::write(&house.files()[0], "{\"v\"").unwrap();
    house.open();
    fs::remove_file(house.path().join("HEAD")).unwrap();
    fs::remove_file(&house.files()[0]).unwrap();
    let journal = house.open();
    journal.append(&pull("first")).unwrap();
    journal.settle().unwrap();
    assert_eq!(house.all().len(), 1);
    assert_eq!(house.verify().problems, []);
}

/// How long a file of this process may become.
fn limit_files(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is a whole value that outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
}

#[test]
fn no_half_line_stays_when_the_disk_is_full() {
    let test = "crash::no_half_line_stays_when_the_disk_is_full";
    let Some((folder, options)) = child_options() else {
        let house = House::new();
        let output = child(test, &house).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_gapless(&house.all(), 1);
        // Nothing that was taken is lost.
        assert_eq!(house.all().iter().filter(|record| record.detail == "waits for room").count(), 16);
        return assert_eq!(house.verify().problems, []);
    };
    // SAFETY: to ignore a signal calls no code. Beyond the limit, writes then fail, as on a full disk.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let journal = Journal::open(&folder, Options { segment_bytes: 2000, ..options }).unwrap();
    let length = || {
        let file = files(&folder).pop().unwrap();
        fs::metadata(file).unwrap().len()
    };
    journal.append(&pull("there is room")).unwrap();
    journal.settle().unwrap();
    for room in [0, 1, 50, 100, 149] {
        let before = length();
        limit_files(before + room);
        for _ in 0..3 {
            journal.append(&pull("waits for room")).unwrap();
            assert!(matches!(journal.settle(), Err(AuditError::Write { .. })));
            assert_eq!(length(), before);
        }
        limit_files(1 << 30);
        journal.settle().unwrap();
    }
    // The seal has no room: told, and made later.
    limit_files(length());
    assert!(matches!(journal.close(), Err(AuditError::Write { .. })));
    limit_files(1 << 30);
    journal.close().unwrap();
    // The header of the next file has no room.
    while length() < 1800 {
        journal.append(&pull("there is room")).unwrap();
        journal.settle().unwrap();
    }
    journal.close().unwrap();
    limit_files(50);
    journal.append(&pull("waits for room")).unwrap();
    assert!(journal.settle().is_err());
    limit_files(1 << 30);
    for _ in 0..20 {
        journal.append(&pull("there is room")).unwrap();
    }
    journal.settle().unwrap();
    assert!(files(&folder).len() > 1);
    journal.close().unwrap();
}

#[test]
fn a_journal_opens_on_a_full_disk_and_goes_on_when_there_is_room() {
    let test = "crash::a_journal_opens_on_a_full_disk_and_goes_on_when_there_is_room";
    let Some((folder, options)) = child_options() else {
        let house = House::new();
        let output = child(test, &house).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(house.all().len(), 4);
        return assert_eq!(house.verify().problems, []);
    };
    // SAFETY: to ignore a signal calls no code. Beyond the limit, writes then fail, as on a full disk.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let journal = Journal::open(&folder, options.clone()).unwrap();
    journal.append(&pull("written down")).unwrap();
    journal.settle().unwrap();
    journal.append(&pull("left in the intake")).unwrap();
    drop(journal);
    limit_files(10);
    for waiting in [1, 2] {
        let journal = Journal::open(&folder, options.clone()).unwrap();
        assert_eq!(journal.waiting().len(), waiting);
        journal.append(&pull("on the full disk")).unwrap();
        assert!(journal.close().is_err());
    }
    limit_files(1 << 30);
    let journal = Journal::open(&folder, options).unwrap();
    assert_eq!(journal.waiting().len(), 0);
    journal.close().unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let house = House::new();
    fs::write(house.path(), "a file").unwrap();
    let error = Journal::open(&house.path(), house.options()).unwrap_err();
    assert!(error.to_string().contains("audit"), "{error}");
}
