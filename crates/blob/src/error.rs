//! What can go wrong with stored bytes, in the words of storage.

use std::io;

use oci::Digest;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No such object.
    #[error("the stored object is not there")]
    NotFound,
    /// No such upload: it never was, has expired, or was finished or cancelled.
    #[error("there is no such upload: it was finished, cancelled, or has expired; start again")]
    NoUpload,
    /// Another request is writing to the upload.
    #[error("the upload is in use by another request: wait for it to end")]
    Busy,
    /// Too many uploads are open.
    #[error("{0} uploads are open, which is the limit: try again later")]
    TooManyUploads(usize),
    /// The bytes that arrived do not have the promised digest.
    #[error("the {size} bytes that arrived have the digest {actual}, not {expected}")]
    Mismatch {
        /// What the client promised.
        expected: Digest,
        /// What arrived.
        actual: Digest,
        /// How many bytes arrived.
        size: u64,
    },
    /// The disk is full, or a quota of the file system is used up.
    #[error("the storage is full: nothing was stored; free some room and try again")]
    Full,
    /// Anything else that the disk or the network said.
    #[error("{action} failed: {source}")]
    Io {
        /// What was being done, and to what.
        action: String,
        /// What the system said.
        source: io::Error,
    },
}

impl BlobError {
    /// Turns what the system said about `action` into the words above.
    pub fn io(action: impl Into<String>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::NotFound => Self::NotFound,
            _ => Self::Io { action: action.into(), source },
        }
    }
}
