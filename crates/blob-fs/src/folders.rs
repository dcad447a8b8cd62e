//! The folders of a store: how a file comes to its final name and goes from it, durably.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use blob::{BlobError, BlobKey};

use crate::failed;
use crate::flush::{Flusher, sync_folder};
use crate::name::{self, StagedName};

/// The folders below the root of a store.
pub(crate) struct Folders {
    root: PathBuf,
    /// The folders of objects that are known to be there, durably. Renames into them hold the lock for reading,
    /// so that a folder found empty can be removed under the lock for writing.
    known: RwLock<HashSet<PathBuf>>,
    /// Held from the look for an object's name to its taking, for nothing may be replaced.
    writing: Mutex<()>,
    flusher: Flusher,
}

impl Folders {
    /// Makes what is missing, durably.
    pub fn open(root: &Path) -> Result<Self, BlobError> {
        let make = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(root)?;
            for folder in ["blobs", "segments", "uploads"] {
                make_folder(&root.join(folder))?;
            }
            sync_folder(root)?;
            root.parent().filter(|parent| *parent != Path::new("")).map_or(Ok(()), sync_folder)
        };
        make().map_err(|error| failed("making the folder", root, error))?;
        Ok(Self {
            root: root.to_owned(),
            known: RwLock::default(),
            writing: Mutex::default(),
            flusher: Flusher::default(),
        })
    }

    /// Where an object is.
    pub fn object(&self, key: BlobKey) -> PathBuf {
        self.root.join(key.path())
    }

    /// Where the folders of blobs are.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Where the bytes of an upload are.
    pub fn upload(&self, name: &StagedName) -> PathBuf {
        self.root.join("uploads").join(name.to_string())
    }

    /// The uploads that are there, each with the time of its last write. Removes what writes have left behind.
    pub fn staged(&self) -> Result<Vec<(StagedName, SystemTime)>, BlobError> {
        let uploads = self.root.join("uploads");
        let read = || -> io::Result<_> {
            let mut staged = Vec::new();
            for entry in fs::read_dir(&uploads)? {
                let entry = entry?;
                let Ok(file) = entry.file_name().into_string() else { continue };
                let metadata = entry.metadata()?;
                if !metadata.is_file() {
                    continue;
                }
                if let Ok(name) = file.parse::<StagedName>() {
                    staged.push((name, metadata.modified()?));
                } else if name::is_temporary(&file) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(staged)
        };
        read().map_err(|error| failed("reading the folder", &uploads, error))
    }

    /// Gives a file its final name. Neither the name nor the bytes are durable by this alone.
    pub fn place(&self, file: &Path, key: BlobKey) -> io::Result<()> {
        let object = self.object(key);
        let folder = object.parent().unwrap_or(&self.root);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.contains(folder) {
            return fs::rename(file, &object);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        make_folder(folder)?;
        sync_folder(folder.parent().unwrap_or(&self.root))?;
        known.insert(folder.to_owned());
        fs::rename(file, &object)
    }

    /// Makes the name of an object durable.
    pub fn sync(&self, key: BlobKey) -> io::Result<()> {
        let object = self.object(key);
        self.flusher.sync(object.parent().unwrap_or(&self.root))
    }

    /// Stores an object whole, unless there is one of that name.
    pub fn write(&self, key: BlobKey, content: &[u8]) -> Result<(), BlobError> {
        let temporary = self.root.join("uploads").join(name::temporary());
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(content)?;
            // Before the rename, unlike for blobs: a reader finds a segment by its number, whole or not at all.
            file.sync_data()?;
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            if fs::exists(self.object(key))? {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            self.place(&temporary, key)?;
            self.sync(key)
        };
        write().map_err(|error| {
            // What cannot be removed now is removed when the store is opened next.
            let _ = fs::remove_file(&temporary);
            failed("writing", &self.object(key), error)
        })
    }

    /// Removes objects, and the folders of blobs that this leaves empty.
    ///
    /// Nothing is flushed: an object that a power cut brings back is one that nothing refers to.
    pub fn remove(&self, keys: &[BlobKey]) -> Result<(), BlobError> {
        let mut folders = BTreeSet::new();
        for key in keys {
            let object = self.object(*key);
            remove_file(&object).map_err(|error| failed("deleting", &object, error))?;
            if let (BlobKey::Blob(_), Some(folder)) = (key, object.parent()) {
                folders.insert(folder.to_owned());
            }
        }
        for folder in folders {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            // Most often it fails because there are other objects in the folder.
            if fs::remove_dir(&folder).is_ok() {
                known.remove(&folder);
            }
        }
        Ok(())
    }

    /// Removes the bytes of an upload.
    pub fn remove_staged(&self, name: &StagedName) -> Result<(), BlobError> {
        let path = self.upload(name);
        remove_file(&path).map_err(|error| failed("deleting", &path, error))
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
