//! What is kept in memory is answered from there: a store that is changed behind the cache shows it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use meta::contract::TestClock;
use meta::{
    Batch, CacheSize, CachedMeta, Clock, Commit, ManifestRecord, NewManifest, Origin, ReadManifests,
    ReadMirrors, RepositoryKind, Write,
};
use meta_sql::SqliteMeta;
use oci::{Digest, Reference, RepoName, Tag};

struct World {
    behind: Arc<SqliteMeta>,
    cached: CachedMeta,
    repository: RepoName,
    tag: Tag,
}

impl World {
    fn new(size: CacheSize) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TestClock::new());
        let behind = Arc::new(SqliteMeta::in_memory(clock).expect("a new database opens"));
        let cached = CachedMeta::new(behind.clone(), size);
        Self { behind, cached, repository: "team/app".parse().unwrap(), tag: "v1".parse().unwrap() }
    }

    fn push(&self, text: &str) -> (Digest, Batch) {
        let bytes = Bytes::from(text.to_owned());
        let digest = Digest::sha256(&bytes);
        let manifest = NewManifest {
            digest,
            media_type: oci::types::OCI_MANIFEST.parse().unwrap(),
            bytes,
            artifact_type: None,
            subject: None,
            annotations: None,
            references: Vec::new(),
        };
        let mut batch =
            Batch::of(Origin::default(), Write::Manifest { repository: self.repository.clone(), manifest });
        batch.writes.push(Write::Tag { repository: self.repository.clone(), tag: self.tag.clone(), digest });
        (digest, batch)
    }

    fn drop_manifest(&self, digest: Digest) -> Batch {
        Batch::of(Origin::default(), Write::DropManifest { repository: self.repository.clone(), digest })
    }

    async fn read(&self, reference: &Reference) -> Option<ManifestRecord> {
        self.cached.manifest(&self.repository, reference).await.expect("it is answered")
    }

    async fn by_tag(&self) -> Option<Digest> {
        self.read(&Reference::Tag(self.tag.clone())).await.map(|record| record.digest)
    }

    async fn by_digest(&self, digest: Digest) -> Option<Digest> {
        self.read(&Reference::Digest(digest)).await.map(|record| record.digest)
    }
}

#[tokio::test]
async fn a_manifest_that_was_read_by_its_tag_is_kept_for_both() {
    let world = World::new(CacheSize::default());
    let (digest, push) = world.push("one");
    world.cached.commit(push).await.unwrap();
    assert_eq!(world.by_tag().await, Some(digest));
    world.behind.commit(world.drop_manifest(digest)).await.unwrap();
    assert_eq!((world.by_tag().await, world.by_digest(digest).await), (Some(digest), Some(digest)));

    world.cached.commit(world.drop_manifest(digest)).await.unwrap();
    assert_eq!(world.by_digest(digest).await, None, "a commit drops it, also one that changes nothing");
}

#[tokio::test]
async fn a_tag_that_moved_names_its_new_manifest() {
    let world = World::new(CacheSize::default());
    let ((one, push_one), (two, push_two)) = (world.push("one"), world.push("two"));
    world.cached.commit(push_one).await.unwrap();
    assert_eq!(world.by_tag().await, Some(one));
    world.cached.commit(push_two).await.unwrap();
    assert_eq!((world.by_tag().await, world.by_tag().await), (Some(two), Some(two)));
    world.cached.commit(world.drop_manifest(two)).await.unwrap();
    assert_eq!((world.by_tag().await, world.by_digest(two).await), (None, None));
    assert_eq!(world.by_digest(one).await, Some(one));
}

#[tokio::test]
async fn a_tag_outlives_the_manifest_that_memory_had_no_room_for() {
    let world = World::new(CacheSize { manifest_bytes: 8_000, ..CacheSize::default() });
    let (digest, push) = world.push(&"large".repeat(10_000));
    world.cached.commit(push).await.unwrap();
    for _ in 0..3 {
        assert_eq!(world.by_tag().await, Some(digest));
    }
    let (next, push) = world.push("next");
    world.behind.commit(push).await.unwrap();
    world.behind.commit(world.drop_manifest(digest)).await.unwrap();
    assert_eq!(world.by_tag().await, Some(next), "a tag whose manifest is gone is looked up anew");
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_drops_what_it_changed() {
    let world = World::new(CacheSize::default());
    let ((one, push_one), (two, push_two)) = (world.push("one"), world.push("two"));
    world.cached.commit(push_one).await.unwrap();
    assert_eq!(world.by_tag().await, Some(one));
    assert!(
        world.cached.commit(push_two).now_or_never().is_none(),
        "the caller has gone before it is answered"
    );
    for _ in 0..1_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if world.by_tag().await == Some(two) {
            return;
        }
    }
    panic!("the tag still names the first manifest");
}

#[tokio::test]
async fn nothing_is_kept_without_room() {
    let world = World::new(CacheSize { manifest_bytes: 0, blobs: 0 });
    let (digest, push) = world.push("one");
    world.cached.commit(push).await.unwrap();
    assert_eq!((world.by_tag().await, world.by_tag().await), (Some(digest), Some(digest)));
    world.behind.commit(world.drop_manifest(digest)).await.unwrap();
    assert_eq!((world.by_tag().await, world.by_digest(digest).await), (None, None));
}

/// Tags of a mirror are checked all the time: that must not cost it what is kept.
#[tokio::test]
async fn a_check_drops_nothing() {
    let world = World::new(CacheSize::default());
    let (digest, push) = world.push("one");
    world.cached.commit(push).await.unwrap();
    assert_eq!(world.by_tag().await, Some(digest));
    world.behind.commit(world.drop_manifest(digest)).await.unwrap();
    let checked = Write::Checked { repository: world.repository.clone(), tag: world.tag.clone() };
    world.cached.commit(Batch::of(Origin::default(), checked)).await.unwrap();
    assert_eq!((world.by_tag().await, world.by_digest(digest).await), (Some(digest), Some(digest)));
}

#[tokio::test]
async fn a_kind_is_kept_until_it_changes() {
    let world = World::new(CacheSize::default());
    let mirror = || Batch::of(Origin::default(), Write::Mirror { repository: world.repository.clone() });
    let kind = async || world.cached.repository_kind(&world.repository).await.unwrap();
    assert_eq!(kind().await, None);
    world.cached.commit(world.push("one").1).await.unwrap();
    assert_eq!(kind().await, Some(RepositoryKind::Hosted), "an absence is kept until somebody pushes");
    world.behind.commit(mirror()).await.unwrap();
    assert_eq!(kind().await, Some(RepositoryKind::Hosted));
    world.cached.commit(mirror()).await.unwrap();
    assert_eq!(kind().await, Some(RepositoryKind::Mirrored));
}
