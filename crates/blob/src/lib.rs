//! The port to blob storage: what the house asks of a disk or an object store.
//!
//! A blob's object has a [`BlobId`] that is fixed when its upload starts and never used again; metadata maps
//! digests to it. So a commit copies nothing, on disk as on S3, and garbage collection can never meet a re-push
//! under the same key.

mod error;
mod key;
mod memory;
mod store;

pub mod contract;

pub use error::BlobError;
pub use key::{BlobId, BlobKey, UploadId};
pub use memory::MemoryBlobs;
pub use store::{BlobRead, BlobStat, BlobStore, ByteRange, FileRange, Growing, Open, Stage, Staged};
