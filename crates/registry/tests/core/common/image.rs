//! Images as small as they can be.

use oci::{Digest, types};
use serde_json::{Value, json};

/// An image whose configuration and layers are these texts.
#[derive(Clone, Debug)]
pub struct Image {
    config: String,
    layers: Vec<String>,
    fields: Value,
}

impl Image {
    /// An image with one layer for each text. Its configuration is of its first layer alone.
    pub fn of(layers: &[&str]) -> Self {
        let config = format!("{{\"of\":\"{}\"}}", layers.first().unwrap_or(&""));
        Self { config, layers: layers.iter().map(|&layer| layer.to_owned()).collect(), fields: json!({}) }
    }

    /// The image, about another manifest.
    pub fn about(mut self, subject: Digest, artifact_type: &str) -> Self {
        self.fields["subject"] = descriptor(types::OCI_MANIFEST, subject, 1);
        self.fields["artifactType"] = artifact_type.into();
        self
    }

    /// The image, with one annotation.
    pub fn annotated(mut self, value: &str) -> Self {
        self.fields["annotations"] = json!({"note": value});
        self
    }

    /// The texts of its blobs.
    pub fn contents(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.config).chain(&self.layers).map(String::as_str)
    }

    /// The digests of its blobs, in the order of digests.
    pub fn blobs(&self) -> Vec<Digest> {
        let mut digests: Vec<Digest> =
            self.contents().map(|content| Digest::sha256(content.as_bytes())).collect();
        digests.sort_unstable();
        digests.dedup();
        digests
    }

    /// Its manifest.
    pub fn bytes(&self) -> Vec<u8> {
        let mut manifest = self.fields.clone();
        manifest["schemaVersion"] = 2.into();
        manifest["mediaType"] = types::OCI_MANIFEST.into();
        manifest["config"] = of_text(types::OCI_CONFIG, &self.config);
        manifest["layers"] = self.layers.iter().map(|layer| of_text("a/layer", layer)).collect();
        manifest.to_string().into_bytes()
    }

    /// The digest of its manifest.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.bytes())
    }
}

/// An index of manifests, which need not exist; with an artifact type for each, where there is one.
pub fn index(manifests: &[(Digest, Option<&str>)]) -> Vec<u8> {
    let entries = manifests.iter().map(|(digest, artifact_type)| {
        let mut entry = descriptor(types::OCI_MANIFEST, *digest, 1);
        if let Some(artifact_type) = artifact_type {
            entry["artifactType"] = (*artifact_type).into();
        }
        entry
    });
    let entries: Vec<Value> = entries.collect();
    json!({"schemaVersion": 2, "mediaType": types::OCI_INDEX, "manifests": entries}).to_string().into_bytes()
}

fn of_text(media_type: &str, content: &str) -> Value {
    descriptor(media_type, Digest::sha256(content.as_bytes()), content.len())
}

fn descriptor(media_type: &str, digest: Digest, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
}
