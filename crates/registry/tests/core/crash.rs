//! What a crash leaves is taken up by the next run.

use oci::Digest;
use registry::{GcItem, GcOptions, RegistryError};

use crate::common::{DAY, Deletion, Image, World, assert_refused};

/// A world in which a collection of 250 blobs, more than go in one step, stopped at the deletion of objects.
async fn stopped(deletion: Deletion) -> (World, Image) {
    let world = World::new();
    let kept = Image::of(&["kept"]);
    world.push("team/app", "v1", &kept).await;
    for number in 0..250 {
        world.push_blob("team/app", &format!("blob {number}")).await;
    }
    world.clock.advance(2 * DAY);
    world.blobs.set_deletion(deletion);
    assert_refused!(world.collect(GcOptions::default()).await, RegistryError::Blobs(_));
    world.blobs.set_deletion(Deletion::Works);
    (world, kept)
}

#[tokio::test]
async fn condemned_leftovers_go_at_the_next_run() {
    for (deletion, left) in [(Deletion::FailsBefore, 252), (Deletion::FailsAfter, 152)] {
        let (world, kept) = stopped(deletion).await;
        assert_eq!(world.objects(), left);
        let gone = Digest::sha256(b"blob 7");
        assert_refused!(world.read_blob("team/app", &gone).await, RegistryError::BlobUnknown { .. });
        let items = world.collected().await;
        assert_eq!(items.len(), 250, "each is told of once");
        assert!(items.iter().all(|item| matches!(item, GcItem::Blob { .. })));
        assert_eq!(world.objects(), 2);
        world.assert_pulls("team/app", "v1", &kept).await;
        assert_eq!(world.collected().await, []);
        assert_eq!(world.check(true).await.1, []);
    }
}

#[tokio::test]
async fn an_upload_without_its_commit_is_an_orphan() {
    let world = World::new();
    let orphan = world.orphan("its commit never came").await;
    let digest = Digest::sha256(b"its commit never came");
    assert_refused!(world.read_blob("team/app", &digest).await, RegistryError::BlobUnknown { .. });
    let pushed = world.push_blob("team/app", "its commit never came").await;
    let id = world.head_blob("team/app", &pushed).await.unwrap();
    assert_ne!(id, orphan);
    world.clock.advance(DAY / 2);
    assert_eq!(world.collected().await, [GcItem::Orphan { id: orphan, size: 21 }]);
    assert_eq!(world.read_blob("team/app", &pushed).await.unwrap(), b"its commit never came");
}

#[tokio::test]
async fn an_orphan_that_cannot_be_deleted_is_tried_again() {
    let world = World::new();
    world.orphan("an orphan").await;
    world.clock.advance(100 * DAY);
    world.blobs.set_deletion(Deletion::FailsBefore);
    assert_refused!(world.collect(GcOptions::default()).await, RegistryError::Blobs(_));
    world.blobs.set_deletion(Deletion::Works);
    assert_eq!(world.collected().await.len(), 1, "the sweep has not passed over it");
    assert_eq!(world.objects(), 0);
}
