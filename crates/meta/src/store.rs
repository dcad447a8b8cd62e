//! The roles of a metadata store. A caller asks for the ones it needs.

use blob::BlobId;
use futures_util::future::BoxFuture;
use oci::{Digest, ProjectName, Reference, RepoName, Tag};

use crate::{
    Batch, BlobRecord, BlobRow, CachedBlob, Committed, Condition, Entry, EntryKind, EntryName, Event,
    FallbackUse, Garbage, ManifestRecord, ManifestRow, MissingBlob, ReferrerPage, ReferrerQuery,
    RepositoryKind, RepositoryRow, StoredBlob, Timestamp, Totals, Visible,
};

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// A condition of the batch does not hold; nothing was changed.
    #[error("a condition of the change does not hold: {0:?}")]
    Conflict(Box<Condition>),
    /// Some of the blobs in [`Condition::BlobsLinked`] are not there; nothing was changed.
    #[error("the repository does not hold the blobs {0:?}")]
    BlobsMissing(Vec<Digest>),
    /// An owner of an entry does not exist; nothing was changed.
    #[error("there is no {kind} `{name}` to own the entry: nothing was changed; make it first")]
    OwnerMissing {
        /// What the owner is.
        kind: EntryKind,
        /// Its name.
        name: EntryName,
    },
    /// An entry cannot be kept as it is; nothing was changed.
    #[error("the {kind} `{name}` cannot be kept: {reason}; nothing was changed")]
    EntryInvalid {
        /// What it is.
        kind: EntryKind,
        /// Its name.
        name: EntryName,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk with the metadata is full: nothing was changed; free some room and try again")]
    Full,
    /// The store was written by a newer version.
    #[error("the metadata has version {found}, this program knows up to {known}: start a newer wharf")]
    TooNew {
        /// The version found.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// What is stored is not what was written.
    #[error("the stored metadata is damaged: {0}; restore it from a backup")]
    Damaged(String),
    /// Anything else that the database said.
    #[error("the metadata store failed while {action}: {reason}")]
    Failed {
        /// What was being done.
        action: &'static str,
        /// What the database said.
        reason: String,
    },
}

/// A future of something from the store.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, MetaError>>;

/// The one way to change anything.
pub trait Commit: Send + Sync {
    /// Does all of the batch, durably, or nothing.
    fn commit(&self, batch: Batch) -> Answer<'_, Committed>;
}

/// Reading manifests.
pub trait ReadManifests: Send + Sync {
    /// The manifest under a tag or digest of a repository.
    fn manifest<'a>(
        &'a self,
        repository: &'a RepoName,
        reference: &'a Reference,
    ) -> Answer<'a, Option<ManifestRecord>>;

    /// The manifests of a repository whose subject is a digest, in the order of their digests.
    fn referrers<'a>(&'a self, query: &'a ReferrerQuery) -> Answer<'a, ReferrerPage>;
}

/// Reading blobs. A blob that is known to be damaged is absent here.
pub trait ReadBlobs: Send + Sync {
    /// A blob that the repository holds.
    fn blob<'a>(&'a self, repository: &'a RepoName, digest: &'a Digest) -> Answer<'a, Option<BlobRecord>>;

    /// A visible repository that holds the blob, if there is one.
    fn holder<'a>(&'a self, digest: &'a Digest, visible: &'a Visible) -> Answer<'a, Option<RepoName>>;
}

/// Reading lists, a page at a time, in bytewise order.
pub trait ReadLists: Send + Sync {
    /// Up to `limit` tags after `after`; `None` where the repository does not exist.
    fn tags<'a>(
        &'a self,
        repository: &'a RepoName,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Option<Vec<Tag>>>;

    /// Up to `limit` visible repositories after `after`.
    fn repositories<'a>(
        &'a self,
        visible: &'a Visible,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<RepoName>>;

    /// The same, with what each holds, as of the last fold of usage.
    fn usage<'a>(
        &'a self,
        visible: &'a Visible,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<RepositoryRow>>;

    /// What the whole store holds, as of the last fold of usage.
    fn totals(&self) -> Answer<'_, Totals>;
}

/// What garbage collection reads; it changes things by [`Commit`] only.
pub trait Collect: Send + Sync {
    /// Up to `limit` things that a collection with this end of grace would remove, in a stable order, after the
    /// first `skip` of them. Reads one snapshot.
    fn garbage(&self, before: Timestamp, skip: usize, limit: usize) -> Answer<'_, Vec<Garbage>>;

    /// Up to `limit` blobs that were condemned before `before`.
    fn condemned(&self, before: Timestamp, limit: usize) -> Answer<'_, Vec<StoredBlob>>;

    /// Those of the ids that no blob, condemned or not, has.
    fn unknown(&self, ids: Vec<BlobId>) -> Answer<'_, Vec<BlobId>>;

