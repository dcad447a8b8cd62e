//! What a cache lets go of.

use blob::BlobId;
use meta::Write;
use oci::Digest;

use crate::common::{DAY, Deletion, World, assert_refused, repo};
use registry::{Evicted, GcOptions, RegistryError};

/// Blobs that only a mirrored repository holds.
async fn cached(world: &World, contents: &[&str]) -> Vec<BlobId> {
    let mut ids = Vec::new();
    for content in contents {
        world.push_blob("hub/app", content).await;
        ids.push(world.head_blob("hub/app", &Digest::sha256(content.as_bytes())).await.unwrap());
    }
    world.commit(Write::Mirror { repository: repo("hub/app") }).await;
    ids
}

#[tokio::test]
async fn one_that_cannot_be_deleted_keeps_no_other() {
    let world = World::new();
    let ids = cached(&world, &["one", "stuck", "other"]).await;
    world.blobs.set_stuck(Some(ids[1].into()));
    let Evicted { gone, error } = world.registry.evict(ids.clone()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(gone.iter().map(|blob| blob.id).collect::<Vec<_>>(), ids, "nobody can ask for them any more");
    assert_eq!(world.objects(), 1);
    assert!(world.registry.evict(ids).await.gone.is_empty());
    world.blobs.set_stuck(None);
    world.registry.delete_condemned().await.unwrap();
    assert_eq!(world.objects(), 0);
}

#[tokio::test]
async fn what_a_collection_has_left_is_not_waited_for() {
    let world = World::new();
    for number in 0..250 {
        world.push_blob("team/app", &format!("blob {number}")).await;
    }
    world.clock.advance(2 * DAY);
    world.blobs.set_deletion(Deletion::FailsBefore);
    assert_refused!(world.collect(GcOptions::default()).await, RegistryError::Blobs(_));
    world.blobs.set_deletion(Deletion::Works);
    let ids = cached(&world, &["cached"]).await;
    assert_eq!(world.registry.evict(ids).await.gone.len(), 1);
    assert_eq!(world.objects(), 250, "they are the next collection's");
}
