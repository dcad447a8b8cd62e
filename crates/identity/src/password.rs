//! Passwords that people choose: which are good enough, and the slow hash that is kept of them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use argon2::password_hash::Error as HashError;
use argon2::{
    ARGON2ID_IDENT, Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::common_passwords::WORDS;
use crate::crypto::{self, CryptoError};
use crate::names::UserName;
use crate::secret::Secret;

/// What hashing costs: 19 MiB, two rounds, one lane, as OWASP recommends for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const ROUNDS: u32 = 2;
const LANES: u32 = 1;

/// What a stored hash may cost at most, so that one brought from elsewhere cannot eat the server.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
const ROUNDS_MAX: u32 = 10;
const LANES_MAX: u32 = 4;

/// The longest password that is hashed at all, in bytes: the policy's longest, each character of four bytes.
pub const PASSWORD_BYTES_MAX: usize = 4 * PasswordPolicy::MAX_LENGTH;

/// The hash of no password, which costs what the others do.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$kSuO8pTqNQLfsAhyLLXIWg$bD9rZVE1dHYHaXr0eBZ9jlY/kMR0UZlHCLpHr3sx2tA";

/// The argon2id hash of a password, in PHC form. It never shows.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Hashes a password. Slow by intent: call it where blocking is allowed, through a [`Hasher`](crate::Hasher).
    ///
    /// The bytes are taken as they come: who signs in from a system that composes accents otherwise must type
    /// another password, as with most servers.
    pub fn of(password: &Secret) -> Result<Self, CryptoError> {
        let params = Params::new(MEMORY_KIB, ROUNDS, LANES, None).map_err(argon2::password_hash::Error::from);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(failed)?);
        let salt = crypto::random::<16>()?;
        let hash = argon2.hash_password_with_salt(password.expose().as_bytes(), salt.as_slice());
        Ok(Self(hash.map_err(failed)?.to_string()))
    }

    /// A hash that no password has. Comparing with it takes as long as with any other, so that the time does not
    /// tell whether a user exists.
    pub fn of_nobody() -> Self {
        Self(NOBODY.to_owned())
    }

    /// Whether it is the hash of the password. As slow as [`PasswordHash::of`].
    pub fn verify(&self, password: &Secret) -> Result<bool, CryptoError> {
        if password.expose().len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let hash = argon2::PasswordHash::new(&self.0).map_err(|_| CryptoError::PasswordHash)?;
        match Argon2::default().verify_password(password.expose().as_bytes(), &hash) {
            Ok(()) => Ok(true),
            Err(HashError::PasswordInvalid) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether it was made with other costs than today's: make a new one when the password is next known.
    pub fn needs_rehash(&self) -> bool {
        costs(&self.0) != Some((MEMORY_KIB, ROUNDS, LANES))
    }

    /// The text, for who stores it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    type Err = CryptoError;

    fn from_str(text: &str) -> Result<Self, CryptoError> {
        let (memory, rounds, lanes) = costs(text).ok_or(CryptoError::PasswordHash)?;
        if memory > MEMORY_KIB_MAX || rounds > ROUNDS_MAX || lanes > LANES_MAX {
            return Err(CryptoError::PasswordHash);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Memory, rounds and lanes of a hash that [`PasswordHash::verify`] can compare with.
fn costs(text: &str) -> Option<(u32, u32, u32)> {
    let hash = argon2::PasswordHash::new(text).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let is_whole = hash.salt.is_some() && hash.hash.is_some();
    let is_known = hash.algorithm == ARGON2ID_IDENT && hash.version == Some(Version::V0x13.into());
    (is_whole && is_known).then(|| (params.m_cost(), params.t_cost(), params.p_cost()))
}

fn failed(error: HashError) -> CryptoError {
    CryptoError::Password(error.to_string())
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(***)")
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Secret::deserialize(deserializer)?;
        text.expose().parse().map_err(serde::de::Error::custom)
    }
}

/// Which passwords are good enough: long ones that are not among the first to be guessed (NIST SP 800-63B). Which
/// kinds of characters they have does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// How many characters a password has at least. Fewer than 8 makes no difference: so many must be hard to guess.
    pub min_length: usize,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { min_length: 12 }
    }
}

/// Why a password is not good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Too few characters.
    #[error("the password is too short: use at least {0} characters, such as a few unrelated words")]
    TooShort(usize),
    /// Too many characters.
    #[error("the password is too long: use at most {max} characters", max = PasswordPolicy::MAX_LENGTH)]
    TooLong,
    /// Among the first to be guessed.
    #[error(
        "the password is easy to guess: it is little more than common words, a sequence, a repetition, the user's name or the product's; use a few unrelated words, or let a password manager make one"
    )]
    Guessable,
}

