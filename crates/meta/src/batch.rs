//! A batch: writes and the conditions under which they hold, committed as one or not at all.

use std::net::IpAddr;

use blob::BlobId;
use bytes::Bytes;
use oci::{Annotations, Digest, MediaType, ProjectName, RepoName, Tag};

use crate::{EntryKind, EntryName, FallbackUse, NewEntry, RepositoryKind, StoredBlob, Timestamp};

/// Who asks for a change, and from where: copied into every event it causes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The user or job; empty for nobody in particular.
    pub actor: String,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The client's `User-Agent`, shortened.
    pub agent: Option<String>,
    /// The id of the request.
    pub request: Option<String>,
}

/// What must be true when the batch commits; else nothing of it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The tag points to this digest, or to nothing.
    TagIs {
        /// The repository.
        repository: RepoName,
        /// The tag.
        tag: Tag,
        /// What it must point to.
        digest: Option<Digest>,
    },
    /// The repository holds all these blobs, undamaged.
    BlobsLinked {
        /// The repository.
        repository: RepoName,
        /// The blobs.
        digests: Vec<Digest>,
    },
    /// No manifest of the repository needs the blob.
    BlobUnreferenced {
        /// The repository.
        repository: RepoName,
        /// The blob.
        digest: Digest,
    },
    /// The repository holds the manifest.
    ManifestExists {
        /// The repository.
        repository: RepoName,
        /// The manifest.
        digest: Digest,
    },
    /// The repository is of this kind, or does not exist. A push and a fetch from an upstream exclude each other by it.
    RepositoryIs {
        /// The repository.
        repository: RepoName,
        /// What it must be.
        kind: RepositoryKind,
    },
    /// The entry has this revision, or does not exist.
    EntryIs {
        /// What it is.
        kind: EntryKind,
        /// Its name.
        name: EntryName,
        /// The revision that it must have; `None` where it must not exist.
        revision: Option<i64>,
    },
    /// No repository lies in the project, nor in any project below it.
    ProjectEmpty {
        /// The project.
        project: ProjectName,
    },
}

/// How a manifest refers to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefKind {
    /// A blob that the repository must hold.
    Blob,
    /// A blob that may be absent.
    Foreign,
    /// A manifest that may be absent.
    Manifest,
}

/// A blob whose bytes are durable in the blob store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewBlob {
    /// Its verified digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The object.
    pub id: BlobId,
}

/// A manifest to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewManifest {
    /// Its digest.
    pub digest: Digest,
    /// The media type it was sent with.
    pub media_type: MediaType,
    /// The bytes, verbatim.
    pub bytes: Bytes,
    /// Its artifact type, as referrers show it.
    pub artifact_type: Option<String>,
    /// The manifest it is about.
    pub subject: Option<Digest>,
    /// Its annotations, as referrers show them.
    pub annotations: Option<Annotations>,
    /// What it refers to, each digest and kind once.
    pub references: Vec<(Digest, RefKind)>,
}

