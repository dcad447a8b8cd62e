//! What can go wrong on the disk, and the error number that a program sees for it.

use std::io;
use std::path::PathBuf;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the disk refused, or why it could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no entry of that name, or no node of that number.
    #[error("no such entry")]
    NotFound,
    /// The name is taken.
    #[error("the entry exists already")]
    Exists,
    /// A folder was needed.
    #[error("not a folder")]
    NotFolder,
    /// A folder was given where none may be.
    #[error("is a folder")]
    IsFolder,
    /// The folder still has entries.
    #[error("the folder is not empty")]
    NotEmpty,
    /// The disk's limit is reached.
    #[error("no space left on the disk: raise its limit or delete something")]
    Full,
    /// The power is off, or a sync was told to fail.
    #[error("the disk failed")]
    Failed,
    /// The model does not know this operation.
    #[error("operation not supported")]
    Unsupported,
    /// The file system could not be mounted.
    #[error(
        "cannot mount at {point}: {source} (this needs /dev/fuse, and root or fusermount3 of package fuse3)"
    )]
    Mount {
        /// Where it was to appear.
        point: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system could not be taken down.
    #[error("cannot unmount {point}: {source}")]
    Unmount {
        /// Where it is mounted.
        point: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The error number that a system call reports for it.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotFound => libc::ENOENT,
            Self::Exists => libc::EEXIST,
            Self::NotFolder => libc::ENOTDIR,
            Self::IsFolder => libc::EISDIR,
            Self::NotEmpty => libc::ENOTEMPTY,
            Self::Full => libc::ENOSPC,
            Self::Unsupported => libc::EOPNOTSUPP,
            Self::Failed | Self::Mount { .. } | Self::Unmount { .. } => libc::EIO,
        }
    }
}
