//! Events: what happened, in an order without gaps.
//!
//! The store appends an event in the same transaction as the change that it tells of. Webhooks, replication,
//! scanning, audit and the ledger read them by position and need nothing else of the core.

use oci::{Digest, RepoName, Tag};

use crate::{EntryKind, EntryName, Origin, Timestamp};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A repository came into being with its first content.
    RepositoryCreated,
    /// A manifest was pushed that the repository did not hold, or held under another media type.
    ManifestPushed,
    /// A manifest was deleted.
    ManifestDeleted,
    /// A tag was set, or moved: `before` tells from where.
    TagSet,
    /// A tag was removed, by itself or with its manifest.
    TagDeleted,
    /// A blob was taken out of a repository on request.
    BlobDeleted,
    /// A damaged blob has its content again, in all repositories that hold it: a push brought a new object, or its
    /// own was found to be sound. The repository is one of them.
    BlobHealed,
    /// An entry came into being.
    EntryCreated,
    /// An entry has another value, or other owners.
    EntryChanged,
    /// An entry was dropped, by itself or with an owner.
    EntryDropped,
}

impl EventKind {
    /// All kinds with the names under which they are stored. Names are never reused.
    pub const NAMES: [(Self, &'static str); 10] = [
        (Self::RepositoryCreated, "repository.created"),
        (Self::ManifestPushed, "manifest.pushed"),
        (Self::ManifestDeleted, "manifest.deleted"),
        (Self::TagSet, "tag.set"),
        (Self::TagDeleted, "tag.deleted"),
        (Self::BlobDeleted, "blob.deleted"),
        (Self::BlobHealed, "blob.healed"),
        (Self::EntryCreated, "entry.created"),
        (Self::EntryChanged, "entry.changed"),
        (Self::EntryDropped, "entry.dropped"),
    ];

    /// The stored name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The kind with this stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(kind, _)| *kind)
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order: 1, 2, 3, ... without gaps.
    pub position: i64,
    /// The version of this record's form; 1.
    pub version: u16,
    /// What happened.
    pub kind: EventKind,
    /// Where; `None` for an entry, which is in no repository.
    pub repository: Option<RepoName>,
    /// The manifest or blob it is about; for a tag, what it points to now (or did, when deleted).
    pub digest: Option<Digest>,
    /// The tag it is about.
    pub tag: Option<Tag>,
    /// What the tag pointed to before.
    pub before: Option<Digest>,
    /// The entry it is about. What that says is not told: it may hold what only few may know.
    pub entry: Option<(EntryKind, EntryName)>,
    /// Who did it, and from where.
    pub origin: Origin,
    /// When, by the store's clock.
    pub time: Timestamp,
}
