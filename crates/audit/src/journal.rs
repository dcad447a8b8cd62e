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
use crate::line;
use crate::position::Position;
use crate::record::NewRecord;
use crate::recover::{Recovered, recover};
use crate::retain::retain;
use crate::time::{Stamp, day};

/// Tells the time in microseconds since 1970 UTC.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

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
    state: Mutex<State>,
    /// Held while flushing, so that flushes come one after the other.
    upkeep: Mutex<Upkeep>,
}

/// What each record changes.
struct State {
    writer: Writer,
    /// The file's name.
    first: u64,
    position: Position,
    /// Whether something was written since the last flush.
    is_dirty: bool,
    sealed_at: i64,
    stamp: Stamp,
    /// The line that is being made. Kept, so that a record allocates nothing.
    line: Vec<u8>,
}

struct Upkeep {
    /// What HEAD holds.
    head: Option<Mark>,
    /// When retention last looked, and which file was written to then.
    retained: Option<(i64, u64)>,
}

impl Journal {
    /// Opens the journal in a folder, which is made where it is not there, and goes on from its end. Where a crash
    /// or somebody else has damaged it, a record tells of that.
    pub fn open(folder: &Path, options: Options) -> Result<Self, AuditError> {
        let folder = Folder::new(folder);
        folder.make()?;
        let Recovered { file, first, length, position, note } = recover(&folder, options.key.as_ref())?;
        let writer = Writer { file: Arc::new(file), length, is_torn: false };
        let sealed_at = (options.clock)();
        let (stamp, line) = (Stamp::default(), Vec::new());
        // A process that was killed may have written what nobody has flushed.
        let state = State { writer, first, position, is_dirty: true, sealed_at, stamp, line };
        let upkeep = Upkeep { head: None, retained: None };
        let journal = Self { folder, options, state: Mutex::new(state), upkeep: Mutex::new(upkeep) };
        if let Some(note) = note {
            tracing::error!(folder = %journal.folder.path().display(), "audit journal: {}", note.detail);
            journal.append(&note.record())?;
        }
        journal.flush()?;
        Ok(journal)
    }

    /// Where the journal is, to be searched and verified.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a record and gives its number. When this returns, the kernel has it: a killed process loses nothing. After an
    /// error the record is not there, and the journal goes on as soon as it can.
    pub fn append(&self, record: &NewRecord<'_>) -> Result<u64, AuditError> {
        let mut guard = self.state();
        let state = &mut *guard;
        // Within the lock, so that times are in the order of the numbers.
        let now = (self.options.clock)();
        let seq = state.position.last + 1;
        state.line.clear();
        line::write(seq, now, record, &mut state.stamp, &mut state.line);
        if self.is_full(state, now) {
            self.turn_over(state, now)?;
        }
        state.writer.put(&state.line).map_err(AuditError::write(&self.folder.file(state.first)))?;
        state.position.pass_record(seq, now, &state.line);
        state.is_dirty = true;
        Ok(seq)
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

    fn upkeep(&self, is_end: bool) -> Result<(), AuditError> {
        let mut upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.options.clock)();
        let mut state = self.state();
        let is_time = is_end || has_passed(self.options.seal_every, state.sealed_at, now);
        let sealing = if is_time { self.seal(&mut state, now) } else { Ok(()) };
        let (file, first, head) = (state.writer.file.clone(), state.first, state.position.sealed);
        let was_dirty = mem::take(&mut state.is_dirty);
        // Records are added while the disk works.
        drop(state);
        if was_dirty && let Err(error) = file.sync_data() {
            self.state().is_dirty = true;
            return Err(AuditError::flush(&self.folder.file(first))(error));
        }
        if upkeep.head != Some(head) {
            self.folder.set_mark(MarkKind::Head, &head, self.options.key.as_ref())?;
            upkeep.head = Some(head);
        }
        sealing?;
        if upkeep.retained.is_none_or(|(at, file)| file != first || has_passed(RETAIN_EVERY, at, now)) {
            retain(&self.folder, &self.options, now)?;
            upkeep.retained = Some((now, first));
        }
        Ok(())
    }

    fn is_full(&self, state: &State, now: i64) -> bool {
        // A file without records has nothing to end.
        state.position.times.is_some_and(|times| {
            let length = state.writer.length + state.line.len() as u64;
            length > self.options.segment_bytes || day(now) > day(times.from)
        })
    }

    /// Ends the file and begins the next. The old one must be durable with its seal before: if the new one were and the
    /// old one not, a power cut would look like tampering.
    fn turn_over(&self, state: &mut State, now: i64) -> Result<(), AuditError> {
        self.seal(state, now)?;
        state.writer.file.sync_data().map_err(AuditError::write(&self.folder.file(state.first)))?;
        let (file, length, position) = begin(&self.folder, &state.position)?;
        state.writer = Writer { file: Arc::new(file), length, is_torn: false };
        (state.first, state.position) = (state.position.last + 1, position);
        Ok(())
    }

    fn seal(&self, state: &mut State, now: i64) -> Result<(), AuditError> {
        if state.position.unsealed() == 0 {
            return Ok(());
        }
        let seal = state.position.seal();
        state
            .writer
            .put(seal.line().as_bytes())
            .map_err(AuditError::write(&self.folder.file(state.first)))?;
        state.position.pass_seal(&seal);
        (state.sealed_at, state.is_dirty) = (now, true);
        Ok(())
    }

    /// What a panic elsewhere has left is whole: the state is changed only after the file.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Appends a line, or nothing.
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.length)?;
            self.is_torn = false;
        }
        let outcome = (&*self.file).write_all(line);
        match outcome {
            Ok(()) => self.length += line.len() as u64,
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
        mem::replace(&mut journal.state().writer.file, file)
    }

    #[test]
    fn a_line_that_cannot_be_taken_back_is_taken_back_later() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        let record = NewRecord { action: "pull", ..NewRecord::default() };
        journal.append(&record).unwrap();
        // Takes no line, and cannot be cut either.
        let full = Arc::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let file = exchange(&journal, full);
        for _ in 0..2 {
            assert!(matches!(journal.append(&record), Err(AuditError::Write { .. })));
        }
        (&*file).write_all(b"{\"v\":1,\"seq\":2,\"ti").unwrap();
        exchange(&journal, file);
        assert_eq!(journal.append(&record).unwrap(), 2);
        journal.close().unwrap();
        let report = crate::verify(folder.path(), None).unwrap();
        assert_eq!((report.records, report.sealed_through, report.problems), (2, 2, vec![]));
    }

    #[test]
    fn a_failed_flush_is_told_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        journal.append(&NewRecord::default()).unwrap();
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
