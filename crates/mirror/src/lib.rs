//! Pull-through: what upstream registries have, as if it were here.
//!
//! A [`Mirror`] answers who pulls ([`registry::Pull`]): from the registry what is there, and else from an upstream, which it
//! keeps on the way. However many ask, one of them fetches; whatever the upstream does, what was here stays here.

mod download;
mod error;
mod evictor;
mod flight;
mod health;
mod link;
mod lists;
mod manifests;
mod memory;
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
mod windows;

pub use health::{Closed, Standing};
pub use mirror::Mirror;
pub use peers::{PeerSettings, Peers};
pub use pins::{Pin, PinError};
pub use room::CacheLimits;
pub use stats::{CacheStats, Stats};
pub use upstream::{RemoteSettings, Settings, Upstream};
pub use windows::{Day, Figures, Offset, Schedule, Time, Window, WindowError};
