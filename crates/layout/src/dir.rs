//! Skopeo's flat folders: one image, each blob a file.
//!
//! ```text
//! DIR/version               says what this is
//! DIR/manifest.json         the manifest or the index
//! DIR/<hex>.manifest.json   the manifests of an index
//! DIR/<hex>                 blobs
//! DIR/.partial/<hex>        what has arrived of a blob; the next copy goes on with it
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci::{Descriptor, Digest, Manifest, ManifestLimits, Reference};
use transfer::{ByteStream, Document, Feed, Naming, Pushed, Source, Target, TransferError};

use crate::LayoutError;
use crate::blocking::blocking;
use crate::content::Content;
use crate::folder::{claim, is_there};
use crate::write::{remove_if_empty, write_blob, write_small};

/// What the version file says.
const VERSION: &str = "Directory Transport Version: ";

/// The version that is written.
const VERSION_TEXT: &[u8] = b"Directory Transport Version: 1.1\n";

/// What the root is called.
const ROOT: &str = "manifest.json";

fn part_name(digest: &Digest) -> String {
    format!("{}.manifest.json", digest.hex())
}

fn form(path: &Path, why: &str) -> LayoutError {
    LayoutError::Form { path: path.to_owned(), what: "a folder that skopeo wrote", why: why.into() }
}

/// Such a folder to read from.
pub(crate) struct DirSource {
    content: Arc<Content>,
    path: PathBuf,
    root: Descriptor,
}

impl DirSource {
    /// Opens it.
    pub fn open(path: PathBuf) -> Result<Self, LayoutError> {
        let content = Content::Folder(path.clone());
        // The oldest folders have no version.
        if let Some(version) = content.read("version", 1 << 10)?
            && !version.starts_with(VERSION.as_bytes())
        {
            return Err(form(&path, "its file `version` says something else"));
        }
        let limits = ManifestLimits::default();
        let bytes = content
            .read(ROOT, limits.size as u64)?
            .ok_or_else(|| form(&path, "there is no manifest.json in it"))?;
        let manifest =
            Manifest::parse(&bytes, None, &limits).map_err(|error| form(&path, &error.to_string()))?;
        let root = Descriptor::new(manifest.media_type, Digest::sha256(&bytes), bytes.len() as u64);
        Ok(Self { content: Arc::new(content), path, root })
    }

    fn not_found(&self, what: impl ToString) -> TransferError {
        TransferError::NotFound { what: what.to_string(), place: Source::place(self) }
    }
}

impl Source for DirSource {
    fn place(&self) -> String {
        format!("dir:{}", self.path.display())
    }

    fn resolve<'a>(
        &'a self,
        reference: Option<&'a Reference>,
    ) -> BoxFuture<'a, Result<Descriptor, TransferError>> {
        async move {
            match reference {
                None => Ok(self.root.clone()),
                Some(Reference::Digest(digest)) if *digest == self.root.digest => Ok(self.root.clone()),
                Some(other) => Err(self.not_found(other)),
            }
        }
        .boxed()
    }

    fn manifest<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<Bytes, TransferError>> {
        async move {
            let is_root = descriptor.digest == self.root.digest;
            let name = if is_root { ROOT.to_owned() } else { part_name(&descriptor.digest) };
            let content = self.content.clone();
            let found = blocking(move || content.read(&name, ManifestLimits::default().size as u64)).await?;
            found.ok_or_else(|| self.not_found(descriptor.digest))
        }
        .boxed()
    }

    fn blob<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        offset: u64,
    ) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        async move {
            let (content, name) = (self.content.clone(), descriptor.digest.hex());
            let found = blocking(move || content.open(&name)).await?;
            Ok(found.ok_or_else(|| self.not_found(descriptor.digest))?.stream(offset))
        }
        .boxed()
    }

    fn referrers<'a>(&'a self, _digest: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, TransferError>> {
        // Such folders have no room for them.
        async { Ok(Vec::new()) }.boxed()
    }
}

/// Such a folder to write to.
pub(crate) struct DirTarget {
    path: PathBuf,
    root: Mutex<Option<Digest>>,
}

impl DirTarget {
    /// Opens it, or makes one in an empty or new folder.
    pub fn open(path: PathBuf) -> Result<Self, LayoutError> {
        claim(&path, "version", VERSION_TEXT, "a folder that skopeo wrote")?;
        Ok(Self { path, root: Mutex::new(None) })
    }

    /// There is room for one root.
    fn claim(&self, digest: Digest) -> Result<(), LayoutError> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if root.is_some_and(|root| root != digest) {
            let why = "such a folder holds a single image, without referrers. Use oci:".into();
            return Err(LayoutError::Unfit { path: self.path.clone(), why });
        }
        *root = Some(digest);
        Ok(())
    }
}

impl Target for DirTarget {
    fn place(&self) -> String {
        format!("dir:{}", self.path.display())
    }

    fn has<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool, TransferError>> {
        async move {
            // Manifests are small, and whether all their blobs are there would have to be found out anyway.
            if descriptor.media_type.is_manifest() {
                return Ok(false);
            }
            let (path, size) = (self.path.join(descriptor.digest.hex()), descriptor.size);
            blocking(move || Ok(is_there(&path, size))).await
        }
        .boxed()
    }

    fn push_blob<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<Pushed, TransferError>> {
        async move {
            let hex = feed.descriptor().digest.hex();
            let partial = self.path.join(format!(".partial/{hex}"));
            write_blob(feed, self.path.join(hex), partial).await?;
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
            let digest = document.descriptor.digest;
            let name = if naming == Naming::Part {
                part_name(&digest)
            } else {
                self.claim(digest).map_err(LayoutError::into_transfer)?;
                ROOT.to_owned()
            };
            let (path, bytes) = (self.path.join(name), document.bytes.clone());
            blocking(move || write_small(&path, &bytes)).await
        }
        .boxed()
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        let partial = self.path.join(".partial");
        blocking(move || remove_if_empty(&partial)).boxed()
    }
}
