//! An OCI image layout in a folder.
//!
//! ```text
//! DIR/oci-layout                    says what this is; locked by whoever changes the index
//! DIR/index.json                    tags and roots, replaced whole
//! DIR/blobs/<algorithm>/<hex>       blobs and manifests, complete or not there
//! DIR/.partial/<algorithm>-<hex>    what has arrived of a blob; the next copy goes on with it
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci::{Descriptor, Digest, Manifest, ManifestLimits, Tag};
use transfer::{Document, Feed, Naming, Pushed, Target, TransferError};

use crate::LayoutError;
use crate::blocking::blocking;
use crate::content::{Content, blob_name};
use crate::index::{self, Index};
use crate::layout_source::{LayoutSource, MARKER, MARKER_TEXT, is_index};
use crate::write::{remove_if_empty, write_blob, write_once, write_small};

/// Opens a layout to read from.
pub(crate) fn open_folder(path: PathBuf) -> Result<LayoutSource, LayoutError> {
    if !path.is_dir() {
        let why = "there is no such folder".into();
        return Err(LayoutError::Form { path, what: "an OCI image layout", why });
    }
    LayoutSource::open(Content::Folder(path), "oci")
}

/// A layout to write to.
pub(crate) struct FolderTarget {
    path: PathBuf,
}

impl FolderTarget {
    /// Opens a layout, or makes one in an empty or new folder.
    pub fn open(path: PathBuf) -> Result<Self, LayoutError> {
        claim(&path, MARKER, MARKER_TEXT, "an OCI image layout")?;
        Ok(Self { path })
    }

    fn place_of(&self, digest: &Digest) -> PathBuf {
        self.path.join(blob_name(digest))
    }
}

/// Makes an empty or new folder `what` by putting a marker into it, unless it is that already.
pub(crate) fn claim(path: &Path, marker: &str, text: &[u8], what: &'static str) -> Result<(), LayoutError> {
    fs::create_dir_all(path).map_err(LayoutError::io(path))?;
    let marker = path.join(marker);
    if marker.exists() {
        return Ok(());
    }
    match refuse_strangers(path, what) {
        // Another copy has put it there since we looked: what is there is that one's.
        Err(_) if marker.exists() => Ok(()),
        outcome => {
            outcome?;
            write_once(&marker, text)
        }
    }
}

/// A folder of other things is not written into: it is more likely a mistake than a wish.
fn refuse_strangers(path: &Path, what: &'static str) -> Result<(), LayoutError> {
    let mut entries = fs::read_dir(path).map_err(LayoutError::io(path))?;
    // Temporary files of ours do not count: an earlier run may have died over them.
    let strange = entries
        .any(|entry| entry.is_ok_and(|entry| !entry.file_name().to_string_lossy().starts_with(".wharf-")));
    if strange {
        let why = "the folder holds other things. Name an empty or a new one".into();
        return Err(LayoutError::Form { path: path.to_owned(), what, why });
    }
    Ok(())
}

/// Is there a complete file of this size?
pub(crate) fn is_there(path: &Path, size: u64) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

/// A manifest counts as there when its blobs are: another tool may have left it half done.
fn holds(folder: &Path, descriptor: &Descriptor) -> Result<bool, LayoutError> {
    let path = folder.join(blob_name(&descriptor.digest));
    if !is_there(&path, descriptor.size) {
        return Ok(false);
    }
    if !descriptor.media_type.is_manifest() || is_index(descriptor) {
        return Ok(true);
    }
    let limits = ManifestLimits::default();
    let content = Content::Folder(folder.to_owned());
    let Some(bytes) = content.read(&blob_name(&descriptor.digest), limits.size as u64)? else {
        return Ok(false);
    };
    let Ok(manifest) = Manifest::parse(&bytes, Some(&descriptor.media_type), &limits) else {
        return Ok(false);
    };
    let required = manifest.children.iter().filter(|child| child.role.is_required_blob());
    let mut required = required.map(|child| &child.descriptor);
    Ok(required.all(|blob| is_there(&folder.join(blob_name(&blob.digest)), blob.size)))
}

