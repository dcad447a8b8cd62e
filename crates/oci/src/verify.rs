//! Verification is a wrapper: one pure machine that stores and clients feed with what they read or write.

use sha2::Digest as _;

use crate::{Algorithm, Digest};

/// A digest in the making.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
}

impl Hasher {
    /// Nothing hashed so far.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::new(sha2::Sha512::new())),
        })
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of all the bytes taken in.
    pub fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        let digest = match self.0 {
            State::Sha256(state) => Digest::from_raw(algorithm, &state.finalize()),
            State::Sha512(state) => Digest::from_raw(algorithm, &state.finalize()),
        };
        digest.unwrap_or_else(|| unreachable!("a hash has the length of its algorithm"))
    }
}

/// What was read is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// More bytes than the descriptor says.
    #[error("the content is longer than the {expected} bytes that its descriptor says")]
    TooLong {
        /// The size in the descriptor.
        expected: u64,
    },
    /// Fewer bytes than the descriptor says.
    #[error("the content ended after {actual} of {expected} bytes")]
    TooShort {
        /// The size in the descriptor.
        expected: u64,
        /// What arrived.
        actual: u64,
    },
    /// The right number of bytes, or an unknown one, with another digest.
    #[error("the content has the digest {actual}, not {expected}")]
    Mismatch {
        /// What was asked for.
        expected: Digest,
        /// What arrived.
        actual: Digest,
    },
}

/// Checks that a stream has the size and digest that were promised, before its end is told to anyone.
pub struct Verifier {
    expected: Digest,
    size: Option<u64>,
    seen: u64,
    hasher: Hasher,
}

impl Verifier {
    /// Expects content with this digest and, where it is known, this size in bytes.
    pub fn new(expected: Digest, size: Option<u64>) -> Self {
        Self { expected, size, seen: 0, hasher: Hasher::new(expected.algorithm()) }
    }

    /// Takes in the next bytes. Fails as soon as there are too many.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        self.seen += bytes.len() as u64;
        match self.size {
            Some(expected) if self.seen > expected => Err(VerifyError::TooLong { expected }),
            _ => {
                self.hasher.update(bytes);
                Ok(())
            }
        }
    }

    /// The stream has ended: was it the promised content?
    pub fn finish(self) -> Result<(), VerifyError> {
        if let Some(expected) = self.size.filter(|size| self.seen < *size) {
            return Err(VerifyError::TooShort { expected, actual: self.seen });
        }
        let actual = self.hasher.finish();
        if actual == self.expected {
            Ok(())
        } else {
            Err(VerifyError::Mismatch { expected: self.expected, actual })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_promised_content_passes() {
        let check = |size: Option<u64>, content: &[u8], good: bool| {
            let mut verifier = Verifier::new(Digest::sha256(b"wharf"), size);
            let outcome = verifier.update(content).and_then(|()| verifier.finish());
            assert_eq!(outcome.is_ok(), good, "{size:?} {content:?}");
        };
        check(Some(5), b"wharf", true);
        check(None, b"wharf", true);
        check(Some(5), b"whar", false);
        check(Some(5), b"wharfs", false);
        check(Some(5), b"wharg", false);
        check(None, b"", false);
    }
}
