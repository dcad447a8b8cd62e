//! Writing segments: what has come since the last time, once, whatever happens in between.

use std::sync::Arc;

use blob::{BlobKey, BlobStore};
use blob_fs::{FsBlobs, Options};
use meta::{EntryKind, NewEntry, Write};
use registry::{RegistryError, ReplaySummary};

use crate::common::{Image, World, assert_refused};

fn segments(world: &World) -> Vec<u64> {
    let number = |key| if let BlobKey::Segment(number) = key { Some(number) } else { None };
    world.memory.keys().into_iter().filter_map(number).collect()
}

async fn setting(world: &World, name: &str) -> Option<String> {
    world.meta.setting(name).await.unwrap()
}

/// A user, of whom the registry knows nothing.
async fn keep_user(world: &World, name: &str) {
    let (kind, name) = (EntryKind::User, name.parse().unwrap());
    let entry = NewEntry { kind, name, value: "{\"hash\":\"secret\"}".into(), owners: Vec::new() };
    world.commit(Write::Entry(entry)).await;
}

/// Makes the metadata forget its last segments, as a crash before they were remembered does.
async fn forget_after(world: &World, position: &str, next: &str) {
    for (name, value) in [("segments.position", position), ("segments.next", next)] {
        world.commit(Write::Setting { name: name.into(), value: value.into() }).await;
    }
}

async fn restored(world: &World) -> ReplaySummary {
    let (summary, items) = world.forgetful().replay().await.expect("it is rebuilt");
    assert_eq!(items, []);
    summary
}

#[tokio::test]
async fn a_run_writes_what_has_come_since_the_last() {
    let world = World::new();
    assert_eq!(world.registry.write_segments().await.unwrap(), 0, "nothing has happened");
    world.push("team/app", "v1", &Image::of(&["one"])).await;
    assert_eq!(world.registry.write_segments().await.unwrap(), 1);
    assert_eq!(world.registry.write_segments().await.unwrap(), 0);
    world.push("team/app", "v2", &Image::of(&["two"])).await;
    world.delete("team/app", "v1").await.unwrap();
    assert_eq!(world.registry.write_segments().await.unwrap(), 1);
    assert_eq!(segments(&world), [0, 1]);
    let last = world.meta.events(0, 1_000).await.unwrap().len().to_string();
    assert_eq!(setting(&world, "segments.position").await, Some(last));
    assert_eq!(setting(&world, "segments.next").await.as_deref(), Some("2"));
    let expect = ReplaySummary { segments: 2, manifests: 2, tags: 1, ..ReplaySummary::default() };
    assert_eq!(restored(&world).await, expect);
}

#[tokio::test]
async fn a_segment_has_a_bounded_number_of_events() {
    let world = World::new();
    for number in 0..400 {
        let image = Image::of(&["shared"]).annotated(&number.to_string());
        world.push("team/app", &format!("v{number}"), &image).await;
    }
    assert_eq!(world.registry.write_segments().await.unwrap(), 2, "801 events");
    let summary = restored(&world).await;
    assert_eq!((summary.segments, summary.manifests, summary.tags), (2, 400, 400));
}

#[tokio::test]
async fn a_segment_has_a_bounded_number_of_bytes() {
    let world = World::new();
    for number in 0..9 {
        let image = Image::of(&["shared"]).annotated(&format!("{number} {}", "x".repeat(900_000)));
        world.push("team/app", &format!("v{number}"), &image).await;
    }
    assert_eq!(world.registry.write_segments().await.unwrap(), 2, "11 MB, a third more than the manifests");
    assert_eq!(restored(&world).await.manifests, 9);
}

#[tokio::test]
async fn entries_are_in_no_segment() {
    let world = World::new();
    for number in 0..600 {
        keep_user(&world, &format!("u{number}")).await;
    }
    assert_eq!(world.registry.write_segments().await.unwrap(), 0, "there is nothing to write");
    assert_eq!(setting(&world, "segments.position").await.as_deref(), Some("600"));
    world.push("team/app", "v1", &Image::of(&["one"])).await;
    keep_user(&world, "ann").await;
    world.push("team/app", "v2", &Image::of(&["two"])).await;
    keep_user(&world, "ben").await;
    assert_eq!(world.registry.write_segments().await.unwrap(), 1);
    assert_eq!(world.registry.write_segments().await.unwrap(), 0);
    let last = world.meta.events(0, 1_000).await.unwrap().len().to_string();
    assert_eq!(setting(&world, "segments.position").await, Some(last));
    let expect = ReplaySummary { segments: 1, manifests: 2, tags: 2, ..ReplaySummary::default() };
    assert_eq!(restored(&world).await, expect);
    let new = world.forgetful();
    new.replay().await.unwrap();
    assert_eq!(new.meta.entries(EntryKind::User, None, 1).await.unwrap(), []);
}

