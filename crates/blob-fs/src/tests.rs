//! The contract, and what is true of a disk only: restarts, foreign files, many folders, a full disk.

use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::SystemTime;

use blob::contract::{content, noise};
use oci::{Algorithm, Digest};
use tempfile::TempDir;

use super::*;

const NEW: Open = Open::New(Algorithm::Sha256);
const MIB: usize = 1 << 20;
const HOUR: Duration = Duration::from_secs(3600);

blob::contract_tests!({
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder));
    (folder, store)
});

/// With limits so low that everything is evicted and written at once.
mod with_low_limits {
    use super::*;

    blob::contract_tests!({
        let folder = tempfile::tempdir().unwrap();
        let options = Options { max_uploads: 100, gather: 1000, gather_total: 0, open_files: 1 };
        let store = Arc::new(FsBlobs::open(folder.path(), options).unwrap());
        (folder, store)
    });
}

fn open(folder: &TempDir) -> FsBlobs {
    FsBlobs::open(folder.path(), Options::default()).unwrap()
}

/// Opens an upload and leaves it with these bytes.
async fn leave(store: &FsBlobs, bytes: &[u8]) -> UploadId {
    let id = UploadId::random();
    let mut stage = store.stage(id, "a", NEW).await.unwrap();
    stage.append(Bytes::copy_from_slice(bytes)).await.unwrap();
    stage.settle().await.unwrap();
    id
}

async fn resume(store: &FsBlobs, id: UploadId) -> Result<Box<dyn Stage>, BlobError> {
    store.stage(id, "a", Open::Resume).await
}

async fn push(store: &FsBlobs, bytes: &Bytes) -> BlobId {
    let mut stage = store.stage(UploadId::random(), "a", NEW).await.unwrap();
    stage.append(bytes.clone()).await.unwrap();
    stage.commit(Digest::sha256(bytes)).await.unwrap().id
}

fn names(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The one file in `uploads/`.
fn upload_file(folder: &TempDir) -> PathBuf {
    let names = names(&folder.path().join("uploads"));
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].clone()
}

/// An id of a given time and ending.
fn id_at(millis: u64, end: u16) -> BlobId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    (bytes[6], bytes[8]) = (0x70, 0x80);
    bytes[14..].copy_from_slice(&end.to_be_bytes());
    BlobId::from_stored(&bytes).unwrap()
}

#[tokio::test]
async fn an_upload_survives_a_restart() {
    let bytes = noise(1, 3 * MIB + 5);
    for expected in [Digest::sha256(&bytes), Digest::of(Algorithm::Sha512, &bytes)] {
        for sent in [0, 1, MIB, MIB + 5, bytes.len()] {
            let folder = tempfile::tempdir().unwrap();
            let id = leave(&open(&folder), &bytes[..sent]).await;
            let store = open(&folder);
            assert!(matches!(store.stage(id, "b", Open::Resume).await, Err(BlobError::NoUpload)));
            let mut stage = resume(&store, id).await.unwrap();
            assert_eq!((stage.len(), stage.growing().available()), (sent as u64, sent as u64));
            stage.append(bytes.slice(sent..)).await.unwrap();
            let staged = stage.commit(expected).await.unwrap();
            assert!(content(&store, staged.id.into(), None).await.unwrap() == bytes);
            assert!(content(&open(&folder), staged.id.into(), None).await.unwrap() == bytes);
        }
    }
}

