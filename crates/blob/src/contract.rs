//! The contract suite: what every store of blobs must do, as tests that each adapter runs on itself.
//!
//! An adapter writes `blob::contract_tests!((guard, store))` in its tests; the expression is evaluated once for
//! each case, and the guard (a temporary folder, say) is kept until the case ends. A case that is added here is
//! added to the list in the macro, and so to all stores.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::{FutureExt, join_all};
use futures_util::stream::TryStreamExt;
use oci::{Algorithm, Digest};

use crate::{BlobError, BlobId, BlobKey, BlobRead, BlobStore, ByteRange, Open, Stage, Staged, UploadId};

/// The store under test.
pub type Store = Arc<dyn BlobStore>;

const SCOPE: &str = "library/contract";
const NEW: Open = Open::New(Algorithm::Sha256);
const MIB: usize = 1 << 20;
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// One test for each case of the contract.
#[macro_export]
macro_rules! contract_tests {
    ($store:expr) => {
        $crate::contract_tests! { @cases $store,
            what_is_committed_can_be_read
            bytes_may_come_in_any_pieces
            ranges_are_exact
            what_is_absent_is_not_found
            a_mismatch_ends_the_upload
            either_algorithm_may_be_asked_for
            an_upload_is_resumed_where_it_was_left
            an_upload_is_found_in_its_scope_only
            an_ended_upload_is_gone
            an_upload_has_one_stage
            an_abandoned_append_can_be_continued
            bytes_can_be_read_while_they_grow
            growing_bytes_outlive_their_stage
            a_resumed_upload_can_be_read
            reading_and_committing_do_not_disturb_each_other
            what_is_verified_can_be_committed
            verifying_wrong_bytes_ends_the_upload
            an_object_is_written_once
            deleting_is_final_but_spares_readers
            an_object_is_as_old_as_its_commit
            blobs_are_listed_in_order
            idle_uploads_expire
            the_lowest_upload_is_known
            many_commits_at_once
            one_of_many_resumers_wins
            commits_and_deletes_do_not_disturb_each_other
        }
    };
    (@cases $store:expr, $($case:ident)*) => {
        mod contract {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let (_guard, store) = $store;
                    $crate::contract::$case(store).await;
                }
            )*
        }
    };
}

/// Bytes that differ with the seed and do not repeat in step with any buffer.
pub fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut step).take(length / 8 + 1).flatten().collect();
    bytes.truncate(length);
    bytes.into()
}

/// Reads an object or a part of it whole.
pub async fn content(
    store: &dyn BlobStore,
    key: BlobKey,
    range: Option<ByteRange>,
) -> Result<Vec<u8>, BlobError> {
    collect(store.read(key, range).await?).await.map_err(|error| BlobError::io("reading an object", error))
}

async fn collect(read: BlobRead) -> io::Result<Vec<u8>> {
    match read {
        BlobRead::File(part) => {
            let mut content = vec![0; usize::try_from(part.length).map_err(io::Error::other)?];
            part.file.read_exact_at(&mut content, part.offset)?;
            Ok(content)
        }
        BlobRead::Stream { length, stream } => {
            let pieces: Vec<Bytes> = stream.try_collect().await?;
            let content = pieces.concat();
            assert_eq!(content.len() as u64, length, "a stream brings as much as it says");
            Ok(content)
        }
    }
}

async fn open(store: &Store) -> (UploadId, Box<dyn Stage>) {
    let id = UploadId::random();
    let stage = store.stage(id, SCOPE, NEW).await.expect("a new upload opens");
    assert!(stage.is_empty());
    (id, stage)
}

async fn resume(store: &Store, id: UploadId) -> Result<Box<dyn Stage>, BlobError> {
    store.stage(id, SCOPE, Open::Resume).await
}

async fn push(store: &Store, bytes: &Bytes) -> Staged {
    let (_, mut stage) = open(store).await;
    stage.append(bytes.clone()).await.expect("bytes are taken");
    assert_eq!(stage.len(), bytes.len() as u64);
    stage.commit(Digest::sha256(bytes)).await.expect("the digest fits")
}

