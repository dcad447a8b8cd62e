//! What can go wrong between two ends.

use std::error::Error;
use std::sync::Arc;

use oci::{Digest, ManifestError, VerifyError};

use crate::PlatformFilter;

/// Why a copy failed. Cheap to clone, so that a stream's error can be told to both of its users.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransferError {
    /// What was asked for is not there.
    #[error("{what} is not in {place}")]
    NotFound {
        /// A tag, a digest or the like.
        what: String,
        /// The end that has not got it.
        place: String,
    },
    /// An index names a manifest that its own registry does not hold.
    #[error("{child}, which the index {parent} names, is not in {place}: use --sparse to leave it out")]
    Sparse {
        /// What is absent.
        child: Digest,
        /// The index.
        parent: Digest,
        /// The end that has not got it.
        place: String,
    },
    /// A manifest is listed as a referrer, but its own registry does not hold it any more.
    #[error(
        "{referrer}, which is listed as referring to {subject}, is not whole in {place}: use --sparse to leave it out"
    )]
    StaleReferrer {
        /// What is absent.
        referrer: Digest,
        /// What it refers to.
        subject: Digest,
        /// The end that has not got it.
        place: String,
    },
    /// The bytes are not what their descriptor says.
    #[error("{place} sent wrong bytes for {digest}: {error}")]
    Corrupt {
        /// What was asked for.
        digest: Digest,
        /// The end that sent them.
        place: String,
        /// What is wrong.
        error: VerifyError,
    },
    /// The bytes are no manifest.
    #[error("the manifest {digest} in {place} cannot be copied: {error}")]
    Manifest {
        /// Its digest.
        digest: Digest,
        /// The end that sent it.
        place: String,
        /// What is wrong.
        error: ManifestError,
    },
    /// A stream ended before its end, more often than may be.
    #[error("{place} ended the blob {digest} after {position} of {size} bytes")]
    Cut {
        /// The blob.
        digest: Digest,
        /// The end that sent it.
        place: String,
        /// How many bytes came.
        position: u64,
        /// How many there should be.
        size: u64,
    },
    /// A stream of a blob was read on after the blob had been asked for again.
    #[error("the blob {0} is being read anew")]
    Replaced(Digest),
    /// The graph is deeper than allowed.
    #[error("the graph below {root} is nested deeper than the {most} levels that are allowed")]
    Depth {
        /// Where the copy began.
        root: Digest,
        /// The limit.
        most: usize,
    },
    /// The graph is larger than allowed.
    #[error(
        "the graph below {root} has more than the {most} {what} that are allowed: copy its parts one by one"
    )]
    Count {
        /// Where the copy began.
        root: Digest,
        /// `manifests`, `blobs`, ...
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// No manifest is for the platform that was asked for.
    #[error("{place} has nothing for the platform {wanted}; it has: {have}")]
    NoPlatform {
        /// What was asked for.
        wanted: PlatformFilter,
        /// What there is.
        have: String,
        /// The end.
        place: String,
    },
    /// A blob is larger than can be read into memory.
    #[error("{digest} has {size} bytes, more than the {most} that are read of such a document")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The limit.
        most: u64,
    },
    /// A task of the copy ended in an unforeseen way.
    #[error("a part of the copy stopped unexpectedly: {0}. This is a bug; please report it")]
    Task(String),
    /// An error of one of the ends, in its own words.
    #[error("{error}")]
    End {
        /// What it says.
        error: Arc<dyn Error + Send + Sync>,
        /// Whether the same request may succeed a moment later.
        transient: bool,
    },
}

impl TransferError {
    /// Wraps the error of an end that will be the same next time.
    pub fn end(error: impl Error + Send + Sync + 'static) -> Self {
        Self::End { error: Arc::new(error), transient: false }
    }

    /// Wraps the error of an end that may be gone next time, such as a lost connection.
    pub fn transient(error: impl Error + Send + Sync + 'static) -> Self {
        Self::End { error: Arc::new(error), transient: true }
    }

    /// Whether trying again may help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::End { transient: true, .. })
    }

    /// Whether the thing asked for does not exist.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
