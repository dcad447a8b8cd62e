//! The chain of hashes that makes tampering evident.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

/// What a seal holds: the hash of all lines since the seal before it, and of that seal's hash.
pub(crate) type Hash = [u8; 32];

/// A secret without which no seal can be made: who can write the folder, but does not know it, cannot forge one.
///
/// It must stay the same for the life of a journal.
#[derive(Clone)]
pub struct SealKey(Hmac<Sha256>);

impl SealKey {
    /// The key with these bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        // HMAC itself fills a key up with zeros to the length of a block.
        let mut block = [0; 64];
        block[..32].copy_from_slice(bytes);
        Self(Hmac::new(&block.into()))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

/// A hash that is being calculated: HMAC-SHA-256 with a key, SHA-256 without.
#[derive(Clone)]
pub(crate) enum Chain {
    Keyed(Hmac<Sha256>),
    Plain(Sha256),
}

impl Chain {
    /// Begins what follows the seal with this hash.
    pub fn after(key: Option<&SealKey>, previous: &Hash) -> Self {
        let mut chain = Self::purpose(key, "seal");
        chain.update(previous);
        chain
    }

    /// Begins a hash that can be taken for no hash with another purpose.
    pub fn purpose(key: Option<&SealKey>, purpose: &str) -> Self {
        let mut chain = match key {
            Some(key) => Self::Keyed(key.0.clone()),
            None => Self::Plain(Sha256::new()),
        };
        chain.update(b"wharf audit ");
        chain.update(purpose.as_bytes());
        chain.update(b"\n");
        chain
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Keyed(hash) => Mac::update(hash, bytes),
            Self::Plain(hash) => Digest::update(hash, bytes),
        }
    }

    pub fn finish(self) -> Hash {
        match self {
            Self::Keyed(hash) => hash.finalize().into_bytes().into(),
            Self::Plain(hash) => hash.finalize().into(),
        }
    }
}

/// Reads a hash from JSON, for `#[serde(deserialize_with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut hash = Hash::default();
    hex::decode_to_slice(&text, &mut hash).map_err(|_| D::Error::custom("not a hash of 64 hex digits"))?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_used_as_rfc_2104_says() {
        // RFC 4231, test case 2 has a key that is shorter than 32 bytes, which HMAC fills up in the same way.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mut chain = Chain::Keyed(SealKey::new(&key).0);
        chain.update(b"what do ya want ");
        chain.update(b"for nothing?");
        let expect = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(chain.finish()), expect);
    }

    #[test]
    fn every_input_counts() {
        let key = SealKey::new(&[7; 32]);
        let hash = |key: Option<&SealKey>, previous: Hash, bytes: &[u8]| {
            let mut chain = Chain::after(key, &previous);
            chain.update(bytes);
            chain.finish()
        };
        let hashes = [
            hash(None, [0; 32], b"a"),
            hash(None, [0; 32], b"b"),
            hash(None, [1; 32], b"a"),
            hash(Some(&key), [0; 32], b"a"),
            hash(Some(&SealKey::new(&[8; 32])), [0; 32], b"a"),
            Chain::purpose(None, "head").finish(),
        ];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash));
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", SealKey::new(&[7; 32])), "SealKey(..)");
    }
}
