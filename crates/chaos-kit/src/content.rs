//! What is pushed: blobs that a seed makes again at any time, and manifests that name them.

use power_cut::Dice;
use sha2::Digest;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The digest of some bytes as the protocol writes it.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

/// A blob of random bytes, kept as its seed.
#[derive(Clone, Debug)]
pub struct Blob {
    seed: u64,
    /// Bytes in it.
    pub size: usize,
    /// `sha256:<hex>`
    pub digest: String,
}

impl Blob {
    /// The blob that this seed and size always make.
    pub fn new(seed: u64, size: usize) -> Self {
        Self { seed, size, digest: digest(&Dice::new(seed).bytes(size)) }
    }

    /// A blob of random content and size: mostly small, at times a mebibyte.
    pub fn any(dice: &mut Dice) -> Self {
        let most = match dice.below(10) {
            0..5 => 4 << 10,
            5..9 => 64 << 10,
            _ => 1 << 20,
        };
        Self::new(dice.roll(), 1 + dice.below(most) as usize)
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        Dice::new(self.seed).bytes(self.size)
    }

    fn descriptor(&self, media_type: &str) -> String {
        descriptor(media_type, &self.digest, self.size)
    }
}

/// A manifest or an index, with what has to be there for it to be whole.
#[derive(Debug)]
pub struct Document {
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes, as they are pushed and must be served.
    pub bytes: Vec<u8>,
    /// `sha256:<hex>`
    pub digest: String,
    /// The blobs that it names.
    pub blobs: Vec<Blob>,
    /// The digest of the manifest that it is about.
    pub subject: Option<String>,
}

impl Document {
    /// An image of these layers.
    pub fn image(config: Blob, layers: Vec<Blob>) -> Self {
        Self::manifest(config, layers, None)
    }

    /// Something about another manifest, such as a signature.
    pub fn artifact(config: Blob, layers: Vec<Blob>, subject: &Document) -> Self {
        Self::manifest(config, layers, Some(subject))
    }

    /// A list of manifests.
    pub fn index(children: &[&Document], note: u64) -> Self {
        let children: Vec<String> = children.iter().map(|child| child.descriptor()).collect();
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}],"annotations":{{"note":"{note}"}}}}"#,
            children.join(",")
        );
        Self::new(INDEX, json, Vec::new(), None)
    }

    fn manifest(config: Blob, layers: Vec<Blob>, subject: Option<&Document>) -> Self {
        let about = subject.map(|subject| format!(r#","subject":{}"#, subject.descriptor()));
        let described: Vec<String> = layers.iter().map(|layer| layer.descriptor(LAYER)).collect();
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]{}}}"#,
            config.descriptor(CONFIG),
            described.join(","),
            about.unwrap_or_default()
        );
        let mut blobs = layers;
        blobs.push(config);
        Self::new(MANIFEST, json, blobs, subject.map(|subject| subject.digest.clone()))
    }

    fn new(media_type: &'static str, json: String, blobs: Vec<Blob>, subject: Option<String>) -> Self {
        let bytes = json.into_bytes();
        Self { media_type, digest: digest(&bytes), bytes, blobs, subject }
    }

    fn descriptor(&self) -> String {
        descriptor(self.media_type, &self.digest, self.bytes.len())
    }
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}
