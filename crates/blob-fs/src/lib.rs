//! Blob storage in a folder of the local disk.
//!
//! The layout is drawn in `blob`'s module of keys. What is true of it at any moment, so that a crash needs no
//! repair: a name in `blobs/` that metadata may know is durable with all its bytes, for `commit` returns only
//! then; a file in `uploads/` says in its name all that is needed to go on with it ([`name`]); all else is a
//! leftover that nothing refers to, and goes by expiry or by the search for unknown objects.
//!
//! System calls that may wait for the disk run in tokio's blocking pool. One process at a time may open a folder;
//! seeing to that is the caller's part.
// This crate is the one place where the house touches the file system: that is what it is for.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod flush;
mod folders;
mod gather;
mod growth;
mod name;
mod objects;
mod sessions;
mod spool;
mod stage;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blob::{BlobError, BlobId, BlobKey, BlobRead, BlobStat, BlobStore, ByteRange, Open, Stage, UploadId};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};

use folders::Folders;
use gather::Budget;
use objects::Objects;
use sessions::{Found, Sessions};
use spool::Spool;
use stage::FsStage;

/// The limits of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many uploads may be open at once.
    pub max_uploads: usize,
    /// How many bytes of an upload are gathered before they are hashed and written in one go.
    pub gather: usize,
    /// How many gathered bytes all uploads together may hold. Beyond it each writes after 64 KiB.
    pub gather_total: usize,
    /// How many files of objects that were read stay open for the next reader.
    pub open_files: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_uploads: 10_000, gather: 1 << 20, gather_total: 64 << 20, open_files: 256 }
    }
}

/// The store in one folder.
#[derive(Clone)]
pub struct FsBlobs {
    folders: Arc<Folders>,
    objects: Arc<Objects>,
    sessions: Arc<Sessions>,
    budget: Arc<Budget>,
}

impl FsBlobs {
    /// Opens the store in `root`, which is made where it is not there, and finds the uploads that an earlier
    /// process has left. Waits for the disk: not for an async worker.
    pub fn open(root: &Path, options: Options) -> Result<Self, BlobError> {
        let folders = Arc::new(Folders::open(root)?);
        let sessions = Arc::new(Sessions::new(options.max_uploads));
        for (name, touched) in folders.staged()? {
            sessions.found(name, touched);
        }
        let objects = Arc::new(Objects::new(folders.clone(), options.open_files));
        let budget = Arc::new(Budget::new(options.gather, options.gather_total));
        Ok(Self { folders, objects, sessions, budget })
    }

    async fn spool(&self, upload: UploadId, scope: u64, open: Open) -> Result<Box<Spool>, BlobError> {
        let folders = self.folders.clone();
        match self.sessions.acquire(upload, scope, open).await? {
            Found::New(lease) => Ok(Box::new(Spool::new(folders, lease))),
            Found::Warm(lease, progress) => Ok(Box::new(Spool::resume(folders, lease, *progress))),
            Found::Cold(lease) => blocking(move || Spool::recover(folders, lease).map(Box::new)).await,
        }
    }
}

impl BlobStore for FsBlobs {
    fn stat(&self, key: BlobKey) -> BoxFuture<'_, Result<BlobStat, BlobError>> {
        let objects = self.objects.clone();
        blocking(move || objects.stat(key)).boxed()
    }

    fn read(&self, key: BlobKey, range: Option<ByteRange>) -> BoxFuture<'_, Result<BlobRead, BlobError>> {
        if let Some(read) = self.objects.read_cached(key, range) {
            return ready(read).boxed();
        }
        let objects = self.objects.clone();
        blocking(move || objects.read(key, range)).boxed()
    }

    fn write(&self, key: BlobKey, content: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        let folders = self.folders.clone();
        blocking(move || folders.write(key, &content)).boxed()
    }

    fn delete(&self, keys: Vec<BlobKey>) -> BoxFuture<'_, Result<(), BlobError>> {
        let objects = self.objects.clone();
        blocking(move || objects.delete(&keys)).boxed()
    }

    fn list(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(BlobId, BlobStat)>, BlobError>> {
        let objects = self.objects.clone();
        blocking(move || objects.list(after, limit)).boxed()
    }

    fn stage(
        &self,
        upload: UploadId,
        scope: &str,
        open: Open,
    ) -> BoxFuture<'_, Result<Box<dyn Stage>, BlobError>> {
        let scope = name::scope_hash(scope);
        async move {
            let spool = self.spool(upload, scope, open).await?;
            Ok(Box::new(FsStage::new(spool, self.sessions.clone(), self.budget.clone())) as Box<dyn Stage>)
        }
        .boxed()
    }

    fn expire(
        &self,
        idle: Duration,
        age: Duration,
        dry_run: bool,
    ) -> BoxFuture<'_, Result<usize, BlobError>> {
        if dry_run {
            return ready(Ok(self.sessions.count_expired(idle, age))).boxed();
        }
        let (folders, sessions) = (self.folders.clone(), self.sessions.clone());
        blocking(move || {
            let expired = sessions.expired(idle, age);
            let count = expired.len();
            for mut lease in expired {
                folders.remove_staged(lease.name())?;
                lease.leave_ended();
            }
            Ok(count)
        })
        .boxed()
    }

    fn lowest_upload(&self) -> BoxFuture<'_, Result<Option<BlobId>, BlobError>> {
        ready(Ok(self.sessions.lowest())).boxed()
    }

    fn drain(&self) -> Duration {
        Duration::ZERO
    }
}

/// Runs what may wait for the disk where it holds up no async worker.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(stopped) => Err(BlobError::Io {
            action: "finishing a task of the blob store".to_owned(),
            source: io::Error::other(stopped),
        }),
    }
}

/// Puts what the system said about a file into the words of the port.
///
/// Unlike [`BlobError::io`] it takes no missing file for a missing object: only who looks for an object can say
/// that.
fn failed(action: &str, path: &Path, source: io::Error) -> BlobError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full,
        _ => BlobError::Io { action: format!("{action} {}", path.display()), source },
    }
}

#[cfg(test)]
mod tests;
