//! Named files, in a folder or in a tar file: the image layout is the same in both.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use oci::Digest;

use crate::LayoutError;
use crate::range::Range;
use crate::tar_index::TarIndex;

/// Where named files are.
pub(crate) enum Content {
    /// Below a folder.
    Folder(PathBuf),
    /// In a tar file.
    Tar(TarIndex),
}

impl Content {
    /// The folder or file.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::Folder(path) => path,
            Self::Tar(tar) => tar.path(),
        }
    }

    /// Opens a file; `None` where there is none. `name` is our own or has been checked by the tar index.
    pub fn open(&self, name: &str) -> Result<Option<Range>, LayoutError> {
        let folder = match self {
            Self::Tar(tar) => return Ok(tar.find(name)),
            Self::Folder(folder) => folder,
        };
        let path = folder.join(name);
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LayoutError::io(&path)(error)),
        };
        // Before it is opened: opening a pipe waits for whoever writes into it.
        if !metadata.is_file() {
            return Err(LayoutError::Form { path, what: "a file", why: "something else is there".into() });
        }
        let file = File::open(&path).map_err(LayoutError::io(&path))?;
        Ok(Some(Range { file: Arc::new(file), path: Arc::new(path), offset: 0, length: metadata.len() }))
    }

    /// Reads a small file; `None` where there is none.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<Bytes>, LayoutError> {
        self.open(name)?.map(|range| range.read(most)).transpose()
    }
}

/// Where the image layout keeps a blob.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}
