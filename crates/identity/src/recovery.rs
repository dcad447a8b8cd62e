//! Codes for who has lost the device with the second factor. Each works once.

use serde::{Deserialize, Serialize};

use crate::crypto::{self, CryptoError};
use crate::secret::{Secret, SecretHash};

/// How many codes are made at once.
const CODES: usize = 10;
/// 50 random bits: enough where guessing is counted, and short enough to type.
const LENGTH: usize = 10;

/// What is kept of the codes that have not been used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecoveryCodes(Vec<SecretHash>);

impl RecoveryCodes {
    /// New codes, to be shown once, and what is kept of them.
    pub fn generate() -> Result<(Vec<Secret>, Self), CryptoError> {
        Self::make(CODES)
    }

    /// One code alone, to be shown once, and what is kept of it.
    pub fn one() -> Result<(Secret, Self), CryptoError> {
        let (mut shown, kept) = Self::make(1)?;
        Ok((shown.remove(0), kept))
    }

    fn make(number: usize) -> Result<(Vec<Secret>, Self), CryptoError> {
        let mut shown = Vec::with_capacity(number);
        let mut kept = Vec::with_capacity(number);
        for _ in 0..number {
            let code = crypto::random_letters::<LENGTH>()?;
            let (one, other) = code.split_at(LENGTH / 2);
            shown.push(Secret::new(format!("{one}-{other}")));
            kept.push(SecretHash::of(&Secret::new(code.as_str())));
        }
        Ok((shown, Self(kept)))
    }

    /// Uses a code up. Whether it was one; store what is left before anyone is let in.
    pub fn take(&mut self, code: &Secret) -> bool {
        let Some(code) = typed(code) else { return false };
        let hash = SecretHash::of(&code);
        let before = self.0.len();
        self.0.retain(|kept| *kept != hash);
        self.0.len() < before
    }

    /// How many codes are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }
}

/// The code that somebody typed: capitals, spaces, dashes and letters that look like digits are forgiven.
fn typed(code: &Secret) -> Option<Secret> {
    let letters = code.expose().chars().filter(|character| !matches!(character, ' ' | '-'));
    let letters = letters.map(|character| match character.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    });
    // One more than can be right tells that it is too long.
    let letters = Secret::new(letters.take(LENGTH + 1).collect::<String>());
    (letters.expose().len() == LENGTH).then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_code_works_once() {
        let (shown, mut kept) = RecoveryCodes::generate().unwrap();
        assert_eq!((shown.len(), kept.left()), (10, 10));
        for (used, code) in shown.iter().enumerate() {
            assert_eq!(code.expose().len(), 11);
            assert!(kept.take(code), "{used}");
            assert!(!kept.take(code), "{used} again");
            assert_eq!(kept.left(), 9 - used);
        }
    }

    #[test]
    fn how_it_is_typed_does_not_matter() {
        let hash = |text: &str| SecretHash::of(&Secret::new(text));
        let check = |text: &str, expect: bool| {
            let mut kept = RecoveryCodes(vec![hash("abc0100xyz"), hash("0000000000")]);
            assert_eq!(kept.take(&Secret::new(text)), expect, "{text}");
            assert_eq!(kept.left(), if expect { 1 } else { 2 });
        };
        for text in
            ["abc01-00xyz", "abc0100xyz", "ABC01 00XYZ", "abcOi-o0xyz", "abcol00xyz", " a-b-c-0-1-0-0-x-y-z "]
        {
            check(text, true);
        }
        let long = "abc0100xyz".repeat(100_000);
        for text in ["", "abc01-00xy", "abc01-00xyzz", "abc0100xy\u{17f}", "bbc01-00xyz", &long] {
            check(text, false);
        }
    }

    #[test]
    fn what_is_kept_tells_no_code() {
        let (shown, kept) = RecoveryCodes::generate().unwrap();
        let json = serde_json::to_string(&kept).unwrap();
        assert!(
            shown.iter().all(|code| !json.contains(code.expose()) && !json.contains(&code.expose()[..5]))
        );
        assert_eq!(serde_json::from_str::<RecoveryCodes>(&json).unwrap(), kept);
    }

    proptest! {
        #[test]
        fn any_text_is_no_code(text in "\\PC{0,20}|[0-9a-z-]{0,12}") {
            let (_, mut kept) = RecoveryCodes::generate().unwrap();
            prop_assert!(!kept.take(&Secret::new(text)));
        }
    }
}
