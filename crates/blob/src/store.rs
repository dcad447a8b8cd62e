//! The two roles of blob storage: a store of finished objects, and a stage where one is still arriving.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use oci::{Algorithm, Digest};

use crate::{BlobError, BlobId, BlobKey, UploadId};

/// A part of an object: `length` bytes from `offset`. A caller makes it from the object's known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// A part of a local file, so that the kernel can send it without a copy.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The open file. It stays readable when the object is deleted meanwhile.
    pub file: Arc<File>,
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl FileRange {
    /// The bytes as a stream, read in the blocking pool, for who cannot have the kernel send them.
    pub fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        const PIECE: u64 = 1 << 20;
        let parts = futures_util::stream::try_unfold(self, |mut rest| async move {
            if rest.length == 0 {
                return Ok(None);
            }
            let file = Arc::clone(&rest.file);
            let (offset, length) = (rest.offset, rest.length.min(PIECE));
            let bytes = tokio::task::spawn_blocking(move || read_at(&file, offset, length)).await??;
            rest.offset += length;
            rest.length -= length;
            Ok(Some((bytes, rest)))
        });
        Box::pin(parts)
    }
}

/// Reads exactly `length` bytes: a file that is shorter than it should be is an error.
fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes.into())
}

/// The bytes of an object, in whichever form the store can give them at the least cost.
pub enum BlobRead {
    /// On the local disk.
    File(FileRange),
    /// From anywhere else.
    Stream {
        /// How many bytes will come.
        length: u64,
        /// The bytes.
        stream: BoxStream<'static, io::Result<Bytes>>,
    },
}

/// What a store knows of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobStat {
    /// The size in bytes.
    pub size: u64,
    /// When it was committed, or began to be.
    pub modified: SystemTime,
}

/// How to come by a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// A new upload, whose bytes are hashed with this algorithm while they arrive.
    New(Algorithm),
    /// An upload that was opened before, by this process or an earlier one.
    Resume,
}

/// What a finished upload became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The object's name.
    pub id: BlobId,
    /// Its size in bytes.
    pub size: u64,
}

/// A store of immutable objects.
///
/// All methods may be called at once from anywhere. An error leaves no trace that a later call could trip over.
pub trait BlobStore: Send + Sync {
    /// Size and age of an object. [`BlobError::NotFound`] where there is none.
    fn stat(&self, key: BlobKey) -> BoxFuture<'_, Result<BlobStat, BlobError>>;

    /// The bytes of an object or, with a range, a part. A range beyond the end of the object is an error when
    /// its bytes are read, not a short answer.
    fn read(&self, key: BlobKey, range: Option<ByteRange>) -> BoxFuture<'_, Result<BlobRead, BlobError>>;

    /// Stores a small object whole and durably; replaces nothing: a key is written once.
    fn write(&self, key: BlobKey, content: Bytes) -> BoxFuture<'_, Result<(), BlobError>>;

    /// Deletes objects. One that is not there counts as deleted.
    fn delete(&self, keys: Vec<BlobKey>) -> BoxFuture<'_, Result<(), BlobError>>;

    /// Up to `limit` blobs with ids after `after`, in the order of their ids.
    fn list(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(BlobId, BlobStat)>, BlobError>>;

    /// Opens an upload. At most one stage of an upload exists at a time: a second is [`BlobError::Busy`].
    ///
    /// `scope` is any text that the upload belongs to, such as a repository's name: resuming under another
    /// scope finds nothing.
    fn stage(
        &self,
        upload: UploadId,
        scope: &str,
        open: Open,
    ) -> BoxFuture<'_, Result<Box<dyn Stage>, BlobError>>;

    /// Removes uploads that nobody has touched for `idle`, or that are older than `age`; only counts them in a
    /// dry run. Says how many.
    fn expire(&self, idle: Duration, age: Duration, dry_run: bool)
    -> BoxFuture<'_, Result<usize, BlobError>>;

    /// The lowest of the ids that objects of open uploads will get; `None` where no upload is open.
    ///
    /// What is committed later has this id or a higher one, or is of an upload that was opened later.
    fn lowest_upload(&self) -> BoxFuture<'_, Result<Option<BlobId>, BlobError>>;

    /// How long somebody may still read an object after metadata has let go of it, other than through a
    /// [`BlobRead`] that is open: signed addresses, say. Zero on a local disk.
    fn drain(&self) -> Duration;
}

/// Bytes that are arriving. Outlives one request and one process: dropping it leaves the upload to be resumed.
pub trait Stage: Send {
    /// How many bytes have arrived.
    fn len(&self) -> u64;

    /// Whether no byte has arrived.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next bytes. Returns when it can take more, which may be before these are written: hashing and
    /// writing go on while the next bytes arrive.
    fn append(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), BlobError>>;

    /// Waits until all bytes are written (not yet durable), so that the upload can be resumed after them.
    fn settle(&mut self) -> BoxFuture<'_, Result<(), BlobError>>;

    /// The bytes that have arrived, for who reads them while more arrive.
    fn growing(&self) -> Arc<dyn Growing>;

    /// Writes what has arrived and compares the digest, without making anything durable. A commit with the same
    /// digest, if nothing is appended meanwhile, does not hash again. On a mismatch the upload ends as with
    /// [`Stage::commit`]: every later call is [`BlobError::NoUpload`].
    fn verify(&mut self, expected: Digest) -> BoxFuture<'_, Result<(), BlobError>>;

    /// Verifies the digest, makes the object durable under its final name, and ends the upload; on a mismatch
    /// it ends as well, its bytes removed: a client that retried could only append to what was wrong.
    fn commit(self: Box<Self>, expected: Digest) -> BoxFuture<'static, Result<Staged, BlobError>>;

    /// Ends the upload and removes its bytes.
    fn abort(self: Box<Self>) -> BoxFuture<'static, Result<(), BlobError>>;
}

/// What of an upload can be read while more of it arrives, by any number of readers at once.
///
/// It outlives its stage: after a commit it has all bytes, also when the object is deleted later. Where the upload is
/// aborted, expires or does not have its digest, or where another stage has ended it, a read may fail; it never gives
/// other bytes than those that were appended.
pub trait Growing: Send + Sync {
    /// How many bytes can be read now: no more than the stage is long, and all of them once it has settled. It only
    /// grows, for bytes that are lost to a failed write were never counted.
    fn available(&self) -> u64;

    /// A part that lies within what is available: one that does not is an error. It comes in one piece, so a reader
    /// asks for as much as it will hold in memory.
    fn read(&self, range: ByteRange) -> BoxFuture<'static, io::Result<Bytes>>;
}
