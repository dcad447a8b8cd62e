//! The file of an upload as its writer and its readers share it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use blob::{ByteRange, Growing};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use tokio::task::spawn_blocking;

/// A file, and how much of it will never change.
#[derive(Default)]
pub(crate) struct Growth {
    path: PathBuf,
    /// Opened once, by whoever comes first. From then on neither a new name nor the loss of its name takes it away.
    file: Mutex<Option<Arc<File>>>,
    available: AtomicU64,
}

impl Growth {
    /// For a file with so many bytes, which need not be open.
    pub fn new(path: PathBuf, available: u64) -> Self {
        Self { path, file: Mutex::default(), available: AtomicU64::new(available) }
    }

    /// Where the file was before it became an object.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file; a `new` one must not be there yet.
    pub fn file(&self, new: bool) -> io::Result<Arc<File>> {
        // Held while it is opened: who comes second may find the name gone already.
        let mut open = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*open {
            return Ok(file.clone());
        }
        // For writing, by readers too: the writer may find it open.
        let file = OpenOptions::new().read(true).write(true).create_new(new).mode(0o600).open(&self.path)?;
        Ok(open.insert(Arc::new(file)).clone())
    }

    /// Says that the bytes before `end` are written, for good.
    pub fn reached(&self, end: u64) {
        self.available.store(end, Ordering::Release);
    }

    fn available(&self) -> u64 {
        self.available.load(Ordering::Acquire)
    }

    fn read(&self, range: ByteRange) -> io::Result<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.length).map_err(io::Error::other)?];
        self.file(false)?.read_exact_at(&mut bytes, range.offset)?;
        Ok(bytes.into())
    }
}

/// One who reads the file while it grows.
pub(crate) struct Reader(pub Arc<Growth>);

impl Growing for Reader {
    fn available(&self) -> u64 {
        self.0.available()
    }

    fn read(&self, range: ByteRange) -> BoxFuture<'static, io::Result<Bytes>> {
        let available = self.available();
        if range.offset.checked_add(range.length).is_none_or(|end| end > available) {
            let beyond = format!("the range ends after the {available} bytes that have arrived");
            return ready(Err(io::Error::new(io::ErrorKind::InvalidInput, beyond))).boxed();
        }
        if range.length == 0 {
            return ready(Ok(Bytes::new())).boxed();
        }
        let growth = self.0.clone();
        async move { spawn_blocking(move || growth.read(range)).await? }.boxed()
    }
}
