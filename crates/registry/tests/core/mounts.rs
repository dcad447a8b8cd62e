//! Mounts: what may come from where.

use access::{Action, Listing};
use oci::Digest;
use registry::{MountFrom, RegistryError};

use crate::common::{HOUR, Image, World, assert_refused, sees, sees_all, to};

/// Where a mount is tried from.
enum From<'a> {
    Repository(&'a str),
    Anywhere(Listing),
}

async fn mount(world: &World, digest: &Digest, from: From<'_>) -> bool {
    let grant = to(Action::Push, "here/app");
    let mounted = match from {
        From::Repository(name) => {
            let source = to(Action::Pull, name);
            world.registry.mount(&grant, digest, MountFrom::Repository(&source)).await
        }
        From::Anywhere(listing) => world.registry.mount(&grant, digest, MountFrom::Anywhere(&listing)).await,
    };
    mounted.expect("a mount is answered")
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_it_is_and_may_be_seen() {
    let check = async |from: From<'_>, expect: bool| {
        let world = World::new();
        let image = Image::of(&["a layer"]);
        world.push("there/app", "v1", &image).await;
        let layer = Digest::sha256(b"a layer");
        assert_eq!(mount(&world, &layer, from).await, expect);
        match world.read_blob("here/app", &layer).await {
            Ok(content) => assert!(expect && content == b"a layer"),
            Err(error) => assert!(!expect && matches!(error, RegistryError::BlobUnknown { .. })),
        }
        assert_eq!(world.objects(), 2, "nothing is copied");
    };
    check(From::Repository("there/app"), true).await;
    check(From::Repository("there/other"), false).await;
    check(From::Repository("here/app"), false).await;
    check(From::Anywhere(sees_all()), true).await;
    check(From::Anywhere(sees(&["there"])), true).await;
    check(From::Anywhere(sees(&["here", "there"])), true).await;
    check(From::Anywhere(sees(&["here"])), false).await;
    check(From::Anywhere(sees(&["ther", "there2", "there/app"])), false).await;
    check(From::Anywhere(sees(&[])), false).await;
}

#[tokio::test]
async fn what_may_not_be_seen_looks_exactly_as_if_it_were_absent() {
    let world = World::new();
    let hidden = world.push_blob("there/app", "hidden").await;
    let absent = Digest::sha256(b"absent");
    for digest in [hidden, absent] {
        assert!(!mount(&world, &digest, From::Anywhere(sees(&["here"]))).await);
        assert!(!mount(&world, &digest, From::Repository("here/other")).await);
    }
    let tags = world.registry.tags(&to(Action::Pull, "here/app"), None, 10).await;
    assert_refused!(tags, RegistryError::RepositoryUnknown(_));
}

#[tokio::test]
async fn a_mounted_blob_counts_for_manifests_and_outlives_its_source() {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    let digest = world.push("there/app", "v1", &image).await.to_string();
    for blob in image.blobs() {
        assert!(mount(&world, &blob, From::Repository("there/app")).await);
    }
    world.push_manifest("here/app", "v1", &image.bytes()).await.expect("its blobs are there");
    world.delete("there/app", &digest).await.unwrap();
    world.clock.advance(100 * HOUR);
    world.collected().await;
    world.assert_pulls("here/app", "v1", &image).await;
    assert!(!mount(&world, &image.blobs()[0], From::Repository("there/app")).await, "it is gone there");
}

#[tokio::test]
async fn a_mount_takes_two_grants() {
    let world = World::new();
    let digest = world.push_blob("there/app", "content").await;
    let (push, pull) = (to(Action::Push, "here/app"), to(Action::Pull, "there/app"));
    let only_push = world.registry.mount(&push, &digest, MountFrom::Repository(&push)).await;
    assert_refused!(only_push, RegistryError::WrongGrant { needed: Action::Pull, .. });
    let only_pull = world.registry.mount(&pull, &digest, MountFrom::Repository(&pull)).await;
    assert_refused!(only_pull, RegistryError::WrongGrant { needed: Action::Push, .. });
}
