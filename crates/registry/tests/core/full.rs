//! A full disk: an error that says so, nothing half stored, and all is well when there is room again.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use access::Action;
use bytes::Bytes;
use futures_util::stream;
use meta_sql::{Config, SqliteMeta};
use oci::{Algorithm, Digest};
use registry::{FreeSpace, MountFrom, RegistryError};

use crate::common::{DAY, Image, World, assert_refused, to};

#[tokio::test]
async fn a_full_disk_refuses_uploads_until_there_is_room() {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    world.push("team/app", "v1", &image).await;
    world.memory.set_full(true);
    let digest = Digest::sha256(b"content");
    assert_refused!(world.upload("team/app", b"content", digest).await, RegistryError::Full);
    world.assert_pulls("team/app", "v1", &image).await;
    world.push_manifest("team/app", "v2", &image.bytes()).await.expect("metadata has room");
    world.memory.set_full(false);
    world.push_blob("team/app", "content").await;
    assert_eq!(world.read_blob("team/app", &digest).await.unwrap(), b"content");
    assert_eq!(world.check(true).await.1, []);
}

#[tokio::test]
async fn an_upload_that_met_a_full_disk_goes_on_from_what_is_kept() {
    let world = World::new();
    let grant = to(Action::Push, "team/app");
    let send = async |upload: &mut registry::Upload, text: &'static str| {
        upload.receive(None, None, pin!(stream::iter([Ok(Bytes::from_static(text.as_bytes()))]))).await
    };
    let mut upload = world.registry.start_upload(&grant, Algorithm::Sha256).await.unwrap();
    send(&mut upload, "half").await.unwrap();
    world.memory.set_full(true);
    assert_refused!(send(&mut upload, "more").await, RegistryError::Full);
    let id = upload.id();
    drop(upload);
    world.memory.set_full(false);
    let mut upload = world.registry.resume_upload(&grant, id).await.unwrap();
    assert_eq!(upload.length(), 4);
    send(&mut upload, "more").await.unwrap();
    world.registry.finish_upload(&grant, upload, Digest::sha256(b"halfmore")).await.unwrap();
}

#[tokio::test]
async fn an_error_of_the_disk_is_not_the_clients_fault() {
    let world = World::new();
    world.memory.fail_write(1);
    let digest = Digest::sha256(b"content");
    assert_refused!(world.upload("team/app", b"content", digest).await, RegistryError::Blobs(_));
    world.push_blob("team/app", "content").await;
}

#[tokio::test]
async fn full_metadata_refuses_pushes_and_serves_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meta.db");
    let config = Config { max_bytes: Some(1 << 20), ..Config::default() };
    let world = World::on_meta(|clock| SqliteMeta::open(&path, clock, config).unwrap());
    let image = Image::of(&["a layer"]);
    world.push("team/app", "v1", &image).await;
    let mut last = None;
    let refused = loop {
        let number = last.map_or(0, |last| last + 1);
        let large = image.clone().annotated(&format!("{number} {}", "x".repeat(50_000)));
        match world.push_manifest("team/app", &format!("n{number}"), &large.bytes()).await {
            Ok(_) => last = Some(number),
            Err(error) => break error,
        }
        assert!(number < 100, "it must fill up");
    };
    assert!(matches!(refused, RegistryError::Full), "{refused:?}");
    let last = last.expect("some went in");
    assert!(world.resolve("team/app", &format!("n{last}")).await.is_some());
    assert_eq!(world.resolve("team/app", &format!("n{}", last + 1)).await, None, "nothing of it is there");
    world.assert_pulls("team/app", "v1", &image).await;
}

/// Room that a test takes and gives.
#[derive(Default)]
struct Room {
    scarce: AtomicBool,
}

impl FreeSpace for Room {
    fn is_scarce(&self) -> bool {
        self.scarce.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn scarce_room_is_left_to_deletions() {
    let room = Arc::new(Room::default());
    let world = World::new().with_space(room.clone());
    let (image, other) = (Image::of(&["a layer"]), Image::of(&["another layer"]));
    world.push("team/app", "v1", &image).await;
    world.push("team/other", "v1", &other).await;
    let grant = to(Action::Push, "team/app");
    let mut upload = world.registry.start_upload(&grant, Algorithm::Sha256).await.unwrap();

    room.scarce.store(true, Ordering::SeqCst);
    let pieces = (0..100).map(|_| Ok(Bytes::from_static(&[0; 1 << 20])));
    assert_refused!(upload.receive(None, None, pin!(stream::iter(pieces))).await, RegistryError::Full);
    assert!(
        upload.length() < 10 << 20,
        "{} bytes were taken before it was looked at the room",
        upload.length()
    );
    drop(upload);
    assert_refused!(world.registry.start_upload(&grant, Algorithm::Sha256).await, RegistryError::Full);
    assert_refused!(world.push_manifest("team/app", "v2", &image.bytes()).await, RegistryError::Full);
    let layer = Digest::sha256(b"another layer");
    let from = to(Action::Pull, "team/other");
    let mounted = world.registry.mount(&grant, &layer, MountFrom::Repository(&from)).await;
    assert_refused!(mounted, RegistryError::Full);

    world.assert_pulls("team/app", "v1", &image).await;
    world.delete("team/other", "v1").await.expect("a tag is deleted");
    world.delete("team/other", &other.digest().to_string()).await.expect("a manifest is deleted");
    world.clock.advance(2 * DAY);
    assert!(!world.collected().await.is_empty(), "blobs are collected");
    room.scarce.store(false, Ordering::SeqCst);
    world.push("team/app", "v2", &other).await;
    assert_eq!(world.check(true).await.1, []);
}

#[tokio::test]
async fn with_scarce_room_an_upload_takes_nothing_and_can_be_ended() {
    let room = Arc::new(Room::default());
    let world = World::new().with_space(room.clone());
    let grant = to(Action::Push, "team/app");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut upload = world.registry.start_upload(&grant, Algorithm::Sha256).await.unwrap();
        let body = stream::iter([Ok(Bytes::from_static(b"all of it"))]);
        upload.receive(None, None, pin!(body)).await.unwrap();
        ids.push(upload.id());
    }
    room.scarce.store(true, Ordering::SeqCst);
    let mut upload = world.registry.resume_upload(&grant, ids[0]).await.expect("it says where it stands");
    let more = upload.receive(None, None, pin!(stream::iter([Ok(Bytes::from_static(b", and more"))]))).await;
    assert_refused!(more, RegistryError::Full);
    assert_eq!(upload.length(), 9);
    upload.receive(None, None, pin!(stream::iter([]))).await.expect("nothing takes no room");
    world.registry.finish_upload(&grant, upload, Digest::sha256(b"all of it")).await.unwrap();
    world.registry.resume_upload(&grant, ids[1]).await.unwrap().cancel().await.unwrap();
    assert_eq!(world.memory.uploads(), 0);
}
