//! Blob storage in memory, for tests: it passes the same contract as the real stores, and fails when told to.
//!
//! What real disks do once in a year, a test must be able to have now: a full disk, an error on the n-th write,
//! an object whose bytes are no longer what they were.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{self, StreamExt};
use oci::Digest;

use crate::{
    BlobError, BlobId, BlobKey, BlobRead, BlobStat, BlobStore, ByteRange, Growing, Open, Stage, Staged,
    UploadId,
};

/// How large the pieces are in which an object is read: small, so that readers meet more than one.
const PIECE: usize = 64 * 1024;

/// Objects and uploads in memory. A clone is another handle to the same store.
#[derive(Clone, Default)]
pub struct MemoryBlobs(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<BlobKey, Object>,
    uploads: HashMap<UploadId, Upload>,
    full: bool,
    /// How many writes succeed before one fails.
    writes_left: Option<u64>,
}

struct Object {
    content: Bytes,
    modified: SystemTime,
}

struct Upload {
    scope: String,
    id: BlobId,
    content: Arrived,
    touched: SystemTime,
    busy: bool,
}

/// The bytes of an upload, for its stage and its readers.
#[derive(Clone, Default)]
struct Arrived(Arc<Mutex<Vec<u8>>>);

impl Arrived {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryBlobs {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the disk is full, or has room again. An append, a write or a commit meets it.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// Lets the `nth` append, write or commit from now fail with an input/output error: 1 is the next one.
    pub fn fail_write(&self, nth: u64) {
        self.state().writes_left = Some(nth.saturating_sub(1));
    }

    /// Flips one bit in the middle of an object. Says whether there was a bit to flip.
    pub fn corrupt(&self, key: BlobKey) -> bool {
        let mut state = self.state();
        let Some(object) = state.objects.get_mut(&key) else { return false };
        let mut content = object.content.to_vec();
        let middle = content.len() / 2;
        let Some(byte) = content.get_mut(middle) else { return false };
        *byte ^= 1;
        object.content = content.into();
        true
    }

    /// The keys of all objects, in order.
    pub fn keys(&self) -> Vec<BlobKey> {
        self.state().objects.keys().copied().collect()
    }

    /// How many uploads are open.
    pub fn uploads(&self) -> usize {
        self.state().uploads.len()
    }

    /// A panic in one test thread must not hide the state from the others.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a write, and fails where a test has asked for it.
    fn admit_write(&mut self) -> Result<(), BlobError> {
        if self.full {
            return Err(BlobError::Full);
        }
        match self.writes_left {
            None => Ok(()),
            Some(0) => {
                self.writes_left = None;
                Err(BlobError::io("writing to memory", io::Error::other("a test has asked for this failure")))
            }
            Some(left) => {
                self.writes_left = Some(left - 1);
                Ok(())
            }
        }
    }

    fn object(&self, key: BlobKey) -> Result<&Object, BlobError> {
        self.objects.get(&key).ok_or(BlobError::NotFound)
    }

    fn read(&self, key: BlobKey, range: Option<ByteRange>) -> Result<BlobRead, BlobError> {
        let content = &self.object(key)?.content;
        let content = match range {
            None => content.clone(),
            Some(range) => cut(content, range).map(|part| content.slice_ref(part)).ok_or_else(|| {
                let beyond = io::Error::new(io::ErrorKind::InvalidInput, "the range ends after the object");
                BlobError::io(format!("reading {}", key.path()), beyond)
            })?,
        };
        let pieces: Vec<io::Result<Bytes>> =
            content.chunks(PIECE).map(|piece| Ok(content.slice_ref(piece))).collect();
        Ok(BlobRead::Stream { length: content.len() as u64, stream: stream::iter(pieces).boxed() })
    }

    fn write(&mut self, key: BlobKey, content: Bytes) -> Result<(), BlobError> {
        self.admit_write()?;
        if self.objects.contains_key(&key) {
            let exists = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(BlobError::io(format!("writing {}", key.path()), exists));
        }
        self.objects.insert(key, Object { content, modified: SystemTime::now() });
        Ok(())
    }

    fn list(&self, after: Option<BlobId>, limit: usize) -> Vec<(BlobId, BlobStat)> {
        let blobs = self.objects.iter().filter_map(|(key, object)| match key {
            BlobKey::Blob(id) => Some((*id, object.stat())),
            BlobKey::Segment(_) => None,
        });
        blobs.filter(|(id, _)| after.is_none_or(|after| *id > after)).take(limit).collect()
    }

