//! What the tests are written with: a registry in a small world of its own, and short words for what clients do.

mod faulty;
mod image;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use access::{
    Action, Gate, Grant, Listing, OpenGate, Projects, Settings, Subject, Target, authorise_listing,
};
use blob::{BlobId, BlobKey, BlobRead, BlobStore, MemoryBlobs};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use meta::{
    Batch, CacheSize, CachedMeta, Clock, Committed, ManifestRecord, MetaStore, Origin, Timestamp, Write,
};
use meta_sql::SqliteMeta;
use oci::{Algorithm, Digest, MediaType, Reference, RepoName, Tag};
use registry::{
    CheckItem, CheckOptions, CheckSummary, FreeSpace, GcItem, GcOptions, GcSummary, Lifetimes, Limits,
    PushedManifest, Registry, RegistryError, ReplayItem, ReplaySummary,
};
use tokio::sync::mpsc;

pub use faulty::{Deletion, FaultyBlobs};
pub use image::{Image, index};

pub const HOUR: Duration = Duration::from_secs(3_600);
pub const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The most things that a test lets a run report.
const REPORTED: usize = 100_000;

/// A clock that stands until it is set. It begins at the real time: ids and objects in memory have theirs.
pub struct TestClock(AtomicI64);

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(Timestamp::from(SystemTime::now()).micros())))
    }

    pub fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_micros()).expect("tests do not last that long"), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A registry with its stores.
#[derive(Clone)]
pub struct World {
    pub registry: Arc<Registry>,
    /// The metadata behind the cache: what is really stored.
    pub meta: Arc<dyn MetaStore>,
    /// The blobs as the registry sees them.
    pub blobs: Arc<FaultyBlobs>,
    /// The same blobs, to be broken.
    pub memory: MemoryBlobs,
    pub clock: Arc<TestClock>,
    limits: Limits,
    lifetimes: Lifetimes,
}

impl World {
    pub fn new() -> Self {
        Self::with(Limits::default(), Lifetimes::default())
    }

    pub fn with(limits: Limits, lifetimes: Lifetimes) -> Self {
        let clock = TestClock::new();
        let meta = SqliteMeta::in_memory(Arc::clone(&clock) as Arc<dyn Clock>).expect("a new database opens");
        let memory = MemoryBlobs::new();
        let blobs = Arc::new(FaultyBlobs::new(Arc::new(memory.clone())));
        Self::of(Arc::new(meta), blobs, memory, clock, limits, lifetimes)
    }

    /// The world on other metadata.
    pub fn on_meta(make: impl FnOnce(Arc<dyn Clock>) -> SqliteMeta) -> Self {
        let Self { blobs, memory, clock, limits, lifetimes, .. } = Self::new();
        let meta = make(Arc::clone(&clock) as Arc<dyn Clock>);
        Self::of(Arc::new(meta), blobs, memory, clock, limits, lifetimes)
    }

    /// The same blobs, and metadata that has forgotten everything.
    pub fn forgetful(&self) -> Self {
        let clock = Arc::clone(&self.clock);
        let meta = SqliteMeta::in_memory(Arc::clone(&clock) as Arc<dyn Clock>).expect("a new database opens");
        let blobs = Arc::clone(&self.blobs);
        Self::of(Arc::new(meta), blobs, self.memory.clone(), clock, self.limits, self.lifetimes)
    }

    /// The world on other blobs.
    pub fn on_blobs(self, blobs: Arc<dyn BlobStore>) -> Self {
        let Self { meta, memory, clock, limits, lifetimes, .. } = self;
        Self::of(meta, Arc::new(FaultyBlobs::new(blobs)), memory, clock, limits, lifetimes)
    }

    /// The world with an eye on its room.
    pub fn with_space(self, space: Arc<dyn FreeSpace>) -> Self {
        let cached = Arc::new(CachedMeta::new(Arc::clone(&self.meta), CacheSize::default()));
        let blobs = Arc::clone(&self.blobs) as Arc<dyn BlobStore>;
        let registry = Registry::new(cached, blobs, self.limits, self.lifetimes).with_space(space);
        Self { registry: Arc::new(registry), ..self }
    }

