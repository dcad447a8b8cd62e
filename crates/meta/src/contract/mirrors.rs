//! Mirrored repositories: manifests without their blobs, tags that are checked, and blobs that are evicted.

use blob::BlobId;
use oci::Digest;

use super::{
    Batch, Condition, Effect, EventKind, HOUR, NewBlob, Origin, SECOND, Subject, Write, digest, image,
    new_blob, new_manifest, repo, tag,
};
use crate::{
    CachedBlob, MetaError, MissingBlob, RepositoryKind, RepositoryRow, StoredBlob, Timestamp, Totals, Visible,
};

const HOSTED: RepositoryKind = RepositoryKind::Hosted;
const MIRRORED: RepositoryKind = RepositoryKind::Mirrored;

impl Subject {
    async fn mirror(&self, repository: &str) {
        assert_eq!(self.does(Write::Mirror { repository: repo(repository) }).await, Effect::Done);
    }

    async fn kind(&self, repository: &str) -> Option<RepositoryKind> {
        self.store.repository_kind(&repo(repository)).await.expect("kinds can be read")
    }

    async fn check(&self, repository: &str, name: &str) -> Effect {
        self.does(Write::Checked { repository: repo(repository), tag: tag(name) }).await
    }

    async fn checked(&self, repository: &str, name: &str) -> Option<(Digest, Option<Timestamp>)> {
        self.store.checked(&repo(repository), &tag(name)).await.expect("tags can be read")
    }

    /// Evicts a blob; the repositories that it went from, and whether it is condemned.
    async fn evict(&self, blob: NewBlob, limit: usize) -> (Vec<String>, bool) {
        let Effect::Evicted { links, blobs } = self.does(Write::Evict { ids: vec![blob.id], limit }).await
        else {
            panic!("blobs are evicted");
        };
        let NewBlob { digest, size, id } = blob;
        assert!(blobs.is_empty() || blobs == [StoredBlob { id, digest, size }], "{blobs:?}");
        assert!(links.iter().all(|(_, linked)| *linked == digest));
        (links.into_iter().map(|(name, _)| name.to_string()).collect(), !blobs.is_empty())
    }

    /// What eviction may take, read in pages of that length.
    async fn cached(&self, page: usize) -> Vec<CachedBlob> {
        let mut found: Vec<CachedBlob> = Vec::new();
        loop {
            let after = found.last().map(|blob| blob.id);
            let blobs = self.store.cached_blobs(after, page).await.expect("blobs can be listed");
            assert!(blobs.len() <= page);
            if blobs.is_empty() {
                return found;
            }
            found.extend(blobs);
        }
    }

    async fn links(&self, id: BlobId, limit: usize) -> Vec<(String, RepositoryKind)> {
        let links = self.store.links_of(id, limit).await.expect("links can be read");
        let mut links: Vec<_> = links.into_iter().map(|(name, kind)| (name.to_string(), kind)).collect();
        links.sort_by(|(one, _), (other, _)| one.cmp(other));
        links
    }
}

/// A repository is hosted until it is marked, once and for all; only its coming into being is an event.
pub async fn a_repository_is_marked_as_mirrored(on: Subject) {
    assert_eq!(on.kind("hub/app").await, None);
    assert_eq!(on.kind("team/app").await, None);
    on.mirror("hub/app").await;
    on.store_blob("team/app", "a layer").await;
    on.store_blob("hub/app", "a layer").await;
    assert_eq!((on.kind("hub/app").await, on.kind("team/app").await), (Some(MIRRORED), Some(HOSTED)));
    on.mirror("hub/app").await;
    assert_eq!(on.event_kinds().await, [EventKind::RepositoryCreated; 2]);
    on.mirror("team/app").await;
    assert_eq!(on.kind("team/app").await, Some(MIRRORED), "also where its kind was asked for before");
    assert_eq!(on.event_kinds().await, [EventKind::RepositoryCreated; 2]);
    let hub = Visible::Projects(vec!["hub".into()]);
    assert_eq!(on.store.repositories(&hub, None, 10).await.unwrap(), [repo("hub/app")]);
}

