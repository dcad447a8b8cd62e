//! What an edge asks when a client pulls, as a role: the registry answers from what is here, a pull-through cache also
//! fetches what is not.

use std::sync::Arc;

use access::Grant;
use blob::{BlobRead, ByteRange};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use meta::{BlobRecord, ManifestRecord};
use oci::{Descriptor, Digest, MediaType, Reference, RepoName, Tag};

use crate::{Page, ReferrersRequest, Registry, RegistryError, Trail};

/// A future of something that is pulled.
pub type Pulled<'a, T> = BoxFuture<'a, Result<T, RegistryError>>;

/// How much of something is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// What there is to know of it (HEAD): nothing is fetched for that.
    Head,
    /// The same, to know whether it must be pushed: of what is not here, nothing.
    HeadForPush,
    /// Its bytes.
    Bytes,
}

/// A manifest that is there.
#[derive(Clone, Debug)]
pub struct FoundManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes; empty where only its head was wanted, and it is not here.
    pub bytes: Bytes,
    /// Why the answer may be old.
    pub stale: Option<Stale>,
    /// Where it came from, if its repository has not got it.
    pub replaced: Option<ReplacedBy>,
}

/// Why an answer may be old: whoever could have confirmed it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale(pub String);

/// The key of the upstream that the repository's project replaces, where something was read there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedBy(pub String);

impl From<ManifestRecord> for FoundManifest {
    fn from(record: ManifestRecord) -> Self {
        let ManifestRecord { digest, media_type, bytes, .. } = record;
        Self { digest, media_type, size: bytes.len() as u64, bytes, stale: None, replaced: None }
    }
}

/// A blob that is there.
#[derive(Clone)]
pub enum FoundBlob {
    /// Here.
    Stored(BlobRecord),
    /// At an upstream, from where it was not fetched, for only its head was wanted.
    Upstream {
        /// Its size in bytes.
        size: u64,
    },
    /// On its way here.
    Arriving(Arc<dyn Arriving>),
}

impl FoundBlob {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Stored(record) => record.size,
            Self::Upstream { size } => *size,
            Self::Arriving(arriving) => arriving.size(),
        }
    }
}

/// A blob that is on its way here.
pub trait Arriving: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Whether all of it is here, and right.
    fn is_verified(&self) -> bool;

    /// Its bytes, or a part that lies within its size, as they arrive. The stream fails before its end where they turn
    /// out not to be what their digest says.
    fn read(self: Arc<Self>, range: Option<ByteRange>) -> BlobRead;
}

/// What a client means by a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// The repository of that name.
    Here,
    /// This one, which is an upstream's.
    Mirror(RepoName),
    /// None: the namespace that it names is not known here.
    Nowhere,
}

/// Answers who pulls.
pub trait Pull: Send + Sync {
    /// Who answers a request that has come through other registries, where that is somebody else: what asks on must tell
    /// the next one.
    fn asked_through(&self, _trail: &Trail) -> Option<Arc<dyn Pull>> {
        None
    }

    /// Which repository a client means by `name`, and by a `namespace` where it says one (distribution-spec, "Registry
    /// Proxying"). Where it does not `pull`, a name is never an upstream's but by saying so.
    fn locate<'a>(
        &'a self,
        name: &'a RepoName,
        namespace: Option<&'a str>,
        pull: bool,
    ) -> Pulled<'a, Located>;

    /// The manifest under a tag or digest.
    fn manifest<'a>(
        &'a self,
        grant: &'a Grant,
        reference: &'a Reference,
        want: Want,
    ) -> Pulled<'a, FoundManifest>;

    /// What is known of a blob.
    fn blob<'a>(&'a self, grant: &'a Grant, digest: &'a Digest, want: Want) -> Pulled<'a, FoundBlob>;

    /// The bytes of a blob that was found, or a part that lies within its size.
    fn read_blob<'a>(
        &'a self,
        grant: &'a Grant,
        digest: &'a Digest,
        found: FoundBlob,
        range: Option<ByteRange>,
    ) -> Pulled<'a, BlobRead>;

    /// Up to `limit` tags after `last`, which need not exist.
    fn tags<'a>(&'a self, grant: &'a Grant, last: Option<&'a str>, limit: usize) -> Pulled<'a, Page<Tag>>;

    /// A page of the manifests whose subject is a digest.
    fn referrers<'a>(
        &'a self,
        grant: &'a Grant,
        request: &'a ReferrersRequest,
    ) -> Pulled<'a, Page<Descriptor>>;
}

impl Pull for Registry {
    /// Here, whatever a client calls the registry: containerd says so wherever a registry's name is not its address, and
    /// one that mirrors nothing can be taken for no other.
    fn locate<'a>(
        &'a self,
        _name: &'a RepoName,
        _namespace: Option<&'a str>,
        _pull: bool,
    ) -> Pulled<'a, Located> {
        Box::pin(async { Ok(Located::Here) })
    }

    fn manifest<'a>(
        &'a self,
        grant: &'a Grant,
        reference: &'a Reference,
        _want: Want,
    ) -> Pulled<'a, FoundManifest> {
        Box::pin(async move { self.manifest(grant, reference).await.map(FoundManifest::from) })
    }

    fn blob<'a>(&'a self, grant: &'a Grant, digest: &'a Digest, _want: Want) -> Pulled<'a, FoundBlob> {
        Box::pin(async move { self.blob(grant, digest).await.map(FoundBlob::Stored) })
    }

    fn read_blob<'a>(
        &'a self,
        grant: &'a Grant,
        digest: &'a Digest,
        found: FoundBlob,
        range: Option<ByteRange>,
    ) -> Pulled<'a, BlobRead> {
        Box::pin(async move {
            match found {
                FoundBlob::Stored(record) => self.read_blob(grant, digest, record, range).await,
                FoundBlob::Arriving(arriving) => Ok(arriving.read(range)),
                // It has come here since, or it has not.
                FoundBlob::Upstream { .. } => {
                    let record = self.blob(grant, digest).await?;
                    self.read_blob(grant, digest, record, range).await
                }
            }
        })
    }

    fn tags<'a>(&'a self, grant: &'a Grant, last: Option<&'a str>, limit: usize) -> Pulled<'a, Page<Tag>> {
        Box::pin(self.tags(grant, last, limit))
    }

    fn referrers<'a>(
        &'a self,
        grant: &'a Grant,
        request: &'a ReferrersRequest,
    ) -> Pulled<'a, Page<Descriptor>> {
        Box::pin(self.referrers(grant, request))
    }
}
