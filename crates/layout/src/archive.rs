//! Tar files as targets: the OCI image layout, and the same with what `docker load` looks for.
//!
//! ```text
//! blobs/<algorithm>/<hex>    blobs and manifests, in the order in which they came
//! oci-layout, index.json     the image layout
//! manifest.json              docker-archive only: the image's name, configuration and layers
//! ```

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci::{Descriptor, Digest, ManifestKind};
use transfer::{Document, Feed, Naming, Pushed, Target, TransferError};

use crate::LayoutError;
use crate::blocking::blocking;
use crate::content::{Content, blob_name};
use crate::docker_manifest;
use crate::index::Index;
use crate::layout_source::{LayoutSource, MARKER, MARKER_TEXT};
use crate::tar_index::TarIndex;
use crate::tar_writer::TarWriter;
use crate::write::write_stream;

/// Opens a layout in a tar file to read from.
pub(crate) fn open_archive(path: PathBuf) -> Result<LayoutSource, LayoutError> {
    LayoutSource::open(Content::Tar(TarIndex::read(path)?), "oci-archive")
}

/// A tar file to write.
pub(crate) struct ArchiveTarget {
    writer: Arc<TarWriter>,
    docker: Option<Docker>,
    state: Arc<Mutex<State>>,
}

/// What a file for `docker load` needs beside the layout.
struct Docker {
    /// The image's name, with its tag.
    name: Option<String>,
}

struct State {
    written: HashSet<Digest>,
    index: Index,
    docker_manifest: Option<Vec<u8>>,
}

impl ArchiveTarget {
    /// An image layout.
    pub fn oci(path: PathBuf) -> Result<Self, LayoutError> {
        Self::new(path, None)
    }

    /// A file for `docker load`, in which the image has this name.
    pub fn docker(path: PathBuf, name: Option<String>) -> Result<Self, LayoutError> {
        Self::new(path, Some(Docker { name }))
    }

    fn new(path: PathBuf, docker: Option<Docker>) -> Result<Self, LayoutError> {
        let state = State { written: HashSet::new(), index: Index::empty(), docker_manifest: None };
        let writer = Arc::new(TarWriter::create(path)?);
        Ok(Self { writer, docker, state: Arc::new(Mutex::new(state)) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, feed: &Feed) -> Result<(), TransferError> {
        let Descriptor { digest, size, .. } = *feed.descriptor();
        let writer = self.writer.clone();
        let at = blocking(move || writer.allocate(&blob_name(&digest), size)).await?;
        let path = Arc::new(self.writer.place().clone());
        write_stream(self.writer.file(), path, at, feed.from_start()).await?;
        self.state().written.insert(digest);
        Ok(())
    }

    /// Checks that a manifest can be in the file, before any of it is written.
    fn admit(&self, document: &Document, naming: Naming<'_>) -> Result<(), LayoutError> {
        let Some(docker) = &self.docker else { return Ok(()) };
        let unfit = |why: &str| LayoutError::Unfit { path: self.writer.place().clone(), why: why.into() };
        if document.manifest.kind == ManifestKind::Index || naming == Naming::Part {
            return Err(unfit(
                "a docker-archive holds a single image. Choose one with --platform, or use oci-archive:",
            ));
        }
        let described = docker_manifest::describe(document, docker.name.as_deref());
        let mut state = self.state();
        if state.docker_manifest.is_some() {
            return Err(unfit("a docker-archive holds a single image, without referrers. Use oci-archive:"));
        }
        state.docker_manifest = Some(described.map_err(unfit)?);
        Ok(())
    }

    fn list(&self, descriptor: &Descriptor, naming: Naming<'_>) {
        let mut state = self.state();
        let name = self.docker.as_ref().and_then(|docker| docker.name.as_deref());
        match (naming, name) {
            (Naming::Part, _) => {}
            (_, Some(name)) => state.index.add_image(descriptor, &docker_manifest::full(name)),
            (Naming::Root, None) => state.index.add(descriptor),
            (Naming::Tagged(tag), None) => state.index.tag(descriptor, tag),
        }
    }
}

impl Target for ArchiveTarget {
    fn place(&self) -> String {
        let scheme = if self.docker.is_some() { "docker-archive" } else { "oci-archive" };
        format!("{scheme}:{}", self.writer.place().display())
    }

    fn has<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool, TransferError>> {
        let written = self.state().written.contains(&descriptor.digest);
        async move { Ok(written) }.boxed()
    }

    fn push_blob<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<Pushed, TransferError>> {
        async move { self.write(feed).await.map(|()| Pushed::Copied) }.boxed()
    }

    fn push_manifest<'a>(
        &'a self,
        document: &'a Document,
        naming: Naming<'a>,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        async move {
            self.admit(document, naming).map_err(LayoutError::into_transfer)?;
            let digest = document.descriptor.digest;
            if self.state().written.insert(digest) {
                let (writer, bytes) = (self.writer.clone(), document.bytes.clone());
                blocking(move || writer.add(&blob_name(&digest), &bytes)).await?;
            }
            self.list(&document.descriptor, naming);
            Ok(())
        }
        .boxed()
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        let (writer, state) = (self.writer.clone(), self.state.clone());
        let work = move || {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            writer.add(MARKER, MARKER_TEXT)?;
            writer.add("index.json", &state.index.to_bytes())?;
            if let Some(manifest) = &state.docker_manifest {
                writer.add("manifest.json", manifest)?;
            }
            writer.finish()
        };
        blocking(work).boxed()
    }
}