#[tokio::test]
async fn an_upload_that_a_crash_cut_goes_on_from_there() {
    let bytes = noise(2, 2 * MIB);
    let folder = tempfile::tempdir().unwrap();
    let id = leave(&open(&folder), &bytes).await;
    File::options().write(true).open(upload_file(&folder)).unwrap().set_len(777_777).unwrap();
    let store = open(&folder);
    let mut stage = resume(&store, id).await.unwrap();
    assert_eq!(stage.len(), 777_777);
    stage.append(bytes.slice(777_777..)).await.unwrap();
    stage.commit(Digest::sha256(&bytes)).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_kept_both_names_is_not_written_to() {
    let bytes = noise(3, 1000);
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let id = leave(&store, &bytes).await;
    let file = upload_file(&folder);
    let blob = resume(&store, id).await.unwrap().commit(Digest::sha256(&bytes)).await.unwrap().id;
    fs::hard_link(store.folders.object(blob.into()), &file).unwrap();
    let store = open(&folder);
    assert!(matches!(resume(&store, id).await, Err(BlobError::NoUpload)));
    assert!(!file.exists());
    assert!(content(&store, blob.into(), None).await.unwrap() == bytes);
}

#[tokio::test]
async fn an_abandoned_commit_ends_the_upload_all_the_same() {
    let bytes = noise(4, 100_000);
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let id = leave(&store, &bytes).await;
    let commit = resume(&store, id).await.unwrap().commit(Digest::sha256(&bytes));
    drop(commit.now_or_never());
    loop {
        match resume(&store, id).await {
            Err(BlobError::Busy) => tokio::task::yield_now().await,
            Err(BlobError::NoUpload) => break,
            other => panic!("expected an end, got {:?}", other.map(|stage| stage.len())),
        }
    }
    let listed = store.list(None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(content(&store, listed[0].0.into(), None).await.unwrap() == bytes);
}

#[tokio::test]
async fn nothing_is_left_of_what_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let committed = push(&store, &noise(1, 10)).await;
    for wrong in [Digest::sha256(b"x"), Digest::of(Algorithm::Sha512, b"x")] {
        let id = leave(&store, b"bytes").await;
        assert!(resume(&store, id).await.unwrap().commit(wrong).await.is_err());
        let id = leave(&store, b"bytes").await;
        assert!(resume(&store, id).await.unwrap().verify(wrong).await.is_err());
    }
    let id = leave(&store, b"bytes").await;
    resume(&store, id).await.unwrap().abort().await.unwrap();
    leave(&store, b"bytes").await;
    assert_eq!(store.expire(Duration::ZERO, HOUR, false).await.unwrap(), 1);
    store.write(BlobKey::Segment(1), Bytes::new()).await.unwrap();
    store.write(BlobKey::Segment(1), Bytes::new()).await.unwrap_err();
    assert!(names(&folder.path().join("uploads")).is_empty());
    store.delete(vec![committed.into()]).await.unwrap();
    assert!(names(&folder.path().join("blobs")).is_empty(), "an empty folder goes with its last object");
    push(&store, &noise(1, 10)).await;
}

#[tokio::test]
async fn uploads_of_an_earlier_process_expire_by_the_age_of_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let old = leave(&store, b"old").await;
    let yesterday = SystemTime::now() - 24 * HOUR;
    File::options().write(true).open(upload_file(&folder)).unwrap().set_modified(yesterday).unwrap();
    let young = leave(&store, b"young").await;
    drop(store);
    let store = open(&folder);
    for dry_run in [true, true, false] {
        assert_eq!(store.expire(HOUR, 24 * HOUR, dry_run).await.unwrap(), 1, "a dry run touches nothing");
    }
    assert!(matches!(resume(&store, old).await, Err(BlobError::NoUpload)));
    assert_eq!(resume(&store, young).await.unwrap().len(), 5);
    upload_file(&folder);
}