    fn stage(&mut self, upload: UploadId, scope: &str, open: Open) -> Result<Arrived, BlobError> {
        match (open, self.uploads.get_mut(&upload)) {
            (Open::New(_), Some(_)) => Err(BlobError::Busy),
            (Open::New(_), None) => {
                let (scope, touched) = (scope.to_owned(), SystemTime::now());
                let (id, content) = (BlobId::random(), Arrived::default());
                let new = Upload { scope, id, content: content.clone(), touched, busy: true };
                self.uploads.insert(upload, new);
                Ok(content)
            }
            (Open::Resume, Some(found)) if found.scope == scope => {
                if mem::replace(&mut found.busy, true) {
                    return Err(BlobError::Busy);
                }
                Ok(found.content.clone())
            }
            (Open::Resume, _) => Err(BlobError::NoUpload),
        }
    }

    fn expire(&mut self, idle: Duration, age: Duration, dry_run: bool) -> usize {
        let now = SystemTime::now();
        // A time in the future, after the clock was set back, counts as now.
        let since = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        let mut expired = 0;
        self.uploads.retain(|_, upload| {
            let made = SystemTime::UNIX_EPOCH + Duration::from_millis(upload.id.unix_millis());
            let stays = upload.busy || (since(upload.touched) < idle && since(made) < age);
            expired += usize::from(!stays);
            stays || dry_run
        });
        expired
    }

    fn append(&mut self, upload: UploadId, bytes: &[u8]) -> Result<(), BlobError> {
        self.admit_write()?;
        self.upload(upload)?.content.bytes().extend_from_slice(bytes);
        Ok(())
    }

    fn upload(&self, upload: UploadId) -> Result<&Upload, BlobError> {
        self.uploads.get(&upload).ok_or(BlobError::NoUpload)
    }

    fn verify(&mut self, upload: UploadId, expected: Digest) -> Result<(), BlobError> {
        let outcome = self.upload(upload)?.verify(expected);
        if outcome.is_err() {
            self.uploads.remove(&upload);
        }
        outcome
    }

    fn commit(&mut self, upload: UploadId, expected: Digest) -> Result<Staged, BlobError> {
        self.admit_write()?;
        let found = self.uploads.remove(&upload).ok_or(BlobError::NoUpload)?;
        found.verify(expected)?;
        let content = Bytes::from(found.content.bytes().clone());
        let staged = Staged { id: found.id, size: content.len() as u64 };
        self.objects.insert(staged.id.into(), Object { content, modified: SystemTime::now() });
        Ok(staged)
    }

    fn release(&mut self, upload: UploadId) {
        if let Some(found) = self.uploads.get_mut(&upload) {
            found.busy = false;
            found.touched = SystemTime::now();
        }
    }
}

impl Upload {
    fn verify(&self, expected: Digest) -> Result<(), BlobError> {
        let content = self.content.bytes();
        let actual = Digest::of(expected.algorithm(), &content);
        if actual == expected {
            return Ok(());
        }
        Err(BlobError::Mismatch { expected, actual, size: content.len() as u64 })
    }
}

impl Object {
    fn stat(&self) -> BlobStat {
        BlobStat { size: self.content.len() as u64, modified: self.modified }
    }
}

/// The part of `content`, where it has that part.
fn cut(content: &[u8], range: ByteRange) -> Option<&[u8]> {
    let start = usize::try_from(range.offset).ok()?;
    let end = start.checked_add(usize::try_from(range.length).ok()?)?;
    content.get(start..end)
}

impl BlobStore for MemoryBlobs {
    fn stat(&self, key: BlobKey) -> BoxFuture<'_, Result<BlobStat, BlobError>> {
        ready(self.state().object(key).map(Object::stat)).boxed()
    }

