//! Writes the journal.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::chain::SealKey;
use crate::error::AuditError;
use crate::folder::{Folder, Mark, MarkKind};
use crate::intake::{Frame, Frames, Intake};
use crate::line;
use crate::position::Position;
use crate::record::{NewRecord, Record};
use crate::recover::{Note, Recovered, recover};
use crate::retain::retain;
use crate::time::day;

/// Tells the time in microseconds since 1970 UTC.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What most lines have room in.
const USUAL_BYTES: usize = 512;

/// How often files that are too old are looked for.
const RETAIN_EVERY: Duration = Duration::from_secs(3600);

/// The limits of a journal.
#[derive(Clone)]
pub struct Options {
    /// How long a file may be.
    pub segment_bytes: u64,
    /// How long all files together may be; the oldest go. The one that is written to always stays.
    pub keep_bytes: u64,
    /// How old a file's last record may be.
    pub keep_age: Duration,
    /// How often what was written is sealed.
    pub seal_every: Duration,
    /// The time.
    pub clock: Clock,
    /// What seals are made with.
    pub key: Option<SealKey>,
}

impl Options {
    /// 64 MiB a file, 8 GiB together, one year, a seal a second, no key.
    pub fn new(clock: Clock) -> Self {
        Self {
            segment_bytes: 64 << 20,
            keep_bytes: 8 << 30,
            keep_age: Duration::from_secs(365 * 86_400),
            seal_every: Duration::from_secs(1),
            clock,
            key: None,
        }
    }
}

/// A journal that is open to be written.
pub struct Journal {
    folder: Folder,
    options: Options,
    /// Held for no longer than it takes to copy a line.
    intake: Mutex<Intake>,
    /// Held while lines are written. Whoever needs both takes this one first.
    files: Mutex<Files>,
    /// Held while flushing, so that flushes come one after the other. It is the first of all.
    upkeep: Mutex<Upkeep>,
}

struct Upkeep {
    /// What HEAD holds.
    head: Option<Mark>,
    /// When retention last looked, and which file was written to then.
    retained: Option<(i64, u64)>,
}

/// What is written into the files, and how far they have come.
struct Files {
    writer: Writer,
    /// The name of the file that is written to.
    first: u64,
    position: Position,
    /// Whether something was written since the last flush.
    is_dirty: bool,
    sealed_at: i64,
    /// What is taken from the intake, and the lines of it. Kept, so that writing them allocates nothing.
    frames: Vec<u8>,
    lines: Vec<u8>,
}

impl Journal {
    /// Opens the journal in a folder, which is made where it is not there, and goes on from its end, with what a process
    /// before had not come to write down. Where a crash or somebody else has damaged it, a record tells of that. A disk
    /// that has become full does not hinder it.
    pub fn open(folder: &Path, options: Options) -> Result<Self, AuditError> {
        let folder = Folder::new(folder);
        folder.make()?;
        let mut intake = Intake::open(&folder)?;
        let Recovered { file, first, length, position, note } = recover(&folder, options.key.as_ref())?;
        let last = position.last;
        let lost = intake.follow(last);
        // What a kill has cut in the middle is still in the intake.
        let note = note.filter(|note| !note.is_cut() || intake.last() == last);
        let files = Files {
            writer: Writer { file: Arc::new(file), length, is_torn: false },
            first,
            position,
            // A process that was killed may have written what nobody has flushed.
            is_dirty: true,
            sealed_at: (options.clock)(),
            frames: Vec::new(),
            lines: Vec::new(),
        };
        let upkeep = Upkeep { head: None, retained: None };
        let journal = Self {
            folder,
            options,
            intake: Mutex::new(intake),
            files: Mutex::new(files),
            upkeep: Mutex::new(upkeep),
        };
        match journal.begin_with(note.into_iter().chain(lost)) {
            Err(error) if error.is_full() => {
                tracing::error!(%error, "the audit journal goes on when there is room")
            }
            outcome => outcome?,
        }
        Ok(journal)
    }