    /// The store's clock.
    fn now(&self) -> Timestamp;
}

/// What `check` reads.
pub trait Inspect: Send + Sync {
    /// Up to `limit` blobs (not the condemned) with ids after `after`, in their order.
    fn blob_rows(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<BlobRow>>;

    /// Up to `limit` manifests after the cursor `after` (0 at first), fewer where they are large.
    fn manifest_rows(&self, after: i64, limit: usize) -> Answer<'_, Vec<ManifestRow>>;

    /// Up to `limit` blobs that manifests need and their repositories do not hold, after the first `skip`. Mirrored
    /// repositories are left out: what they lack comes when it is asked for.
    fn missing_blobs(&self, skip: usize, limit: usize) -> Answer<'_, Vec<MissingBlob>>;

    /// The repositories that hold a blob, at most `limit`.
    fn holders<'a>(&'a self, digest: &'a Digest, limit: usize) -> Answer<'a, Vec<RepoName>>;

    /// What the database says of its own soundness; empty when all is well.
    fn self_check(&self) -> Answer<'_, Vec<String>>;
}

/// Reading events.
pub trait ReadEvents: Send + Sync {
    /// Up to `limit` events after a position.
    fn events(&self, after: i64, limit: usize) -> Answer<'_, Vec<Event>>;
}

/// Reading entries.
pub trait ReadEntries: Send + Sync {
    /// The entry of a kind under a name.
    fn entry<'a>(&'a self, kind: EntryKind, name: &'a EntryName) -> Answer<'a, Option<Entry>>;

    /// Up to `limit` entries of a kind with names after `after`, in their bytewise order.
    fn entries<'a>(
        &'a self,
        kind: EntryKind,
        after: Option<&'a EntryName>,
        limit: usize,
    ) -> Answer<'a, Vec<Entry>>;

    /// The same, of those that name `owner` as one of theirs.
    fn owned<'a>(
        &'a self,
        owner: (EntryKind, &'a EntryName),
        kind: EntryKind,
        after: Option<&'a EntryName>,
        limit: usize,
    ) -> Answer<'a, Vec<Entry>>;
}

/// What a pull-through cache reads.
pub trait ReadMirrors: Send + Sync {
    /// Where what a repository holds comes from; `None` where it does not exist.
    fn repository_kind<'a>(&'a self, repository: &'a RepoName) -> Answer<'a, Option<RepositoryKind>>;

    /// What a tag points to, and when that was last found to be what its upstream has, if it ever was; `None`
    /// where there is no such tag.
    fn checked<'a>(
        &'a self,
        repository: &'a RepoName,
        tag: &'a Tag,
    ) -> Answer<'a, Option<(Digest, Option<Timestamp>)>>;

    /// Up to `limit` blobs with ids after `after`, in their order, that mirrored repositories hold and no other:
    /// what eviction may take. Passes over all blobs in between.
    fn cached_blobs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<CachedBlob>>;

    /// Whether a manifest of the repository needs the blob, be it there or not.
    fn is_needed<'a>(&'a self, repository: &'a RepoName, digest: &'a Digest) -> Answer<'a, bool>;

    /// The repositories that hold a blob, with their kinds, at most `limit`.
    fn links_of(&self, id: BlobId, limit: usize) -> Answer<'_, Vec<(RepoName, RepositoryKind)>>;
}

/// What is read where a project replaces another registry.
pub trait ReadFallbacks: Send + Sync {
    /// Whether the repository once had the tag, or a tag of it once pointed to the digest: as far as tags have moved or
    /// gone. What is not here any more of it was deleted.
    fn had<'a>(&'a self, repository: &'a RepoName, reference: &'a Reference) -> Answer<'a, bool>;

    /// Up to `limit` uses of the registry that a project replaces, the last first.
    fn fallback_uses<'a>(&'a self, project: &'a ProjectName, limit: usize) -> Answer<'a, Vec<FallbackUse>>;
}

/// Small values that jobs remember.
pub trait Settings: Send + Sync {
    /// The value under a name.
    fn setting<'a>(&'a self, name: &'a str) -> Answer<'a, Option<String>>;
}

/// A whole metadata store.
pub trait MetaStore:
    Commit
    + ReadManifests
    + ReadBlobs
    + ReadLists
    + Collect
    + Inspect
    + ReadEvents
    + ReadEntries
    + ReadMirrors
    + ReadFallbacks
    + Settings
{
}

impl<T> MetaStore for T where
    T: Commit
        + ReadManifests
        + ReadBlobs
        + ReadLists
        + Collect
        + Inspect
        + ReadEvents
        + ReadEntries
        + ReadMirrors
        + ReadFallbacks
        + Settings
{
}
