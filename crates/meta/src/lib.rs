//! The port to metadata: what the house must remember about bytes, and the one way to change it.
//!
//! All changes go through [`Commit::commit`] as a [`Batch`]: writes with their conditions, one transaction, so
//! that the race between a push and garbage collection is settled by the store. Reading is split into small
//! roles. No SQL here, and no wire format.

mod batch;
mod cached;
mod clock;
mod entry;
mod event;
mod fallback;
mod record;
mod store;

pub mod contract;

pub use batch::{Batch, Committed, Condition, Effect, NewBlob, NewManifest, Origin, RefKind, Write};
pub use cached::{CacheSize, CachedMeta};
pub use clock::{Clock, SystemClock, Timestamp};
pub use entry::{Entry, EntryKind, EntryName, EntryNameError, NewEntry};
pub use event::{Event, EventKind};
pub use fallback::FallbackUse;
pub use record::{
    BlobRecord, BlobRow, CachedBlob, Garbage, ManifestRecord, ManifestRow, MissingBlob, ReferrerPage,
    ReferrerQuery, RepositoryKind, RepositoryRow, StoredBlob, Totals, Visible,
};
pub use store::{
    Answer, Collect, Commit, Inspect, MetaError, MetaStore, ReadBlobs, ReadEntries, ReadEvents,
    ReadFallbacks, ReadLists, ReadManifests, ReadMirrors, Settings,
};