    fn read(&self, key: BlobKey, range: Option<ByteRange>) -> BoxFuture<'_, Result<BlobRead, BlobError>> {
        ready(self.state().read(key, range)).boxed()
    }

    fn write(&self, key: BlobKey, content: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        ready(self.state().write(key, content)).boxed()
    }

    fn delete(&self, keys: Vec<BlobKey>) -> BoxFuture<'_, Result<(), BlobError>> {
        let mut state = self.state();
        for key in keys {
            state.objects.remove(&key);
        }
        ready(Ok(())).boxed()
    }

    fn list(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(BlobId, BlobStat)>, BlobError>> {
        ready(Ok(self.state().list(after, limit))).boxed()
    }

    fn stage(
        &self,
        upload: UploadId,
        scope: &str,
        open: Open,
    ) -> BoxFuture<'_, Result<Box<dyn Stage>, BlobError>> {
        let content = self.state().stage(upload, scope, open);
        let stage =
            |content| Box::new(MemoryStage { store: self.clone(), upload, content }) as Box<dyn Stage>;
        ready(content.map(stage)).boxed()
    }

    fn expire(
        &self,
        idle: Duration,
        age: Duration,
        dry_run: bool,
    ) -> BoxFuture<'_, Result<usize, BlobError>> {
        ready(Ok(self.state().expire(idle, age, dry_run))).boxed()
    }

    fn lowest_upload(&self) -> BoxFuture<'_, Result<Option<BlobId>, BlobError>> {
        ready(Ok(self.state().uploads.values().map(|upload| upload.id).min())).boxed()
    }

    fn drain(&self) -> Duration {
        Duration::ZERO
    }
}

/// The one stage of an upload. The bytes are in the store, so that they outlive it.
struct MemoryStage {
    store: MemoryBlobs,
    upload: UploadId,
    content: Arrived,
}

impl Stage for MemoryStage {
    fn len(&self) -> u64 {
        self.content.bytes().len() as u64
    }

    fn append(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        ready(self.store.state().append(self.upload, &bytes)).boxed()
    }

    fn settle(&mut self) -> BoxFuture<'_, Result<(), BlobError>> {
        ready(self.store.state().upload(self.upload).map(|_| ())).boxed()
    }

    fn growing(&self) -> Arc<dyn Growing> {
        Arc::new(self.content.clone())
    }

    fn verify(&mut self, expected: Digest) -> BoxFuture<'_, Result<(), BlobError>> {
        ready(self.store.state().verify(self.upload, expected)).boxed()
    }

    fn commit(self: Box<Self>, expected: Digest) -> BoxFuture<'static, Result<Staged, BlobError>> {
        ready(self.store.state().commit(self.upload, expected)).boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        let removed = self.store.state().uploads.remove(&self.upload);
        ready(removed.map(|_| ()).ok_or(BlobError::NoUpload)).boxed()
    }
}

impl Growing for Arrived {
    fn available(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read(&self, range: ByteRange) -> BoxFuture<'static, io::Result<Bytes>> {
        let beyond = || io::Error::new(io::ErrorKind::InvalidInput, "the range ends after what has arrived");
        let part = cut(&self.bytes(), range).map(Bytes::copy_from_slice);
        ready(part.ok_or_else(beyond)).boxed()
    }
}

impl Drop for MemoryStage {
    fn drop(&mut self) {
        self.store.state().release(self.upload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::Algorithm;

    crate::contract_tests!(((), Arc::new(MemoryBlobs::new())));

    async fn stage(store: &MemoryBlobs) -> Box<dyn Stage> {
        store.stage(UploadId::random(), "a", Open::New(Algorithm::Sha256)).await.unwrap()
    }

    #[tokio::test]
    async fn a_full_disk_takes_nothing_until_there_is_room() {
        let store = MemoryBlobs::new();
        let mut upload = stage(&store).await;
        store.set_full(true);
        assert!(matches!(upload.append(Bytes::from_static(b"x")).await, Err(BlobError::Full)));
        assert!(matches!(store.write(BlobKey::Segment(1), Bytes::new()).await, Err(BlobError::Full)));
        store.set_full(false);
        upload.append(Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(upload.commit(Digest::sha256(b"x")).await.unwrap().size, 1);
    }

    #[tokio::test]
    async fn the_nth_write_fails_once() {
        let store = MemoryBlobs::new();
        store.fail_write(2);
        let mut upload = stage(&store).await;
        upload.append(Bytes::from_static(b"x")).await.unwrap();
        assert!(matches!(upload.append(Bytes::from_static(b"y")).await, Err(BlobError::Io { .. })));
        assert_eq!(upload.len(), 1);
        upload.commit(Digest::sha256(b"x")).await.unwrap();
        assert_eq!((store.keys().len(), store.uploads()), (1, 0));
    }

    #[tokio::test]
    async fn a_corrupt_object_has_its_size_but_other_bytes() {
        let store = MemoryBlobs::new();
        let key = BlobKey::Segment(1);
        assert!(!store.corrupt(key));
        store.write(key, Bytes::from_static(b"wharf")).await.unwrap();
        assert!(store.corrupt(key));
        let content = crate::contract::content(&store, key, None).await.unwrap();
        assert_eq!(content.len(), 5);
        assert_ne!(content, b"wharf");
    }
}
