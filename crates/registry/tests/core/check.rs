//! Checks: what is damaged is named, is not served, and is healed by the next push.

use blob::BlobId;
use bytes::Bytes;
use meta::{NewManifest, RefKind, Write};
use oci::{Digest, types};
use registry::{CheckItem, CheckSummary, RegistryError};

use crate::common::{DAY, Image, World, assert_refused, media_type, repo};

/// A world with one image in two repositories, one of its blobs, and the object of that.
async fn world() -> (World, Digest, BlobId) {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    world.push("team/a", "v1", &image).await;
    world.push("team/b", "v1", &image).await;
    world.collected().await;
    let layer = Digest::sha256(b"a layer");
    let id = world.head_blob("team/a", &layer).await.unwrap();
    (world, layer, id)
}

/// The reason why the one blob in question is damaged.
fn damage(items: &[CheckItem], expect: Digest) -> &str {
    match items {
        [CheckItem::DamagedBlob { digest, reason, repositories, .. }] if *digest == expect => {
            assert_eq!(*repositories, [repo("team/a"), repo("team/b")]);
            reason
        }
        items => panic!("{items:?}"),
    }
}

#[tokio::test]
async fn a_sound_store_is_sound() {
    let (world, ..) = world().await;
    let sizes = Image::of(&["a layer"]).contents().map(|content| content.len() as u64).sum();
    for (read, read_bytes) in [(false, 0), (true, sizes)] {
        let (summary, items) = world.check(read).await;
        assert_eq!(items, []);
        assert_eq!(summary, CheckSummary { blobs: 2, manifests: 2, read_bytes, ..CheckSummary::default() });
    }
}

/// How an object is broken.
enum Break {
    Missing,
    Short,
    Long,
    Other,
    Flipped,
}

async fn break_object(world: &World, id: BlobId, how: &Break) {
    match how {
        Break::Missing => world.remove(id.into()).await,
        Break::Short => world.replace(id, "a laye").await,
        Break::Long => world.replace(id, "a layer!").await,
        Break::Other => world.replace(id, "a LAYER").await,
        Break::Flipped => assert!(world.memory.corrupt(id.into())),
    }
}

#[tokio::test]
async fn damage_is_found_not_served_and_healed_by_a_push() {
    let check = async |how: Break, read: bool, reason: &str| {
        let (world, layer, id) = world().await;
        break_object(&world, id, &how).await;
        if !read && reason.is_empty() {
            assert_eq!(world.check(false).await.1, [], "only reading tells");
            return;
        }
        let (summary, items) = world.check(read).await;
        assert!(damage(&items, layer).contains(reason), "{items:?}");
        assert_eq!((summary.damaged, summary.untidy), (1, 0));

        for repository in ["team/a", "team/b"] {
            let read = world.read_blob(repository, &layer).await;
            assert_refused!(read, RegistryError::BlobUnknown { .. });
            let image = Image::of(&["a layer"]).annotated("new").bytes();
            let pushed = world.push_manifest(repository, "v2", &image).await;
            assert_refused!(pushed, RegistryError::ManifestBlobsUnknown { missing, .. } if missing == [layer]);
        }
        world.push_blob("team/a", "a layer").await;
        world.assert_pulls("team/a", "v1", &Image::of(&["a layer"])).await;
        world.assert_pulls("team/b", "v1", &Image::of(&["a layer"])).await;
        world.clock.advance(2 * DAY);
        world.collected().await;
        assert_eq!(world.objects(), 2, "the broken one is gone");
        assert_eq!(world.check(true).await.1, []);
    };
    for read in [false, true] {
        check(Break::Missing, read, "is gone").await;
        check(Break::Short, read, "6 bytes instead of 7").await;
        check(Break::Long, read, "8 bytes instead of 7").await;
        let reason = if read { "digest" } else { "" };
        check(Break::Other, read, reason).await;
        check(Break::Flipped, read, reason).await;
    }
}

