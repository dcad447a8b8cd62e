//! A text that nobody may see, and the hash of one that was made at random.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::crypto::{self, CryptoError};

/// A password or another secret text. It never shows, and its memory is wiped when it goes.
///
/// It can be read from JSON but not written to it: who stores one says so field by field.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps the text from now on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// A password that nobody can guess and everybody can type: 120 random bits.
    pub(crate) fn random_password() -> Result<Self, CryptoError> {
        Ok(Self(crypto::random_letters::<24>()?))
    }

    /// The text, for who must send, compare or store it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Writes the text, for a field of a record that must keep it.
    pub(crate) fn store<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The usual message would show what stands there instead of a string: a password of digits, say.
        let text = String::deserialize(deserializer);
        text.map(Self::new).map_err(|_| D::Error::custom("a secret must be a string"))
    }
}

/// The SHA-256 of a secret that Wharf made at random. Such a secret cannot be guessed, so its hash need not be slow.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// In hex.
    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The hash of a secret.
    pub fn of(secret: &Secret) -> Self {
        Self(Sha256::digest(secret.expose()).into())
    }
}

impl PartialEq for SecretHash {
    /// In a time that does not tell where they differ.
    fn eq(&self, other: &Self) -> bool {
        crypto::equal(&self.0, &other.0)
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(***)")
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Secret::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.expose(), &mut bytes)
            .map_err(|_| D::Error::custom("the hash of a secret must be 64 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        let secret = Secret::new("open sesame");
        for shown in [format!("{secret:?}"), format!("{secret:#?}"), format!("{:?}", Some(&secret))] {
            assert!(!shown.contains("sesame"), "{shown}");
        }
        assert_eq!(secret.expose(), "open sesame");
    }

    #[test]
    fn what_is_no_secret_does_not_show_in_the_message() {
        for json in ["20001231", "[\"20001231\"]", "{\"a\":20001231}", "\"20001231"] {
            let error = serde_json::from_str::<Secret>(json).unwrap_err().to_string();
            assert!(!error.contains("20001231"), "{error}");
        }
        let secret: Secret = serde_json::from_str(r#""a\"b""#).unwrap();
        assert_eq!(secret.expose(), "a\"b");
    }

    #[test]
    fn a_hash_is_stored_as_text_and_does_not_show() {
        let hash = SecretHash::of(&Secret::new("abc"));
        let json = serde_json::to_string(&hash).unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(json, "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"");
        assert_eq!(serde_json::from_str::<SecretHash>(&json).unwrap(), hash);
        assert_ne!(hash, SecretHash::of(&Secret::new("abd")));
        assert_eq!(format!("{hash:?}"), "SecretHash(***)");
        for broken in
            ["\"\"", "\"ba78\"", "7", "\"zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\""]
        {
            serde_json::from_str::<SecretHash>(broken).unwrap_err();
        }
    }
}
