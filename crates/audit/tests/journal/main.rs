//! A journal from the outside: written, killed, bounded, searched, tampered with.

mod crash;
mod keep;
mod seek;
mod tamper;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use audit::*;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Noon.
const START: i64 = 20_000 * DAY + DAY / 2;

/// A folder with a journal, and a clock that goes only when it is told to.
struct House {
    folder: TempDir,
    clock: Arc<AtomicI64>,
    key: Option<SealKey>,
    segment_bytes: u64,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, clock: Arc::new(AtomicI64::new(START)), key: None, segment_bytes: 1 << 20 }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    fn options(&self) -> Options {
        let clock = self.clock.clone();
        let options = Options::new(Arc::new(move || clock.load(Ordering::Relaxed)));
        Options { segment_bytes: self.segment_bytes, key: self.key.clone(), ..options }
    }

    fn open(&self) -> Journal {
        Journal::open(&self.path(), self.options()).unwrap()
    }

    fn pass(&self, micros: i64) {
        self.clock.fetch_add(micros, Ordering::Relaxed);
    }

    /// Adds records, a seal after each hundred.
    fn add(&self, journal: &Journal, count: usize) {
        for index in 0..count {
            let detail = format!("record {index}");
            self.pass(1000);
            journal.append(&pull(&detail)).unwrap();
            if index % 100 == 99 {
                self.pass(SECOND);
                journal.flush().unwrap();
            }
        }
        journal.settle().unwrap();
    }

    fn verify(&self) -> Report {
        verify(&self.path(), self.key.as_ref()).unwrap()
    }

    /// Everything, from the oldest on.
    fn all(&self) -> Vec<Record> {
        let window =
            Window { newest_first: false, records: usize::MAX, bytes: u64::MAX, ..Window::default() };
        let page = search(&self.path(), &Query::default(), &window).unwrap();
        assert_eq!((page.next, page.damaged), (None, 0));
        page.records
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.path())
    }
}

fn pull(detail: &str) -> NewRecord<'_> {
    NewRecord {
        actor: "alice",
        action: "pull",
        repository: "a/b",
        status: 200,
        detail,
        ..NewRecord::default()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    files.sort();
    files
}

#[track_caller]
fn assert_gapless(records: &[Record], first: u64) {
    for (expect, record) in (first..).zip(records) {
        assert_eq!(record.seq, expect);
    }
}

#[test]
fn what_was_added_is_there_after_each_opening() {
    let house = House::new();
    for round in 0..3 {
        let journal = house.open();
        assert_eq!(journal.append(&pull("first")).unwrap(), 2 * round + 1);
        journal.flush().unwrap();
        assert_eq!(journal.append(&pull("second")).unwrap(), 2 * round + 2);
        if round == 1 {
            journal.close().unwrap();
            assert_eq!(
                house.verify(),
                Report { files: 1, records: 4, sealed_through: 4, ..Report::default() }
            );
        }
    }
    house.open();
    let all = house.all();
    assert_eq!(all.len(), 6);
    assert_gapless(&all, 1);
    assert_eq!((all[0].actor.as_str(), all[0].status, all[0].time), ("alice", 200, START));
    assert_eq!(house.verify().problems, []);
}

#[test]
fn stored_lines_are_what_is_exported() {
    let house = House::new();
    let journal = house.open();
    let record = NewRecord { agent: "a\n\"\u{2028}", outcome: Outcome::Denied, entry: "é", ..pull("\0") };
    journal.append(&record).unwrap();
    journal.settle().unwrap();
    let text = fs::read_to_string(&house.files()[0]).unwrap();
    assert_eq!(text.lines().nth(1), Some(json_line(&house.all()[0]).as_str()));
}

#[test]
fn seals_come_when_it_is_time_and_there_is_news() {
    let house = House::new();
    let journal = house.open();
    let unsealed = || house.verify().unsealed;
    journal.append(&pull("")).unwrap();
    journal.flush().unwrap();
    assert_eq!(unsealed(), 1);
    house.pass(SECOND);
    journal.flush().unwrap();
    assert_eq!(unsealed(), 0);
    let length = fs::metadata(&house.files()[0]).unwrap().len();
    house.pass(10 * SECOND);
    journal.flush().unwrap();
    assert_eq!(fs::metadata(&house.files()[0]).unwrap().len(), length);
    journal.append(&pull("")).unwrap();
    // A clock that was set back does not put seals off.
    house.pass(-DAY);
    journal.flush().unwrap();
    assert_eq!(unsealed(), 0);
    journal.append(&pull("")).unwrap();
    journal.close().unwrap();
    assert_eq!(house.verify(), Report { files: 1, records: 3, sealed_through: 3, ..Report::default() });
}

#[test]
fn many_threads_add_whole_lines_without_gaps() {
    let house = House { segment_bytes: 40_000, ..House::new() };
    let journal = house.open();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (journal, house) = (&journal, &house);
            scope.spawn(move || {
                for index in 0..500 {
                    let detail = format!("{thread}/{index}");
                    house.pass(100_000);
                    journal.append(&pull(&detail)).unwrap();
                    if index % 50 == 0 {
                        journal.flush().unwrap();
                    }
                }
            });
        }
    });
    journal.close().unwrap();
    let all = house.all();
    assert_eq!(all.len(), 4000);
    assert_gapless(&all, 1);
    assert!(all.is_sorted_by_key(|record| record.time));
    let mut details: Vec<&str> = all.iter().map(|record| record.detail.as_str()).collect();
    details.sort_unstable();
    details.dedup();
    assert_eq!(details.len(), 4000);
    let report = house.verify();
    assert!(report.is_sound() && report.files > 5 && report.sealed_through == 4000, "{report:?}");
}

#[test]
fn nothing_shows_the_key() {
    let house = House { key: Some(SealKey::new(&[0x5a; 32])), ..House::new() };
    let journal = house.open();
    assert!(!format!("{journal:?}").contains("5a"));
    assert_eq!(journal.folder(), house.path());
}

/// What the rest of the tests need of time.
fn days(days: i64) -> Duration {
    Duration::from_micros(u64::try_from(days * DAY).unwrap())
}
