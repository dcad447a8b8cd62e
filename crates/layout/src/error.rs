//! What can go wrong with folders and archives.

use std::io;
use std::path::{Path, PathBuf};

use transfer::TransferError;

/// Why a local end cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The text names no local end.
    #[error("`{text}` cannot be used: {why}")]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong, and how to write it.
        why: String,
    },
    /// The system refuses.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is not what it is taken for.
    #[error("{path} is not {what}: {why}")]
    Form {
        /// The file or folder.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// It holds several images, and none was named.
    #[error("{path} holds more than one image; name one of: {have}")]
    Ambiguous {
        /// The file or folder.
        path: PathBuf,
        /// What it holds.
        have: String,
    },
    /// It does not hold what was named.
    #[error("{path} holds no {what}; it has: {have}")]
    Absent {
        /// The file or folder.
        path: PathBuf,
        /// What was named.
        what: String,
        /// What it holds.
        have: String,
    },
    /// Such a file cannot hold that.
    #[error("{path} cannot hold this: {why}")]
    Unfit {
        /// The file or folder.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
}

impl LayoutError {
    /// A refusal of the system, about a path.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |error| Self::Io { path, error }
    }

    /// The same error in the words of a copy. A disk that refuses once refuses again.
    pub(crate) fn into_transfer(self) -> TransferError {
        TransferError::end(self)
    }
}
