//! Finds what was done to a journal behind its back.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::chain::SealKey;
use crate::error::AuditError;
use crate::folder::{Folder, Found, Mark, MarkKind};
use crate::lines::Lines;
use crate::position::Position;

/// How many problems are told one by one.
const PROBLEMS: usize = 100;

/// Something that the journal itself does not do. Files are named by the number of their first record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Records are not there.
    #[error("the records {from} to {to} are missing")]
    Missing {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// A record stands behind one with a higher number, or is there twice.
    #[error("record {seq} is not at its place (file {file}, line {line})")]
    Order {
        /// The file.
        file: u64,
        /// The line in the file, from 1.
        line: u64,
        /// The record.
        seq: u64,
    },
    /// The hash of a seal is not that of the lines before it.
    #[error(
        "of the records {from} to {to}, or the lines between them, some were changed (up to file {file}, line {line})"
    )]
    Changed {
        /// The file.
        file: u64,
        /// The line of the seal, from 1.
        line: u64,
        /// The first record that the seal covers.
        from: u64,
        /// The last record that the seal covers.
        to: u64,
    },
    /// A line is none that the journal writes.
    #[error("line {line} of file {file} cannot be read")]
    Unreadable {
        /// The file.
        file: u64,
        /// The line in the file, from 1.
        line: u64,
    },
    /// A file does not begin where the one before it ends.
    #[error(
        "file {file} does not go on from the end of what is before it: one of the two was exchanged or cut off"
    )]
    Chain {
        /// The file.
        file: u64,
    },
    /// The end of the journal is not there.
    #[error(
        "the journal was sealed up to record {sealed}, but its seals end at record {found}: its end was cut off"
    )]
    Truncated {
        /// The last record that was sealed.
        sealed: u64,
        /// The last record whose seal is there.
        found: u64,
    },
    /// Where the journal ends is not known.
    #[error(
        "the file HEAD, which tells where the journal ends, is missing or was changed: whether its end was cut off cannot be told"
    )]
    Head,
    /// Where the journal begins is not known.
    #[error(
        "the file ANCHOR, which tells where the journal begins, was changed: whether its beginning was cut off cannot be told"
    )]
    Anchor,
}

/// What was found in a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many files were read.
    pub files: u64,
    /// How many records they hold.
    pub records: u64,
    /// The last record that a seal covers.
    pub sealed_through: u64,
    /// How many records came after the last seal: a change to them would not be noticed.
    pub unsealed: u64,
    /// What is wrong, in the order of the files; the first hundred.
    pub problems: Vec<Problem>,
    /// How many problems are not told one by one.
    pub more_problems: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }
}

/// Reads all of the journal in a folder and finds changed, missing, moved and cut off lines and files. It may be written
/// to meanwhile. Waits for the disk: not for an async worker.
///
/// Who can write the folder and, where there is one, knows the key can put another journal in its place; an older
/// copy of the whole folder is sound as well. Against both helps what was exported to elsewhere.
pub fn verify(folder: &Path, key: Option<&SealKey>) -> Result<Report, AuditError> {
    let folder = Folder::new(folder);
    // Before the files: they must reach as far as it tells, and may reach further.
    let head = folder.mark(MarkKind::Head, key)?;
    let files = folder.files()?;
    let mut report = Report::default();
    if head == Found::Damaged || head == Found::Missing && !files.is_empty() {
        report.add(Problem::Head);
    }
    let anchor = folder.mark(MarkKind::Anchor, key)?;
    if anchor == Found::Damaged {
        report.add(Problem::Anchor);
    }
    let mut start = anchor.sound().unwrap_or_default();
    let mut walk = Walk { head: head.sound(), position: Position::at(start, key.cloned()), report };
    let last = files.last().copied();
    for first in files {
        if first <= start.through {
            continue;
        }
        let path = folder.file(first);
        match File::open(&path).and_then(|file| walk.file(first, Some(first) == last, file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let anchor = folder.mark(MarkKind::Anchor, key)?.sound();
                if let Some(anchor) = anchor.filter(|anchor| anchor.through >= first) {
                    // Retention has removed it meanwhile.
                    start = anchor;
                    walk.position = Position::at(start, key.cloned());
                }
            }
            outcome => outcome.map_err(AuditError::io("reading", &path))?,
        }
    }
    Ok(walk.end())
}

struct Walk {
    head: Option<Mark>,
    position: Position,
    report: Report,
}

impl Walk {
    fn file(&mut self, first: u64, is_last: bool, file: File) -> io::Result<()> {
        self.report.files += 1;
        let mut lines = Lines::from(file, 0)?;
        let (mut number, mut bytes) = (0, Vec::new());
        while let Some(line) = lines.next()? {
            if !line.is_whole && is_last {
                // It is being written, or a crash has cut it off.
                break;
            }
            number += 1;
            bytes.clear();
            bytes.extend_from_slice(line.bytes);
            bytes.extend(line.is_whole.then_some(b'\n'));
            let before = (self.position.last, self.position.sealed);
            let outcome = match number {
                1 => self.position.begin(first, &bytes),
                _ => self.position.pass(first, number, &bytes),
            };
            self.report.records += u64::from(number > 1 && self.position.last != before.0);
            self.report_all(outcome, before.1);
        }
        if number == 0 && !is_last {
            self.report.add(Problem::Unreadable { file: first, line: 1 });
        }
        Ok(())
    }

    fn report_all(&mut self, outcome: Result<(), Problem>, before: Mark) {
        if let Err(problem) = outcome {
            self.report.add(problem);
        }
        let sealed = self.position.sealed;
        let is_other = |head: Mark| {
            head.seal == sealed.seal && (head.hash, head.through) != (sealed.hash, sealed.through)
        };
        if sealed != before && self.head.is_some_and(is_other) {
            self.report.add(Problem::Head);
        }
    }

    fn end(self) -> Report {
        let Self { head, position, mut report } = self;
        let sealed = position.sealed;
        if let Some(head) = head.filter(|head| head.seal > sealed.seal) {
            report.add(Problem::Truncated { sealed: head.through, found: sealed.through });
        }
        Report { sealed_through: sealed.through, unsealed: position.unsealed(), ..report }
    }
}
