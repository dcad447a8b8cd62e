//! Images made by hand, and copies between local ends.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;
use std::sync::Arc;

use layout::LocalRef;
use oci::{Descriptor, Digest, types};
use serde_json::{Value, json};
use transfer::{Options, Report, Silent, Source, TransferError, copy_graph};

pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// Writes blobs into a layout.
pub struct Maker<'a>(pub &'a Path);

impl Maker<'_> {
    pub fn put(&self, media_type: &str, content: &[u8]) -> Descriptor {
        let digest = Digest::sha256(content);
        let folder = self.0.join("blobs/sha256");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(digest.hex()), content).unwrap();
        Descriptor::new(media_type.parse().unwrap(), digest, content.len() as u64)
    }

    pub fn json(&self, media_type: &str, document: &Value) -> Descriptor {
        self.put(media_type, document.to_string().as_bytes())
    }

    /// An image with these layers, uncompressed.
    pub fn image(&self, architecture: &str, layers: &[&[u8]], subject: Option<&Descriptor>) -> Descriptor {
        let layers: Vec<Descriptor> = layers.iter().map(|layer| self.put(TAR, layer)).collect();
        let ids: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
        let config = json!({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": ids}});
        let config = self.json(types::OCI_CONFIG, &config);
        let mut manifest =
            json!({"schemaVersion": 2, "mediaType": types::OCI_MANIFEST, "config": config, "layers": layers});
        if let Some(subject) = subject {
            manifest["subject"] = json!(subject);
        }
        self.json(types::OCI_MANIFEST, &manifest)
    }

    /// Makes the folder a layout with these roots; the first has the tag `v1`.
    pub fn finish(&self, roots: &[&Descriptor]) {
        let mut entries = json!(roots);
        entries[0]["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
        let index = json!({"schemaVersion": 2, "manifests": entries});
        std::fs::write(self.0.join("index.json"), index.to_string()).unwrap();
        std::fs::write(self.0.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

pub fn end(text: impl AsRef<str>) -> LocalRef {
    text.as_ref().parse().unwrap()
}

/// Copies what `from` names to `to`.
pub async fn copy(
    from: &LocalRef,
    to: &LocalRef,
    options: Options,
) -> Result<(Descriptor, Report), TransferError> {
    let source = from.source().await?;
    copy_from(source, from, to, options).await
}

pub async fn copy_from(
    source: Arc<dyn Source>,
    from: &LocalRef,
    to: &LocalRef,
    mut options: Options,
) -> Result<(Descriptor, Report), TransferError> {
    let root = source.resolve(from.reference()).await?;
    if let Some(oci::Reference::Tag(tag)) = to.reference() {
        options.tags = vec![tag.clone()];
    }
    let report = copy_graph(source, to.target().await?, root.clone(), &options, Arc::new(Silent)).await?;
    Ok((root, report))
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