async fn assert_holds(store: &Store, id: BlobId, bytes: &[u8]) {
    let read = content(&**store, id.into(), None).await.expect("a committed object can be read");
    assert!(read == bytes, "{id} holds {} bytes, not the {} that were pushed", read.len(), bytes.len());
}

macro_rules! assert_error {
    ($outcome:expr, $pattern:pat) => {
        match $outcome {
            Err($pattern) => {}
            Err(other) => panic!("expected {}, got the error: {other}", stringify!($pattern)),
            Ok(_) => panic!("expected {}, got Ok", stringify!($pattern)),
        }
    };
}

// After the macro that it uses.
mod growing;

pub use growing::{
    a_resumed_upload_can_be_read, bytes_can_be_read_while_they_grow, growing_bytes_outlive_their_stage,
    reading_and_committing_do_not_disturb_each_other, verifying_wrong_bytes_ends_the_upload,
    what_is_verified_can_be_committed,
};

/// Objects of all sizes come back as they were.
pub async fn what_is_committed_can_be_read(store: Store) {
    for (seed, length) in [0, 1, 4096, MIB - 1, MIB, MIB + 1, 5 * MIB + 3].into_iter().enumerate() {
        let bytes = noise(seed as u64, length);
        let staged = push(&store, &bytes).await;
        assert_eq!(staged.size, length as u64);
        assert_eq!(store.stat(staged.id.into()).await.expect("it is there").size, length as u64);
        assert_holds(&store, staged.id, &bytes).await;
    }
}

/// How the bytes are cut into pieces makes no difference.
pub async fn bytes_may_come_in_any_pieces(store: Store) {
    let bytes = noise(7, 2 * MIB + 17);
    for piece in [999, 16 * 1024, 300_000, MIB, 3 * MIB] {
        let (_, mut stage) = open(&store).await;
        for at in (0..bytes.len()).step_by(piece) {
            let end = bytes.len().min(at + piece);
            stage.append(bytes.slice(at..end)).await.expect("bytes are taken");
            assert_eq!(stage.len(), end as u64);
        }
        stage.append(Bytes::new()).await.expect("no bytes are taken as well");
        let staged = stage.commit(Digest::sha256(&bytes)).await.expect("the digest fits");
        assert_holds(&store, staged.id, &bytes).await;
    }
}

/// A range gives these bytes and no others; one that is not in the object gives an error.
pub async fn ranges_are_exact(store: Store) {
    let bytes = noise(1, 200_000);
    let size = bytes.len() as u64;
    let key = push(&store, &bytes).await.id.into();
    for (offset, length) in [(0, size), (0, 1), (size - 1, 1), (70_000, 66_000), (0, 0), (size, 0)] {
        let part = content(&*store, key, Some(ByteRange { offset, length })).await.expect("it is a part");
        let start = usize::try_from(offset).expect("small");
        assert!(part == bytes[start..start + part.len()], "{offset}+{length}");
        assert_eq!(part.len() as u64, length);
    }
    for (offset, length) in [(0, size + 1), (size, 1), (size + 1, 0), (1, u64::MAX), (u64::MAX, u64::MAX)] {
        let part = content(&*store, key, Some(ByteRange { offset, length })).await;
        assert!(part.is_err(), "{offset}+{length} is beyond {size}");
    }
}

/// What is absent is said to be absent, and deleting it is no error.
pub async fn what_is_absent_is_not_found(store: Store) {
    let keys = [BlobKey::Blob(BlobId::random()), BlobKey::Segment(12)];
    for key in keys {
        assert_error!(store.stat(key).await, BlobError::NotFound);
        assert_error!(store.read(key, None).await, BlobError::NotFound);
    }
    store.delete(keys.to_vec()).await.expect("absent objects count as deleted");
    assert_error!(resume(&store, UploadId::random()).await, BlobError::NoUpload);
    assert!(store.list(None, 10).await.expect("an empty store lists nothing").is_empty());
}