impl PasswordPolicy {
    /// The most characters that a password may have.
    pub const MAX_LENGTH: usize = 128;

    /// How many characters must be left when all that is easy to guess is taken away.
    const RESIDUE: usize = 8;
    /// How many different characters a password must have.
    const DIFFERENT: usize = 5;
    /// How long a run of characters that go up, down or stay the same must be to be a trivial one.
    const RUN: usize = 3;

    /// Whether the password is good enough for that user.
    pub fn check(&self, password: &Secret, user: &UserName) -> Result<(), WeakPassword> {
        let characters: Vec<char> = password.expose().chars().take(Self::MAX_LENGTH + 1).collect();
        if characters.len() > Self::MAX_LENGTH {
            return Err(WeakPassword::TooLong);
        }
        if characters.len() < self.min_length {
            return Err(WeakPassword::TooShort(self.min_length));
        }
        let text: Vec<char> = characters.iter().flat_map(|character| character.to_lowercase()).collect();
        let different = text.iter().collect::<BTreeSet<_>>().len();
        if different < Self::DIFFERENT || residue(unrepeated(&text), user) < Self::RESIDUE {
            return Err(WeakPassword::Guessable);
        }
        Ok(())
    }
}

/// The shortest part that the whole is a repetition of; the whole itself, if it is none.
fn unrepeated(text: &[char]) -> &[char] {
    let repeats =
        |length: &usize| text.iter().skip(*length).zip(text).all(|(later, earlier)| later == earlier);
    let length = (1..=text.len() / 2).find(repeats);
    &text[..length.unwrap_or(text.len())]
}

/// How many characters are left without what is easy to guess.
fn residue(text: &[char], user: &UserName) -> usize {
    // The name goes first: it may hold digits.
    let mut rest: String = text.iter().collect();
    let names = [user.as_str(), user.as_str().split('@').next().unwrap_or_default()];
    for name in names.into_iter().filter(|name| name.len() >= PasswordPolicy::RUN) {
        rest = rest.replace(name, " ");
    }
    let mut rest: String = without_runs(&rest).chars().map(undisguised).collect();
    for word in WORDS {
        rest = rest.replace(word, " ");
    }
    rest.chars().filter(|character| !character.is_whitespace()).count()
}

/// The text without `abcd`, `4321`, `aaaa` and their like.
fn without_runs(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let (mut kept, mut rest) = (String::with_capacity(text.len()), characters.as_slice());
    while let Some(first) = rest.first() {
        let run = [-1, 0, 1].map(|step| run_length(rest, step)).into_iter().max().unwrap_or(1);
        if run < PasswordPolicy::RUN {
            kept.push(*first);
            rest = &rest[1..];
        } else {
            kept.push(' ');
            rest = &rest[run..];
        }
    }
    kept
}

/// How many of the first characters each lie `step` after the one before.
fn run_length(text: &[char], step: i64) -> usize {
    1 + text
        .windows(2)
        .take_while(|pair| i64::from(u32::from(pair[1])) - i64::from(u32::from(pair[0])) == step)
        .count()
}

