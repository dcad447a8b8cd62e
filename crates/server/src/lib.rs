//! The composition root: the one crate that knows every adapter, and decides what wraps what.

mod admin;
mod bounds;
mod config;
mod maintenance;
mod metrics;
mod router;
mod seed;
mod serve;
mod span;
mod store;

pub use admin::{AdminReply, admin};
pub use config::{Config, LogFormat, Overrides};
pub use seed::{Seed, seed};
pub use serve::serve;