/// One change. Each repository named comes into being where it is not there yet and the change adds to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Stores a blob and links it in the repository. Where a sound blob with that digest is stored already, that
    /// one is linked and the new object is condemned; where it is known to be damaged, the new object heals it.
    Blob {
        /// The repository.
        repository: RepoName,
        /// The blob.
        blob: NewBlob,
    },
    /// Links a blob that is stored already (a mount). [`Effect::Absent`] where no sound one is.
    Link {
        /// The repository.
        repository: RepoName,
        /// The blob.
        digest: Digest,
    },
    /// Somebody relies on an unreferenced blob of the repository: its grace starts anew.
    Renew {
        /// The repository.
        repository: RepoName,
        /// The blob.
        digest: Digest,
    },
    /// Takes a blob out of the repository. [`Effect::Absent`] where it is not there.
    Unlink {
        /// The repository.
        repository: RepoName,
        /// The blob.
        digest: Digest,
    },
    /// Stores a manifest; its blobs in the repository are referenced from now on.
    Manifest {
        /// The repository.
        repository: RepoName,
        /// The manifest.
        manifest: NewManifest,
    },
    /// Sets or moves a tag to a manifest of the repository.
    Tag {
        /// The repository.
        repository: RepoName,
        /// The tag.
        tag: Tag,
        /// The manifest.
        digest: Digest,
    },
    /// Deletes a manifest and the tags that point to it; the grace of blobs that no other manifest of the
    /// repository needs starts. [`Effect::Absent`] where it is not there.
    DropManifest {
        /// The repository.
        repository: RepoName,
        /// The manifest.
        digest: Digest,
    },
    /// Deletes a tag. [`Effect::Absent`] where it is not there.
    DropTag {
        /// The repository.
        repository: RepoName,
        /// The tag.
        tag: Tag,
    },
    /// Marks a repository as mirrored: its manifests may lack their blobs, which an upstream has. A hosted one becomes
    /// mirrored, too: see [`Condition::RepositoryIs`].
    Mirror {
        /// The repository.
        repository: RepoName,
    },
    /// The tag was found to be what its upstream has, right now. It is forgotten when the tag moves or goes.
    /// [`Effect::Absent`] where there is no such tag.
    Checked {
        /// The repository.
        repository: RepoName,
        /// The tag.
        tag: Tag,
    },
    /// Takes blobs out of the mirrored repositories that hold them, though manifests may need them: they can be fetched
    /// again. No event tells of it. One that no repository holds any more is condemned at once; one that a hosted
    /// repository holds, or none, is left as it is.
    Evict {
        /// The objects.
        ids: Vec<BlobId>,
        /// The most links in one batch. A blob that has more of them is evicted by doing it again.
        limit: usize,
    },
    /// Remembers the days on which manifests were last pulled.
    Used {
        /// Repository, manifest and day since 1970.
        uses: Vec<(RepoName, Digest, i64)>,
    },
    /// Adds to what was read from the registries that projects replace. Of each of these projects the `keep` last uses
    /// stay.
    FallbackUsed {
        /// What was read since the last time.
        uses: Vec<FallbackUse>,
        /// How many of a project are kept.
        keep: usize,
    },
    /// Lets repositories go of blobs that none of their manifests has needed since before `before`. A blob that
    /// no repository holds any more becomes deletable.
    ExpireLinks {
        /// The end of the grace.
        before: Timestamp,
        /// The most links in one batch.
        limit: usize,
    },
    /// Condemns blobs that have been deletable since before `before`: from here on no push can revive them.
    Condemn {
        /// The end of the grace.
        before: Timestamp,
        /// The most blobs in one batch.
        limit: usize,
    },
    /// The objects are gone: forgets their condemned blobs.
    Forget {
        /// The objects.
        ids: Vec<BlobId>,
    },
    /// The object is not what its digest says. It is not served again; a push of the same digest heals it.
    Damaged {
        /// The object.
        id: BlobId,
    },
    /// The object was read and is what its digest says, though it was thought damaged.
    Sound {
        /// The object.
        id: BlobId,
    },
    /// Adds up the usage deltas that have come since the last time.
    FoldUsage {
        /// The most deltas in one batch.
        limit: usize,
    },
    /// Remembers a small value under a name, for jobs.
    Setting {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// Keeps an entry, in place of the one of its kind and name where there is one; its owners are set anew.
    ///
    /// A project takes up the repositories below it that lie further out: each repository lies in the innermost
    /// project that there is. Where none is, one named like the repository's first part comes into being.
    Entry(NewEntry),
    /// Drops an entry, and all that name it as an owner, and so on. The repositories of a project that goes lie in
    /// the innermost one that remains. [`Effect::Absent`] where it is not there.
    DropEntry {
        /// What it is.
        kind: EntryKind,
        /// Its name.
        name: EntryName,
    },
}

impl Write {
    /// The repository that comes into being by this where it is not there, or becomes another kind.
    pub(crate) const fn may_create(&self) -> Option<&RepoName> {
        match self {
            Self::Blob { repository, .. }
            | Self::Link { repository, .. }
            | Self::Manifest { repository, .. }
            | Self::Mirror { repository } => Some(repository),
            _ => None,
        }
    }
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What it says, nothing to add.
    Done,
    /// There was nothing to do it to.
    Absent,
    /// The object that holds the blob now.
    Blob {
        /// The object that is linked.
        id: BlobId,
    },
    /// The tag was set.
    Tag {
        /// What it pointed to before.
        before: Option<Digest>,
    },
    /// A manifest was stored.
    Manifest {
        /// Whether the repository had not held it before.
        created: bool,
    },
    /// A manifest went, and these tags with it.
    Dropped {
        /// The tags.
        tags: Vec<Tag>,
        /// The blobs whose grace starts with it: no other manifest of the repository needs them.
        released: Vec<Digest>,
    },
    /// These links went.
    Expired {
        /// Repository, blob and size.
        links: Vec<(RepoName, Digest, u64)>,
    },
    /// These links went, and with the last ones these blobs, which are condemned.
    Evicted {
        /// Repository and blob.
        links: Vec<(RepoName, Digest)>,
        /// The blobs.
        blobs: Vec<StoredBlob>,
    },
    /// These blobs are condemned.
    Condemned {
        /// The blobs.
        blobs: Vec<StoredBlob>,
    },
    /// That many deltas were folded.
    Folded {
        /// How many.
        deltas: usize,
    },
    /// The entry is kept.
    Entry {
        /// The revision that it has now; the one that it had, where nothing changed.
        revision: i64,
    },
    /// These entries went.
    EntriesDropped {
        /// The one that was named first, then those that it owned.
        entries: Vec<(EntryKind, EntryName)>,
    },
}

/// Writes with their conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Who asks.
    pub origin: Origin,
    /// What must be true.
    pub conditions: Vec<Condition>,
    /// What is to be done, in this order.
    pub writes: Vec<Write>,
}

impl Batch {
    /// A batch of one write.
    pub fn of(origin: Origin, write: Write) -> Self {
        Self { origin, conditions: Vec::new(), writes: vec![write] }
    }

    /// The batch, under one more condition.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// The batch, with one more write.
    #[must_use]
    pub fn then(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }
}

/// What a batch did: it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The effect of each write, in their order.
    pub effects: Vec<Effect>,
    /// When, by the store's clock.
    pub time: Timestamp,
}
