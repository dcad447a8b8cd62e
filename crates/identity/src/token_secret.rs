//! Opaque credentials that Wharf makes: personal access tokens and the secrets of robots.
//!
//! `wpt_<id>_<secret><check>`: the prefix says what it is, to people and to scanners that look for leaked secrets.
//! The id finds the record and may be shown. The secret is random, and only its hash is kept. The check tells a typo
//! without looking anything up: it is of the letters of the SHA-256 of all that stands before it, so that whoever
//! looks for leaked secrets can compute it.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::crypto::{self, CryptoError, LETTERS};
use crate::secret::{Secret, SecretHash};

/// 100 random bits.
const ID: usize = 20;
/// 260 random bits.
const SECRET: usize = 52;
/// 30 bits: one typo in a thousand million goes unnoticed.
const CHECK: usize = 6;
const PREFIX: usize = 4;
const LENGTH: usize = PREFIX + ID + 1 + SECRET + CHECK;

/// What an opaque credential stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A person, who made it.
    Personal,
    /// A robot.
    Robot,
}

impl TokenKind {
    const ALL: [Self; 2] = [Self::Personal, Self::Robot];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Personal => "wpt_",
            Self::Robot => "wrt_",
        }
    }
}

/// An opaque credential: shown once when it is made, then sent by who holds it.
#[derive(Clone)]
pub struct TokenSecret {
    kind: TokenKind,
    /// All of it, in the form above.
    text: Secret,
}

impl TokenSecret {
    /// A new one.
    pub fn generate(kind: TokenKind) -> Result<Self, CryptoError> {
        let (id, secret) = (crypto::random_letters::<ID>()?, crypto::random_letters::<SECRET>()?);
        let body = Zeroizing::new(format!("{}{}_{}", kind.prefix(), *id, *secret));
        let text = Secret::new(format!("{}{}", *body, check(&body)));
        Ok(Self { kind, text })
    }

    /// Reads one. `None` for everything else, such as a password, or one with a typo.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = TokenKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))?;
        let letters = |text: &str| text.bytes().all(|byte| LETTERS.contains(&byte));
        let (id, rest) = text[PREFIX..].split_once('_')?;
        let right = text.len() == LENGTH && id.len() == ID && letters(id) && letters(rest);
        let (body, found) = text.split_at_checked(LENGTH - CHECK)?;
        (right && found == check(body)).then(|| Self { kind, text: Secret::new(text) })
    }

    /// What it stands for.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The public part, by which its record is found.
    pub fn id(&self) -> &str {
        &self.text.expose()[PREFIX..PREFIX + ID]
    }

    /// All of it, to be shown once.
    pub fn text(&self) -> &Secret {
        &self.text
    }

    /// What is kept of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.text)
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}_***", self.kind.prefix(), self.id())
    }
}

fn check(body: &str) -> String {
    crypto::letters(&Sha256::digest(body)[..CHECK])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_made_is_read_back() {
        for kind in TokenKind::ALL {
            let made = TokenSecret::generate(kind).unwrap();
            let read = TokenSecret::parse(made.text().expose()).unwrap();
            assert_eq!((read.kind(), read.id()), (kind, made.id()));
            assert_eq!(read.hash(), made.hash());
            assert_ne!(read.hash(), TokenSecret::generate(kind).unwrap().hash());
        }
    }

    /// Scanners for leaked secrets know this form: it cannot change.
    #[test]
    fn the_form_is_fixed() {
        let text = "wpt_0123456789abcdefghjk_0123456789abcdefghjkmnpqrstvwxyz0123456789abcdefghjk";
        let token = TokenSecret::parse(&format!("{text}{}", check(text))).unwrap();
        assert_eq!(token.id(), "0123456789abcdefghjk");
        assert_eq!(token.text().expose().len(), 83);
        assert_eq!(check(text), "nem3vz");
    }

    #[test]
    fn only_the_id_shows() {
        let token = TokenSecret::generate(TokenKind::Robot).unwrap();
        assert_eq!(format!("{token:?}"), format!("wrt_{}_***", token.id()));
    }

    #[test]
    fn nothing_else_is_a_token() {
        let good = TokenSecret::generate(TokenKind::Personal).unwrap();
        let good = good.text().expose();
        let other_kind = good.replace("wpt_", "wrt_");
        let upper = good.to_uppercase();
        let (longer, spaced) = (format!("{good}0"), format!("{good} "));
        for text in
            ["", "wpt_", "wpt__", "wpt_é", &good[..82], &good[1..], &other_kind, &upper, &longer, &spaced]
        {
            assert!(TokenSecret::parse(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_typo_is_told(at in 4..LENGTH, letter in "[0-9a-z_é]") {
            let good = TokenSecret::generate(TokenKind::Personal).unwrap();
            let good = good.text().expose();
            let typo = format!("{}{letter}{}", &good[..at], &good[at + 1..]);
            prop_assert_eq!(TokenSecret::parse(&typo).is_some(), typo == good);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(wpt_|wrt_)?\\PC{0,100}") {
            prop_assert!(TokenSecret::parse(&text).is_none());
        }
    }
}
