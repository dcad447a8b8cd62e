//! A signed token in its three parts (RFC 7515, compact form), read but not yet believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::keys::Key;
use crate::{Claims, OidcError, shorten};

/// The most bytes of a token. The largest in use, with hundreds of groups, have some ten thousand.
pub(crate) const TOKEN_MAX: usize = 32 << 10;

/// A token's parts.
pub(crate) struct Token<'a> {
    pub header: Header,
    /// What the token says, which nobody may rely on before the signature is verified.
    pub claims: Claims,
    message: &'a str,
    signature: &'a str,
}

/// The part that says how it is signed. A token chooses its key by it, never how the key is used.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub alg: String,
    pub kid: Option<String>,
    crit: Option<serde_json::Value>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    pub fn parse(text: &'a str) -> Result<Self, OidcError> {
        if text.len() > TOKEN_MAX {
            return Err(OidcError::TooLarge(TOKEN_MAX));
        }
        let parts = text.rsplit_once('.').and_then(|(message, signature)| {
            let (header, payload) = message.split_once('.')?;
            (!payload.contains('.')).then_some((message, header, payload, signature))
        });
        let (message, header, payload, signature) =
            parts.ok_or(OidcError::Malformed("it has not three parts with a dot between"))?;
        let header: Header = decode(header).ok_or(OidcError::Malformed("its head is no base64 of JSON"))?;
        // RFC 7515: whoever does not understand an extension that is marked as critical must refuse the token.
        if header.crit.is_some() {
            return Err(OidcError::Malformed("it demands an extension (crit) that is not known here"));
        }
        let claims =
            decode(payload).ok_or(OidcError::Malformed("its claims are no base64 of a JSON object"))?;
        Ok(Self { header, claims: Claims::new(claims), message, signature })
    }

    /// Whether this key of the issuer signed it.
    pub fn verify(&self, key: &Key, issuer: &str) -> Result<(), OidcError> {
        if self.header.alg != key.algorithm_name() {
            let found = shorten(&self.header.alg);
            return Err(OidcError::Algorithm { wanted: key.algorithm_name(), found });
        }
        if key.signed(self.message, self.signature) {
            return Ok(());
        }
        Err(OidcError::Signature { issuer: issuer.to_owned() })
    }
}

fn decode<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(header: &str, claims: &str, signature: &str) -> String {
        format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn only_three_parts_of_json_are_a_token() {
        let check = |text: &str, good: bool| assert_eq!(Token::parse(text).is_ok(), good, "{text}");
        check(&token(r#"{"alg":"RS256"}"#, "{}", "AAAA"), true);
        check(&token(r#"{"alg":"RS256","kid":"a","typ":"JWT"}"#, r#"{"iss":"x"}"#, ""), true);
        check(&token(r#"{"alg":"RS256","crit":["exp"]}"#, "{}", ""), false);
        check(&token(r#"{"alg":7}"#, "{}", ""), false);
        check(&token("{}", "{}", ""), false);
        check(&token(r#"{"alg":"RS256"}"#, "[]", ""), false);
        check(&token(r#"{"alg":"RS256"}"#, "{", ""), false);
        check(&token(r#"{"alg":"RS256"}"#, &"[".repeat(10_000), ""), false);
        check(&format!("{}.x", token(r#"{"alg":"RS256"}"#, "{}", "AAAA")), false);
        for text in ["", ".", "..", "...", "a.b.c", "e30.e30.", "é.é.é"] {
            check(text, false);
        }
        let large = token(r#"{"alg":"RS256"}"#, "{}", &"A".repeat(TOKEN_MAX));
        assert_eq!(Token::parse(&large).err(), Some(OidcError::TooLarge(TOKEN_MAX)));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}", header in "\\PC{0,40}", claims in "\\PC{0,40}") {
            assert!(Token::parse(&text).is_err());
            drop(Token::parse(&token(&header, &claims, &text)));
        }
    }
}
