//! The access tokens that Wharf gives out: JSON web tokens (RFC 7519) signed with ES256, and nothing else.
//!
//! Which algorithm a token is signed with is decided by the key that its `kid` names, never by the token: there is no
//! `none`, and no key can be taken for one of another kind. Keys that a token brings along are not looked at.

use std::fmt;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use meta::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::crypto::CryptoError;
use crate::signing_key::{ReadyKey, SigningKey};

/// The largest token that is signed, or looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How far the clocks of two servers may differ, in seconds.
pub(crate) const LEEWAY: u64 = 5;
/// After how long the next key signs.
const ROTATION: Duration = Duration::from_hours(90 * 24);
/// How much longer than the longest token a key verifies that no longer signs.
const OVERLAP: Duration = Duration::from_mins(5);

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who gave it out.
    pub iss: String,
    /// The name of who it was given to; empty for nobody in particular.
    pub sub: String,
    /// The service that it is for.
    pub aud: String,
    /// When it expires, in seconds since 1970 UTC.
    pub exp: u64,
    /// From when on it is valid, likewise.
    pub nbf: u64,
    /// When it was given out, likewise.
    pub iat: u64,
    /// Its own name.
    pub jti: String,
    /// The record of who it was given to, in the directory.
    pub uid: String,
    /// How that one signed in.
    pub via: String,
    /// What tells the second factor that was shown, too; empty where there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub factor: String,
    /// What may be done with it.
    pub access: Vec<AccessEntry>,
}

/// What may be done with one thing (distribution's token specification).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEntry {
    /// What the thing is, such as `repository`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What may be done, such as `pull`.
    pub actions: Vec<String>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is larger than any that Wharf gives out.
    #[error("the access token has more than {TOKEN_BYTES_MAX} bytes: ask for one with fewer repositories")]
    TooLarge,
    /// It is no token of that form.
    #[error("the access token is not one that was given out here: ask the token service for one")]
    Malformed,
    /// It is signed in another way.
    #[error("the access token is not signed with ES256: ask the token service for one")]
    Algorithm,
    /// Its key is unknown, or no longer used.
    #[error(
        "the access token is signed with a key that is not known here: ask the token service for another"
    )]
    UnknownKey,
    /// The signature is wrong.
    #[error("the access token's signature is wrong: ask the token service for another")]
    Signature,
    /// It was given out by another service.
    #[error("the access token was given out by another service: ask this server's own")]
    Issuer,
    /// It is for another service.
    #[error("the access token is for another service: ask the token service for one for this")]
    Audience,
    /// It is too old.
    #[error("the access token has expired: ask the token service for another")]
    Expired,
    /// It is not valid yet.
    #[error("the access token is not valid yet: are the clocks right?")]
    NotYetValid,
}

/// Signs with the newest of its keys, and verifies with all that may still have signed a valid token.
pub struct Signer {
    /// The newest first; there is one at least.
    keys: Vec<ReadyKey>,
    longest_life: Duration,
}

impl Signer {
    /// Signs with the newest of the keys. No token may live longer than `longest_life`.
    pub fn new(keys: &[SigningKey], longest_life: Duration) -> Result<Self, CryptoError> {
        let mut keys = keys.iter().map(ReadyKey::new).collect::<Result<Vec<_>, _>>()?;
        keys.sort_by_key(|key| std::cmp::Reverse(key.created));
        if keys.is_empty() { Err(CryptoError::NoKey) } else { Ok(Self { keys, longest_life }) }
    }

    /// Whether it is time for a new key: add one, and make a signer of all.
    pub fn due(&self, now: Timestamp) -> bool {
        self.keys.first().is_none_or(|newest| newest.created.plus(ROTATION) <= now)
    }

    /// The keys that can have signed no valid token any more: delete them.
    pub fn retired(&self, now: Timestamp) -> Vec<&str> {
        self.keys_with_end()
            .filter(|(_, end)| has_passed(*end, now))
            .map(|(key, _)| key.kid.as_str())
            .collect()
    }

    /// The public keys that verify now, as others read them (RFC 7517).
    pub fn jwks(&self, now: Timestamp) -> Value {
        let keys = self.keys_with_end().filter(|(_, end)| !has_passed(*end, now));
        json!({ "keys": keys.map(|(key, _)| key.jwk()).collect::<Vec<_>>() })
    }

    /// Signs a token.
    pub fn sign(&self, claims: &Claims) -> Result<String, CryptoError> {
        if claims.exp.saturating_sub(claims.iat) > self.longest_life.as_secs() {
            return Err(CryptoError::Sign("it would live longer than its key verifies".to_owned()));
        }
        let newest = self.keys.first().ok_or(CryptoError::NoKey)?;
        let header = Header { kid: Some(newest.kid.clone()), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, claims, &newest.encoding)
            .map_err(|error| CryptoError::Sign(error.to_string()))?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(CryptoError::TokenTooLarge(token.len()));
        }
        Ok(token)
    }

    /// What the token says, if it was signed by one of the keys, for that audience, and is valid now.
    pub fn verify(
        &self,
        token: &str,
        audience: &str,
        issuer: &str,
        now: Timestamp,
    ) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge);
        }
        let claims = self.signed(token, now)?;
        let seconds = u64::try_from(now.micros() / 1_000_000).unwrap_or(0);
        if claims.iss != issuer {
            Err(TokenError::Issuer)
        } else if claims.aud != audience {
            Err(TokenError::Audience)
        } else if claims.exp.saturating_add(LEEWAY) <= seconds {
            Err(TokenError::Expired)
        } else if claims.nbf > seconds.saturating_add(LEEWAY) {
            Err(TokenError::NotYetValid)
        } else {
            Ok(claims)
        }
    }

    /// What the token says, if it was signed by one of the keys.
    fn signed(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.alg != Algorithm::ES256 {
            return Err(TokenError::Algorithm);
        }
        // RFC 7515, 4.1.11: who does not understand what is critical must refuse it, and there is nothing that we do.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let kid = header.kid.ok_or(TokenError::UnknownKey)?;
        let found = self.keys_with_end().find(|(key, end)| key.kid == kid && !has_passed(*end, now));
        let (key, _) = found.ok_or(TokenError::UnknownKey)?;
        // The library would ask the system's clock, and take a list of audiences where we write one.
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode(token, &key.decoding, &validation);
        decoded.map(|decoded| decoded.claims).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => TokenError::Signature,
            _ => TokenError::Malformed,
        })
    }

    /// The keys, each with the moment from which on it verifies nothing. The newest has none.
    fn keys_with_end(&self) -> impl Iterator<Item = (&ReadyKey, Option<Timestamp>)> {
        let replaced =
            self.keys.iter().map(|newer| Some(newer.created.plus(self.longest_life).plus(OVERLAP)));
        self.keys.iter().zip(std::iter::once(None).chain(replaced))
    }
}

fn has_passed(end: Option<Timestamp>, now: Timestamp) -> bool {
    end.is_some_and(|end| end <= now)
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.kid)).finish()
    }
}

#[cfg(test)]
mod tests;
