//! The HTTP foundation under every edge: connections served at hardware speed, and the small pure helpers that all
//! protocols over HTTP need.
//!
//! An edge implements [`Handler`] and answers with a [`Body`]; [`serve`] runs [`Listener`]s within [`Limits`]. A
//! handler knows nothing of sockets, TLS or HTTP versions: a body made from a [`FileRange`] goes by sendfile where
//! that is possible and is read where it is not.

mod body;
mod budget;
mod conditional;
mod conn;
mod connection;
mod credential;
mod error;
mod fair;
mod file_body;
mod forwarded;
mod handler;
mod io;
mod limits;
mod listener;
mod query;
mod range;
mod request;
mod request_id;
mod serve;
mod sys;
mod tls;
mod watch;
mod zerocopy;

pub use body::Body;
pub use budget::{BodyBudget, BodyShare};
pub use conditional::{ETag, Precondition};
pub use conn::{ConnInfo, PeerAddr};
pub use credential::{UnreadableCredential, credential};
pub use error::Error;
pub use fair::{Admitted, Fair, FairLimits, KeyLimits, Keys, Refused};
pub use file_body::FileRange;
pub use forwarded::{Forwarded, Network, TrustedProxies};
pub use handler::Handler;
pub use limits::Limits;
pub use listener::Listener;
pub use query::Query;
pub use range::ByteRange;
pub use request::RequestBody;
pub use request_id::{RequestId, X_REQUEST_ID};
pub use serve::serve;
pub use tls::Tls;