    fn of(
        meta: Arc<dyn MetaStore>,
        blobs: Arc<FaultyBlobs>,
        memory: MemoryBlobs,
        clock: Arc<TestClock>,
        limits: Limits,
        lifetimes: Lifetimes,
    ) -> Self {
        let cached = Arc::new(CachedMeta::new(Arc::clone(&meta), CacheSize::default()));
        let store = Arc::clone(&blobs) as Arc<dyn BlobStore>;
        let registry = Arc::new(Registry::new(cached, store, limits, lifetimes));
        Self { registry, meta, blobs, memory, clock, limits, lifetimes }
    }
}

/// What clients do.
impl World {
    pub async fn upload(
        &self,
        repository: &str,
        content: &[u8],
        digest: Digest,
    ) -> Result<(), RegistryError> {
        let grant = to(Action::Push, repository);
        let mut upload = self.registry.start_upload(&grant, Algorithm::Sha256).await?;
        let mut body = stream::iter([Ok(Bytes::copy_from_slice(content))]);
        upload.receive(None, Some(content.len() as u64), std::pin::pin!(body.by_ref())).await?;
        self.registry.finish_upload(&grant, upload, digest).await
    }

    pub async fn push_blob(&self, repository: &str, content: &str) -> Digest {
        let digest = Digest::sha256(content.as_bytes());
        self.upload(repository, content.as_bytes(), digest).await.expect("the blob is stored");
        digest
    }

    /// Pushes a manifest alone.
    pub async fn push_manifest(
        &self,
        repository: &str,
        reference: &str,
        bytes: &[u8],
    ) -> Result<PushedManifest, RegistryError> {
        let grant = to(Action::Push, repository);
        let bytes = Bytes::copy_from_slice(bytes);
        self.registry.push_manifest(&grant, &parse(reference), &[], None, bytes).await
    }

    /// Pushes an image with its blobs, under a tag or its digest.
    pub async fn push(&self, repository: &str, reference: &str, image: &Image) -> Digest {
        for content in image.contents() {
            self.push_blob(repository, content).await;
        }
        self.push_manifest(repository, reference, &image.bytes()).await.expect("it is stored").digest
    }

    pub async fn pull(&self, repository: &str, reference: &str) -> Result<ManifestRecord, RegistryError> {
        self.registry.manifest(&to(Action::Pull, repository), &parse(reference)).await
    }

    /// The digest under a reference, if there is one.
    pub async fn resolve(&self, repository: &str, reference: &str) -> Option<Digest> {
        match self.pull(repository, reference).await {
            Ok(record) => Some(record.digest),
            Err(RegistryError::ManifestUnknown { .. }) => None,
            Err(error) => panic!("{repository} {reference}: {error}"),
        }
    }

    pub async fn delete(&self, repository: &str, reference: &str) -> Result<(), RegistryError> {
        let reference = parse(reference);
        let action =
            if matches!(reference, Reference::Tag(_)) { Action::DeleteTag } else { Action::DeleteArtifact };
        self.registry.delete_manifest(&to(action, repository), &reference).await
    }

    pub async fn delete_blob(&self, repository: &str, digest: &Digest) -> Result<(), RegistryError> {
        self.registry.delete_blob(&to(Action::DeleteArtifact, repository), digest).await
    }

    /// Asks for a blob, as HEAD does. The object that it is.
    pub async fn head_blob(&self, repository: &str, digest: &Digest) -> Result<BlobId, RegistryError> {
        Ok(self.registry.blob(&to(Action::Pull, repository), digest).await?.id)
    }

    pub async fn read_blob(&self, repository: &str, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let grant = to(Action::Pull, repository);
        let record = self.registry.blob(&grant, digest).await?;
        let mut stream = match self.registry.read_blob(&grant, digest, record, None).await? {
            BlobRead::Stream { stream, .. } => stream,
            BlobRead::File(file) => file.stream(),
        };
        let mut content = Vec::new();
        while let Some(bytes) = stream.next().await {
            content.extend_from_slice(&bytes.expect("it can be read to its end"));
        }
        Ok(content)
    }

    /// Pulls an image with all its blobs and compares every byte.
    #[track_caller]
    pub fn assert_pulls<'a>(
        &'a self,
        repository: &'a str,
        reference: &'a str,
        image: &'a Image,
    ) -> impl Future<Output = ()> + 'a {
        let at = std::panic::Location::caller();
        async move {
            let record = self.pull(repository, reference).await;
            let record = record.unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!(record.bytes, image.bytes(), "{at}");
            for content in image.contents() {
                let digest = Digest::sha256(content.as_bytes());
                let read = self.read_blob(repository, &digest).await;
                let read = read.unwrap_or_else(|error| panic!("{at}: {error}"));
                assert!(read == content.as_bytes(), "{at}: {digest} has other bytes");
            }
        }
    }
}

