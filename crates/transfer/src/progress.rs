//! What a copy tells while it runs.

use std::time::Duration;

use oci::Descriptor;

/// What became of a blob or a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its bytes were sent.
    Copied,
    /// The target had it already.
    Present,
    /// The target linked it from elsewhere.
    Mounted,
    /// A foreign layer, which stays where it is.
    Foreign,
    /// Absent from a sparse index.
    Absent,
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The bytes of a blob begin to move.
    Started(&'a Descriptor),
    /// So many bytes of a blob have arrived in all. May go back when a target has to be sent some again.
    Position(&'a Descriptor, u64),
    /// A fault that may pass: the blob goes on after a pause.
    Retrying {
        /// The blob.
        descriptor: &'a Descriptor,
        /// What went wrong.
        reason: &'a str,
        /// How long the pause is.
        pause: Duration,
    },
    /// A blob is done.
    Blob(&'a Descriptor, Outcome),
    /// A manifest is done.
    Manifest(&'a Descriptor, Outcome),
}

/// Told of everything that happens, from any thread. Must not block.
pub trait Progress: Send + Sync {
    /// Called once for each event.
    fn event(&self, event: Event<'_>);
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: Event<'_>) {}
}
