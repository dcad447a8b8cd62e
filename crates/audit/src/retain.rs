//! Keeps a journal within its bounds: the oldest files go, whole.

use std::fs;
use std::io;

use crate::error::AuditError;
use crate::folder::{Folder, Mark, MarkKind};
use crate::journal::Options;

/// Removes the files that are too old or too many. Never the last: it is written to.
pub(crate) fn retain(folder: &Folder, options: &Options, now: i64) -> Result<(), AuditError> {
    let files = folder.files()?;
    let mut total = 0;
    let mut lengths = Vec::with_capacity(files.len());
    for first in &files {
        let path = folder.file(*first);
        let length = fs::metadata(&path).map_err(AuditError::io("reading", &path))?.len();
        lengths.push(length);
        total += length;
    }
    let oldest = now.saturating_sub(i64::try_from(options.keep_age.as_micros()).unwrap_or(i64::MAX));
    let mut gone = 0;
    for (next, length) in files.iter().skip(1).zip(lengths) {
        let before = folder.header(*next)?.and_then(|header| header.before);
        if total <= options.keep_bytes && before.is_none_or(|times| times.until >= oldest) {
            break;
        }
        total -= length;
        gone += 1;
    }
    remove_before(folder, &files, gone, options)
}

/// Removes that many of the files.
fn remove_before(folder: &Folder, files: &[u64], gone: usize, options: &Options) -> Result<(), AuditError> {
    let (Some(first), key) = (files.get(gone).filter(|_| gone > 0), options.key.as_ref()) else {
        return Ok(());
    };
    let header = folder.header(*first)?;
    let (seal, hash) = header.map_or_else(Default::default, |header| (header.seal, header.previous));
    let mark = Mark { seal, through: first - 1, hash };
    // First, for files that are missing without it look as if somebody had taken them.
    folder.set_mark(MarkKind::Anchor, &mark, key)?;
    folder.sync().map_err(AuditError::io("flushing", folder.path()))?;
    remove(folder, &files[..gone])
}

/// Removes files that ANCHOR says are gone.
pub(crate) fn remove(folder: &Folder, files: &[u64]) -> Result<(), AuditError> {
    for first in files {
        let path = folder.file(*first);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome.map_err(AuditError::io("removing", &path))?,
        }
    }
    Ok(())
}
