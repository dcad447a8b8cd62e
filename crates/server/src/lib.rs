//! The composition root: the one crate that knows every adapter, and decides what wraps what.

mod admin;
mod bounds;
mod config;
mod maintenance;
mod memory;
mod metrics;
mod router;
mod serve;
mod span;
mod store;

pub use admin::{AdminReply, admin};
pub use config::{Config, LogFormat, Overrides};
pub use serve::serve;