/// Wrong bytes are refused, and nothing of them stays.
pub async fn a_mismatch_ends_the_upload(store: Store) {
    for other in [Digest::sha256(b"other"), Digest::of(Algorithm::Sha512, b"other")] {
        let (id, mut stage) = open(&store).await;
        stage.append(Bytes::from_static(b"bytes")).await.expect("bytes are taken");
        match stage.commit(other).await {
            Err(BlobError::Mismatch { expected, actual, size }) => {
                let right = Digest::of(other.algorithm(), b"bytes");
                assert_eq!((expected, actual, size), (other, right, 5));
            }
            outcome => panic!("expected a mismatch, got {outcome:?}"),
        }
        assert_error!(resume(&store, id).await, BlobError::NoUpload);
    }
    assert!(store.list(None, 10).await.expect("it lists").is_empty());
}

/// The digest may be of another algorithm than the one that was hashed on the way.
pub async fn either_algorithm_may_be_asked_for(store: Store) {
    let both = [Algorithm::Sha256, Algorithm::Sha512];
    let bytes = noise(2, MIB + 100);
    for (streamed, asked) in both.into_iter().flat_map(|streamed| both.map(|asked| (streamed, asked))) {
        let mut stage =
            store.stage(UploadId::random(), SCOPE, Open::New(streamed)).await.expect("a new upload opens");
        stage.append(bytes.clone()).await.expect("bytes are taken");
        let staged = stage.commit(Digest::of(asked, &bytes)).await.expect("the digest fits");
        assert_holds(&store, staged.id, &bytes).await;
    }
}

/// Bytes that were taken before the stage was dropped are still there.
pub async fn an_upload_is_resumed_where_it_was_left(store: Store) {
    let bytes = noise(3, 3 * MIB + 11);
    let (id, stage) = open(&store).await;
    drop(stage);
    let mut sent = 0;
    for end in [1, 5000, MIB + 7, bytes.len()] {
        let mut stage = resume(&store, id).await.expect("it can be resumed");
        assert_eq!(stage.len(), sent as u64);
        stage.append(bytes.slice(sent..end)).await.expect("bytes are taken");
        // Every other time without settling: a client that went away.
        if end % 2 == 0 {
            stage.settle().await.expect("they are written");
        }
        sent = end;
    }
    let stage = resume(&store, id).await.expect("it can be resumed");
    let staged = stage.commit(Digest::sha256(&bytes)).await.expect("the digest fits");
    assert_holds(&store, staged.id, &bytes).await;
}

/// A stolen upload id is of no use in another repository.
pub async fn an_upload_is_found_in_its_scope_only(store: Store) {
    let (id, stage) = open(&store).await;
    for scope in ["library/other", "", "library/contract/x"] {
        assert_error!(store.stage(id, scope, Open::Resume).await, BlobError::NoUpload);
    }
    drop(stage);
    assert_error!(store.stage(id, "library/other", Open::Resume).await, BlobError::NoUpload);
    resume(&store, id).await.expect("its own scope finds it");
}

/// Committed and cancelled uploads cannot be resumed.
pub async fn an_ended_upload_is_gone(store: Store) {
    let (committed, stage) = open(&store).await;
    let staged = stage.commit(Digest::sha256(b"")).await.expect("nothing has a digest as well");
    assert_eq!(staged.size, 0);
    let (aborted, mut stage) = open(&store).await;
    stage.append(noise(4, 2 * MIB)).await.expect("bytes are taken");
    stage.abort().await.expect("it is cancelled");
    for id in [committed, aborted] {
        assert_error!(resume(&store, id).await, BlobError::NoUpload);
    }
    assert_eq!(store.list(None, 10).await.expect("it lists").len(), 1);
}

/// Two requests never write to one upload.
pub async fn an_upload_has_one_stage(store: Store) {
    let (id, stage) = open(&store).await;
    assert_error!(resume(&store, id).await, BlobError::Busy);
    assert_error!(store.stage(id, SCOPE, NEW).await, BlobError::Busy);
    drop(stage);
    assert_error!(store.stage(id, SCOPE, NEW).await, BlobError::Busy);
    let stage = resume(&store, id).await.expect("it is free again");
    assert_error!(resume(&store, id).await, BlobError::Busy);
    stage.abort().await.expect("it is cancelled");
}

