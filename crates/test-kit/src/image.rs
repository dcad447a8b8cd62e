//! Random images, written to disk as an OCI image layout that every tool can push.
//!
//! Layers are real archives with right `diff_ids`, because dockerd, containerd and podman unpack them.

use crate::{random, sha256};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Media type of an image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a compressed layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of a Docker schema 2 image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What a manifest or an index says about something that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its media type.
    pub media_type: String,
    /// Its digest, `sha256:<hex>`.
    pub digest: String,
    /// Its length in bytes.
    pub size: usize,
}

impl Descriptor {
    /// Describes some bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Descriptor { media_type: media_type.to_owned(), digest: sha256(bytes), size: bytes.len() }
    }

    /// Its JSON form.
    pub fn json(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.size})
    }
}

/// What image to make; equal specs give equal bytes.
#[derive(Debug, Clone, Copy)]
pub struct ImageSpec {
    /// Decides the content.
    pub seed: u64,
    /// How many layers.
    pub layers: usize,
    /// Bytes in the one file of each layer.
    pub layer_size: usize,
    /// Processor architecture, in Go's words.
    pub architecture: &'static str,
}

impl Default for ImageSpec {
    fn default() -> Self {
        ImageSpec { seed: 1, layers: 2, layer_size: 50_000, architecture: "amd64" }
    }
}

/// An OCI image layout under construction.
pub struct Layout {
    dir: PathBuf,
    entries: Vec<Value>,
}

impl Layout {
    /// Starts an empty layout in `dir`, which is created.
    pub fn create(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).expect("the layout's folder can be made");
        let layout = Layout { dir: dir.to_owned(), entries: Vec::new() };
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("a file can be written");
        layout.write_index();
        layout
    }

    /// The folder of this layout.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stores a blob.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        fs::write(self.blob_path(&descriptor.digest), bytes).expect("a blob can be written");
        descriptor
    }

    /// The bytes of a blob that was stored here.
    pub fn read(&self, digest: &str) -> Vec<u8> {
        fs::read(self.blob_path(digest)).unwrap_or_else(|error| panic!("{digest}: {error}"))
    }

    /// Makes an image of random layers.
    pub fn image(&self, spec: &ImageSpec) -> Descriptor {
        let mut diff_ids = Vec::new();
        let mut layers = Vec::new();
        for number in 0..spec.layers {
            let archive = layer_archive(spec, number);
            diff_ids.push(sha256(&archive));
            layers.push(self.blob(LAYER, &gzip(&archive)).json());
        }
        let config = json!({
            "created": "2026-01-01T00:00:00Z",
            "architecture": spec.architecture,
            "os": "linux",
            "config": {"Cmd": ["/none"], "Labels": {"seed": spec.seed.to_string()}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            // Who converts an image to older formats needs it.
            "history": vec![json!({"created_by": "none"}); spec.layers],
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes()).json();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Makes an index of images, one for each architecture.
    pub fn index(&self, spec: &ImageSpec, architectures: &[&'static str]) -> Descriptor {
        let manifests = architectures.iter().enumerate().map(|(number, architecture)| {
            let seed = spec.seed * 1000 + number as u64;
            let mut entry = self.image(&ImageSpec { seed, architecture, ..*spec }).json();
            entry["platform"] = json!({"architecture": architecture, "os": "linux"});
            entry
        });
        let index =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests.collect::<Vec<_>>()});
        self.blob(INDEX, index.to_string().as_bytes())
    }

    /// Gives something stored here a tag.
    pub fn tag(&mut self, descriptor: &Descriptor, tag: &str) {
        let mut entry = descriptor.json();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.entries.push(entry);
        self.write_index();
    }

    fn write_index(&self) {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries});
        fs::write(self.dir.join("index.json"), index.to_string()).expect("a file can be written");
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs").join(digest.replace(':', "/"))
    }
}

/// One layer: a folder with one file of random bytes.
fn layer_archive(spec: &ImageSpec, number: usize) -> Vec<u8> {
    let content = random::bytes(spec.seed.wrapping_mul(31) + number as u64, spec.layer_size);
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    let name = format!("data-{}-{number}", spec.seed);
    archive.append_data(&mut header, name, content.as_slice()).expect("memory takes an archive");
    archive.into_inner().expect("memory takes an archive")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes bytes");
    encoder.finish().expect("memory takes bytes")
}
