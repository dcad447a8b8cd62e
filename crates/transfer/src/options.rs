//! What a copy may be told.

use oci::{ManifestLimits, Tag};

use crate::Retry;

/// How to copy.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many blobs move at once.
    pub jobs: usize,
    /// Copy what refers to any copied manifest, too, and what refers to that.
    pub referrers: bool,
    /// Leave out manifests of an index, and referrers, that the source has not got, instead of failing.
    pub sparse: bool,
    /// Copy foreign layers, too, where the source holds them.
    pub foreign: bool,
    /// The tags that the root gets at the target, when all else is there.
    pub tags: Vec<Tag>,
    /// What to do about faults that may pass.
    pub retry: Retry,
    /// Bounds on the graph.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: 6,
            referrers: false,
            sparse: false,
            foreign: false,
            tags: Vec::new(),
            retry: Retry::default(),
            limits: Limits::default(),
        }
    }
}

/// Bounds on a graph, whose shape its source decides.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How deep manifests may nest.
    pub depth: usize,
    /// The most manifests, referrers counted.
    pub manifests: usize,
    /// The most blobs.
    pub blobs: usize,
    /// Bounds on each manifest.
    pub manifest: ManifestLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 8, manifests: 10_000, blobs: 100_000, manifest: ManifestLimits::default() }
    }
}