/// A request that is dropped in the middle of an append leaves an upload that knows how far it came.
pub async fn an_abandoned_append_can_be_continued(store: Store) {
    let bytes = noise(5, 8 * MIB);
    let (id, mut stage) = open(&store).await;
    for at in (0..4 * MIB).step_by(MIB) {
        // Polled once: what it had begun goes on without anybody who waits for it.
        match stage.append(bytes.slice(at..at + MIB)).now_or_never() {
            Some(taken) => taken.expect("bytes are taken"),
            None => break,
        }
    }
    drop(stage);
    let mut stage = resume(&store, id).await.expect("it can be resumed");
    let sent = usize::try_from(stage.len()).expect("small");
    assert!(sent <= 4 * MIB);
    stage.append(bytes.slice(sent..)).await.expect("bytes are taken");
    let staged = stage.commit(Digest::sha256(&bytes)).await.expect("no byte is lost or doubled");
    assert_holds(&store, staged.id, &bytes).await;
}

/// A small object is stored whole, and never replaced.
pub async fn an_object_is_written_once(store: Store) {
    for key in [BlobKey::Segment(0), BlobKey::Segment(u64::MAX), BlobId::random().into()] {
        store.write(key, Bytes::from_static(b"first")).await.expect("it is written");
        assert!(store.write(key, Bytes::from_static(b"second")).await.is_err());
        assert_eq!(content(&*store, key, None).await.expect("it can be read"), b"first");
        assert_eq!(store.stat(key).await.expect("it is there").size, 5);
    }
}

/// A deleted object is gone for all who come later; who is reading it reads on.
pub async fn deleting_is_final_but_spares_readers(store: Store) {
    let bytes = noise(6, 300_000);
    let (gone, kept) = (push(&store, &bytes).await.id, push(&store, &bytes).await.id);
    let segment = BlobKey::Segment(5);
    store.write(segment, bytes.clone()).await.expect("it is written");
    let reader = store.read(gone.into(), None).await.expect("it can be read");
    store.delete(vec![gone.into(), segment, BlobId::random().into()]).await.expect("they are deleted");
    for key in [gone.into(), segment] {
        assert_error!(store.stat(key).await, BlobError::NotFound);
        assert_error!(store.read(key, None).await, BlobError::NotFound);
    }
    assert!(collect(reader).await.expect("a reader reads on") == bytes);
    assert_holds(&store, kept, &bytes).await;
}

/// The list has all blobs in the order of their ids, in pages, and nothing else.
pub async fn blobs_are_listed_in_order(store: Store) {
    store.write(BlobKey::Segment(1), Bytes::new()).await.expect("it is written");
    let (_, stage) = open(&store).await;
    let mut ids = Vec::new();
    for seed in 0..25 {
        ids.push(push(&store, &noise(seed, 10)).await.id);
    }
    ids.sort_unstable();
    let mut listed: Vec<BlobId> = Vec::new();
    loop {
        let page = store.list(listed.last().copied(), 10).await.expect("it lists");
        assert!(page.len() <= 10 && page.iter().all(|(_, stat)| stat.size == 10));
        if page.is_empty() {
            break;
        }
        listed.extend(page.iter().map(|(id, _)| id));
    }
    assert_eq!(listed, ids);
    assert!(store.list(None, 0).await.expect("it lists").is_empty());
    stage.abort().await.expect("it is cancelled");
}

/// Nothing is committed under a lower id than those of the uploads that were open, unless it was there.
pub async fn the_lowest_upload_is_known(store: Store) {
    assert_eq!(store.lowest_upload().await.expect("none is open"), None);
    let (_, first) = open(&store).await;
    // Ids of one millisecond are in no order.
    std::thread::sleep(Duration::from_millis(2));
    let (resting, second) = open(&store).await;
    let lowest = store.lowest_upload().await.expect("two are open").expect("two are open");
    let committed = first.commit(Digest::sha256(b"")).await.expect("it is committed");
    assert_eq!(committed.id, lowest);
    drop(second);
    let resting = resume(&store, resting).await.expect("it can be resumed");
    let lowest = store.lowest_upload().await.expect("one is open").expect("one is open");
    assert!(lowest > committed.id);
    assert_eq!(resting.commit(Digest::sha256(b"")).await.expect("it is committed").id, lowest);
    assert_eq!(store.lowest_upload().await.expect("none is open"), None);
}