#[tokio::test]
async fn foreign_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    let blob = push(&open(&folder), &noise(1, 10)).await;
    let shard = open(&folder).folders.object(blob.into()).parent().unwrap().to_owned();
    let other = id_at(1 << 40, 1);
    let odd = std::ffi::OsString::from_vec(vec![0xff, 0xfe]);
    let staged = format!("{}-0123456789abcdef-{other}-sha256", UploadId::random());
    fs::create_dir(root.join("uploads").join(staged)).unwrap();
    for place in [root.join("uploads"), root.join("blobs"), shard.clone(), root.join("segments")] {
        fs::write(place.join("README"), "x").unwrap();
        fs::write(place.join(&odd), "x").unwrap();
        fs::write(place.join(other.to_string()), "x").unwrap();
        fs::create_dir(place.join("lost+found")).unwrap();
        symlink("loop", place.join("loop")).unwrap();
    }
    fs::write(root.join("blobs/0000000"), "a file where a folder could be").unwrap();
    let folder_as_blob = id_at(blob.unix_millis(), 7);
    fs::create_dir(shard.join(folder_as_blob.to_string())).unwrap();
    fs::write(root.join("uploads").join(name::temporary()), "left by a crash").unwrap();
    let store = open(&folder);
    assert_eq!(names(&root.join("uploads")).len(), 6, "only what a crash left is removed");
    assert!(folder_as_blob < blob);
    for limit in [1, 10] {
        let listed = store.list(None, limit).await.unwrap();
        assert_eq!(listed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [blob]);
    }
    for absent in [other, folder_as_blob] {
        assert!(matches!(store.stat(absent.into()).await, Err(BlobError::NotFound)));
        assert!(matches!(store.read(absent.into(), None).await, Err(BlobError::NotFound)));
    }
    assert_eq!(store.expire(Duration::ZERO, Duration::ZERO, false).await.unwrap(), 0);
    assert!(store.list(Some(id_at(0, 1)), 10).await.is_ok());
}

#[tokio::test]
async fn thousands_are_listed_in_order_over_many_folders() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut ids: Vec<BlobId> =
        (0..3000).map(|n| id_at(1_700_000_000_000 + n / 11 * 2_000_000, (n * 7919 % 3001) as u16)).collect();
    for id in &ids {
        let path = store.folders.object((*id).into());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    ids.sort_unstable();
    for page in [1000, 97, 11] {
        let mut listed: Vec<BlobId> = Vec::new();
        while let Some(ids) = Some(store.list(listed.last().copied(), page).await.unwrap())
            && !ids.is_empty()
        {
            listed.extend(ids.iter().map(|(id, _)| id));
        }
        assert!(listed == ids, "in pages of {page}");
    }
    store.delete(ids.iter().copied().map(BlobKey::Blob).collect()).await.unwrap();
    assert!(store.list(None, 10).await.unwrap().is_empty());
}

/// `/dev/full` in place of the file: each write to it meets a full disk, as the kernel tells it.
#[tokio::test]
async fn an_upload_goes_on_when_a_full_disk_has_room_again() {
    let bytes = noise(5, 2 * MIB);
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let id = leave(&store, &bytes[..1000]).await;
    let (file, aside) = (upload_file(&folder), folder.path().join("aside"));
    fs::rename(&file, &aside).unwrap();
    symlink("/dev/full", &file).unwrap();
    let mut stage = resume(&store, id).await.unwrap();
    let growing = stage.growing();
    stage.append(bytes.slice(1000..MIB + 2000)).await.unwrap();
    stage.append(bytes.slice(MIB + 2000..MIB + 3000)).await.unwrap();
    assert!(matches!(stage.settle().await, Err(BlobError::Full)), "the error comes with the next call");
    assert_eq!((stage.len(), growing.available()), (1000, 1000));
    stage.settle().await.expect("bytes behind those that were lost are not kept");
    drop(stage);
    // As if a part of the write had come through, and could not be cut off: the file says how far it came.
    fs::write(&aside, &bytes[..1500]).unwrap();
    fs::rename(&aside, &file).unwrap();
    let mut stage = resume(&store, id).await.unwrap();
    assert_eq!(stage.len(), 1500);
    stage.append(bytes.slice(1500..)).await.unwrap();
    stage.commit(Digest::sha256(&bytes)).await.unwrap();
}