    /// Writes down what is there, and what is to be told of it.
    fn begin_with(&self, notes: impl Iterator<Item = Note>) -> Result<(), AuditError> {
        let settled = self.settle();
        self.intake().set_mark((self.options.clock)());
        for note in notes {
            tracing::error!(folder = %self.folder.path().display(), "audit journal: {}", note.detail);
            self.append(&note.record())?;
        }
        settled?;
        self.flush()
    }

    /// Where the journal is, to be searched and verified.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a record and gives its number. When this returns, the kernel has it: a killed process loses nothing. The disk is
    /// waited for only where it has not kept up with some thousand records. After an error the record is not there, and
    /// the journal goes on as soon as it can.
    pub fn append(&self, record: &NewRecord<'_>) -> Result<u64, AuditError> {
        let mut content = Vec::with_capacity(USUAL_BYTES);
        line::write_content(record, &mut content);
        loop {
            let mut intake = self.intake();
            // Within the lock, so that times are in the order of the numbers.
            let now = (self.options.clock)();
            if let Some(seq) = intake.put(now, &content) {
                return Ok(seq);
            }
            drop(intake);
            self.settle()?;
        }
    }

    /// Writes down what was added, so that who searches the folder finds it.
    pub fn settle(&self) -> Result<(), AuditError> {
        self.settle_into(&mut self.files())
    }

    /// Makes durable what was added, seals it when it is time, and removes files that are too old or too many. To be
    /// called every 100 ms. Without news it does nothing.
    pub fn flush(&self) -> Result<(), AuditError> {
        self.upkeep(false)
    }

    /// Seals what was added and makes it durable: at the end of the process.
    pub fn close(&self) -> Result<(), AuditError> {
        self.upkeep(true)
    }

    fn settle_into(&self, files: &mut Files) -> Result<(), AuditError> {
        let mut frames = mem::take(&mut files.frames);
        // Both halves, and not what is added meanwhile.
        for _ in 0..2 {
            let Some(half) = self.intake().take(&mut frames) else { break };
            files.write_down(&self.folder, &self.options, &frames)?;
            self.intake().clear(half);
        }
        files.frames = frames;
        Ok(())
    }

    /// The records that are in no file yet: many only where the disk is full.
    pub fn waiting(&self) -> Vec<Record> {
        let intake = self.intake();
        // Each was written here, or has its checksum: none is damaged, and a later version's would be passed over.
        intake.lines().filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    fn upkeep(&self, is_end: bool) -> Result<(), AuditError> {
        let mut upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.options.clock)();
        let mut files = self.files();
        let settling = self.settle_into(&mut files);
        let is_time = is_end || has_passed(self.options.seal_every, files.sealed_at, now);
        let sealing = if is_time { files.seal(&self.folder, now) } else { Ok(()) };
        let (file, first, head) = (files.writer.file.clone(), files.first, files.position.sealed);
        let was_dirty = mem::take(&mut files.is_dirty);
        // Records are added, and written down, while the disk works.
        drop(files);
        if was_dirty && let Err(error) = file.sync_data() {
            self.files().is_dirty = true;
            return Err(AuditError::flush(&self.folder.file(first))(error));
        }
        if upkeep.head != Some(head) {
            self.folder.set_mark(MarkKind::Head, &head, self.options.key.as_ref())?;
            upkeep.head = Some(head);
        }
        settling.and(sealing)?;
        if upkeep.retained.is_none_or(|(at, file)| file != first || has_passed(RETAIN_EVERY, at, now)) {
            retain(&self.folder, &self.options, now)?;
            upkeep.retained = Some((now, first));
        }
        Ok(())
    }