/// What nobody touches goes; what somebody is writing to stays.
pub async fn idle_uploads_expire(store: Store) {
    let (idle, mut stage) = open(&store).await;
    stage.append(Bytes::from_static(b"x")).await.expect("bytes are taken");
    stage.settle().await.expect("they are written");
    drop(stage);
    drop(resume(&store, idle).await.expect("it can be resumed"));
    let (_, busy) = open(&store).await;
    assert_eq!(store.expire(LONG, LONG, false).await.expect("nothing is old"), 0);
    assert_eq!(store.expire(Duration::ZERO, LONG, true).await.expect("a dry run only counts"), 1);
    assert_eq!(store.expire(Duration::ZERO, LONG, false).await.expect("one is idle"), 1);
    assert_error!(resume(&store, idle).await, BlobError::NoUpload);
    let (old, stage) = open(&store).await;
    stage.abort().await.expect("it is cancelled");
    let (older, stage) = open(&store).await;
    drop(stage);
    drop(resume(&store, older).await.expect("it can be resumed"));
    assert_eq!(store.expire(LONG, Duration::ZERO, false).await.expect("one is old"), 1);
    for id in [old, older] {
        assert_error!(resume(&store, id).await, BlobError::NoUpload);
    }
    busy.commit(Digest::sha256(b"")).await.expect("a busy upload is left alone");
}

/// Uploads of the same and of different content at once end in one object each.
pub async fn many_commits_at_once(store: Store) {
    let pushes = (0..64).map(|seed| {
        let store = store.clone();
        tokio::spawn(async move {
            let bytes = noise(seed % 8, 4096);
            let id = push(&store, &bytes).await.id;
            assert_holds(&store, id, &bytes).await;
            id
        })
    });
    let ids: HashSet<BlobId> =
        join_all(pushes).await.into_iter().map(|id| id.expect("no push panics")).collect();
    assert_eq!(ids.len(), 64);
    assert_eq!(store.list(None, 100).await.expect("it lists").len(), 64);
}

/// Of many that resume an upload at once, one gets it; the others are told that it is in use.
pub async fn one_of_many_resumers_wins(store: Store) {
    let (id, mut stage) = open(&store).await;
    stage.append(noise(1, 2 * MIB)).await.expect("bytes are taken");
    drop(stage);
    let resumers = (0..32).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { resume(&store, id).await })
    });
    let mut winners = Vec::new();
    for outcome in join_all(resumers).await {
        match outcome.expect("no resumer panics") {
            Ok(stage) => winners.push(stage),
            Err(BlobError::Busy) => {}
            Err(other) => panic!("expected Busy, got {other}"),
        }
    }
    assert_eq!(winners.len(), 1);
}

/// Deleting and listing go on while uploads are committed and objects are read.
pub async fn commits_and_deletes_do_not_disturb_each_other(store: Store) {
    let workers = (0..16).map(|seed| {
        let store = store.clone();
        tokio::spawn(async move {
            let bytes = noise(seed, 20_000);
            for _ in 0..8 {
                let (gone, kept) = (push(&store, &bytes).await.id, push(&store, &bytes).await.id);
                store.delete(vec![gone.into()]).await.expect("it is deleted");
                store.list(Some(gone), 100).await.expect("it lists");
                assert_holds(&store, kept, &bytes).await;
                assert_error!(store.read(gone.into(), None).await, BlobError::NotFound);
            }
        })
    });
    for outcome in join_all(workers).await {
        outcome.expect("no worker panics");
    }
    assert_eq!(store.list(None, 1000).await.expect("it lists").len(), 16 * 8);
}

/// A collection reckons from it how long an object has been without metadata: the upload may be much older.
pub async fn an_object_is_as_old_as_its_commit(store: Store) {
    let bytes = noise(1, 100);
    let (_, mut stage) = open(&store).await;
    stage.append(bytes.clone()).await.expect("bytes are taken");
    stage.settle().await.expect("they are written");
    // Longer than a tick, in which file systems count.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = SystemTime::now();
    let staged = stage.commit(Digest::sha256(&bytes)).await.expect("it is committed");
    let modified = store.stat(staged.id.into()).await.expect("it is there").modified;
    assert!(modified + Duration::from_millis(20) >= before, "{modified:?} {before:?}");
}
