//! Content digests: an algorithm and its bytes (image-spec, "Digests").
//!
//! Identity is (algorithm, bytes): a sha256 and a sha512 of the same content are two different digests, and no
//! alias between them is kept anywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A digest algorithm that this registry can compute. The two that the image-spec registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Algorithm {
    /// SHA-256, what nearly every client uses.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of a digest in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The byte that stands for the algorithm in stored digests. Never reuse a number.
    const fn code(self) -> u8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(DigestError::Algorithm(shorten(text))),
        }
    }
}

/// Why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `algorithm:hex` form.
    #[error(
        "`{0}` is not a digest: write it as sha256:<64 lowercase hex digits> or sha512:<128 lowercase hex digits>"
    )]
    Form(String),
    /// The algorithm is not one that can be computed here.
    #[error("the digest algorithm `{0}` is not supported: use sha256 or sha512")]
    Algorithm(String),
    /// The part after the colon is not lowercase hex of the right length.
    #[error("a {algorithm} digest has {expected} lowercase hex digits after the colon, `{text}` has not")]
    Encoded {
        /// The algorithm's name.
        algorithm: &'static str,
        /// How many digits it wants.
        expected: usize,
        /// What was given, shortened.
        text: String,
    },
}

/// The digest of some content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    /// Only the first `algorithm.size()` bytes count; the rest is zero, so that the derived traits are right.
    bytes: [u8; 64],
}

impl Digest {
    /// The digest with these raw bytes, or `None` where their number does not fit the algorithm.
    pub fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        let mut bytes = [0; 64];
        bytes.get_mut(..algorithm.size())?.copy_from_slice(raw.get(..algorithm.size())?);
        (raw.len() == algorithm.size()).then_some(Self { algorithm, bytes })
    }

    /// The digest of a text or a small document that is in memory already.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hasher = crate::Hasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// SHA-256 of `content`.
    pub fn sha256(content: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, content)
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.size()]
    }

    /// The lowercase hex after the colon.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(2 * self.algorithm.size());
        self.as_bytes().iter().for_each(|byte| push_hex(&mut text, *byte));
        text
    }

    /// The stored form: one byte for the algorithm, then the raw bytes.
    pub fn to_stored(&self) -> Vec<u8> {
        let mut stored = Vec::with_capacity(1 + self.algorithm.size());
        stored.push(self.algorithm.code());
        stored.extend_from_slice(self.as_bytes());
        stored
    }

    /// Reads what [`Digest::to_stored`] wrote; `None` where the bytes are not that.
    pub fn from_stored(stored: &[u8]) -> Option<Self> {
        let (code, raw) = stored.split_first()?;
        let algorithm = [Algorithm::Sha256, Algorithm::Sha512].into_iter().find(|a| a.code() == *code)?;
        Self::from_raw(algorithm, raw)
    }

    /// The tag under which clients without the referrers API keep the referrers of this digest
    /// (distribution-spec, "Referrers Tag Schema"): the algorithm and at most 64 characters of the hex.
    pub fn fallback_tag(&self) -> crate::Tag {
        let hex = self.hex();
        let text = format!("{}-{}", self.algorithm.name(), &hex[..64]);
        text.parse().unwrap_or_else(|_| unreachable!("an algorithm and hex digits are a tag"))
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, encoded) = text.split_once(':').ok_or_else(|| DigestError::Form(shorten(text)))?;
        if name.is_empty() || encoded.is_empty() {
            return Err(DigestError::Form(shorten(text)));
        }
        let algorithm = Algorithm::from_str(name)?;
        let mut bytes = [0; 64];
        decode_hex(encoded.as_bytes(), &mut bytes[..algorithm.size()]).ok_or_else(|| {
            DigestError::Encoded {
                algorithm: algorithm.name(),
                expected: 2 * algorithm.size(),
                text: shorten(encoded),
            }
        })?;
        Ok(Self { algorithm, bytes })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.name())?;
        f.write_str(":")?;
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn push_hex(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push(DIGITS[usize::from(byte >> 4)] as char);
    text.push(DIGITS[usize::from(byte & 15)] as char);
}

/// Lowercase only: an uppercase digit would make a second spelling of the same digest.
fn decode_hex(encoded: &[u8], into: &mut [u8]) -> Option<()> {
    if encoded.len() != 2 * into.len() {
        return None;
    }
    for (byte, pair) in into.iter_mut().zip(encoded.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(())
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Outside text in an error message: bounded, and without control characters.
pub(crate) fn shorten(text: &str) -> String {
    shorten_to(text, 80)
}

/// The same with at most so many characters.
pub(crate) fn shorten_to(text: &str, most: usize) -> String {
    let mut chars = text.chars();
    let clean: String = chars.by_ref().take(most).map(|c| if c.is_control() { '?' } else { c }).collect();
    if chars.next().is_some() { format!("{clean}...") } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_canonical_texts_are_digests() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<Digest>().is_ok(), good, "{text}");
        let (a64, a128) = ("a".repeat(64), "a".repeat(128));
        check(&format!("sha256:{a64}"), true);
        check(&format!("sha512:{a128}"), true);
        check(&format!("sha256:{}", "A".repeat(64)), false);
        check(&format!("sha256:{}", "g".repeat(64)), false);
        check(&format!("sha256:{}", "a".repeat(63)), false);
        check(&format!("sha512:{a64}"), false);
        check(&format!("sha384:{a64}"), false);
        for text in ["", ":", "sha256", "sha256:", ":abc", "sha256:baddigeststring", "sha256:é"] {
            check(text, false);
        }
    }

    #[test]
    fn content_has_its_known_digest() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::sha256(b"").to_string(), empty);
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_unchanged(text in "(sha256|sha512|x)?:?[a-f0-9]{0,130}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }

        #[test]
        fn stored_digests_come_back(content: Vec<u8>, wide: bool) {
            let digest = Digest::of(if wide { Algorithm::Sha512 } else { Algorithm::Sha256 }, &content);
            prop_assert_eq!(Digest::from_stored(&digest.to_stored()), Some(digest));
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn no_stored_bytes_panic(bytes: Vec<u8>) {
            if let Some(digest) = Digest::from_stored(&bytes) {
                prop_assert_eq!(digest.to_stored(), bytes);
            }
        }
    }
}
