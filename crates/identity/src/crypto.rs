//! Random bytes and letters, comparing without telling by time, and what can go wrong with cryptography.

use aws_lc_rs::{constant_time, rand};
use zeroize::Zeroizing;

/// Digits and lowercase letters without `i`, `l`, `o` and `u`, which are mistaken for others. Their number is
/// 32, so that each stands for five random bits and none is likelier than another.
pub(crate) const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What went wrong on the server's side, not on that of who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// There is no randomness.
    #[error(
        "the system gives no random bytes: restart the server, and look into the system's log if it happens again"
    )]
    Random,
    /// Too many passwords wait to be hashed.
    #[error("too many sign-ins at once: try again in a few seconds")]
    Busy,
    /// A password cannot be hashed or compared.
    #[error("a password cannot be hashed: {0}; is there memory left?")]
    Password(String),
    /// What is stored is not a hash of a password.
    #[error(
        "this is not the hash of a password: write argon2id of version 19 in PHC form, at most 64 MiB, 10 rounds and 4 lanes"
    )]
    PasswordHash,
    /// There is no key to sign with.
    #[error("there is no key to sign access tokens with: create one")]
    NoKey,
    /// A signing key is broken.
    #[error("the signing key {0} is not a P-256 key in PKCS#8: delete it, and another is created")]
    Key(String),
    /// A token cannot be signed.
    #[error("an access token cannot be signed: {0}")]
    Sign(String),
    /// A token would be larger than what is accepted.
    #[error(
        "the access token would have {0} bytes, more than are accepted: ask for fewer repositories at once"
    )]
    TokenTooLarge(usize),
}

/// So many random bytes.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, CryptoError> {
    let mut bytes = Zeroizing::new([0; N]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| CryptoError::Random)?;
    Ok(bytes)
}

/// So many random letters.
pub(crate) fn random_letters<const N: usize>() -> Result<Zeroizing<String>, CryptoError> {
    Ok(Zeroizing::new(letters(random::<N>()?.as_slice())))
}

/// What tells a record from an earlier one of the same name.
pub(crate) fn random_id() -> Result<String, CryptoError> {
    Ok(random_letters::<20>()?.to_string())
}

/// A letter for each byte, by its lowest five bits.
pub(crate) fn letters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect()
}

/// Whether two secrets are equal, in a time that does not tell where they differ.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_letters_are_of_the_alphabet_and_never_the_same() {
        let (one, other) = (random_letters::<52>().unwrap(), random_letters::<52>().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 52);
        assert!(one.bytes().all(|byte| LETTERS.contains(&byte)), "{one:?}");
    }

    #[test]
    fn only_what_is_equal_is_equal() {
        let check = |one: &[u8], other: &[u8], expect| assert_eq!(equal(one, other), expect);
        check(b"", b"", true);
        check(b"ab", b"ab", true);
        check(b"ab", b"ac", false);
        check(b"ab", b"abc", false);
    }
}
