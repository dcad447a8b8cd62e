//! A blob store that stops where a test wants a crash.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blob::{BlobError, BlobId, BlobKey, BlobRead, BlobStat, BlobStore, ByteRange, Open, Stage, UploadId};
use bytes::Bytes;
use futures_util::future::BoxFuture;

/// How the next deletions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Deletion {
    /// As they should.
    Works,
    /// They fail, and nothing is deleted.
    FailsBefore,
    /// They fail, and everything is deleted.
    FailsAfter,
}

/// Passes everything on, and fails to delete when it is told to.
pub struct FaultyBlobs {
    inner: Arc<dyn BlobStore>,
    deletion: AtomicU8,
    stuck: Mutex<Option<BlobKey>>,
}

impl FaultyBlobs {
    pub fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self { inner, deletion: AtomicU8::new(Deletion::Works as u8), stuck: Mutex::new(None) }
    }

    /// From now on this object cannot be deleted.
    pub fn set_stuck(&self, key: Option<BlobKey>) {
        *self.stuck.lock().expect("no test panics with it") = key;
    }

    pub fn set_deletion(&self, deletion: Deletion) {
        self.deletion.store(deletion as u8, Ordering::SeqCst);
    }
}

fn failed() -> BlobError {
    BlobError::io("deleting", std::io::Error::other("a test has asked for this failure"))
}

impl BlobStore for FaultyBlobs {
    fn stat(&self, key: BlobKey) -> BoxFuture<'_, Result<BlobStat, BlobError>> {
        self.inner.stat(key)
    }

    fn read(&self, key: BlobKey, range: Option<ByteRange>) -> BoxFuture<'_, Result<BlobRead, BlobError>> {
        self.inner.read(key, range)
    }

    fn write(&self, key: BlobKey, content: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        self.inner.write(key, content)
    }

    fn delete(&self, keys: Vec<BlobKey>) -> BoxFuture<'_, Result<(), BlobError>> {
        let deletion = self.deletion.load(Ordering::SeqCst);
        let stuck = *self.stuck.lock().expect("no test panics with it");
        Box::pin(async move {
            if deletion == Deletion::FailsBefore as u8 || keys.iter().any(|key| Some(*key) == stuck) {
                return Err(failed());
            }
            self.inner.delete(keys).await?;
            if deletion == Deletion::FailsAfter as u8 { Err(failed()) } else { Ok(()) }
        })
    }

    fn list(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(BlobId, BlobStat)>, BlobError>> {
        self.inner.list(after, limit)
    }

    fn stage(
        &self,
        upload: UploadId,
        scope: &str,
        open: Open,
    ) -> BoxFuture<'_, Result<Box<dyn Stage>, BlobError>> {
        self.inner.stage(upload, scope, open)
    }

    fn expire(
        &self,
        idle: Duration,
        age: Duration,
        dry_run: bool,
    ) -> BoxFuture<'_, Result<usize, BlobError>> {
        self.inner.expire(idle, age, dry_run)
    }

    fn lowest_upload(&self) -> BoxFuture<'_, Result<Option<BlobId>, BlobError>> {
        self.inner.lowest_upload()
    }

    fn drain(&self) -> Duration {
        self.inner.drain()
    }
}
