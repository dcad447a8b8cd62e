//! The cache: the registry, and what upstreams have.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use access::Grant;
use blob::{BlobRead, ByteRange};
use meta::RepositoryKind;
use oci::{Descriptor, Digest, Reference, RepoName, Tag};
use registry::{
    FoundBlob, FoundManifest, Located, NodeId, Page, Pull, Pulled, ReferrersRequest, Registry, RegistryError,
    Trail, Want,
};

use crate::download::{Begun, Download};
use crate::error::{FetchError, Wanted};
use crate::evictor::Evictor;
use crate::health::{Asked, Standing};
use crate::lists::Lists;
use crate::memory::Memory;
use crate::names::{Names, Place};
use crate::once::Once;
use crate::peers::Peers;
use crate::room::{CacheLimits, Room};
use crate::stats::{CacheStats, Counts, Stats};
use crate::upstream::Upstream;

/// A registry that also has what its upstreams have.
#[derive(Clone)]
pub struct Mirror {
    pub(crate) registry: Arc<Registry>,
    upstreams: Arc<[Arc<Upstream>]>,
    pub(crate) names: Arc<Names>,
    pub(crate) memory: Arc<Memory>,
    counts: Arc<HashMap<String, Arc<Counts>>>,
    /// By what they are, and whether a peer is asked: who comes from a peer must not wait for one.
    pub(crate) manifests: Once<(RepoName, Reference, bool), Result<FoundManifest, FetchError>>,
    pub(crate) heads: Once<(RepoName, Tag), Result<Descriptor, FetchError>>,
    pub(crate) checks: Once<(RepoName, Tag), Result<(), String>>,
    pub(crate) lists: Arc<Lists>,
    blob_heads: Once<(RepoName, Digest), Result<Option<u64>, FetchError>>,
    /// By upstream and digest, and whether a peer is asked.
    blobs: Once<(String, Digest, bool), Result<Begun, FetchError>>,
    pub(crate) room: Arc<Room>,
    pub(crate) node: NodeId,
    pub(crate) peers: Arc<Peers>,
    /// How the request came here that this one answers.
    pub(crate) trail: Arc<Trail>,
}

impl Mirror {
    /// Puts upstreams behind a registry, which they know as `node`. `own` is what clients may call it in `ns`.
    pub fn new(registry: Arc<Registry>, upstreams: Vec<Upstream>, own: Vec<String>, node: NodeId) -> Self {
        let upstreams: Vec<_> = upstreams.into_iter().map(Arc::new).collect();
        let counts = upstreams.iter().map(|upstream| (upstream.key().to_owned(), Arc::default())).collect();
        Self {
            registry,
            names: Arc::new(Names::new(&upstreams, own)),
            counts: Arc::new(counts),
            upstreams: upstreams.into(),
            memory: Arc::default(),
            manifests: Once::default(),
            heads: Once::default(),
            checks: Once::default(),
            lists: Arc::default(),
            blob_heads: Once::default(),
            blobs: Once::default(),
            room: Arc::new(Room::new(CacheLimits::default()).0),
            node,
            peers: Arc::default(),
            trail: Arc::default(),
        }
    }

    /// The mirror as a node of a tier.
    #[must_use]
    pub fn among(self, peers: Peers) -> Self {
        Self { peers: Arc::new(peers), ..self }
    }

    /// How the other nodes of the tier stand, by their names.
    pub fn peers(&self) -> Vec<(String, Standing)> {
        self.peers.standing()
    }