    /// What a panic elsewhere has left is whole: a frame counts only once it is there.
    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a panic elsewhere has left is whole: they are changed only after the file.
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    /// Writes the lines of frames, but those that are there already, by one `write` for each file.
    fn write_down(&mut self, folder: &Folder, options: &Options, frames: &[u8]) -> Result<(), AuditError> {
        let mut lines = mem::take(&mut self.lines);
        lines.clear();
        let mut position = self.position.clone();
        for Frame { seq, time, line, .. } in Frames(frames) {
            if seq <= position.last {
                continue;
            }
            // A file without records has nothing to end.
            let is_full = position.times.is_some_and(|times| {
                let length = self.writer.length + (lines.len() + line.len()) as u64;
                length > options.segment_bytes || day(time) > day(times.from)
            });
            if is_full {
                self.put(folder, &lines, position)?;
                lines.clear();
                self.turn_over(folder, time)?;
                position = self.position.clone();
            }
            lines.extend_from_slice(line);
            position.pass_record(seq, time, line);
        }
        self.put(folder, &lines, position)?;
        self.lines = lines;
        Ok(())
    }

    fn put(&mut self, folder: &Folder, lines: &[u8], position: Position) -> Result<(), AuditError> {
        if !lines.is_empty() {
            self.writer.put(lines).map_err(|error| AuditError::write(&folder.file(self.first))(error))?;
            (self.position, self.is_dirty) = (position, true);
        }
        Ok(())
    }

    /// Ends the file and begins the next. The old one must be durable with its seal before: if the new one were and the
    /// old one not, a power cut would look like tampering.
    fn turn_over(&mut self, folder: &Folder, now: i64) -> Result<(), AuditError> {
        self.seal(folder, now)?;
        self.writer.file.sync_data().map_err(AuditError::write(&folder.file(self.first)))?;
        let (file, length, position) = begin(folder, &self.position)?;
        self.writer = Writer { file: Arc::new(file), length, is_torn: false };
        (self.first, self.position) = (self.position.last + 1, position);
        Ok(())
    }

    fn seal(&mut self, folder: &Folder, now: i64) -> Result<(), AuditError> {
        if self.position.unsealed() == 0 {
            return Ok(());
        }
        let seal = self.position.seal();
        self.writer.put(seal.line().as_bytes()).map_err(AuditError::write(&folder.file(self.first)))?;
        self.position.pass_seal(&seal);
        (self.sealed_at, self.is_dirty) = (now, true);
        Ok(())
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Begins the file that follows a position. Durable with its name when this returns.
pub(crate) fn begin(folder: &Folder, position: &Position) -> Result<(File, u64, Position), AuditError> {
    let header = position.header();
    let line = header.line();
    let make = || -> io::Result<File> {
        let file = folder.append_to(header.file)?;
        // It is there when an earlier try went wrong.
        file.set_len(0)?;
        (&file).write_all(line.as_bytes())?;
        file.sync_data()?;
        folder.sync()?;
        Ok(file)
    };
    let file = make().map_err(AuditError::write(&folder.file(header.file)))?;
    let mut position = position.clone();
    position.pass_header(&header, line.as_bytes());
    Ok((file, line.len() as u64, position))
}

/// Whether that much time has passed. A clock that was set back counts as passed: it says nothing.
fn has_passed(time: Duration, since: i64, now: i64) -> bool {
    now.checked_sub(since)
        .and_then(|passed| u64::try_from(passed).ok())
        .is_none_or(|passed| Duration::from_micros(passed) >= time)
}

/// A file that holds whole lines only.
struct Writer {
    file: Arc<File>,
    /// How long its lines are.
    length: u64,
    /// Whether there may be a part of a line behind them.
    is_torn: bool,
}

impl Writer {
    /// Appends lines, or nothing.
    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.length)?;
            self.is_torn = false;
        }
        let outcome = (&*self.file).write_all(lines);
        match outcome {
            Ok(()) => self.length += lines.len() as u64,
            Err(_) => self.is_torn = self.file.set_len(self.length).is_err(),
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    fn open(folder: &Path) -> Journal {
        Journal::open(folder, Options::new(Arc::new(|| 1_793_614_272_000_042))).unwrap()
    }

    /// Puts another file in the place of the one that is written to, and gives that one.
    fn exchange(journal: &Journal, file: Arc<File>) -> Arc<File> {
        mem::replace(&mut journal.files().writer.file, file)
    }

    #[test]
    fn lines_that_cannot_be_taken_back_are_taken_back_later() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        let record = NewRecord { action: "pull", ..NewRecord::default() };
        journal.append(&record).unwrap();
        journal.settle().unwrap();
        // Takes no line, and cannot be cut either.
        let full = Arc::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let file = exchange(&journal, full);
        assert_eq!(
            journal.append(&record).unwrap(),
            2,
            "what cannot be written down yet waits in the intake"
        );
        for _ in 0..2 {
            assert!(matches!(journal.settle(), Err(AuditError::Write { .. })));
        }
        (&*file).write_all(b"{\"v\":1,\"seq\":2,\"ti").unwrap();
        exchange(&journal, file);
        assert_eq!(journal.append(&record).unwrap(), 3);
        journal.close().unwrap();
        let report = crate::verify(folder.path(), None).unwrap();
        assert_eq!((report.records, report.sealed_through, report.problems), (3, 3, vec![]));
    }

