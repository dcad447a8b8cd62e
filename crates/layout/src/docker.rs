//! The files of `docker save` as a source.
//!
//! New files are image layouts, too: then the manifest in them is used, with its digest. Of old ones a manifest
//! is made that names their layers as they are, uncompressed, so that every digest can be verified.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use oci::{Algorithm, Descriptor, Digest, Hasher, MediaType, Reference, types};
use serde::Deserialize;
use serde_json::json;
use transfer::{ByteStream, Source, TransferError};

use crate::LayoutError;
use crate::content::Content;
use crate::docker_manifest::{self, Item};
use crate::layout_source::LayoutSource;
use crate::range::Range;
use crate::tar_index::TarIndex;

/// The most bytes of a configuration.
const CONFIG: u64 = 16 << 20;

/// How much of a compressed layer is hashed at once.
const PIECE: u64 = 1 << 20;

/// Opens the image `name` in such a file, or the only one.
pub(crate) fn open_docker_archive(path: PathBuf, name: Option<&str>) -> Result<Arc<dyn Source>, LayoutError> {
    let tar = TarIndex::read(path.clone())?;
    let missing = |what: &str| LayoutError::Form {
        path: path.clone(),
        what: "a file of `docker save`",
        why: format!("there is no {} in it", crate::local_ref::shorten(what)),
    };
    let manifest = tar.find("manifest.json").ok_or_else(|| missing("manifest.json"))?;
    let item = docker_manifest::choose(&manifest.read(docker_manifest::SIZE)?, name, &path)?;
    let config = tar.find(&item.config).ok_or_else(|| missing(&item.config))?.read(CONFIG)?;
    let layers = find_layers(&tar, &item).map_err(missing)?;
    if tar.find("index.json").is_some()
        && let Some(layout) = open_layout(tar, &config)?
    {
        return Ok(Arc::new(layout));
    }
    Ok(Arc::new(Classic::new(path, config, layers)?))
}

fn find_layers<'a>(tar: &TarIndex, item: &'a Item) -> Result<Vec<Range>, &'a str> {
    item.layers.iter().flatten().map(|layer| tar.find(layer).ok_or(layer.as_str())).collect()
}

/// The layout in the file, about the image with this configuration. `None` where it is not in it.
fn open_layout(tar: TarIndex, config: &[u8]) -> Result<Option<LayoutSource>, LayoutError> {
    let layout = LayoutSource::open(Content::Tar(tar), "docker-archive")?;
    let wanted = Digest::sha256(config);
    let found = layout.manifests()?.into_iter().find(|found| found.config == Some(wanted));
    Ok(found.map(|found| layout.about(found.descriptor)))
}

/// A file whose manifest is made here.
struct Classic {
    path: PathBuf,
    root: Descriptor,
    manifest: Bytes,
    config: (Digest, Bytes),
    layers: HashMap<Digest, Range>,
}

impl Classic {
    fn new(path: PathBuf, config: Bytes, ranges: Vec<Range>) -> Result<Self, LayoutError> {
        let wrong =
            |why: String| LayoutError::Form { path: path.clone(), what: "a file of `docker save`", why };
        let diff_ids = diff_ids(&config).map_err(|error| wrong(format!("its configuration: {error}")))?;
        if diff_ids.len() != ranges.len() {
            let why =
                format!("it has {} layers, but its configuration names {}", ranges.len(), diff_ids.len());
            return Err(wrong(why));
        }
        let mut descriptors = Vec::new();
        let mut layers = HashMap::new();
        for (range, diff_id) in ranges.into_iter().zip(diff_ids) {
            let (media_type, digest) = describe_layer(&range, diff_id)?;
            descriptors.push(Descriptor::new(media_type, digest, range.length));
            layers.insert(digest, range);
        }
        let digest = Digest::sha256(&config);
        let about_config = Descriptor::new(media_type(types::OCI_CONFIG), digest, config.len() as u64);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": types::OCI_MANIFEST,
            "config": about_config,
            "layers": descriptors,
        });
        let manifest = Bytes::from(manifest.to_string());
        let root = Descriptor::new(
            media_type(types::OCI_MANIFEST),
            Digest::sha256(&manifest),
            manifest.len() as u64,
        );
        Ok(Self { path, root, manifest, config: (digest, config), layers })
    }

    fn not_found(&self, what: impl ToString) -> TransferError {
        TransferError::NotFound { what: what.to_string(), place: self.place() }
    }
}

fn media_type(text: &str) -> MediaType {
    text.parse().unwrap_or_else(|_| unreachable!("a constant media type"))
}

/// The digests of the layers' uncompressed bytes, which the configuration names.
fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        #[serde(default)]
        diff_ids: Vec<Digest>,
    }
    serde_json::from_slice::<Config>(config).map(|config| config.rootfs.diff_ids)
}

/// The type and the digest of a layer. Docker leaves them uncompressed, so the digest is known; of a compressed
/// one, as other tools write them, it has to be computed.
fn describe_layer(range: &Range, diff_id: Digest) -> Result<(MediaType, Digest), LayoutError> {
    let head = Range { length: range.length.min(4), ..range.clone() }.read(4)?;
    let compressed = match head.as_ref() {
        [0x1f, 0x8b, ..] => "application/vnd.oci.image.layer.v1.tar+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => return Ok((media_type("application/vnd.oci.image.layer.v1.tar"), diff_id)),
    };
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut at = 0;
    while at < range.length {
        let length = PIECE.min(range.length - at);
        let piece = Range { offset: range.offset + at, length, ..range.clone() }.read(PIECE)?;
        hasher.update(&piece);
        at += length;
    }
    Ok((media_type(compressed), hasher.finish()))
}

impl Source for Classic {
    fn place(&self) -> String {
        format!("docker-archive:{}", self.path.display())
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
            if descriptor.digest == self.root.digest {
                Ok(self.manifest.clone())
            } else {
                Err(self.not_found(descriptor.digest))
            }
        }
        .boxed()
    }

    fn blob<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        offset: u64,
    ) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        async move {
            let (digest, config) = &self.config;
            if descriptor.digest == *digest {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(config.len());
                let rest = config.slice(start..);
                return Ok(futures_util::stream::once(async { Ok(rest) }).boxed());
            }
            let range = self.layers.get(&descriptor.digest).cloned();
            Ok(range.ok_or_else(|| self.not_found(descriptor.digest))?.stream(offset))
        }
        .boxed()
    }

    fn referrers<'a>(&'a self, _digest: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, TransferError>> {
        // Such files have no room for them.
        async { Ok(Vec::new()) }.boxed()
    }
}
