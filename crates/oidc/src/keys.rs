//! The keys that an issuer publishes (RFC 7517), as far as they are good for signatures.
//!
//! What a key is for is decided here once, by the key: a token cannot have an RSA key used as an HMAC secret, nor
//! choose a hash. Symmetric keys do not exist here at all.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of a set.
const KEYS_MAX: usize = 100;

/// The usable keys of one issuer; at least one.
#[derive(Debug)]
pub(crate) struct Keys(Vec<Key>);

/// One public key with the one algorithm it is for.
#[derive(Debug)]
pub(crate) struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads a set. Keys of other kinds and purposes are passed over: issuers publish them side by side.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let set: Set = serde_json::from_slice(json)
            .map_err(|_| "this is no JSON Web Key Set (an object with a list `keys`)".to_owned())?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("there are more than {KEYS_MAX}"));
        }
        let count = set.keys.len();
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(format!("none of the {count} is for RS256, PS256, ES256, ES384 or EdDSA"));
        }
        Ok(Self(keys))
    }

    /// The key that a token names. One that names none can only mean the only one.
    pub fn find(&self, id: Option<&str>) -> Option<&Key> {
        match (id, self.0.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
        }
    }
}

impl Key {
    fn read(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let algorithm = jwk.algorithm()?;
        let key = match jwk.kty.as_str() {
            "RSA" => DecodingKey::from_rsa_components(jwk.n.as_deref()?, jwk.e.as_deref()?),
            "EC" => DecodingKey::from_ec_components(jwk.x.as_deref()?, jwk.y.as_deref()?),
            _ => DecodingKey::from_ed_components(jwk.x.as_deref()?),
        };
        Some(Self { id: jwk.kid, algorithm, key: key.ok()? })
    }

    /// The algorithm as tokens write it.
    pub fn algorithm_name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::PS256 => "PS256",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::EdDSA => "EdDSA",
            // No other is ever made, see `Jwk::algorithm`.
            _ => "RS256",
        }
    }

    /// Whether this key made that signature (in base64) of the message.
    pub fn signed(&self, message: &str, signature: &str) -> bool {
        // An error is a signature or a key that cannot be read, and proves nothing either.
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, self.algorithm)
            .unwrap_or(false)
    }
}

impl Jwk {
    fn algorithm(&self) -> Option<Algorithm> {
        match (self.kty.as_str(), self.crv.as_deref(), self.alg.as_deref()) {
            // OpenID Connect Core 1.0: RS256 where nothing is said. Entra ID says nothing.
            ("RSA", _, None | Some("RS256")) => Some(Algorithm::RS256),
            ("RSA", _, Some("PS256")) => Some(Algorithm::PS256),
            ("EC", Some("P-256"), None | Some("ES256")) => Some(Algorithm::ES256),
            ("EC", Some("P-384"), None | Some("ES384")) => Some(Algorithm::ES384),
            ("OKP", Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => Some(Algorithm::EdDSA),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_key_says_what_it_is_for() {
        let check = |jwk: Value, expect: Option<&str>| {
            let keys = Keys::parse(json!({ "keys": [jwk] }).to_string().as_bytes());
            assert_eq!(keys.ok().map(|keys| keys.0[0].algorithm_name()), expect, "{jwk}");
        };
        check(json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }), Some("RS256"));
        check(json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "sig", "alg": "PS256" }), Some("PS256"));
        check(json!({ "kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB" }), Some("ES256"));
        check(
            json!({ "kty": "EC", "crv": "P-384", "x": "AQAB", "y": "AQAB", "alg": "ES384" }),
            Some("ES384"),
        );
        check(json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQAB" }), Some("EdDSA"));
        for useless in [
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc" }),
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RS512" }),
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "HS256" }),
            json!({ "kty": "RSA", "n": "A*B", "e": "AQAB" }),
            json!({ "kty": "RSA", "n": "AQAB" }),
            json!({ "kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB", "alg": "ES384" }),
            json!({ "kty": "EC", "crv": "P-521", "x": "AQAB", "y": "AQAB" }),
            json!({ "kty": "OKP", "crv": "X25519", "x": "AQAB" }),
            json!({ "kty": "oct", "k": "AQAB", "alg": "HS256" }),
            json!({ "kty": "oct", "k": "AQAB", "alg": "RS256" }),
            json!("RSA"),
        ] {
            check(useless, None);
        }
    }

    #[test]
    fn a_token_without_a_key_id_means_the_only_key() {
        let set = |keys: Value| Keys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        let key = |id: &str| json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQAB", "kid": id });
        let (one, two) = (set(json!([key("a")])), set(json!([key("a"), key("b")])));
        assert!(one.find(None).is_some() && one.find(Some("a")).is_some() && one.find(Some("b")).is_none());
        assert!(two.find(None).is_none() && two.find(Some("b")).is_some());
    }

    #[test]
    fn a_set_has_an_end() {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQAB" });
        let check = |count: usize, good: bool| {
            let set = json!({ "keys": vec![&key; count] });
            assert_eq!(Keys::parse(set.to_string().as_bytes()).is_ok(), good, "{count}");
        };
        check(0, false);
        check(KEYS_MAX, true);
        check(KEYS_MAX + 1, false);
    }

    proptest! {
        #[test]
        fn no_set_panics(text in "\\PC{0,40}", n in "[A-Za-z0-9_*=-]{0,20}") {
            assert!(Keys::parse(text.as_bytes()).is_err());
            let set = json!({ "keys": [{ "kty": "RSA", "n": n, "e": text }] });
            drop(Keys::parse(set.to_string().as_bytes()));
            let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": n, "y": n }] });
            if let Ok(keys) = Keys::parse(set.to_string().as_bytes()) {
                assert!(!keys.0[0].signed("a", &n));
            }
        }
    }
}