#[tokio::test]
async fn a_crash_before_a_segment_is_remembered_does_no_harm() {
    let world = World::new();
    world.push("team/app", "v1", &Image::of(&["one"])).await;
    world.registry.write_segments().await.unwrap();
    let position = setting(&world, "segments.position").await.unwrap();
    world.push("team/app", "v2", &Image::of(&["two"])).await;
    world.registry.write_segments().await.unwrap();

    forget_after(&world, &position, "1").await;
    let gone = world.resolve("team/app", "v2").await.unwrap();
    world.delete("team/app", &gone.to_string()).await.unwrap();
    world.push("team/app", "v3", &Image::of(&["three"])).await;
    assert_eq!(world.registry.write_segments().await.unwrap(), 1);
    assert_eq!(segments(&world), [0, 1, 2]);
    assert_eq!(setting(&world, "segments.next").await.as_deref(), Some("3"));
    let expect = ReplaySummary { segments: 2, manifests: 2, tags: 2, ..ReplaySummary::default() };
    assert_eq!(restored(&world).await, expect, "the one that was forgotten is left out");
}

#[tokio::test]
async fn a_crash_at_the_first_segment_does_no_harm() {
    let world = World::new();
    world.push("team/app", "v1", &Image::of(&["one"])).await;
    world.registry.write_segments().await.unwrap();
    forget_after(&world, "0", "0").await;
    assert_eq!(world.registry.write_segments().await.unwrap(), 1);
    assert_eq!(segments(&world), [0, 1]);
    assert_eq!(restored(&world).await.segments, 1);
}

#[tokio::test]
async fn a_full_disk_writes_no_segment_and_loses_nothing() {
    let world = World::new();
    world.push("team/app", "v1", &Image::of(&["one"])).await;
    world.memory.set_full(true);
    assert_refused!(world.registry.write_segments().await, RegistryError::Full);
    world.memory.set_full(false);
    assert_eq!(world.registry.write_segments().await.unwrap(), 1);
    world.push("team/app", "v2", &Image::of(&["two"])).await;
    world.memory.fail_write(1);
    assert_refused!(world.registry.write_segments().await, RegistryError::Blobs(_));
    assert_eq!(world.registry.write_segments().await.unwrap(), 1);
    assert_eq!(restored(&world).await.manifests, 2);
}

#[tokio::test]
async fn lost_metadata_writes_no_segments_and_collects_nothing() {
    let world = World::new();
    let image = Image::of(&["one"]);
    world.push("team/app", "v1", &image).await;
    world.registry.write_segments().await.unwrap();
    assert!(!world.registry.is_metadata_lost().await.unwrap());

    let lost = world.forgetful();
    lost.clock.advance(crate::common::DAY);
    assert!(lost.registry.is_metadata_lost().await.unwrap());
    assert_refused!(lost.registry.write_segments().await, RegistryError::MetadataLost);
    let collected = lost.collect(registry::GcOptions::default()).await;
    assert_refused!(collected, RegistryError::MetadataLost);
    assert_eq!(lost.objects(), 2, "they are no orphans");

    lost.replay().await.unwrap();
    assert!(!lost.registry.is_metadata_lost().await.unwrap());
    lost.collected().await;
    lost.assert_pulls("team/app", "v1", &image).await;
    assert_eq!(lost.registry.write_segments().await.unwrap(), 1, "the rebuilt history goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_write_everything_once() {
    let world = World::new();
    for number in 0..30 {
        world.push("team/app", &format!("v{number}"), &Image::of(&["one"])).await;
    }
    let runs = (0..4).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { world.registry.write_segments().await.unwrap() })
    });
    let mut written = 0;
    for run in runs.collect::<Vec<_>>() {
        written += run.await.unwrap();
    }
    assert_eq!((written, segments(&world).len()), (1, 1));
}

#[tokio::test]
async fn segments_on_the_disk_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn BlobStore> {
        Arc::new(FsBlobs::open(folder.path(), Options::default()).expect("the folder opens"))
    };
    let world = World::new().on_blobs(open());
    let image = Image::of(&["one", "two"]);
    world.push("team/app", "v1", &image).await;
    world.registry.write_segments().await.unwrap();
    forget_after(&world, "0", "0").await;
    world.push("team/app", "v2", &image).await;
    assert_eq!(world.registry.write_segments().await.unwrap(), 1);
    drop(world);

    let rebuilt = World::new().on_blobs(open());
    assert!(rebuilt.registry.is_metadata_lost().await.unwrap());
    let (summary, items) = rebuilt.replay().await.unwrap();
    assert_eq!(items, []);
    assert_eq!((summary.segments, summary.manifests, summary.tags), (1, 1, 2));
    rebuilt.assert_pulls("team/app", "v2", &image).await;
}