#[tokio::test]
async fn a_commit_or_a_verification_that_meets_a_full_disk_can_be_tried_again() {
    let bytes = noise(6, 4096);
    let digest = Digest::sha256(&bytes);
    for verifies in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let id = leave(&store, b"").await;
        let file = upload_file(&folder);
        fs::remove_file(&file).unwrap();
        symlink("/dev/full", &file).unwrap();
        let mut stage = resume(&store, id).await.unwrap();
        stage.append(bytes.clone()).await.unwrap();
        if verifies {
            assert!(matches!(stage.verify(digest).await, Err(BlobError::Full)));
            assert_eq!((stage.len(), stage.growing().available()), (0, 0));
            drop(stage);
        } else {
            assert!(matches!(stage.commit(digest).await, Err(BlobError::Full)));
        }
        fs::remove_file(&file).unwrap();
        fs::write(&file, "").unwrap();
        let mut stage = resume(&store, id).await.unwrap();
        assert_eq!(stage.len(), 0);
        stage.append(bytes.clone()).await.unwrap();
        stage.commit(digest).await.unwrap();
    }
}

/// The file is changed behind the store's back, so that it shows whether it is read again.
#[tokio::test]
async fn what_was_verified_is_hashed_again_only_if_more_has_come() {
    let bytes = noise(7, 10_000);
    let digest = |bytes: &[u8]| Digest::of(Algorithm::Sha512, bytes);
    for grows in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let mut stage = store.stage(UploadId::random(), "a", NEW).await.unwrap();
        stage.append(bytes.clone()).await.unwrap();
        stage.verify(digest(&bytes)).await.unwrap();
        File::options().write(true).open(upload_file(&folder)).unwrap().write_all_at(b"wharf", 0).unwrap();
        if grows {
            stage.append(Bytes::from_static(b"x")).await.unwrap();
            let all = [&bytes[..], b"x"].concat();
            assert!(matches!(stage.commit(digest(&all)).await, Err(BlobError::Mismatch { .. })));
        } else {
            stage.append(Bytes::new()).await.unwrap();
            stage.commit(digest(&bytes)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_upload_whose_file_was_taken_away_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let id = leave(&store, b"bytes").await;
    fs::remove_file(upload_file(&folder)).unwrap();
    let stage = resume(&store, id).await.unwrap();
    assert!(matches!(stage.commit(Digest::sha256(b"bytes")).await, Err(BlobError::NoUpload)));
    assert!(matches!(resume(&store, id).await, Err(BlobError::NoUpload)));
}

#[tokio::test]
async fn there_is_a_limit_to_open_uploads() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_uploads: 2, ..Options::default() };
    let store = FsBlobs::open(folder.path(), options).unwrap();
    let first = leave(&store, b"1").await;
    leave(&store, b"2").await;
    let third = store.stage(UploadId::random(), "a", NEW).await;
    assert!(matches!(third, Err(BlobError::TooManyUploads(2))));
    resume(&store, first).await.unwrap().abort().await.unwrap();
    leave(&store, b"3").await;
    drop(store);
    let store = FsBlobs::open(folder.path(), options).unwrap();
    assert!(matches!(store.stage(UploadId::random(), "a", NEW).await, Err(BlobError::TooManyUploads(2))));
}

#[tokio::test]
async fn only_the_owner_may_look() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let store = FsBlobs::open(&root, Options::default()).unwrap();
    let blob = store.folders.object(push(&store, &noise(1, 10)).await.into());
    store.write(BlobKey::Segment(1), Bytes::new()).await.unwrap();
    let check = |path: &Path, mode: u32| {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    };
    check(&root, 0o700);
    for path in names(&root) {
        check(&path, 0o700);
    }
    check(blob.parent().unwrap(), 0o700);
    check(&blob, 0o600);
    check(&store.folders.object(BlobKey::Segment(1)), 0o600);
}

#[test]
fn a_store_that_cannot_be_opened_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = FsBlobs::open(&file.join("data"), Options::default()).err().unwrap().to_string();
    assert!(error.contains("file/data") && error.contains("Not a directory"), "{error}");
}