/// The letter that a digit or sign stands for in `P@ssw0rd`.
fn undisguised(character: char) -> char {
    match character {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let hash = PasswordHash::of(&secret("correct horse")).unwrap();
        assert!(hash.verify(&secret("correct horse")).unwrap());
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert!(!hash.verify(&secret(wrong)).unwrap(), "{wrong}");
        }
        assert_ne!(hash, PasswordHash::of(&secret("correct horse")).unwrap(), "each has its own salt");
        assert!(!hash.needs_rehash());
        assert_eq!(format!("{hash:?}"), "PasswordHash(***)");
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<PasswordHash>(&json).unwrap(), hash);
    }

    #[test]
    fn nobody_has_a_password_and_costs_the_same() {
        let nobody = PasswordHash::of_nobody();
        assert!(!nobody.verify(&secret("")).unwrap());
        assert_eq!(costs(nobody.as_str()), Some((MEMORY_KIB, ROUNDS, LANES)));
        assert!(!nobody.needs_rehash());
        nobody.as_str().parse::<PasswordHash>().unwrap();
    }

    #[test]
    fn a_password_that_is_too_long_is_wrong_and_not_hashed() {
        let long = secret(&"a".repeat(PASSWORD_BYTES_MAX + 1));
        assert!(!PasswordHash::of(&long).unwrap().verify(&long).unwrap());
    }

    #[test]
    fn only_hashes_of_bounded_cost_are_read() {
        let form = |algorithm: &str, version: u32, memory: u32, rounds: u32, lanes: u32| {
            let rest = NOBODY.split_once("p=1").unwrap().1;
            format!("${algorithm}$v={version}$m={memory},t={rounds},p={lanes}{rest}")
        };
        let check = |text: &str, expect: Option<bool>| {
            let hash = text.parse::<PasswordHash>();
            assert_eq!(hash.map(|hash| hash.needs_rehash()).ok(), expect, "{text}");
        };
        check(&form("argon2id", 19, 19456, 2, 1), Some(false));
        check(&form("argon2id", 19, 65536, 3, 4), Some(true));
        check(&form("argon2id", 19, 65537, 3, 4), None);
        check(&form("argon2id", 19, 19456, 11, 1), None);
        check(&form("argon2id", 19, 19456, 2, 5), None);
        check(&form("argon2i", 19, 19456, 2, 1), None);
        check(&form("argon2id", 16, 19456, 2, 1), None);
        check("$argon2id$v=19$m=19456,t=2,p=1", None);
        check("$argon2id$v=19$m=19456,t=2,p=1$kSuO8pTqNQLfsAhyLLXIWg", None);
        check("", None);
        check("password", None);
    }

    #[test]
    fn hashes_made_elsewhere_are_understood() {
        // The argon2 reference implementation: `echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1`.
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash: PasswordHash = text.parse().unwrap();
        assert!(hash.verify(&secret("password")).unwrap());
        assert!(hash.needs_rehash());
    }

    #[test]
    fn passwords_are_long_and_not_easy_to_guess() {
        let user: UserName = "ada.lovelace@example.com".parse().unwrap();
        let check = |text: &str, expect| {
            assert_eq!(PasswordPolicy::default().check(&secret(text), &user), expect, "{text}");
        };
        for text in [
            "correct horse battery staple",
            "vK3-pq9x-Zt2w",
            "unrelated-words-here",
            "Füße über Wasser",
            "我喜欢在雨中散步看老电影吧",
            "ada likes long walks",
            "summer fruit in my old kitchen",
            "}#k~P*q(x)&%",
        ] {
            check(text, Ok(()));
        }
        check("", Err(WeakPassword::TooShort(12)));
        check("vK3-pq9x-Zt", Err(WeakPassword::TooShort(12)));
        check(&"vK3-pq9xZt2wbR".repeat(10), Err(WeakPassword::TooLong));
        for text in [
            "password1234",
            "P@ssw0rd1234",
            "Password!!!!2024",
            "123456789012",
            "abcdefghijkl",
            "zyxwvutsrqponm",
            "aaaaaaaaaaaa",
            "abababababab",
            "qwertyuiop12",
            "1qaz2wsx3edc",
            "Summer2026!!",
            "wharf-registry",
            "Wharf2026Wharf",
            "ada.lovelace@example.com",
            "ada.lovelace1",
            "Ada.Lovelace2026",
            "iloveyou4ever",
            "hunter2hunter2",
            "welcome-admin",
            "111122223333",
            "            ",
            "............",
            "xk3xk3xk3xk3",
            "letmein2letmein",
            "-_-_-_-_-_-!",
        ] {
            check(text, Err(WeakPassword::Guessable));
        }
    }

    #[test]
    fn a_message_says_what_to_do() {
        let message = WeakPassword::TooShort(12).to_string();
        assert!(message.contains("at least 12 characters"), "{message}");
        let message = WeakPassword::TooLong.to_string();
        assert!(message.contains("at most 128 characters"), "{message}");
    }

    #[test]
    fn no_word_of_the_list_hides_another() {
        for (at, word) in WORDS.iter().enumerate() {
            let hidden = WORDS[at + 1..].iter().find(|later| later.contains(word));
            assert_eq!(hidden, None, "{word} stands before it and would leave a part of it");
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
        }
    }

    proptest! {
        #[test]
        fn any_password_is_judged(text in "\\PC{0,140}|[a-c]{0,140}|[\\x00-\\x7f]{12,40}") {
            let user: UserName = "ada".parse().unwrap();
            let verdict = PasswordPolicy::default().check(&secret(&text), &user);
            let length = text.chars().count();
            prop_assert_eq!(verdict == Err(WeakPassword::TooLong), length > 128);
            prop_assert_eq!(verdict == Err(WeakPassword::TooShort(12)), length < 12);
        }

        #[test]
        fn any_text_is_a_hash_or_refused(text in "(\\$argon2id\\$v=19)?\\$[a-z0-9=,$]{0,60}") {
            if let Ok(hash) = text.parse::<PasswordHash>() {
                prop_assert_eq!(hash.as_str(), &text);
            }
        }
    }
}
