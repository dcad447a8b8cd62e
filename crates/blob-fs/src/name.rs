//! The names of files in `uploads/`: all that must be known to go on with an upload after a restart.
//!
//! ```text
//! <upload id>-<16 hex digits of a hash of the scope>-<blob id>-<algorithm>
//! write-<blob id>                                      an object that is written in one go
//! ```
//!
//! No file beside it says more, so there is none that could be missing or disagree.

use std::fmt;
use std::str::FromStr;

use blob::{BlobId, UploadId};
use oci::{Algorithm, Digest};

/// The length of a UUID as text.
const ID: usize = 36;
/// The length of the hash of a scope.
const SCOPE: usize = 16;

/// An upload, as its file is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StagedName {
    /// The name that the client knows.
    pub upload: UploadId,
    /// [`scope_hash`] of what it belongs to.
    pub scope: u64,
    /// What the object will be called.
    pub blob: BlobId,
    /// The algorithm that hashes the bytes while they arrive.
    pub algorithm: Algorithm,
}

/// Stands for a scope in a file's name, where the scope itself might be too long. Must never change.
pub(crate) fn scope_hash(scope: &str) -> u64 {
    let digest = Digest::sha256(scope.as_bytes());
    digest.as_bytes().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// What a file is called while an object is written in one go.
pub(crate) fn temporary() -> String {
    format!("write-{}", BlobId::random())
}

/// Whether a file was left by a write that a crash cut off.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_prefix("write-").is_some_and(|id| id.parse::<BlobId>().is_ok())
}

impl fmt::Display for StagedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}-{}-{}", self.upload, self.scope, self.blob, self.algorithm.name())
    }
}

/// The file is not one that this store has made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotStaged;

impl FromStr for StagedName {
    type Err = NotStaged;

    fn from_str(name: &str) -> Result<Self, NotStaged> {
        let (upload, rest) = field(name, ID)?;
        let (scope, rest) = field(rest, SCOPE)?;
        let (blob, algorithm) = field(rest, ID)?;
        let name = Self {
            upload: upload.parse().map_err(|_| NotStaged)?,
            scope: u64::from_str_radix(scope, 16).map_err(|_| NotStaged)?,
            blob: blob.parse().map_err(|_| NotStaged)?,
            algorithm: algorithm.parse().map_err(|_| NotStaged)?,
        };
        // `from_str_radix` takes capitals and a plus sign: a second spelling would be a second file.
        if format!("{:016x}", name.scope) == scope { Ok(name) } else { Err(NotStaged) }
    }
}

/// The first `length` bytes, and what follows the hyphen behind them.
fn field(text: &str, length: usize) -> Result<(&str, &str), NotStaged> {
    let (field, rest) = text.split_at_checked(length).ok_or(NotStaged)?;
    Ok((field, rest.strip_prefix('-').ok_or(NotStaged)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "0192f3a4-7c1e-7b3a-9d2e-3f1b5a6c7d8e";
    const B: &str = "0192f3a5-7c1e-7b3a-9d2e-3f1b5a6c7d8e";

    #[test]
    fn only_names_that_the_store_makes_are_read() {
        let check = |name: String, good: bool| assert_eq!(name.parse::<StagedName>().is_ok(), good, "{name}");
        check(format!("{A}-0123456789abcdef-{B}-sha256"), true);
        check(format!("{A}-0123456789abcdef-{B}-sha512"), true);
        check(format!("{A}-0123456789abcdef-{B}-md5"), false);
        check(format!("{A}-0123456789abcdef-{B}-sha256x"), false);
        check(format!("{A}-0123456789abcdef-{B}"), false);
        check(format!("{A}-0123456789ABCDEF-{B}-sha256"), false);
        check(format!("{A}-+123456789abcdef-{B}-sha256"), false);
        check(format!("{A}_0123456789abcdef-{B}-sha256"), false);
        check(format!("{}-0123456789abcdef-{B}-sha256", A.to_uppercase()), false);
        for name in ["", "-", "write-x", "lost+found", ".nfs0001", "é"] {
            check(name.to_owned(), false);
        }
    }

    #[test]
    fn the_hash_of_a_scope_is_for_ever() {
        assert_eq!(scope_hash(""), 0xe3b0_c442_98fc_1c14);
        assert_ne!(scope_hash("library/a"), scope_hash("library/b"));
    }

    #[test]
    fn temporary_names_are_known_again() {
        assert!(is_temporary(&temporary()));
        assert!(!is_temporary("write-") && !is_temporary(A) && !is_temporary(&format!("write-{A}-x")));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_unchanged(text in "\\PC{0,120}") {
            if let Ok(name) = text.parse::<StagedName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn what_nearly_is_a_name_is_refused_or_comes_back_unchanged(
            at in 0usize..107, with in any::<char>(), wide: bool, scope: u64,
        ) {
            let algorithm = if wide { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let name = StagedName { upload: A.parse().unwrap(), scope, blob: B.parse().unwrap(), algorithm };
            let text = name.to_string();
            prop_assert_eq!(text.parse::<StagedName>(), Ok(name));
            let damaged: String =
                text.chars().enumerate().map(|(index, c)| if index == at { with } else { c }).collect();
            if let Ok(name) = damaged.parse::<StagedName>() {
                prop_assert_eq!(name.to_string(), damaged);
            }
        }
    }
}
