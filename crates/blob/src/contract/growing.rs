//! The part of the contract that is about uploads which are read while they grow, and verified before their commit.

use super::*;
use crate::Growing;

const BOTH: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

async fn part(growing: &dyn Growing, start: usize, end: usize) -> io::Result<Bytes> {
    growing.read(ByteRange { offset: start as u64, length: (end - start) as u64 }).await
}

fn available(growing: &dyn Growing) -> usize {
    usize::try_from(growing.available()).expect("small")
}

/// All of `bytes` can be read, and nothing else.
async fn assert_reads(growing: &dyn Growing, bytes: &[u8]) {
    assert_eq!(available(growing), bytes.len());
    let read = part(growing, 0, bytes.len()).await.expect("what is available can be read");
    assert!(read == bytes, "the {} bytes are not those that were appended", bytes.len());
}

/// Readers get what was appended, no sooner than it is there and no later than it is settled.
pub async fn bytes_can_be_read_while_they_grow(store: Store) {
    let bytes = noise(10, 5 * MIB + 33);
    for piece in [10_000, 200_000, MIB, 3 * MIB] {
        let (_, mut stage) = open(&store).await;
        let growing = stage.growing();
        assert_reads(&*growing, b"").await;
        let readers: Vec<_> = (0..4).map(|_| tokio::spawn(follow(stage.growing(), bytes.clone()))).collect();
        for at in (0..bytes.len()).step_by(piece) {
            let before = growing.available();
            stage.append(bytes.slice(at..bytes.len().min(at + piece))).await.expect("bytes are taken");
            assert!((before..=stage.len()).contains(&growing.available()));
        }
        stage.settle().await.expect("they are written");
        assert_reads(&*growing, &bytes).await;
        assert_reads(&*stage.growing(), &bytes).await;
        let size = stage.len();
        for (offset, length) in [(0, size + 1), (size, 1), (size + 1, 0), (1, u64::MAX), (u64::MAX, 2)] {
            let beyond = growing.read(ByteRange { offset, length }).await;
            assert!(beyond.is_err(), "{offset}+{length} is beyond {size}");
        }
        for reader in readers {
            reader.await.expect("each reader has read all");
        }
        stage.abort().await.expect("it is cancelled");
    }
}

/// Reads what there is until there were as many as `bytes`.
async fn follow(growing: Arc<dyn Growing>, bytes: Bytes) {
    let mut at = 0;
    while at < bytes.len() {
        let end = available(&*growing).min(at + MIB);
        assert!(end >= at, "what was available stays so");
        let read = part(&*growing, at, end).await.expect("what is available can be read");
        assert!(read == bytes[at..end], "{at}..{end}");
        at = end;
        tokio::task::yield_now().await;
    }
}

/// Who reads an upload reads on when it has become an object, has lost its writer or, perhaps, was cancelled.
pub async fn growing_bytes_outlive_their_stage(store: Store) {
    let bytes = noise(11, 2 * MIB + 5);
    let (first, half) = (bytes.slice(..1000), bytes.slice(..MIB + 7));

    let (_, mut stage) = open(&store).await;
    let growing = stage.growing();
    stage.append(bytes.clone()).await.expect("bytes are taken");
    let staged = stage.commit(Digest::sha256(&bytes)).await.expect("the digest fits");
    assert_reads(&*growing, &bytes).await;
    store.delete(vec![staged.id.into()]).await.expect("it is deleted");
    assert_reads(&*growing, &bytes).await;

    let (id, mut stage) = open(&store).await;
    let growing = stage.growing();
    stage.append(half.clone()).await.expect("bytes are taken");
    drop(stage);
    // It waits until what was begun is written.
    let mut stage = resume(&store, id).await.expect("it can be resumed");
    assert_reads(&*growing, &half).await;
    stage.append(bytes.slice(half.len()..)).await.expect("bytes are taken");
    stage.commit(Digest::sha256(&bytes)).await.expect("the digest fits");
    assert_reads(&*growing, &bytes[..available(&*growing)]).await;
    assert!(available(&*growing) >= half.len());

    let (_, mut stage) = open(&store).await;
    let growing = stage.growing();
    stage.append(first.clone()).await.expect("bytes are taken");
    stage.settle().await.expect("they are written");
    assert_reads(&*growing, &first).await;
    stage.append(bytes.slice(first.len()..)).await.expect("bytes are taken");
    stage.abort().await.expect("it is cancelled");
    if let Ok(read) = part(&*growing, 0, available(&*growing)).await {
        assert!(read == bytes[..read.len()], "there are no other bytes");
    }
}

/// What was written before an upload was resumed counts, whether the reader or the writer comes first.
pub async fn a_resumed_upload_can_be_read(store: Store) {
    let bytes = noise(12, MIB + 9);
    for (sent, reads_first) in [(1, true), (70_000, false), (MIB, true), (bytes.len(), false)] {
        let (id, mut stage) = open(&store).await;
        stage.append(bytes.slice(..sent)).await.expect("bytes are taken");
        drop(stage);
        let mut stage = resume(&store, id).await.expect("it can be resumed");
        let growing = stage.growing();
        if reads_first {
            assert_reads(&*growing, &bytes[..sent]).await;
        }
        stage.append(bytes.slice(sent..)).await.expect("bytes are taken");
        stage.settle().await.expect("they are written");
        assert_reads(&*growing, &bytes).await;
        let staged = stage.commit(Digest::sha256(&bytes)).await.expect("the digest fits");
        assert_reads(&*growing, &bytes).await;
        assert_holds(&store, staged.id, &bytes).await;
    }
}

