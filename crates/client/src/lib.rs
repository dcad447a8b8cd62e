//! A remote registry over HTTP, as a [`transfer::Source`] and a [`transfer::Target`], and as a cache reads it.
//!
//! Knows the distribution API from the client's side, the ways to authenticate, and what to distrust: every
//! answer is bounded, credentials go to their own site only, and no byte counts before it is verified.

mod answer;
mod api;
mod auth;
mod blob;
mod body;
mod clients;
mod error;
mod headers;
mod host;
mod link;
mod lists;
mod manifest;
mod probe;
mod proxy;
mod pull;
mod push;
mod reference;
mod referrers;
mod remote;
mod repository;
mod settings;
mod tls;
mod transport;
mod upload;
mod watch;

pub use api::{Api, ApiAnswer, ApiRequest, ApiStream};
pub use auth::{AuthError, AuthFileError, Credential, Keyring, KeyringError, Place, Secret, TokenError};
pub use blob::OpenBlob;
pub use error::{ClientError, FailureKind, PublicUrl};
pub use host::Host;
pub use lists::List;
pub use manifest::Fetched;
pub use probe::{Greeted, Greeting, Probe, ShownCertificate};
pub use proxy::{ProxyUrl, ProxyUrlError};
pub use reference::{ImageRef, ReferenceError};
pub use remote::Remote;
pub use repository::Repository;
pub use settings::{Settings, Timeouts};
pub use watch::{Answered, RateLimit, Watch};