/// Stores a manifest, and lists it in the index where it is more than a part of another.
fn store(folder: &Path, document: &Document, listed: Option<Option<Tag>>) -> Result<(), LayoutError> {
    let descriptor = &document.descriptor;
    let place = folder.join(blob_name(&descriptor.digest));
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(LayoutError::io(parent))?;
    }
    if !is_there(&place, descriptor.size) {
        write_small(&place, &document.bytes)?;
    }
    let Some(tag) = listed else { return Ok(()) };
    // The marker is never replaced, so all who change the index meet at its lock.
    let marker = folder.join(MARKER);
    // NFS wants to write where it locks; a marker of somebody else's can be locked elsewhere at least.
    let writable = File::options().read(true).write(true).open(&marker);
    let lock = writable.or_else(|_| File::open(&marker)).map_err(LayoutError::io(&marker))?;
    lock.lock().map_err(LayoutError::io(&marker))?;
    let content = Content::Folder(folder.to_owned());
    let mut index = match content.read("index.json", index::SIZE)? {
        Some(bytes) => Index::parse(&bytes, folder)?,
        None => Index::empty(),
    };
    match tag {
        Some(tag) => index.tag(descriptor, &tag),
        None => index.add(descriptor),
    }
    write_small(&folder.join("index.json"), &index.to_bytes())
}

impl Target for FolderTarget {
    fn place(&self) -> String {
        format!("oci:{}", self.path.display())
    }

    fn has<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool, TransferError>> {
        async move {
            let (folder, descriptor) = (self.path.clone(), descriptor.clone());
            blocking(move || holds(&folder, &descriptor)).await
        }
        .boxed()
    }

    fn push_blob<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<Pushed, TransferError>> {
        async move {
            let digest = feed.descriptor().digest;
            let place = self.place_of(&digest);
            let parent = place.parent().map(Path::to_owned).unwrap_or_default();
            blocking(move || fs::create_dir_all(&parent).map_err(LayoutError::io(&parent))).await?;
            let partial = format!(".partial/{}-{}", digest.algorithm().name(), digest.hex());
            write_blob(feed, place, self.path.join(partial)).await?;
            Ok(Pushed::Copied)
        }
        .boxed()
    }

    fn push_manifest<'a>(
        &'a self,
        document: &'a Document,
        naming: Naming<'a>,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            let (folder, document) = (self.path.clone(), document.clone());
            let listed = match naming {
                Naming::Part => None,
                Naming::Root => Some(None),
                Naming::Tagged(tag) => Some(Some(tag.clone())),
            };
            blocking(move || store(&folder, &document, listed)).await
        }
        .boxed()
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        let partial = self.path.join(".partial");
        blocking(move || remove_if_empty(&partial)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::Barrier;

    use super::*;
    use crate::dir::DirTarget;

    #[test]
    fn copies_that_begin_at_once_share_the_folder() {
        let check = |open: fn(PathBuf) -> Result<(), LayoutError>| {
            for _ in 0..50 {
                let folder = tempfile::tempdir().unwrap();
                let start = Barrier::new(4);
                let begin = || {
                    start.wait();
                    open(folder.path().to_owned()).unwrap();
                };
                std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(begin))));
            }
        };
        check(|path| FolderTarget::open(path).map(drop));
        check(|path| DirTarget::open(path).map(drop));
    }

    #[test]
    fn the_marker_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join(MARKER);
        let inode = || fs::metadata(&marker).unwrap().ino();
        write_once(&marker, MARKER_TEXT).unwrap();
        let first = inode();
        // As a copy does that looked before the marker was there.
        write_once(&marker, MARKER_TEXT).unwrap();
        assert_eq!(inode(), first);
    }
}
