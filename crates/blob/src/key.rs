//! Keys are enums, and the layout is a picture.
//!
//! ```text
//! blobs/
//!   0192f3a/                                   the first 28 bits of the id: its time, in steps of 17.5 minutes
//!     0192f3a4-7c1e-7b3a-9d2e-3f1b5a6c7d8e     one object, immutable
//! uploads/
//!   <upload id>-<blob id>                      bytes that are still arriving
//! segments/
//!   0000000000000042                           a copy of metadata, by number, written once
//! ```

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Names one stored object, for ever: a UUIDv7 (RFC 9562), so 74 random bits after 48 bits of time.
///
/// The time in front keeps objects of one age side by side: a search for objects that no metadata knows reads
/// only what came since the last search, and uploads that run at once share one directory to flush.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId(Uuid);

impl BlobId {
    /// A new id, of this moment.
    pub fn random() -> Self {
        Self(Uuid::now_v7())
    }

    /// The stored form.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Reads the stored form; `None` where it has another length.
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// When the id was made, in milliseconds since 1970.
    pub fn unix_millis(&self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|at| if at < 2 { 0 } else { self.0.as_bytes()[at - 2] }))
    }
}

/// Names one upload session to its client. Random and hard to guess: it is what an upload URL ends in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(Uuid);

impl UploadId {
    /// A new id.
    pub fn random() -> Self {
        Self(Uuid::now_v7())
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

macro_rules! uuid_forms {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            /// Only the canonical form: 36 characters, lowercase, with hyphens.
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                let id = Self(Uuid::try_parse(text)?);
                if id.to_string() == text { Ok(id) } else { Uuid::try_parse("").map(Self) }
            }
        }
    };
}

uuid_forms!(BlobId);
uuid_forms!(UploadId);

/// Every object path comes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlobKey {
    /// The content of a blob.
    Blob(BlobId),
    /// A numbered copy of metadata.
    Segment(u64),
}

impl BlobKey {
    /// The path below the store's root, with `/` between its parts.
    pub fn path(&self) -> String {
        match self {
            Self::Blob(id) => {
                let id = id.to_string();
                // The hyphen after eight digits is not reached: seven digits are 28 bits.
                format!("blobs/{}/{id}", &id[..7])
            }
            Self::Segment(number) => format!("segments/{number:016}"),
        }
    }
}

impl From<BlobId> for BlobKey {
    fn from(id: BlobId) -> Self {
        Self::Blob(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_drawn() {
        let id: BlobId = "0192f3a4-7c1e-7b3a-9d2e-3f1b5a6c7d8e".parse().unwrap();
        assert_eq!(BlobKey::Blob(id).path(), "blobs/0192f3a/0192f3a4-7c1e-7b3a-9d2e-3f1b5a6c7d8e");
        assert_eq!(BlobKey::Segment(42).path(), "segments/0000000000000042");
    }

    #[test]
    fn an_id_has_one_spelling() {
        for text in ["", "x", "0192F3A4-7C1E-7B3A-9D2E-3F1B5A6C7D8E", "0192f3a47c1e7b3a9d2e3f1b5a6c7d8e"] {
            assert!(text.parse::<UploadId>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_in_the_order_of_time() {
        let before = BlobId::random();
        let after = BlobId::random();
        assert!(before < after && before.unix_millis() <= after.unix_millis());
        assert_eq!(BlobId::from_stored(before.as_bytes()), Some(before));
    }
}
