//! A remote registry over HTTP, as a [`transfer::Source`] and a [`transfer::Target`].
//!
//! Knows the distribution API from the client's side, the ways to authenticate, and what to distrust: every
//! answer is bounded, credentials go to their own site only, and no byte counts before it is verified.

mod answer;
mod api;
mod auth;
mod body;
mod error;
mod headers;
mod host;
mod link;
mod lists;
mod pull;
mod push;
mod reference;
mod referrers;
mod repository;
mod settings;
mod tls;
mod transport;
mod upload;

use std::time::Duration;

pub use api::{Api, ApiAnswer, ApiRequest, ApiStream};
pub use auth::{AuthError, AuthFileError, Credential, Keyring, KeyringError, Place, Secret, TokenError};
pub use error::{ClientError, PublicUrl};
pub use host::Host;
pub use lists::{List, Registry};
pub use reference::{ImageRef, ReferenceError};
pub use repository::Repository;
pub use settings::Settings;

/// How long a registry may take to answer, or between two pieces of an answer.
const PATIENCE: Duration = Duration::from_secs(60);
