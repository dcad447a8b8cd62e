//! Why the journal did not do what was asked.

use std::io;
use std::path::{Path, PathBuf};

/// What the system did not allow.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A record is not in the journal, because it could not be written.
    #[error("the audit journal {} cannot be written, so what happened was not recorded: make room on its disk, or mend it ({source})", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Records are written, but a power cut may lose them.
    #[error("the audit journal {} cannot be flushed to its disk, so a power cut may lose records: mend the disk ({source})", file.display())]
    Flush {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder of the journal cannot be used.
    #[error("{action} {} did not succeed: see that the server may read and write it ({source})", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl AuditError {
    /// Whether only room is missing.
    pub(crate) fn is_full(&self) -> bool {
        let (Self::Write { source, .. } | Self::Flush { source, .. } | Self::Io { source, .. }) = self;
        let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        kinds.contains(&source.kind())
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn write(file: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { file: file.to_owned(), source }
    }

    pub(crate) fn flush(file: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Flush { file: file.to_owned(), source }
    }
}