    /// The mirror with limits, and what keeps them: it is to be run as long as the mirror is used.
    pub fn bounded(self, limits: CacheLimits) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (room, arrivals) = Room::new(limits);
        let room = Arc::new(room);
        let evictor = Evictor::new(Arc::clone(&self.registry), Arc::clone(&room), arrivals);
        (Self { room, ..self }, evictor.run())
    }

    /// The same for a question that came through others; nothing where it came from a client.
    pub(crate) fn through(&self, trail: &Trail) -> Option<Self> {
        (!trail.is_direct()).then(|| Self { trail: Arc::new(trail.clone()), ..self.clone() })
    }

    /// What is in the cache, and what was evicted.
    pub fn cache_stats(&self) -> CacheStats {
        self.room.stats()
    }

    /// The upstreams.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// What was done for an upstream since the start.
    pub fn stats(&self, key: &str) -> Stats {
        self.counts.get(key).map(|counts| counts.read()).unwrap_or_default()
    }

    /// How many blobs are on their way here.
    pub fn downloads(&self) -> usize {
        self.blobs.len()
    }

    /// The upstream's repository that a name means by itself.
    pub(crate) fn upstreams_name(&self, name: &RepoName) -> Option<RepoName> {
        self.names.prefixed(name)
    }

    /// Counts that something was read there for a project that replaces it.
    pub(crate) fn count_fallback(&self, key: &str) {
        if let Some(counts) = self.counts.get(key) {
            counts.fell_back(1);
        }
    }

    pub(crate) fn counts(&self, upstream: &Upstream) -> Arc<Counts> {
        self.counts.get(upstream.key()).cloned().unwrap_or_default()
    }

    pub(crate) fn count_hit(&self, upstream: &Upstream) {
        if let Some(counts) = self.counts.get(upstream.key()) {
            counts.hit(1);
        }
    }

    /// Where the repository of a grant comes from, unless it is hosted here.
    pub(crate) async fn place(&self, grant: &Grant) -> Result<Option<(RepoName, Place)>, RegistryError> {
        let Some(repository) = grant.repository() else { return Ok(None) };
        let Some(place) = self.names.place(repository) else { return Ok(None) };
        let is_hosted = self.is_hosted(repository).await?;
        Ok((!is_hosted).then(|| (repository.clone(), place)))
    }

    async fn located(
        &self,
        name: &RepoName,
        namespace: Option<&str>,
        pull: bool,
    ) -> Result<Located, RegistryError> {
        if let Some(namespace) = namespace.filter(|namespace| !self.names.is_own(namespace)) {
            let Some(there) = self.names.in_namespace(name, namespace) else { return Ok(Located::Nowhere) };
            // What somebody here has is never given out as another registry's.
            return Ok(if self.is_hosted(&there).await? { Located::Nowhere } else { Located::Mirror(there) });
        }
        if let Some(there) = self.names.prefixed(name) {
            return Ok(if self.is_hosted(name).await? { Located::Here } else { Located::Mirror(there) });
        }
        if !pull {
            // Maybe there is such a project from now on.
            self.memory.forget_project(name.project());
            return Ok(Located::Here);
        }
        let Some(there) = self.names.pathless(name) else { return Ok(Located::Here) };
        // A name of one's own wins, and so does each that is below a project of one's own: else whoever takes that name
        // elsewhere could answer for it.
        let is_ours = self.is_hosted(name).await? || self.has_project(name.project()).await?;
        Ok(if is_ours { Located::Here } else { Located::Mirror(there) })
    }

    pub(crate) async fn is_hosted(&self, name: &RepoName) -> Result<bool, RegistryError> {
        Ok(self.registry.repository_kind(name).await? == Some(RepositoryKind::Hosted))
    }

    async fn has_project(&self, name: &str) -> Result<bool, RegistryError> {
        if let Some(has) = self.memory.has_project(name) {
            return Ok(has);
        }
        let has = self.registry.has_project(name).await?;
        self.memory.note_project(name, has);
        Ok(has)
    }

    async fn found_blob(
        &self,
        grant: &Grant,
        digest: &Digest,
        want: Want,
    ) -> Result<FoundBlob, RegistryError> {
        let missing = match self.registry.blob(grant, digest).await {
            Err(missing @ (RegistryError::BlobUnknown { .. } | RegistryError::RepositoryUnknown(_))) => {
                missing
            }
            found => {
                if let (Ok(record), Some(upstream)) =
                    (&found, grant.repository().and_then(|name| self.names.upstream(name)))
                {
                    self.count_hit(upstream);
                    if want == Want::Bytes {
                        self.room.hit(record.id);
                    }
                }
                return found.map(FoundBlob::Stored);
            }
        };
        let Some((repository, place)) = self.place(grant).await? else { return Err(missing) };
        let counts = self.counts(&place.upstream);
        counts.missed(1);
        let fail = |error: FetchError| {
            counts.failed(1);
            error.into_registry(&repository, place.upstream.key(), &Wanted::Blob(*digest))
        };
        let reference = Reference::Digest(*digest);
        // Where a manifest has come since that needs it, it is looked for again.
        let is_absent = self.memory.is_absent(&repository, &reference, place.upstream.settings.absent_for);
        if is_absent && !self.registry.is_needed(&repository, digest).await? {
            return Err(fail(FetchError::NotFound));
        }
        let outcome = self.seek_blob(grant, (&repository, &place), digest, want).await;
        if matches!(outcome, Err(FetchError::NotFound)) {
            self.memory.note_absent(&repository, &reference);
        }
        outcome.map_err(fail)
    }

    /// A blob that its repository does not hold.
    async fn seek_blob(
        &self,
        grant: &Grant,
        (repository, place): (&RepoName, &Place),
        digest: &Digest,
        want: Want,
    ) -> Result<FoundBlob, FetchError> {
        let peer = self.peers.to_ask(digest, &self.trail);
        let key = (place.upstream.key().to_owned(), *digest, peer.is_some());
        let is_near = match self.blobs.told(&key) {
            Some(Ok(Begun::Flying(flight))) if flight.is_of(repository) => {
                return Ok(FoundBlob::Arriving(flight));
            }
            Some(Ok(_)) => true,
            Some(Err(_)) | None => self.registry.is_stored(digest).await?,
        };
        self.may_ask()?;
        // What another repository has brought here is this one's, too, where its upstream says so, and not where only a
        // manifest does: anybody can write one. Else whoever may read one repository could read all by digest.
        let mut is_known = false;
        let waits = peer.is_none() && place.upstream.is_busy();
        if is_near || want != Want::Bytes || waits {
            let size = self.head_blob(repository, place, *digest).await?;
            if let (Want::Head | Want::HeadForPush, Some(size)) = (want, size) {
                return Ok(FoundBlob::Upstream { size });
            }
            is_known = true;
        }
        loop {
            let download = Download {
                registry: self.registry.clone(),
                upstream: place.upstream.clone(),
                counts: self.counts(&place.upstream),
                repository: repository.clone(),
                path: place.path.clone(),
                digest: *digest,
                room: self.room.clone(),
                trail: self.trail.clone(),
                peer: peer.clone(),
            };
            let is_own = AtomicBool::new(false);
            let begun = self.blobs.join(key.clone(), |outcome| {
                is_own.store(true, Ordering::Relaxed);
                Box::pin(download.run(outcome))
            });
            let begun = async {
                begun.await.unwrap_or_else(|| Err(FetchError::failing("fetching it ended without a word")))
            };
            let question = ask_head(place, &self.trail, *digest);
            match self.unless_round(begun, &is_own, question).await {
                Err(error @ FetchError::Loops { .. }) if !self.trail.nodes().is_empty() => return Err(error),
                // Another repository's upstream may not have what this one's has.
                Err(_) if !is_own.load(Ordering::Relaxed) => continue,
                Err(error) => return Err(error),
                Ok(Begun::Flying(flight)) => {
                    if !is_known && !flight.is_of(repository) {
                        self.head_blob(repository, place, *digest).await?;
                    }
                    flight.is_also_of(repository);
                    return Ok(FoundBlob::Arriving(flight));
                }
                Ok(Begun::Stored) => {
                    if !is_known {
                        self.head_blob(repository, place, *digest).await?;
                    }
                    if !self.registry.link_mirrored(repository, digest).await? {
                        // Evicted meanwhile.
                        continue;
                    }
                    self.room.changed(repository);
                    match self.registry.blob(grant, digest).await {
                        Ok(record) => {
                            self.room.hit(record.id);
                            return Ok(FoundBlob::Stored(record));
                        }
                        // Or between these two.
                        Err(RegistryError::BlobUnknown { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    /// Gives a repository the blobs of a manifest that others have brought here, as far as its upstream says that it has
    /// them: so that they are its own when that can no longer be asked.
    pub(crate) async fn adopt(&self, repository: &RepoName, place: &Place, blobs: Vec<Digest>) {
        for digest in blobs {
            let is_near = matches!(self.registry.lacks_stored(repository, &digest).await, Ok(true));
            if !is_near || self.head_blob(repository, place, digest).await.is_err() {
                continue;
            }
            match self.registry.link_mirrored(repository, &digest).await {
                Ok(_) => self.room.changed(repository),
                Err(error) => {
                    tracing::debug!(%repository, %digest, %error, "a blob that is here was not linked");
                }
            }
        }
    }

    /// The size of a blob at its upstream, where that says it.
    async fn head_blob(
        &self,
        repository: &RepoName,
        place: &Place,
        digest: Digest,
    ) -> Result<Option<u64>, FetchError> {
        if !self.trail.nodes().is_empty() {
            // By itself, so that it comes back where upstreams lead back.
            return ask_head(place, &self.trail, digest).await;
        }
        let (place, trail) = (place.clone(), self.trail.clone());
        let asked = self.blob_heads.join((repository.clone(), digest), |outcome| {
            Box::pin(async move { outcome.tell(ask_head(&place, &trail, digest).await) })
        });
        asked.await.unwrap_or_else(|| Err(FetchError::failing("the question ended without a word")))
    }

    async fn bytes_of(
        &self,
        grant: &Grant,
        digest: &Digest,
        found: FoundBlob,
        range: Option<ByteRange>,
    ) -> Result<BlobRead, RegistryError> {
        let found = match found {
            FoundBlob::Stored(record) => match self.registry.read_blob(grant, digest, record, range).await {
                // Evicted meanwhile, or damaged: it is fetched again.
                Err(RegistryError::BlobUnknown { .. }) => self.found_blob(grant, digest, Want::Bytes).await?,
                read => return read,
            },
            FoundBlob::Upstream { .. } => self.found_blob(grant, digest, Want::Bytes).await?,
            FoundBlob::Arriving(_) => found,
        };
        match found {
            FoundBlob::Arriving(arriving) => Ok(arriving.read(range)),
            found => Pull::read_blob(&*self.registry, grant, digest, found, range).await,
        }
    }
}

/// The size of a blob, as an upstream says it.
async fn ask_head(place: &Place, trail: &Trail, digest: Digest) -> Result<Option<u64>, FetchError> {
    let head = |remote: Arc<client::Repository>| async move { remote.head_blob(&digest).await };
    place.upstream.ask(Asked::Blobs, &place.path, trail, head).await
}

impl Pull for Mirror {
    fn asked_through(&self, trail: &Trail) -> Option<Arc<dyn Pull>> {
        self.through(trail).map(|this| Arc::new(this) as _)
    }

    fn locate<'a>(
        &'a self,
        name: &'a RepoName,
        namespace: Option<&'a str>,
        pull: bool,
    ) -> Pulled<'a, Located> {
        Box::pin(self.located(name, namespace.filter(|_| pull), pull))
    }

    fn manifest<'a>(
        &'a self,
        grant: &'a Grant,
        reference: &'a Reference,
        want: Want,
    ) -> Pulled<'a, FoundManifest> {
        Box::pin(self.found_manifest(grant, reference, want))
    }

    fn blob<'a>(&'a self, grant: &'a Grant, digest: &'a Digest, want: Want) -> Pulled<'a, FoundBlob> {
        Box::pin(self.found_blob(grant, digest, want))
    }

    fn read_blob<'a>(
        &'a self,
        grant: &'a Grant,
        digest: &'a Digest,
        found: FoundBlob,
        range: Option<ByteRange>,
    ) -> Pulled<'a, BlobRead> {
        Box::pin(self.bytes_of(grant, digest, found, range))
    }

    fn tags<'a>(&'a self, grant: &'a Grant, last: Option<&'a str>, limit: usize) -> Pulled<'a, Page<Tag>> {
        Box::pin(self.found_tags(grant, last, limit))
    }

    fn referrers<'a>(
        &'a self,
        grant: &'a Grant,
        request: &'a ReferrersRequest,
    ) -> Pulled<'a, Page<Descriptor>> {
        Box::pin(self.found_referrers(grant, request))
    }
}
