//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was done for one upstream since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Manifests and blobs that were here.
    pub hits: u64,
    /// Those that had to be fetched, or were on their way.
    pub misses: u64,
    /// Answers that may be old, because the upstream could not be asked.
    pub stale: u64,
    /// Bytes of blobs and manifests that were fetched from the upstream.
    pub fetched_bytes: u64,
    /// Those of blobs and manifests that peers had.
    pub peer_bytes: u64,
    /// Requests that were answered with nothing.
    pub failures: u64,
    /// Manifests that were read for a project that replaces it.
    pub fallbacks: u64,
}

/// What the cache holds, and what was evicted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Bytes of the blobs that only mirrored repositories hold.
    pub bytes: u64,
    /// How many blobs these are.
    pub blobs: u64,
    /// Bytes of evicted blobs.
    pub evicted_bytes: u64,
    /// How many blobs were evicted.
    pub evicted_blobs: u64,
}

macro_rules! counts {
    ($($name:ident $field:ident),*) => {
        /// The same, counting.
        #[derive(Default)]
        pub(crate) struct Counts {
            $($field: AtomicU64,)*
        }

        impl Counts {
            $(pub fn $name(&self, count: u64) {
                self.$field.fetch_add(count, Ordering::Relaxed);
            })*

            pub fn read(&self) -> Stats {
                Stats { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts! {
    hit hits, missed misses, served_stale stale, fetched fetched_bytes, lent peer_bytes, failed failures,
    fell_back fallbacks
}
