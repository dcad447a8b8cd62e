//! The composition root: the one crate that knows every adapter, and decides what wraps what.

mod admin;
mod audit;
mod bounds;
mod config;
mod console;
mod edge;
mod edge_metrics;
mod external;
mod fair;
mod fallback;
mod log;
mod maintenance;
mod memory;
mod metrics;
mod mirror_metrics;
mod peers;
mod probes;
mod refusals;
mod router;
mod serve;
mod span;
mod store;
mod upstreams;
mod users;
mod windows;

pub use admin::{AdminReply, AdminRequest, admin};
pub use config::{AuthMode, Config, Overrides};
pub use log::LogFormat;
pub use serve::serve;