/// What the operator does.
impl World {
    pub async fn collect(&self, options: GcOptions) -> Result<(GcSummary, Vec<GcItem>), RegistryError> {
        let (report, items) = mpsc::channel(REPORTED);
        let summary = self.registry.collect(&administer(), options, &report).await?;
        Ok((summary, reported(items)))
    }

    /// A collection that must succeed. What went.
    pub async fn collected(&self) -> Vec<GcItem> {
        self.collect(GcOptions::default()).await.expect("garbage is collected").1
    }

    pub async fn check(&self, read: bool) -> (CheckSummary, Vec<CheckItem>) {
        let (report, items) = mpsc::channel(REPORTED);
        let summary = self.registry.check(&administer(), CheckOptions { read }, &report).await;
        (summary.expect("the check goes through"), reported(items))
    }

    pub async fn replay(&self) -> Result<(ReplaySummary, Vec<ReplayItem>), RegistryError> {
        let (report, items) = mpsc::channel(REPORTED);
        let summary = self.registry.replay_segments(&administer(), &report).await?;
        Ok((summary, reported(items)))
    }

    /// Changes metadata behind the registry's back.
    pub async fn commit(&self, write: Write) -> Committed {
        self.meta.commit(Batch::of(Origin::default(), write)).await.expect("metadata takes it")
    }

    /// How many blobs have objects.
    pub fn objects(&self) -> usize {
        self.memory.keys().iter().filter(|key| matches!(key, BlobKey::Blob(_))).count()
    }

    /// An object that no metadata knows.
    pub async fn orphan(&self, content: &str) -> BlobId {
        let id = BlobId::random();
        let bytes = Bytes::copy_from_slice(content.as_bytes());
        self.memory.write(id.into(), bytes).await.expect("memory takes it");
        id
    }

    /// Puts other bytes in the place of an object.
    pub async fn replace(&self, id: BlobId, content: &str) {
        self.memory.delete(vec![id.into()]).await.expect("memory lets go");
        let bytes = Bytes::copy_from_slice(content.as_bytes());
        self.memory.write(id.into(), bytes).await.expect("memory takes it");
    }

    pub async fn remove(&self, key: BlobKey) {
        self.memory.delete(vec![key]).await.expect("memory lets go");
    }
}

fn reported<T>(mut items: mpsc::Receiver<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Ok(item) = items.try_recv() {
        all.push(item);
    }
    all
}

pub fn to(action: Action, repository: &str) -> Grant {
    Grant::system("test", action, Target::Repository(repo(repository)))
}

pub fn administer() -> Grant {
    Grant::system("test", Action::Administer, Target::System)
}

pub fn repo(name: &str) -> RepoName {
    name.parse().expect("a name of a repository")
}

pub fn tag(name: &str) -> Tag {
    name.parse().expect("a tag")
}

pub fn parse(reference: &str) -> Reference {
    reference.parse().expect("a reference")
}

pub fn media_type(text: &str) -> MediaType {
    text.parse().expect("a media type")
}

/// What somebody may see who may see only some projects.
pub fn sees(projects: &[&str]) -> Listing {
    let public = Settings { public: Some(true), ..Settings::default() };
    let projects = projects.iter().map(|name| (name.parse().expect("the name of a project"), public));
    let somebody = Subject::new(access::Actor::User("ann".into()), "test", Arc::default());
    authorise_listing(&Projects::new(projects, 1), &somebody).expect("users may list")
}

/// What somebody may see who may see everything.
pub fn sees_all() -> Listing {
    authorise_listing(&OpenGate::default().projects(), &Subject::local()).expect("who is local may list")
}

/// Asserts that something fails with an error of this form.
macro_rules! assert_refused {
    ($outcome:expr, $pattern:pat $(if $guard:expr)?) => {
        match $outcome {
            Err($pattern) $(if $guard)? => {}
            Err(error) => panic!("refused with {error:?}"),
            Ok(_) => panic!("not refused: {}", stringify!($outcome)),
        }
    };
}
pub(crate) use assert_refused;
