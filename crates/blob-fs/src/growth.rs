//! The file of an upload as its writer and its readers share it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use blob::{ByteRange, Growing};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use tokio::task::spawn_blocking;

/// A file, and how much of it will never change.
#[derive(Default)]
pub(crate) struct Growth {
    path: PathBuf,
    /// Opened once, by whoever comes first. From then on neither a new name nor the loss of its name takes it away.
    file: OnceLock<Arc<File>>,
    available: AtomicU64,
}

impl Growth {
    /// For a file with so many bytes, which need not be open.
    pub fn new(path: PathBuf, available: u64) -> Self {
        Self { path, file: OnceLock::new(), available: AtomicU64::new(available) }
    }

    /// Where the file was before it became an object.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file; a `new` one must not be there yet.
    pub fn file(&self, new: bool) -> io::Result<Arc<File>> {
        if let Some(file) = self.file.get() {
            return Ok(file.clone());
        }
        // Readers open it for writing as well: it may be the writer who finds it open.
        match OpenOptions::new().read(true).write(true).create_new(new).mode(0o600).open(&self.path) {
            Ok(file) => Ok(self.file.get_or_init(|| Arc::new(file)).clone()),
            // It may have been opened and renamed meanwhile.
            Err(error) => self.file.get().cloned().ok_or(error),
        }
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
