//! Test data: unique blobs of any size at the price of one, and the images made of them.
//!
//! A payload is one run of random bytes; blob number N of it is those bytes and N. The hash state after
//! the shared bytes is kept, so the digest of a further blob costs microseconds and no timed part hashes.

use super::client::Blob;
use sha2::{Digest, Sha256};

/// The bytes at the end of each blob that carry its number.
const TAIL: usize = 16;

/// A family of unique blobs of one size.
pub struct Payload {
    base: Vec<u8>,
    repeats: usize,
    state: Sha256,
}

impl Payload {
    /// Blobs of `size` bytes; `seed` tells families apart.
    pub fn new(size: usize, seed: u64) -> Payload {
        Self::repeated(size, 1, seed)
    }

    /// Blobs of `size * repeats` bytes that take `size` bytes of memory.
    pub fn repeated(size: usize, repeats: usize, seed: u64) -> Payload {
        let base = random_bytes(size, seed);
        let mut state = Sha256::new();
        (1..repeats).for_each(|_| state.update(&base));
        state.update(&base[..size - TAIL]);
        Payload { base, repeats, state }
    }

    /// The end of blob `number`.
    pub fn tail(number: u64) -> [u8; TAIL] {
        let mut tail = *b"wharf---........";
        tail[8..].copy_from_slice(&number.to_be_bytes());
        tail
    }

    /// The digest of blob `number`.
    pub fn digest(&self, number: u64) -> String {
        let mut state = self.state.clone();
        state.update(Self::tail(number));
        name_of(&state.finalize())
    }

    /// Blob `number`, whose digest and tail the caller has at hand.
    pub fn blob<'a>(&'a self, digest: String, tail: &'a [u8; TAIL]) -> Blob<'a> {
        let mut parts: Vec<&[u8]> = vec![&self.base; self.repeats - 1];
        parts.push(&self.base[..self.base.len() - TAIL]);
        parts.push(tail);
        Blob { digest, parts }
    }
}

/// The digest of some bytes, as the protocol writes it.
pub fn digest_of(bytes: &[u8]) -> String {
    name_of(&Sha256::digest(bytes))
}

/// A SHA-256 hash, as the protocol writes it.
pub fn name_of(hash: &[u8]) -> String {
    hash.iter().fold(String::from("sha256:"), |text, byte| text + &format!("{byte:02x}"))
}

/// A well-mixed function of a number: random keys that need no state.
pub fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Bytes that no file system and no client can compress.
pub fn random_bytes(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (index, chunk) in bytes.chunks_mut(8).enumerate() {
        let word = scramble(scramble(seed).wrapping_add(index as u64)).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    bytes
}

/// One descriptor of an image manifest.
pub struct Part {
    /// `sha256:...`
    pub digest: String,
    /// Bytes.
    pub size: usize,
}

/// An OCI image manifest of a configuration and gzip layers.
pub fn manifest(config: &Part, layers: &[Part]) -> Vec<u8> {
    let descriptor = |part: &Part, media_type: &str| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{media_type}"),
            "digest": part.digest,
            "size": part.size,
        })
    };
    let layers: Vec<_> = layers.iter().map(|layer| descriptor(layer, "layer.v1.tar+gzip")).collect();
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": super::client::MANIFEST_TYPE,
        "config": descriptor(config, "config.v1+json"),
        "layers": layers,
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_whole_content() {
        let payload = Payload::repeated(4096, 3, 7);
        let tail = Payload::tail(42);
        let blob = payload.blob(payload.digest(42), &tail);
        assert_eq!(blob.size(), 3 * 4096);
        assert_eq!(blob.digest, digest_of(&blob.parts.concat()));
        assert_ne!(blob.digest, payload.digest(43));
    }
}
