//! The vocabulary of the house: digests, names, tags, media types, descriptors and manifests.
//!
//! Everything here is pure: no I/O, no async, no HTTP. A value of one of these types has been checked once, at
//! the door, by its `FromStr` or `parse`; inside the house no `&str` stands for one of them.

mod descriptor;
mod digest;
mod manifest;
mod media_type;
mod name;
mod verify;

pub use descriptor::{Annotations, Descriptor, Platform};
pub use digest::{Algorithm, Digest, DigestError};
pub use manifest::{Child, Manifest, ManifestError, ManifestKind, ManifestLimits, Role, children};
pub use media_type::{MediaType, MediaTypeError, types};
pub use name::{NameError, ProjectName, Reference, RepoName, Tag};
pub use verify::{Hasher, Verifier, VerifyError};
