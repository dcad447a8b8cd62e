//! Finished objects: finding, listing and deleting them.

use std::collections::BinaryHeap;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blob::{BlobError, BlobId, BlobKey, BlobRead, BlobStat, ByteRange, FileRange};
use quick_cache::sync::Cache;

use crate::failed;
use crate::folders::Folders;

/// The finished objects of a store.
pub(crate) struct Objects {
    folders: Arc<Folders>,
    /// Files that were read lately: a hot object costs no system call before its first byte is sent.
    open: Cache<BlobKey, Object>,
    /// How often something was deleted, so that a reader notices when its file went while it was being opened.
    deletions: AtomicU64,
}

#[derive(Clone)]
struct Object {
    file: Arc<File>,
    stat: BlobStat,
}

impl Objects {
    /// Keeps up to `open_files` files open.
    pub fn new(folders: Arc<Folders>, open_files: usize) -> Self {
        Self { folders, open: Cache::new(open_files), deletions: AtomicU64::new(0) }
    }

    /// Size and age of an object.
    pub fn stat(&self, key: BlobKey) -> Result<BlobStat, BlobError> {
        if let Some(object) = self.open.get(&key) {
            return Ok(object.stat);
        }
        let path = self.folders.object(key);
        stat(fs::metadata(&path)).map_err(|error| missing("looking at", &path, error))
    }

    /// The file of an object, and the part that was asked for.
    pub fn read(&self, key: BlobKey, range: Option<ByteRange>) -> Result<BlobRead, BlobError> {
        let Object { file, stat } = self.object(key)?;
        let range = range.unwrap_or(ByteRange { offset: 0, length: stat.size });
        let fits = range.offset.checked_add(range.length).is_some_and(|end| end <= stat.size);
        if !fits {
            let beyond = format!("the range ends after its {} bytes", stat.size);
            let beyond = io::Error::new(io::ErrorKind::InvalidInput, beyond);
            return Err(failed("reading", &self.folders.object(key), beyond));
        }
        Ok(BlobRead::File(FileRange { file, offset: range.offset, length: range.length }))
    }

    /// Opened on the calling thread: it is a look into the kernel's caches as a rule, and a trip to the blocking
    /// pool costs several times as much.
    fn object(&self, key: BlobKey) -> Result<Object, BlobError> {
        if let Some(object) = self.open.get(&key) {
            return Ok(object);
        }
        let deletions = self.deletions.load(Ordering::SeqCst);
        let path = self.folders.object(key);
        let open = || -> io::Result<Object> {
            let file = File::open(&path)?;
            let stat = stat(file.metadata())?;
            Ok(Object { file: Arc::new(file), stat })
        };
        let object = open().map_err(|error| missing("opening", &path, error))?;
        self.open.insert(key, object.clone());
        // A deletion meanwhile may have looked for the key before it was inserted.
        if self.deletions.load(Ordering::SeqCst) != deletions {
            self.open.remove(&key);
        }
        Ok(object)
    }

    /// Deletes objects for all who come later.
    pub fn delete(&self, keys: &[BlobKey]) -> Result<(), BlobError> {
        let outcome = self.folders.remove(keys);
        self.deletions.fetch_add(1, Ordering::SeqCst);
        for key in keys {
            self.open.remove(key);
        }
        outcome
    }

    /// Up to `limit` blobs after `after`, in the order of their ids.
    pub fn list(
        &self,
        mut after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<(BlobId, BlobStat)>, BlobError> {
        let mut listed = Vec::new();
        for shard in shards(&self.folders.blobs(), after)? {
            loop {
                let room = limit - listed.len();
                let ids = ids(&self.folders.blobs(), &shard, after, room)?;
                for id in &ids {
                    listed.extend(self.look(*id)?);
                }
                after = ids.last().copied().or(after);
                if listed.len() == limit {
                    return Ok(listed);
                }
                // Where some have been deleted meanwhile, the folder may have more than was read.
                if ids.len() < room {
                    break;
                }
            }
        }
        Ok(listed)
    }

    fn look(&self, id: BlobId) -> Result<Option<(BlobId, BlobStat)>, BlobError> {
        let path = self.folders.object(id.into());
        match stat(fs::metadata(&path)) {
            Ok(stat) => Ok(Some((id, stat))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("looking at", &path, error)),
        }
    }
}

/// What the system knows of an object. What is no file is none that this store has made, and so not there.
fn stat(metadata: io::Result<Metadata>) -> io::Result<BlobStat> {
    let metadata = metadata?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(BlobStat { size: metadata.len(), modified: metadata.modified()? })
}

fn missing(action: &str, path: &Path, error: io::Error) -> BlobError {
    BlobError::io(format!("{action} {}", path.display()), error)
}

/// The names of the folders that may have blobs after `after`, in order.
fn shards(blobs: &Path, after: Option<BlobId>) -> Result<Vec<String>, BlobError> {
    let first = after.map(|id| id.to_string());
    let mut shards = Vec::new();
    each_name(blobs, |name| {
        // A folder's name is the beginning of its ids, so it is not after the one that is part of `first`.
        let ended = first.as_ref().is_some_and(|first| name < first.as_str() && !first.starts_with(name));
        if is_shard(name) && !ended {
            shards.push(name.to_owned());
        }
    })?;
    shards.sort_unstable();
    Ok(shards)
}

fn is_shard(name: &str) -> bool {
    name.len() == 7 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The first `limit` ids after `after` in one folder. Holds no more than these, however large the folder.
fn ids(blobs: &Path, shard: &str, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobId>, BlobError> {
    let mut first = BinaryHeap::new();
    each_name(&blobs.join(shard), |name| {
        let id = name.parse::<BlobId>().ok().filter(|_| name.starts_with(shard));
        if let Some(id) = id.filter(|id| after.is_none_or(|after| *id > after)) {
            first.push(id);
            if first.len() > limit {
                first.pop();
            }
        }
    })?;
    Ok(first.into_sorted_vec())
}

/// Calls `each` with every name in a folder that is text. A folder that is not there, or is none, has no names.
fn each_name(folder: &Path, mut each: impl FnMut(&str)) -> Result<(), BlobError> {
    let mut read = || -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            entry?.file_name().to_str().into_iter().for_each(&mut each);
        }
        Ok(())
    };
    match read() {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(())
        }
        outcome => outcome.map_err(|error| failed("reading the folder", folder, error)),
    }
}
