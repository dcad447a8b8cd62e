//! Searches a journal.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::AuditError;
use crate::folder::Folder;
use crate::line::{self, Found};
use crate::lines::{Backwards, Lines, find};
use crate::record::{Outcome, Record};

/// Which records are looked for: those that have all that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// From this time on, in microseconds since 1970 UTC.
    pub from: Option<i64>,
    /// Before this time.
    pub until: Option<i64>,
    /// By this actor.
    pub actor: Option<String>,
    /// Actions that begin so.
    pub action: Option<String>,
    /// That ended so.
    pub outcome: Option<Outcome>,
    /// In this project, or one within it.
    pub project: Option<String>,
    /// In this repository.
    pub repository: Option<String>,
    /// About this digest.
    pub digest: Option<String>,
    /// From this address.
    pub address: Option<String>,
    /// Of this request.
    pub request: Option<String>,
    /// With this in any of their texts.
    pub text: Option<String>,
}

impl Query {
    fn matches(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let is_within = |project: &String| {
            let rest = record.project.strip_prefix(project.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let has =
            |text: &String| record.content().texts().iter().any(|(_, found)| found.contains(text.as_str()));
        self.from.is_none_or(|from| record.time >= from)
            && self.until.is_none_or(|until| record.time < until)
            && self.outcome.is_none_or(|outcome| record.outcome == outcome)
            && is(&self.actor, &record.actor)
            && self.action.as_ref().is_none_or(|action| record.action.starts_with(action.as_str()))
            && self.project.as_ref().is_none_or(is_within)
            && is(&self.repository, &record.repository)
            && is(&self.digest, &record.digest)
            && is(&self.address, &record.address)
            && is(&self.request, &record.request)
            && self.text.as_ref().is_none_or(has)
    }
}

/// Which part of what matches is wanted, and how much may be read for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Goes on after this record: [`Page::next`] of the page before.
    pub after: Option<u64>,
    /// Whether the newest records come first.
    pub newest_first: bool,
    /// How many records are given at most.
    pub records: usize,
    /// After how many bytes the search rests, for it holds a thread.
    pub bytes: u64,
}

impl Default for Window {
    /// The hundred newest; rests after 16 MiB, which takes about a tenth of a second.
    fn default() -> Self {
        Self { after: None, newest_first: true, records: 100, bytes: 16 << 20 }
    }
}

/// What a search has found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records, in the order that was wanted. There may be none, though there are more.
    pub records: Vec<Record>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
    /// How many damaged lines were passed over.
    pub damaged: u64,
}

/// Searches the journal in a folder, which may be written to meanwhile. Waits for the disk: not for an async worker.
pub fn search(folder: &Path, query: &Query, window: &Window) -> Result<Page, AuditError> {
    let folder = Folder::new(folder);
    let mut scan = Scan { query, window, page: Page::default(), bytes: 0 };
    let files = folder.files()?;
    let last = files.last().copied();
    let mut pairs: Vec<(u64, Option<u64>)> = Vec::with_capacity(files.len());
    pairs.extend(files.windows(2).map(|pair| (pair[0], Some(pair[1]))));
    pairs.extend(last.map(|last| (last, None)));
    if window.newest_first {
        pairs.reverse();
    }
    for (first, next) in pairs {
        if scan.passes_over(&folder, first, next)? {
            continue;
        }
        let path = folder.file(first);
        match File::open(&path).and_then(|file| scan.file(file)) {
            // Retention has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome.map_err(AuditError::io("reading", &path))?,
        }
        if scan.page.next.is_some() {
            break;
        }
    }
    Ok(scan.page)
}

struct Scan<'a> {
    query: &'a Query,
    window: &'a Window,
    page: Page,
    bytes: u64,
}

impl Scan<'_> {
    /// Whether nothing in a file can be wanted. `next` is the file after it.
    fn passes_over(&self, folder: &Folder, first: u64, next: Option<u64>) -> Result<bool, AuditError> {
        let is_done = match (self.window.after, self.window.newest_first) {
            (None, _) => false,
            (Some(after), true) => first >= after,
            (Some(after), false) => next.is_some_and(|next| next <= after.saturating_add(1)),
        };
        if is_done {
            return Ok(true);
        }
        if self.query.from.is_none() && self.query.until.is_none() {
            return Ok(false);
        }
        let Some(next) = next else { return Ok(false) };
        let times = folder.header(next)?.and_then(|header| header.before);
        Ok(times.is_some_and(|times| {
            self.query.from.is_some_and(|from| times.until < from)
                || self.query.until.is_some_and(|until| times.from >= until)
        }))
    }

    fn file(&mut self, file: File) -> io::Result<()> {
        let length = file.metadata()?.len();
        if self.window.newest_first { self.backwards(file, length) } else { self.forwards(file, length) }
    }

    fn forwards(&mut self, file: File, length: u64) -> io::Result<()> {
        let start = match self.window.after {
            Some(after) => find(&file, length, after)?.0,
            None => 0,
        };
        let mut lines = Lines::from(file, start)?;
        while let Some(line) = lines.next()?.filter(|line| line.is_whole) {
            if self.line(line.bytes) {
                break;
            }
        }
        Ok(())
    }

    fn backwards(&mut self, file: File, length: u64) -> io::Result<()> {
        let end = match self.window.after {
            Some(after) => self.line_end(&file, length, after)?,
            None => length,
        };
        let (mut lines, mut line) = (Backwards::before(file, end)?, Vec::new());
        while lines.next(&mut line)? {
            if self.line(&line) {
                break;
            }
        }
        Ok(())
    }

    /// Where a line ends that is not before the record `after`.
    fn line_end(&self, file: &File, length: u64, after: u64) -> io::Result<u64> {
        let (_, high) = find(file, length, after)?;
        let mut lines = Lines::from(file.try_clone()?, high)?;
        Ok(lines.next()?.map_or(length, |line| line.end))
    }

    /// Looks at a line. Tells whether the page ends with it.
    fn line(&mut self, line: &[u8]) -> bool {
        self.bytes += line.len() as u64 + 1;
        match line::read(line) {
            Found::Record(record) => self.record(*record),
            Found::Damaged => {
                self.page.damaged += 1;
                false
            }
            Found::Other => false,
        }
    }

    fn record(&mut self, record: Record) -> bool {
        let seq = record.seq;
        let is_before = match self.window.after {
            None => false,
            Some(after) if self.window.newest_first => seq >= after,
            Some(after) => seq <= after,
        };
        if is_before {
            return false;
        }
        if self.query.matches(&record) {
            self.page.records.push(record);
        }
        // Only behind a record can be gone on, so each page passes at least one.
        let is_end = self.page.records.len() >= self.window.records || self.bytes >= self.window.bytes;
        self.page.next = is_end.then_some(seq);
        is_end
    }
}
