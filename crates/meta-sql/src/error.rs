//! What the database says, in the words of the port.

use meta::MetaError;
use rusqlite::{Error, ErrorCode};

/// What this crate's functions give.
pub(crate) type Result<T> = std::result::Result<T, MetaError>;

/// Translates what SQLite said while `action` was being done.
pub(crate) fn explain(action: &'static str, error: &Error) -> MetaError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => MetaError::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => MetaError::Damaged(error.to_string()),
        _ => MetaError::Failed { action, reason: error.to_string() },
    }
}

/// A value that this program cannot have written.
pub(crate) fn damaged(what: &str) -> MetaError {
    MetaError::Damaged(format!("{what} cannot be read back"))
}

/// The same error once more, for another batch that shares the fate of its transaction.
pub(crate) fn repeat(error: &MetaError) -> MetaError {
    match error {
        MetaError::Full => MetaError::Full,
        MetaError::Damaged(what) => MetaError::Damaged(what.clone()),
        MetaError::Failed { action, reason } => MetaError::Failed { action, reason: reason.clone() },
        MetaError::TooNew { found, known } => MetaError::TooNew { found: *found, known: *known },
        MetaError::Conflict(condition) => MetaError::Conflict(condition.clone()),
        MetaError::OwnerMissing { kind, name } => MetaError::OwnerMissing { kind: *kind, name: name.clone() },
        MetaError::EntryInvalid { kind, name, reason } => {
            MetaError::EntryInvalid { kind: *kind, name: name.clone(), reason: reason.clone() }
        }
        MetaError::BlobsMissing(digests) => MetaError::BlobsMissing(digests.clone()),
    }
}
