//! Blobs: reading them and deleting them.

use access::Action;
use blob::{BlobRead, ByteRange};
use futures_util::StreamExt;
use oci::{Algorithm, Digest};
use registry::RegistryError;

use crate::common::{DAY, HOUR, Image, World, assert_refused, to};

#[tokio::test]
async fn a_blob_is_read_whole_or_in_part() {
    let world = World::new();
    let content = "0123456789".repeat(20_000);
    let digest = world.push_blob("team/app", &content).await;
    assert!(world.read_blob("team/app", &digest).await.unwrap() == content.as_bytes());
    let grant = to(Action::Pull, "team/app");
    for (offset, length) in [(0, 1), (99_999, 100_001), (199_999, 1), (200_000, 0), (70_000, 3)] {
        let record = world.registry.blob(&grant, &digest).await.unwrap();
        assert_eq!(record.size, 200_000);
        let range = Some(ByteRange { offset, length });
        let read = world.registry.read_blob(&grant, &digest, record, range).await.unwrap();
        let BlobRead::Stream { stream, .. } = read else { panic!("memory gives streams") };
        let parts: Vec<_> = stream.map(|bytes| bytes.unwrap()).collect().await;
        let expect =
            &content.as_bytes()[usize::try_from(offset).unwrap()..][..usize::try_from(length).unwrap()];
        assert!(parts.concat() == expect, "{offset} {length}");
    }
}

#[tokio::test]
async fn a_blob_may_be_named_by_either_algorithm() {
    let world = World::new();
    let wide = Digest::of(Algorithm::Sha512, b"content");
    world.upload("team/app", b"content", wide).await.unwrap();
    assert_eq!(world.read_blob("team/app", &wide).await.unwrap(), b"content");
    let narrow = Digest::sha256(b"content");
    assert_refused!(world.read_blob("team/app", &narrow).await, RegistryError::BlobUnknown { .. });
}

#[tokio::test]
async fn equal_blobs_are_one_object() {
    let world = World::new();
    let digest = world.push_blob("team/a", "content").await;
    let id = world.head_blob("team/a", &digest).await.unwrap();
    world.push_blob("team/b", "content").await;
    world.push_blob("team/a", "content").await;
    assert_eq!(world.head_blob("team/b", &digest).await.unwrap(), id);
    assert_eq!(world.objects(), 3, "two were not needed, and are still to be collected");
    world.clock.advance(HOUR);
    world.collected().await;
    assert_eq!(world.objects(), 1);
    assert_eq!(world.read_blob("team/b", &digest).await.unwrap(), b"content");
}

#[tokio::test]
async fn a_blob_that_is_needed_cannot_be_deleted() {
    let world = World::new();
    let (first, second) = (Image::of(&["shared", "one"]), Image::of(&["shared", "two"]));
    world.push("team/app", "v1", &first).await;
    world.push("team/app", "v2", &second).await;
    let shared = Digest::sha256(b"shared");
    for tag in ["v1", "v2"] {
        assert_refused!(
            world.delete_blob("team/app", &shared).await,
            RegistryError::BlobInUse { digest, .. } if digest == shared
        );
        let digest = world.resolve("team/app", tag).await.unwrap();
        world.delete("team/app", &digest.to_string()).await.unwrap();
    }
    world.delete_blob("team/app", &shared).await.expect("nothing needs it any more");
    assert_refused!(world.head_blob("team/app", &shared).await, RegistryError::BlobUnknown { .. });
    assert_refused!(world.delete_blob("team/app", &shared).await, RegistryError::BlobUnknown { .. });
}

#[tokio::test]
async fn a_blob_is_deleted_from_one_repository_only() {
    let world = World::new();
    let digest = world.push_blob("team/a", "content").await;
    world.push_blob("team/b", "content").await;
    world.delete_blob("team/a", &digest).await.unwrap();
    assert_refused!(world.head_blob("team/a", &digest).await, RegistryError::BlobUnknown { .. });
    assert_eq!(world.read_blob("team/b", &digest).await.unwrap(), b"content");
    let nowhere = world.delete_blob("team/none", &digest).await;
    assert_refused!(nowhere, RegistryError::BlobUnknown { .. });
}

/// Nobody had looked at the stored object since it broke: a push must not trust it with the bytes that it brings.
#[tokio::test]
async fn a_push_takes_the_place_of_an_object_that_is_broken() {
    for gone in [true, false] {
        let world = World::new();
        let digest = world.push_blob("team/app", "content").await;
        let broken = world.head_blob("team/app", &digest).await.unwrap();
        match gone {
            true => world.remove(broken.into()).await,
            false => world.replace(broken, "cont").await,
        }
        world.push_blob("team/app", "content").await;
        assert_ne!(world.head_blob("team/app", &digest).await.unwrap(), broken);
        assert_eq!(world.read_blob("team/app", &digest).await.unwrap(), b"content");
    }
}

/// Whoever is told that a blob is there relies on it.
#[tokio::test]
async fn a_blob_whose_grace_ends_while_it_is_asked_for_is_not_there() {
    let world = World::new();
    let digest = world.push_blob("team/app", "content").await;
    world.head_blob("team/app", &digest).await.unwrap();
    world.clock.advance(2 * DAY);
    // Behind the cache, as if it had been read before.
    world.commit(meta::Write::ExpireLinks { before: world.meta.now(), limit: 100 }).await;
    assert_refused!(world.head_blob("team/app", &digest).await, RegistryError::BlobUnknown { .. });
}