    #[test]
    fn without_room_anywhere_a_record_is_refused_until_there_is_some() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        let full = Arc::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let file = exchange(&journal, full);
        let record = NewRecord { action: "pull", agent: &"x".repeat(400), ..NewRecord::default() };
        let taken = (0..).take_while(|_| journal.append(&record).is_ok()).count() as u64;
        assert!(taken > 900, "{taken}");
        assert!(matches!(journal.append(&record), Err(AuditError::Write { .. })));
        exchange(&journal, file);
        assert_eq!(journal.append(&record).unwrap(), taken + 1);
        journal.close().unwrap();
        let report = crate::verify(folder.path(), None).unwrap();
        assert_eq!((report.records, report.problems), (taken + 1, vec![]));
    }

    #[test]
    fn what_a_killed_process_had_not_written_down_is_written_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        let record = NewRecord { action: "pull", ..NewRecord::default() };
        journal.append(&record).unwrap();
        journal.settle().unwrap();
        journal.append(&record).unwrap();
        // A kill in the middle of writing it down, and before it was taken from the intake.
        (&*journal.files().writer.file).write_all(b"{\"v\":1,\"seq\":2,\"ti").unwrap();
        drop(journal);
        let journal = open(folder.path());
        assert_eq!(journal.append(&record).unwrap(), 3);
        journal.close().unwrap();
        let report = crate::verify(folder.path(), None).unwrap();
        assert_eq!((report.records, report.problems), (3, vec![]), "and nothing is told of a cut");
    }

    #[test]
    fn what_was_changed_in_the_intake_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        for action in ["one", "two", "three"] {
            journal.append(&NewRecord { action, ..NewRecord::default() }).unwrap();
        }
        drop(journal);
        let path = Folder::new(folder.path()).intake();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(6).position(|bytes| bytes == b"\"two\",").unwrap();
        bytes[at + 1] = b'T';
        std::fs::write(&path, bytes).unwrap();
        drop(open(folder.path()));
        let oldest = crate::Window { newest_first: false, ..crate::Window::default() };
        let page = crate::search(folder.path(), &crate::Query::default(), &oldest).unwrap();
        let actions: Vec<_> = page.records.iter().map(|record| &*record.action).collect();
        assert_eq!(actions, ["one", "journal.cut"]);
    }

    #[test]
    fn a_failed_flush_is_told_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        journal.append(&NewRecord::default()).unwrap();
        journal.settle().unwrap();
        // A device that cannot be flushed.
        let null = Arc::new(File::open("/dev/null").unwrap());
        let file = exchange(&journal, null);
        for _ in 0..2 {
            assert!(matches!(journal.flush(), Err(AuditError::Flush { .. })));
        }
        exchange(&journal, file);
        journal.flush().unwrap();
    }

    #[test]
    fn time_passes_and_a_clock_that_was_set_back_says_nothing() {
        let check =
            |since, now, expect| assert_eq!(has_passed(Duration::from_micros(10), since, now), expect);
        check(5, 5, false);
        check(5, 14, false);
        check(5, 15, true);
        check(5, 4, true);
        check(i64::MIN, i64::MAX, true);
    }
}
