//! Uploads: in pieces, broken off, resumed, and wrong.

use std::io;
use std::pin::pin;
use std::time::Duration;

use access::Action;
use blob::UploadId;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use oci::{Algorithm, Digest};
use registry::{Lifetimes, Limits, RegistryError, Upload};

use crate::common::{World, assert_refused, to};

/// A piece of a body, or the end of the connection.
const BROKEN: Option<&str> = None;

async fn receive(
    upload: &mut Upload,
    start: Option<u64>,
    length: Option<u64>,
    body: &[Option<&str>],
) -> Result<(), RegistryError> {
    let pieces = body.iter().map(|piece| {
        piece.map(|text| Bytes::copy_from_slice(text.as_bytes())).ok_or(io::ErrorKind::ConnectionReset.into())
    });
    upload.receive(start, length, pin!(stream::iter(pieces))).await
}

async fn start(world: &World) -> Upload {
    world.registry.start_upload(&to(Action::Push, "team/app"), Algorithm::Sha256).await.expect("it starts")
}

async fn resume(world: &World, id: UploadId) -> Result<Upload, RegistryError> {
    world.registry.resume_upload(&to(Action::Push, "team/app"), id).await
}

async fn finish(world: &World, upload: Upload, digest: Digest) -> Result<(), RegistryError> {
    world.registry.finish_upload(&to(Action::Push, "team/app"), upload, digest).await
}

/// Sends one chunk to an upload of five bytes, and says how it ended and how long the upload is then.
async fn chunk(
    start_at: Option<u64>,
    length: Option<u64>,
    body: &[Option<&str>],
) -> (Result<(), RegistryError>, u64) {
    let world = World::with(Limits { blob: 20, ..Limits::default() }, Lifetimes::default());
    let mut upload = start(&world).await;
    receive(&mut upload, Some(0), Some(5), &[Some("01234")]).await.expect("the first chunk");
    let outcome = receive(&mut upload, start_at, length, body).await;
    let id = upload.id();
    let length = upload.length();
    drop(upload);
    let resumed = resume(&world, id).await.expect("the upload is still there");
    assert_eq!(resumed.length(), length, "what was said is what is kept");
    (outcome, length)
}

#[tokio::test]
async fn chunks_go_on_from_where_the_upload_stands() {
    for (start, length) in [(None, None), (Some(5), Some(3)), (None, Some(3)), (Some(5), None)] {
        let (outcome, length) = chunk(start, length, &[Some("5"), Some("67")]).await;
        assert!(outcome.is_ok() && length == 8, "{outcome:?} {length}");
    }
    for wrong in [0, 4, 6, u64::MAX] {
        let (outcome, length) = chunk(Some(wrong), Some(3), &[Some("567")]).await;
        assert_refused!(outcome, RegistryError::RangeInvalid { given, length: 5 } if given == wrong);
        assert_eq!(length, 5, "nothing of it is taken");
    }
}

#[tokio::test]
async fn a_chunk_has_the_length_that_was_announced() {
    for (announced, body) in [(2, "567"), (4, "567"), (1, "")] {
        let (outcome, length) = chunk(Some(5), Some(announced), &[Some(body)]).await;
        let sent = body.len() as u64;
        assert_refused!(outcome, RegistryError::SizeInvalid { expected, actual } if expected == announced && actual == sent);
        assert_eq!(length, 5 + sent);
    }
}

#[tokio::test]
async fn a_blob_may_not_be_too_large() {
    let (outcome, length) = chunk(Some(5), Some(16), &[Some("x")]).await;
    assert_refused!(outcome, RegistryError::BlobTooLarge(20));
    assert_eq!(length, 5, "it is refused before its bytes are taken");
    let (outcome, _) = chunk(Some(5), Some(u64::MAX), &[Some("x")]).await;
    assert_refused!(outcome, RegistryError::BlobTooLarge(20));
    let (outcome, length) = chunk(None, None, &[Some("0123456789"), Some("012345")]).await;
    assert_refused!(outcome, RegistryError::BlobTooLarge(20));
    assert_eq!(length, 15);
    let (outcome, length) = chunk(None, None, &[Some("0123456789"), Some("01234")]).await;
    assert!(outcome.is_ok() && length == 20, "just large enough");
}

