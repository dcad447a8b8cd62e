//! Pull-through: what upstream registries have, as if it were here.
//!
//! A [`Mirror`] answers who pulls ([`registry::Pull`]): from the registry what is there, and else from an upstream, which it
//! keeps on the way. However many ask, one of them fetches; whatever the upstream does, what was here stays here.
//!
//! A [`Fallback`] is put round it where projects replace other registries: it answers for what is not here yet.

mod download;
mod error;
mod evictor;
mod fallback;
mod flight;
mod health;
mod keep;
mod link;
mod lists;
mod manifests;
mod memory;
mod merge;
mod mirror;
mod names;
mod once;
mod pace;
mod peers;
mod pins;
mod room;
mod rounds;
mod stats;
mod turns;
mod upstream;
mod uses;
mod wary;
mod windows;

pub use fallback::{Fallback, Replacement, Replacements};
pub use health::{Closed, Standing};
pub use mirror::Mirror;
pub use peers::{PeerSettings, Peers};
pub use pins::{Pin, PinError};
pub use room::CacheLimits;
pub use stats::{CacheStats, Stats};
pub use upstream::{RemoteSettings, Settings, Upstream};
pub use windows::{Day, Figures, Offset, Schedule, Time, Window, WindowError};