#[tokio::test]
async fn a_pull_that_meets_damage_marks_it() {
    for how in [Break::Missing, Break::Short, Break::Long] {
        let (world, layer, id) = world().await;
        break_object(&world, id, &how).await;
        for _ in 0..2 {
            assert_refused!(world.read_blob("team/a", &layer).await, RegistryError::BlobUnknown { .. });
        }
        assert_refused!(world.head_blob("team/b", &layer).await, RegistryError::BlobUnknown { .. });
        world.push_blob("team/b", "a layer").await;
        world.assert_pulls("team/a", "v1", &Image::of(&["a layer"])).await;
    }
}

#[tokio::test]
async fn what_is_sound_again_is_served_again() {
    let (world, layer, id) = world().await;
    assert!(world.memory.corrupt(id.into()));
    assert_eq!(world.check(true).await.0.damaged, 1);
    assert_eq!(
        world.check(false).await.0.damaged,
        1,
        "what is known to be damaged is read without being asked"
    );
    assert!(world.memory.corrupt(id.into()), "the same bit once more");
    let (summary, items) = world.check(false).await;
    assert_eq!(items, [CheckItem::SoundAgain { digest: layer }]);
    assert_eq!((summary.damaged, summary.untidy), (0, 1));
    world.assert_pulls("team/b", "v1", &Image::of(&["a layer"])).await;
    assert_eq!(world.check(false).await.1, []);
}

#[tokio::test]
async fn an_orphan_is_untidy() {
    let (world, ..) = world().await;
    let id = world.orphan("an orphan").await;
    let (summary, items) = world.check(false).await;
    assert_eq!(items, [CheckItem::Orphan { id, size: 9 }]);
    assert_eq!((summary.damaged, summary.untidy), (0, 1));
    assert!(!items[0].is_damage());
}

#[tokio::test]
async fn a_manifest_without_its_blob_is_damage() {
    let (world, ..) = world().await;
    let absent = Digest::sha256(b"absent");
    let bytes = Bytes::from_static(b"not checked by the store");
    let digest = Digest::sha256(&bytes);
    let manifest = NewManifest {
        digest,
        media_type: media_type(types::OCI_MANIFEST),
        bytes,
        artifact_type: None,
        subject: None,
        annotations: None,
        references: vec![(absent, RefKind::Blob)],
    };
    world.commit(Write::Manifest { repository: repo("team/a"), manifest }).await;
    let (summary, items) = world.check(false).await;
    let missing = CheckItem::MissingBlob { repository: repo("team/a"), manifest: digest, digest: absent };
    assert_eq!((items, summary.damaged), (vec![missing], 1));
}

#[tokio::test]
async fn a_manifest_whose_bytes_changed_is_damage() {
    let (world, ..) = world().await;
    let digest = Digest::sha256(b"what it was");
    let manifest = NewManifest {
        digest,
        media_type: media_type(types::OCI_MANIFEST),
        bytes: Bytes::from_static(b"what it is"),
        artifact_type: None,
        subject: None,
        annotations: None,
        references: vec![],
    };
    world.commit(Write::Manifest { repository: repo("team/a"), manifest }).await;
    let (summary, items) = world.check(false).await;
    assert_eq!(items, [CheckItem::DamagedManifest { repository: repo("team/a"), digest }]);
    assert_eq!((summary.damaged, summary.manifests), (1, 3));
}

#[tokio::test]
async fn a_large_store_is_checked_to_its_end() {
    let world = World::new();
    let mut broken = Vec::new();
    for number in 0..450 {
        let content = format!("blob {number}");
        let digest = world.push_blob("team/app", &content).await;
        if number % 150 == 7 {
            let id = world.head_blob("team/app", &digest).await.unwrap();
            world.remove(id.into()).await;
            broken.push(digest);
        }
    }
    let (summary, items) = world.check(true).await;
    assert_eq!((summary.blobs, summary.damaged), (450, 3));
    for (item, expect) in items.iter().zip(broken) {
        assert!(matches!(item, CheckItem::DamagedBlob { digest, .. } if *digest == expect));
    }
}
