//! The HTTP foundation under every edge: connections served at hardware speed, and the small pure helpers that all
//! protocols over HTTP need.
//!
//! An edge implements [`Handler`] and answers with a [`Body`]; [`serve`] runs [`Listener`]s within [`Limits`]. A
//! handler knows nothing of sockets, TLS or HTTP versions: a body made from a [`FileRange`] goes by sendfile where
//! that is possible and is read where it is not.

mod body;
mod conn;
mod connection;
mod error;
mod file_body;
mod handler;
mod io;
mod limits;
mod listener;
mod request;
mod serve;
mod sys;
mod tls;
mod watch;
mod zerocopy;

pub use body::Body;
pub use conn::{ConnInfo, PeerAddr};
pub use error::Error;
pub use file_body::FileRange;
pub use handler::Handler;
pub use limits::Limits;
pub use listener::Listener;
pub use request::RequestBody;
pub use serve::serve;
pub use tls::Tls;
