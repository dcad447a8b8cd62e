//! What reading gives.

use blob::BlobId;
use bytes::Bytes;
use oci::{Descriptor, Digest, MediaType, RepoName};

use crate::Timestamp;

/// A manifest in a repository, with its bytes as they were pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRecord {
    /// Its digest, by the algorithm it was pushed with.
    pub digest: Digest,
    /// The media type it was pushed with.
    pub media_type: MediaType,
    /// The bytes, verbatim.
    pub bytes: Bytes,
    /// The day (since 1970) on which it was last known to be pulled or pushed.
    pub used_day: i64,
}

/// A blob that a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRecord {
    /// The object with its bytes.
    pub id: BlobId,
    /// Its size in bytes.
    pub size: u64,
    /// Since when no manifest of the repository has referred to it; `None` while one does.
    pub unreferenced_since: Option<Timestamp>,
}

/// Where what a repository holds comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepositoryKind {
    /// From those who push into it: its manifests have their blobs.
    Hosted,
    /// From an upstream, as it is asked for: its manifests may lack their blobs.
    Mirrored,
}

impl RepositoryKind {
    /// All kinds with the names under which they are stored. Names are never reused.
    pub const NAMES: [(Self, &'static str); 2] = [(Self::Hosted, "hosted"), (Self::Mirrored, "mirrored")];

    /// The kind with this stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(kind, _)| *kind)
    }
}

/// A blob that mirrored repositories hold, and no other: all of it can be fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedBlob {
    /// The object.
    pub id: BlobId,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Which repositories a reader may know of. It becomes part of the query: nothing is filtered afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visible {
    /// All of them.
    All,
    /// Those of these projects.
    Projects(Vec<String>),
}

/// A question for referrers.
#[derive(Clone, Debug)]
pub struct ReferrerQuery {
    /// In which repository.
    pub repository: RepoName,
    /// Of which digest.
    pub subject: Digest,
    /// Only of this artifact type.
    pub artifact_type: Option<String>,
    /// Only after this digest, in the order of digests: the page before ended there.
    pub after: Option<Digest>,
    /// The most descriptors in an answer.
    pub limit: usize,
    /// The most bytes of annotations in an answer; at least one descriptor is given all the same.
    pub bytes: usize,
}

/// A page of referrers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferrerPage {
    /// Descriptors with media type, size, artifact type and annotations.
    pub descriptors: Vec<Descriptor>,
    /// Whether more come after the last.
    pub more: bool,
}

/// What a repository holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryRow {
    /// Its name.
    pub name: RepoName,
    /// How many manifests.
    pub manifests: u64,
    /// How many tags.
    pub tags: u64,
    /// The bytes of its blobs and manifests, each counted once in this repository.
    pub bytes: u64,
}

/// What the whole store holds, as of the last fold of the usage deltas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Repositories.
    pub repositories: u64,
    /// Manifests, counted in each repository.
    pub manifests: u64,
    /// Tags.
    pub tags: u64,
    /// Bytes as the repositories count them, before deduplication.
    pub logical_bytes: u64,
    /// Blobs stored.
    pub blobs: u64,
    /// Bytes of the blobs stored, after deduplication.
    pub stored_bytes: u64,
}

/// One thing that garbage collection would remove, for a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// A repository would let go of a blob that none of its manifests needs.
    Link {
        /// The repository.
        repository: RepoName,
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Since when it is not needed.
        since: Timestamp,
    },
    /// A stored blob would be deleted, since no repository holds it (or none would, then).
    Blob {
        /// The blob.
        digest: Digest,
        /// The object.
        id: BlobId,
        /// Its size in bytes.
        size: u64,
    },
}

/// A blob whose object may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// The object.
    pub id: BlobId,
    /// The digest it was stored for.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A blob as `check` walks over them, in the order of their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRow {
    /// The object.
    pub id: BlobId,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it is already known to be damaged.
    pub damaged: bool,
}

/// A manifest as `check` walks over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRow {
    /// Where the walk goes on: opaque, growing.
    pub cursor: i64,
    /// The repository.
    pub repository: RepoName,
    /// The manifest.
    pub record: ManifestRecord,
}

/// A manifest that needs a blob which its repository does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingBlob {
    /// The repository.
    pub repository: RepoName,
    /// The manifest.
    pub manifest: Digest,
    /// The blob that is not there.
    pub blob: Digest,
}