/// A first read that meets a commit gets its bytes, under whichever name they are.
pub async fn reading_and_committing_do_not_disturb_each_other(store: Store) {
    let bytes = noise(13, 5000);
    for _ in 0..100 {
        let (id, mut stage) = open(&store).await;
        stage.append(bytes.clone()).await.expect("bytes are taken");
        drop(stage);
        let stage = resume(&store, id).await.expect("it can be resumed");
        let growing = stage.growing();
        let reader = tokio::spawn(follow(growing, bytes.clone()));
        stage.commit(Digest::sha256(&bytes)).await.expect("the digest fits");
        reader.await.expect("the reader has read all");
    }
}

/// Verifying ends nothing: the same bytes can be verified again, added to, left and committed.
pub async fn what_is_verified_can_be_committed(store: Store) {
    let bytes = noise(14, MIB + 100);
    let half = bytes.slice(..MIB - 100);
    for (streamed, asked) in BOTH.into_iter().flat_map(|streamed| BOTH.map(|asked| (streamed, asked))) {
        let begin = async || {
            let id = UploadId::random();
            let mut stage = store.stage(id, SCOPE, Open::New(streamed)).await.expect("a new upload opens");
            stage.append(half.clone()).await.expect("bytes are taken");
            stage.verify(Digest::of(asked, &half)).await.expect("the digest fits");
            assert_reads(&*stage.growing(), &half).await;
            (id, stage)
        };
        let (right, whole) = (Digest::of(asked, &half), Digest::of(asked, &bytes));
        let count = async || store.list(None, 100).await.expect("it lists").len();
        let before = count().await;

        let (_, mut stage) = begin().await;
        for algorithm in [asked, streamed, Algorithm::Sha512] {
            stage.verify(Digest::of(algorithm, &half)).await.expect("the digest fits");
        }
        assert_eq!(count().await, before, "nothing is committed by it");
        assert_holds(&store, stage.commit(right).await.expect("the digest fits").id, &half).await;

        let (id, stage) = begin().await;
        drop(stage);
        let stage = resume(&store, id).await.expect("it can be resumed");
        assert_holds(&store, stage.commit(right).await.expect("the digest fits").id, &half).await;

        let (_, mut stage) = begin().await;
        stage.append(bytes.slice(half.len()..)).await.expect("bytes are taken");
        assert_holds(&store, stage.commit(whole).await.expect("all is hashed").id, &bytes).await;

        let (_, mut stage) = begin().await;
        stage.append(bytes.slice(half.len()..)).await.expect("bytes are taken");
        assert_error!(stage.commit(right).await, BlobError::Mismatch { .. });
    }
    let (_, mut stage) = open(&store).await;
    stage.verify(Digest::sha256(b"")).await.expect("nothing has a digest as well");
    assert_eq!(stage.commit(Digest::sha256(b"")).await.expect("the digest fits").size, 0);
}

/// Wrong bytes end their upload when that is found, as in a commit.
pub async fn verifying_wrong_bytes_ends_the_upload(store: Store) {
    let bytes = Bytes::from_static(b"bytes");
    for (algorithm, settles) in BOTH.into_iter().flat_map(|algorithm| [(algorithm, true), (algorithm, false)])
    {
        let wrong = Digest::of(algorithm, b"other");
        let fail = async || {
            let (id, mut stage) = open(&store).await;
            let growing = stage.growing();
            stage.append(bytes.clone()).await.expect("bytes are taken");
            if settles {
                stage.verify(Digest::of(algorithm, &bytes)).await.expect("the digest fits");
                assert_reads(&*growing, &bytes).await;
            }
            match stage.verify(wrong).await {
                Err(BlobError::Mismatch { expected, actual, size }) => {
                    assert_eq!((expected, actual, size), (wrong, Digest::of(algorithm, &bytes), 5));
                }
                outcome => panic!("expected a mismatch, got {outcome:?}"),
            }
            if let Ok(read) = part(&*growing, 0, available(&*growing)).await {
                assert!(bytes.starts_with(&read), "there are no other bytes");
            }
            assert_error!(resume(&store, id).await, BlobError::NoUpload);
            stage
        };
        let mut stage = fail().await;
        assert_error!(stage.append(bytes.clone()).await, BlobError::NoUpload);
        assert_error!(stage.settle().await, BlobError::NoUpload);
        assert_error!(stage.verify(Digest::of(algorithm, &bytes)).await, BlobError::NoUpload);
        assert_error!(stage.commit(Digest::of(algorithm, &bytes)).await, BlobError::NoUpload);
        assert_error!(fail().await.abort().await, BlobError::NoUpload);
    }
    assert!(store.list(None, 10).await.expect("it lists").is_empty());
    assert_eq!(store.lowest_upload().await.expect("none is open"), None);
}