#[tokio::test]
async fn what_arrived_before_a_break_is_kept_and_gone_on_from() {
    let world = World::new();
    let mut upload = start(&world).await;
    let id = upload.id();
    let broken = receive(&mut upload, Some(0), Some(10), &[Some("012"), Some("34"), BROKEN]).await;
    assert_refused!(broken, RegistryError::Body(_));
    drop(upload);

    let mut upload = resume(&world, id).await.expect("it is there");
    assert_eq!(upload.length(), 5);
    receive(&mut upload, Some(5), Some(5), &[Some("56789")]).await.expect("the rest");
    finish(&world, upload, Digest::sha256(b"0123456789")).await.expect("it is complete");
    let read = world.read_blob("team/app", &Digest::sha256(b"0123456789")).await.unwrap();
    assert_eq!(read, b"0123456789");
    assert_refused!(resume(&world, id).await, RegistryError::UploadUnknown(_));
}

#[tokio::test]
async fn an_upload_has_one_writer_and_one_repository() {
    let world = World::new();
    let upload = start(&world).await;
    let id = upload.id();
    assert_refused!(resume(&world, id).await, RegistryError::UploadBusy);
    drop(upload);
    for repository in ["team/other", "team"] {
        let stolen = world.registry.resume_upload(&to(Action::Push, repository), id).await;
        assert_refused!(stolen, RegistryError::UploadUnknown(_));
    }
    assert_refused!(resume(&world, UploadId::random()).await, RegistryError::UploadUnknown(_));
    resume(&world, id).await.expect("its own repository finds it");
}

#[tokio::test]
async fn a_wrong_digest_ends_the_upload() {
    let world = World::new();
    for wrong in [Digest::sha256(b"other"), Digest::of(Algorithm::Sha512, b"other")] {
        let mut upload = start(&world).await;
        let id = upload.id();
        receive(&mut upload, None, None, &[Some("content")]).await.unwrap();
        let refused = finish(&world, upload, wrong).await;
        assert_refused!(refused, RegistryError::DigestMismatch { expected, size: 7, .. } if expected == wrong);
        assert_refused!(resume(&world, id).await, RegistryError::UploadUnknown(_));
        assert_refused!(world.head_blob("team/app", &wrong).await, RegistryError::BlobUnknown { .. });
    }
    assert_eq!((world.objects(), world.memory.uploads()), (0, 0));
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let world = World::new();
    let mut upload = start(&world).await;
    let id = upload.id();
    receive(&mut upload, None, None, &[Some("content")]).await.unwrap();
    upload.cancel().await.unwrap();
    assert_refused!(resume(&world, id).await, RegistryError::UploadUnknown(_));
    assert_eq!((world.objects(), world.memory.uploads()), (0, 0));
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let world = World::new();
    let upload = start(&world).await;
    finish(&world, upload, Digest::sha256(b"")).await.unwrap();
    assert_eq!(world.read_blob("team/app", &Digest::sha256(b"")).await.unwrap(), b"");
}

/// Waits until no upload is left, which may be removed when nobody waits for it any more.
async fn no_upload_is_left(world: &World) {
    let gone = async {
        while world.memory.uploads() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("no upload is left");
}

#[tokio::test]
async fn a_blob_in_one_body_leaves_no_upload() {
    let world = World::new();
    let grant = to(Action::Push, "team/app");
    let digest = Digest::sha256(b"whole");
    let piece = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));

    let body = stream::iter([piece("who"), Err(io::ErrorKind::ConnectionReset.into())]);
    let broken = world.registry.push_blob(&grant, digest, Some(5), pin!(body)).await;
    assert_refused!(broken, RegistryError::Body(_));
    no_upload_is_left(&world).await;

    let body = pin!(stream::iter([piece("who")]).chain(stream::pending()));
    let waiting = world.registry.push_blob(&grant, digest, Some(5), body);
    tokio::time::timeout(Duration::from_millis(50), waiting).await.expect_err("it waits for more");
    no_upload_is_left(&world).await;

    let other = world.registry.push_blob(&grant, digest, None, pin!(stream::iter([piece("other")]))).await;
    assert_refused!(other, RegistryError::DigestMismatch { .. });
    no_upload_is_left(&world).await;

    world.registry.push_blob(&grant, digest, None, pin!(stream::iter([piece("whole")]))).await.unwrap();
    assert_eq!(world.read_blob("team/app", &digest).await.unwrap(), b"whole");
    no_upload_is_left(&world).await;
}