/// Whoever pushes and whoever fetches can both insist on the kind, where the repository exists.
pub async fn a_kind_can_be_a_condition(on: Subject) {
    on.mirror("hub/app").await;
    on.store_blob("team/app", "a layer").await;
    for (name, kind, holds) in [
        ("hub/app", MIRRORED, true),
        ("hub/app", HOSTED, false),
        ("team/app", MIRRORED, false),
        ("team/app", HOSTED, true),
        ("no/where", MIRRORED, true),
        ("no/where", HOSTED, true),
    ] {
        let condition = Condition::RepositoryIs { repository: repo(name), kind };
        let write = Write::Setting { name: name.into(), value: format!("{kind:?}") };
        match on.commit(Batch::of(Origin::default(), write).when(condition.clone())).await {
            Ok(_) => assert!(holds, "{condition:?}"),
            Err(MetaError::Conflict(told)) => assert!(!holds && *told == condition, "{told:?}"),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(on.kind("no/where").await, None);
    }
}

/// A manifest comes before its blobs, or without them; a check misses those of hosted repositories only.
pub async fn a_mirrored_manifest_may_lack_its_blobs(on: Subject) {
    let (first, second) = (new_blob("first"), new_blob("second"));
    let manifest = image("a manifest", &[first, second]);
    on.mirror("hub/app").await;
    for name in ["hub/app", "team/app"] {
        on.store_blob(name, "first").await;
        assert_eq!(on.store_manifest(name, &manifest).await, Effect::Manifest { created: true });
        assert!(on.manifest(name, &manifest.digest.to_string()).await.is_some());
    }
    let missing =
        MissingBlob { repository: repo("team/app"), manifest: manifest.digest, blob: second.digest };
    assert_eq!(on.store.missing_blobs(0, 10).await.unwrap(), [missing]);
    on.store_blob("hub/app", "second").await;
    let found = on.blob("hub/app", second.digest).await.expect("it has come");
    assert_eq!(found.unreferenced_since, None, "the manifest waited for it");
    on.mirror("team/app").await;
    assert_eq!(on.store.missing_blobs(0, 10).await.unwrap(), []);
}

/// When a tag was last found right is told until it moves or goes. It is no event.
pub async fn a_tag_is_checked(on: Subject) {
    let (one, two) = (new_manifest("one", &[]), new_manifest("two", &[]));
    assert_eq!(on.check("hub/app", "v1").await, Effect::Absent);
    assert_eq!(on.kind("hub/app").await, None, "no repository came of it");
    on.mirror("hub/app").await;
    for manifest in [&one, &two] {
        on.store_manifest("hub/app", manifest).await;
    }
    assert_eq!(on.check("hub/app", "v1").await, Effect::Absent);
    assert_eq!(on.checked("hub/app", "v1").await, None);
    on.tag("hub/app", "v1", one.digest).await;
    on.tag("hub/app", "v2", one.digest).await;
    assert_eq!(on.checked("hub/app", "v1").await, Some((one.digest, None)));
    let events = on.events().await;
    let mut last = on.now();
    for _ in 0..2 {
        assert_eq!(on.check("hub/app", "v1").await, Effect::Done);
        last = on.now();
        on.clock.advance(HOUR);
        assert_eq!(on.checked("hub/app", "v1").await, Some((one.digest, Some(last))));
    }
    on.tag("hub/app", "v1", one.digest).await;
    assert_eq!(on.checked("hub/app", "v1").await, Some((one.digest, Some(last))), "it did not move");
    assert_eq!(on.checked("hub/app", "v2").await, Some((one.digest, None)), "another tag");
    assert_eq!(on.events().await, events);

    on.tag("hub/app", "v1", two.digest).await;
    assert_eq!(on.checked("hub/app", "v1").await, Some((two.digest, None)));
    on.check("hub/app", "v1").await;
    on.drop_manifest("hub/app", two.digest).await;
    assert_eq!(on.checked("hub/app", "v1").await, None);
    on.tag("hub/app", "v1", one.digest).await;
    assert_eq!(on.checked("hub/app", "v1").await, Some((one.digest, None)), "a new tag under an old name");
}

/// What was evicted goes without a grace, and comes back as a new object that the manifest has waited for.
pub async fn an_evicted_blob_is_fetched_anew(on: Subject) {
    on.mirror("hub/app").await;
    let old = on.store_blob("hub/app", "a layer").await;
    let manifest = image("a manifest", &[old]);
    on.store_manifest("hub/app", &manifest).await;
    assert!(on.blob("hub/app", old.digest).await.is_some());
    let events = on.events().await;
    assert_eq!(on.evict(old, 10).await, (vec!["hub/app".to_owned()], true));
    assert_eq!(on.blob("hub/app", old.digest).await, None);
    assert_eq!(on.condemned().await, [old.id], "at once");
    assert_eq!(on.evict(old, 10).await, (vec![], false));
    assert_eq!(on.events().await, events);
    assert!(on.manifest("hub/app", &manifest.digest.to_string()).await.is_some());

    let new = on.store_blob("hub/app", "a layer").await;
    let found = on.blob("hub/app", old.digest).await.expect("it has come back");
    assert_eq!((found.id, found.unreferenced_since), (new.id, None));
    assert_eq!(on.condemned().await, [old.id]);
    on.clock.advance(HOUR);
    assert_eq!(on.collect(on.now()).await, (vec![], vec![]), "a manifest needs it");
}

/// A blob that many repositories hold goes in steps, and is condemned with its last link.
pub async fn eviction_takes_so_many_links_at_once(on: Subject) {
    let mut blobs = Vec::new();
    for name in ["hub/one", "hub/two", "hub/three"] {
        on.mirror(name).await;
        blobs.push(on.store_blob(name, name).await);
    }
    let many = blobs[0];
    for name in ["hub/two", "hub/three"] {
        on.does(Write::Link { repository: repo(name), digest: many.digest }).await;
    }
    let (first, is_gone) = on.evict(many, 2).await;
    assert_eq!((first.len(), is_gone), (2, false));
    assert_eq!((on.links(many.id, 10).await.len(), on.cached(10).await.len()), (1, 3));
    let (last, is_gone) = on.evict(many, 1).await;
    assert_eq!((last.len(), is_gone), (1, true));
    assert!(!first.contains(&last[0]));
    let ids = blobs.iter().map(|blob| blob.id).collect();
    let effect = on.does(Write::Evict { ids, limit: 1 }).await;
    let Effect::Evicted { links, blobs: gone } = effect else { panic!("{effect:?}") };
    assert_eq!((links.len(), gone.len()), (1, 1), "{gone:?}");
    assert_eq!(on.cached(10).await.len(), 1);
}

/// Nothing is taken from a hosted repository, and what it shares with a mirrored one stays stored.
pub async fn a_hosted_repository_keeps_its_blobs(on: Subject) {
    on.mirror("hub/app").await;
    on.mirror("hub/other").await;
    let shared = on.store_blob("hub/app", "shared").await;
    for name in ["hub/other", "team/app"] {
        on.does(Write::Link { repository: repo(name), digest: shared.digest }).await;
    }
    let all = [("hub/app", MIRRORED), ("hub/other", MIRRORED), ("team/app", HOSTED)]
        .map(|(name, kind)| (name.to_owned(), kind));
    assert_eq!(on.links(shared.id, 10).await, all);
    assert_eq!(on.links(shared.id, 2).await.len(), 2);
    assert_eq!(on.cached(10).await, []);
    for blob in [shared, new_blob("nowhere")] {
        assert_eq!(on.evict(blob, 10).await, (vec![], false));
    }
    assert_eq!(on.links(shared.id, 10).await, all);
    on.unlink("team/app", shared.digest).await;
    assert!(on.evict(shared, 10).await.1, "hosted no more");
    assert_eq!(on.links(shared.id, 10).await, []);

    // What no repository holds is for the collection, which has a grace.
    let deleted = on.store_blob("team/app", "deleted").await;
    on.unlink("team/app", deleted.digest).await;
    assert_eq!(on.evict(deleted, 10).await, (vec![], false));
    assert_eq!(on.condemned().await, [shared.id]);
}

/// Of the blobs stored, those that mirrored repositories hold and no other, in the order of their ids.
pub async fn eviction_may_take_what_only_mirrors_hold(on: Subject) {
    on.mirror("hub/app").await;
    let mut expect: Vec<NewBlob> = Vec::new();
    for n in 0..5 {
        expect.push(on.store_blob("hub/app", &format!("layer {n}")).await);
        on.store_blob("team/app", &format!("hosted {n}")).await;
    }
    on.store_manifest("hub/app", &image("a manifest", &expect[..3])).await;
    on.mirror("hub/other").await;
    on.store_blob("hub/other", "layer 1").await;
    on.store_blob("team/app", "layer 2").await;
    on.evict(expect[3], 10).await;
    expect.retain(|blob| ![digest("layer 2"), digest("layer 3")].contains(&blob.digest));
    let cached = |blobs: &[NewBlob]| {
        let mut cached: Vec<_> =
            blobs.iter().map(|&NewBlob { digest, size, id }| CachedBlob { id, digest, size }).collect();
        cached.sort_by_key(|blob| blob.id);
        cached
    };
    for page in [1, 2, 10] {
        assert_eq!(on.cached(page).await, cached(&expect));
    }
    // However many hosted blobs lie between two of them.
    let hosted = (0..2_500)
        .map(|n| Write::Blob { repository: repo("team/app"), blob: new_blob(&format!("one of many {n}")) });
    let batch = Batch { origin: Origin::default(), conditions: Vec::new(), writes: hosted.collect() };
    on.commit(batch).await.expect("they are stored");
    expect.push(on.store_blob("hub/app", "the last").await);
    for page in [1, 10] {
        assert_eq!(on.cached(page).await, cached(&expect));
    }
    assert_eq!(
        on.store.cached_blobs(None, 10).await.unwrap(),
        cached(&expect),
        "no page ends before its limit"
    );
    assert_eq!(on.store.cached_blobs(None, 0).await.unwrap(), []);
    on.unlink("team/app", digest("layer 2")).await;
    assert_eq!(on.cached(10).await.len(), expect.len() + 1, "hosted no more");
}

/// Counters follow evictions.
pub async fn usage_follows_evictions(on: Subject) {
    on.mirror("hub/app").await;
    let (kept, evicted) = (on.store_blob("hub/app", "kept").await, on.store_blob("hub/app", "evicted").await);
    let manifest = image("a manifest", &[kept, evicted]);
    on.store_manifest("hub/app", &manifest).await;
    on.evict(evicted, 10).await;
    on.evict(evicted, 10).await;
    let bytes = kept.size + manifest.bytes.len() as u64;
    let assert_usage = async |bytes, blobs, stored_bytes| {
        on.does(Write::FoldUsage { limit: 100 }).await;
        let row = RepositoryRow { name: repo("hub/app"), manifests: 1, tags: 0, bytes };
        assert_eq!(on.store.usage(&Visible::All, None, 10).await.unwrap(), [row]);
        let totals =
            Totals { repositories: 1, manifests: 1, tags: 0, logical_bytes: bytes, blobs, stored_bytes };
        assert_eq!(on.store.totals().await.unwrap(), totals);
    };
    assert_usage(bytes, 1, kept.size).await;
    on.store_blob("hub/app", "evicted").await;
    assert_usage(bytes + evicted.size, 2, kept.size + evicted.size).await;
}

/// Garbage of a mirrored repository is collected like any other, evicted blobs or not.
pub async fn a_mirrored_repository_is_collected(on: Subject) {
    on.mirror("hub/app").await;
    let (kept, evicted) = (on.store_blob("hub/app", "kept").await, on.store_blob("hub/app", "evicted").await);
    let unneeded = on.store_blob("hub/app", "unneeded").await;
    let manifest = image("a manifest", &[kept, evicted]);
    on.store_manifest("hub/app", &manifest).await;
    on.evict(evicted, 10).await;
    on.clock.advance(SECOND);
    assert_eq!(on.store.garbage(on.now(), 0, 10).await.unwrap().len(), 2, "a link and its blob");
    let collected = on.collect(on.now()).await;
    let unneeded = (vec![(repo("hub/app"), unneeded.digest, unneeded.size)], vec![unneeded.digest]);
    assert_eq!(collected, unneeded);
    let dropped = on.drop_manifest("hub/app", manifest.digest).await;
    assert_eq!(dropped, Effect::Dropped { tags: vec![], released: vec![kept.digest] });
    on.clock.advance(SECOND);
    assert_eq!(on.collect(on.now()).await.1, [kept.digest]);
    assert_eq!(on.cached(10).await, []);
}
