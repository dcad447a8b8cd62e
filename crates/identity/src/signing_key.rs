//! A key that signs access tokens, as it is stored and as it works.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use meta::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::crypto::{self, CryptoError};
use crate::secret::Secret;

/// The private key of ECDSA on P-256, as it is stored. It does not show, but its JSON holds all of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SigningKey {
    kid: String,
    /// Microseconds since 1970 UTC.
    created: i64,
    /// PKCS#8 in base 64.
    #[serde(serialize_with = "Secret::store")]
    private: Secret,
}

impl SigningKey {
    /// A new key.
    pub fn generate(now: Timestamp) -> Result<Self, CryptoError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let pkcs8 = pkcs8.map_err(|_| CryptoError::Random)?;
        let kid = crypto::random_letters::<16>()?.to_string();
        Ok(Self { kid, created: now.micros(), private: Secret::new(STANDARD.encode(pkcs8)) })
    }

    /// The name of the key, which tokens carry.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// When it was made.
    pub fn created(&self) -> Timestamp {
        Timestamp::from_micros(self.created)
    }
}

/// A key that is ready to sign and verify.
pub(crate) struct ReadyKey {
    pub kid: String,
    pub created: Timestamp,
    pub encoding: EncodingKey,
    pub decoding: DecodingKey,
    /// The coordinates of the public point, 32 bytes each.
    point: [u8; 64],
}

impl ReadyKey {
    /// Reads a stored key.
    pub fn new(key: &SigningKey) -> Result<Self, CryptoError> {
        let fail = || CryptoError::Key(key.kid.clone());
        let pkcs8 = STANDARD.decode(key.private.expose()).map(Zeroizing::new).map_err(|_| fail())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).map_err(|_| fail())?;
        // An uncompressed point: 4, then both coordinates.
        let public = pair.public_key().as_ref();
        let point = public.strip_prefix(&[4]).and_then(|point| point.try_into().ok()).ok_or_else(fail)?;
        Ok(Self {
            kid: key.kid.clone(),
            created: key.created(),
            encoding: EncodingKey::from_ec_der(&pkcs8),
            decoding: DecodingKey::from_ec_der(public),
            point,
        })
    }

    /// The public key, as others read it.
    pub fn jwk(&self) -> Value {
        let (x, y) = self.point.split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    #[test]
    fn a_key_is_stored_and_does_not_show() {
        let key = SigningKey::generate(NOW).unwrap();
        let json = serde_json::to_string(&key).unwrap();
        let read: SigningKey = serde_json::from_str(&json).unwrap();
        assert_eq!((read.kid(), read.created()), (key.kid(), NOW));
        let (ready, again) = (ReadyKey::new(&key).unwrap(), ReadyKey::new(&read).unwrap());
        assert_eq!(ready.jwk(), again.jwk());
        assert!(!format!("{key:?}").contains(key.private.expose()));
        assert_ne!(SigningKey::generate(NOW).unwrap().kid(), key.kid());
    }

    #[test]
    fn only_the_public_half_is_published() {
        let jwk = ReadyKey::new(&SigningKey::generate(NOW).unwrap()).unwrap().jwk();
        let names: Vec<&String> = jwk.as_object().unwrap().keys().collect();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }

    #[test]
    fn a_broken_key_is_told_by_its_name() {
        let good = SigningKey::generate(NOW).unwrap();
        let cut = good.private.expose()[..100].to_owned();
        for private in ["", "AAAA", "no base 64", &cut] {
            let key = SigningKey { private: Secret::new(private), ..good.clone() };
            assert_eq!(ReadyKey::new(&key).err(), Some(CryptoError::Key(good.kid.clone())), "{private}");
        }
    }
}
