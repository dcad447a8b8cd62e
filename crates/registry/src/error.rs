//! What the registry answers when it does not do what was asked. Edges translate it, once.

use std::io;

use access::Action;
use blob::BlobError;
use meta::{Condition, MetaError, RepositoryKind};
use oci::{Digest, ManifestError, Reference, RepoName};

/// Why the registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No such repository.
    #[error("there is no repository `{0}`: push something to it first, or check the name")]
    RepositoryUnknown(RepoName),
    /// No such manifest.
    #[error("`{repository}` has no manifest `{reference}`: check the tag or digest")]
    ManifestUnknown {
        /// The repository.
        repository: RepoName,
        /// What was asked for.
        reference: Reference,
    },
    /// The manifest cannot be stored.
    #[error(transparent)]
    ManifestInvalid(ManifestError),
    /// The manifest needs blobs that the repository does not hold.
    #[error("`{repository}` does not hold the blob{} {}: push or mount {} before the manifest", if .missing.len() == 1 { "" } else { "s" }, list(.missing), if .missing.len() == 1 { "it" } else { "them" })]
    ManifestBlobsUnknown {
        /// The repository.
        repository: RepoName,
        /// The blobs that are not there.
        missing: Vec<Digest>,
    },
    /// No such blob.
    #[error("`{repository}` has no blob {digest}")]
    BlobUnknown {
        /// The repository.
        repository: RepoName,
        /// What was asked for.
        digest: Digest,
    },
    /// A blob that a manifest needs cannot be deleted.
    #[error(
        "blob {digest} is needed by a manifest of `{repository}`: delete the manifest first, its blobs are collected by themselves"
    )]
    BlobInUse {
        /// The repository.
        repository: RepoName,
        /// The blob.
        digest: Digest,
    },
    /// The content does not have the digest that was promised.
    #[error("the {size} bytes received have the digest {actual}, not {expected}: send them again")]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What arrived.
        actual: Digest,
        /// How many bytes arrived.
        size: u64,
    },
    /// No such upload.
    #[error("there is no such upload in `{0}`: it was finished, cancelled or has expired; start a new one")]
    UploadUnknown(RepoName),
    /// Another request is writing to the upload.
    #[error("the upload is in use by another request: wait for that to end, then ask where it stands")]
    UploadBusy,
    /// A chunk does not begin where the upload stands.
    #[error("the chunk starts at byte {given}, but the upload has {length} bytes: go on from there")]
    RangeInvalid {
        /// Where the chunk starts.
        given: u64,
        /// How many bytes the upload has.
        length: u64,
    },
    /// A chunk has another length than its range says.
    #[error("{actual} bytes arrived where {expected} were announced: send the rest, or start again")]
    SizeInvalid {
        /// What was announced.
        expected: u64,
        /// What arrived.
        actual: u64,
    },
    /// A blob larger than allowed.
    #[error("the blob is larger than the {0} bytes that are allowed here")]
    BlobTooLarge(u64),
    /// More tags in one push than allowed.
    #[error("a push may set at most {0} tags at once: set the others in a second request")]
    TooManyTags(usize),
    /// Too many uploads are open.
    #[error("{0} uploads are open, which is the limit here: try again later")]
    TooManyUploads(usize),
    /// The client's bytes stopped coming.
    #[error("the request's body could not be read to its end: {0}")]
    Body(io::Error),
    /// The disk is full.
    #[error(
        "the registry's storage is full: nothing was stored; its operator must free some room, by deleting images \
         and `wharf gc` or with a larger disk"
    )]
    Full,
    /// Somebody else changed the same thing at the same time.
    #[error("somebody else changed the same thing at the same time: try again")]
    Conflict,
    /// A collection is running already.
    #[error("a garbage collection is running already: wait for it to end")]
    Collecting,
    /// The blob store has segments that the metadata does not know of.
    #[error(
        "the storage belongs to metadata that is not here any more: restore it from a backup, or rebuild it from the storage"
    )]
    MetadataLost,
    /// Metadata is rebuilt into an empty store only.
    #[error("there is metadata already: it is rebuilt only where there is none, set the old away first")]
    MetadataNotEmpty,
    /// A mistake in the house: the caller's grant is for something else.
    #[error("internal: a grant to {given} was used to {needed}")]
    WrongGrant {
        /// What the operation needs.
        needed: Action,
        /// What the grant allows.
        given: Action,
    },
    /// What is not here could not be had from its upstream just now.
    #[error("`{repository}` has no {what} yet, and it cannot be had from {upstream} right now: {reason}")]
    UpstreamUnavailable {
        /// The repository here.
        repository: RepoName,
        /// A manifest, a blob, ...
        what: String,
        /// The upstream's key.
        upstream: String,
        /// What it said, or did not say.
        reason: String,
        /// When to come back, in seconds.
        retry_after: u64,
    },
    /// The upstream gives what no registry should.
    #[error("`{repository}` has no {what}, and {upstream} does not give it: {reason}")]
    UpstreamRefused {
        /// The repository here.
        repository: RepoName,
        /// A manifest, a blob, ...
        what: String,
        /// The upstream's key.
        upstream: String,
        /// What it said.
        reason: String,
    },
    /// The upstream does not let us have it, or has no such thing: many do not say which.
    #[error("`{repository}` has no {what}, and {upstream} does not let this registry have it: {reason}")]
    UpstreamDenies {
        /// The repository here.
        repository: RepoName,
        /// A manifest, a blob, ...
        what: String,
        /// The upstream's key.
        upstream: String,
        /// What it said.
        reason: String,
    },
    /// Asking the upstream would lead, or has led, back to where the request has been.
    #[error(
        "`{repository}` has no {what}, and asking {upstream} for it goes round in a circle: check the upstreams of the \
         registries on the way, for one of them leads back ({reason})"
    )]
    UpstreamLoops {
        /// The repository here.
        repository: RepoName,
        /// A manifest, a blob, ...
        what: String,
        /// The upstream's key.
        upstream: String,
        /// Where that was seen.
        reason: String,
    },
    /// Nothing is pushed into an upstream's repositories.
    #[error("`{0}` shows what an upstream has, so nothing can be pushed to it: push to a name of your own")]
    Mirrored(RepoName),
    /// The blob store failed.
    #[error("the registry's storage failed; the server's log says why")]
    Blobs(#[source] BlobError),
    /// The metadata store failed.
    #[error("the registry's metadata store failed; the server's log says why")]
    Meta(#[source] MetaError),
}

impl From<MetaError> for RegistryError {
    fn from(error: MetaError) -> Self {
        match error {
            MetaError::Full => Self::Full,
            MetaError::Conflict(condition) => match *condition {
                Condition::RepositoryIs { repository, kind: RepositoryKind::Hosted } => {
                    Self::Mirrored(repository)
                }
                _ => Self::Conflict,
            },
            error => Self::Meta(error),
        }
    }
}

impl From<ManifestError> for RegistryError {
    fn from(error: ManifestError) -> Self {
        Self::ManifestInvalid(error)
    }
}

/// The first few digests, and how many more.
pub(crate) fn list(digests: &[Digest]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = digests.iter().take(SHOWN).map(Digest::to_string).collect();
    let more = digests.len().saturating_sub(SHOWN);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", shown.join(", "))
}

/// What storage says, for an upload to `repository`.
pub(crate) fn staging(error: BlobError, repository: &RepoName) -> RegistryError {
    match error {
        BlobError::NoUpload | BlobError::NotFound => RegistryError::UploadUnknown(repository.clone()),
        BlobError::Busy => RegistryError::UploadBusy,
        BlobError::TooManyUploads(limit) => RegistryError::TooManyUploads(limit),
        BlobError::Mismatch { expected, actual, size } => {
            RegistryError::DigestMismatch { expected, actual, size }
        }
        BlobError::Full => RegistryError::Full,
        error @ BlobError::Io { .. } => RegistryError::Blobs(error),
    }
}
