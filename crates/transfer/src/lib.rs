//! The one verb of the house: copy a graph of content from a [`Source`] to a [`Target`].
//!
//! Push, replicate, mirror, import and export are this verb with other ends. It knows no protocol and no file
//! format: an end is a registry, a folder or an archive behind one of two small traits.

mod copy;
mod ends;
mod error;
mod feed;
mod graph;
mod options;
mod platform;
mod progress;
mod retry;
mod small;

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod fake;

pub use copy::{Report, copy_graph};
pub use ends::{ByteStream, Document, Naming, Origin, Pushed, Source, Target};
pub use error::TransferError;
pub use feed::Feed;
pub use graph::fetch;
pub use options::{Limits, Options};
pub use platform::{PlatformError, PlatformFilter, select_platform};
pub use progress::{Event, Outcome, Progress, Silent};
pub use retry::Retry;
pub use small::read_small;
