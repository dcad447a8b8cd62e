//! Where a journal goes on, after whatever has happened to it.

use std::fs::{self, File};
use std::io;

use crate::chain::SealKey;
use crate::error::AuditError;
use crate::folder::{Folder, Found, Mark, MarkKind};
use crate::journal::begin;
use crate::line::HEADER_BYTES;
use crate::lines::Lines;
use crate::position::Position;
use crate::record::{NewRecord, Outcome};
use crate::retain::remove;

/// The file that is written to, and how far it has come.
pub(crate) struct Recovered {
    pub file: File,
    pub first: u64,
    pub length: u64,
    pub position: Position,
    /// What must be told of the journal itself.
    pub note: Option<Note>,
}

const CUT: &str = "journal.cut";

/// What the journal tells of itself.
pub(crate) struct Note {
    pub action: &'static str,
    pub detail: String,
}

impl Note {
    /// Tells that the end was cut off.
    pub fn cut(bytes: u64, last: u64) -> Self {
        let detail =
            format!("{bytes} bytes after record {last}, left unfinished or damaged by a crash, were cut off");
        Self { action: CUT, detail }
    }

    /// Whether only the end was cut off.
    pub fn is_cut(&self) -> bool {
        self.action == CUT
    }

    fn damaged(detail: String) -> Self {
        Self { action: "journal.damaged", detail }
    }

    /// The record that tells it.
    pub fn record(&self) -> NewRecord<'_> {
        let outcome = Outcome::Failed;
        NewRecord {
            actor: "system",
            action: self.action,
            detail: &self.detail,
            outcome,
            ..NewRecord::default()
        }
    }
}

/// Finds the end of the journal and makes it fit to be gone on from.
pub(crate) fn recover(folder: &Folder, key: Option<&SealKey>) -> Result<Recovered, AuditError> {
    let mut head = folder.mark(MarkKind::Head, key)?;
    let anchor = folder.mark(MarkKind::Anchor, key)?.sound();
    let mut files = folder.files()?;
    // A crash may have come before retention had removed them all.
    let gone = files.partition_point(|first| anchor.is_some_and(|anchor| *first <= anchor.through));
    remove(folder, &files[..gone])?;
    files.drain(..gone);
    if head == Found::Missing && files.is_empty() {
        // From here on, a journal without HEAD is one whose HEAD was taken away.
        let start = anchor.unwrap_or_default();
        folder.set_mark(MarkKind::Head, &start, key)?;
        head = Found::Sound(start);
    }
    while let Some(first) = files.pop() {
        let path = folder.file(first);
        let file = folder.append_to(first).map_err(AuditError::io("opening", &path))?;
        let end = End::find(folder, first, head.sound(), key)?;
        let is_begun = end.position.is_none() && end.length <= HEADER_BYTES;
        if is_begun && head.sound().is_some_and(|head| head.through < first) {
            // A crash came while the file was begun: nobody has been told of anything in it.
            fs::remove_file(&path).map_err(AuditError::io("removing", &path))?;
            continue;
        }
        return end.go_on(folder, file, head.sound(), key);
    }
    let start = head.sound().or(anchor).unwrap_or_default();
    let is_lost = head == Found::Damaged || start.through > anchor.unwrap_or_default().through;
    let note =
        is_lost.then(|| Note::damaged(format!("no file is there, though record {} was", start.through)));
    begin_at(folder, &Position::at(start, key.cloned()), note)
}

fn begin_at(folder: &Folder, position: &Position, note: Option<Note>) -> Result<Recovered, AuditError> {
    let first = position.last + 1;
    let (file, length, position) = begin(folder, position)?;
    Ok(Recovered { file, first, length, position, note })
}

/// The end of the last file.
struct End {
    first: u64,
    length: u64,
    /// How long its sound lines are, up to the first that is not.
    sound: u64,
    /// After these; `None` where not even the header is sound.
    position: Option<Position>,
    /// Whether all that was durable is among them.
    has_head: bool,
}

impl End {
    fn find(
        folder: &Folder,
        first: u64,
        head: Option<Mark>,
        key: Option<&SealKey>,
    ) -> Result<Self, AuditError> {
        let header = folder.header(first)?;
        let path = folder.file(first);
        let read = || -> io::Result<Self> {
            let file = File::open(&path)?;
            let mut end =
                Self { first, length: file.metadata()?.len(), sound: 0, position: None, has_head: false };
            let Some(header) = header else { return Ok(end) };
            let line = header.line();
            let mut position = Position::at(Mark::default(), key.cloned());
            position.pass_header(&header, line.as_bytes());
            // The seal with which the file before it ended may not have come to HEAD.
            end.has_head = head.is_some_and(|head| head.seal < header.seal || head == position.sealed);
            end.sound = line.len() as u64;
            let mut lines = Lines::from(file, end.sound)?;
            let (mut number, mut bytes) = (1, Vec::new());
            end.position = Some(position.clone());
            while let Some(line) = lines.next()?.filter(|line| line.is_whole) {
                number += 1;
                bytes.clear();
                bytes.extend_from_slice(line.bytes);
                bytes.push(b'\n');
                if position.pass(first, number, &bytes).is_err() {
                    break;
                }
                end.has_head |= head == Some(position.sealed);
                (end.sound, end.position) = (line.end, Some(position.clone()));
            }
            Ok(end)
        };
        read().map_err(AuditError::io("reading", &path))
    }

    fn go_on(
        self,
        folder: &Folder,
        file: File,
        head: Option<Mark>,
        key: Option<&SealKey>,
    ) -> Result<Recovered, AuditError> {
        let Self { first, length, sound, has_head, .. } = self;
        let rest = length - sound;
        let (sealed, last) =
            self.position.as_ref().map_or((Mark::default(), 0), |end| (end.sealed, end.last));
        match self.position {
            Some(position) if has_head => {
                if rest > 0 {
                    file.set_len(sound).map_err(AuditError::io("cutting", &folder.file(first)))?;
                }
                let note = (rest > 0).then(|| Note::cut(rest, last));
                Ok(Recovered { file, first, length: sound, position, note })
            }
            Some(position) if head.is_none() && rest == 0 => {
                let note = format!("HEAD was missing or changed, so records after {last} may be missing");
                Ok(Recovered { file, first, length, position, note: Some(Note::damaged(note)) })
            }
            _ => {
                let sealed = head.unwrap_or(sealed);
                let note = format!(
                    "of file {first}, only the first {sound} of {length} bytes are sound, up to record {last}; record {} was sealed",
                    sealed.through
                );
                let end = last.max(first).max(sealed.through);
                let mut position = Position::at(sealed, key.cloned());
                position.last = end;
                begin_at(folder, &position, Some(Note::damaged(note)))
            }
        }
    }
}
