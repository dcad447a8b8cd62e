//! OpenID Connect from the side of those who rely on it: whether a token is genuine ([`Issuer`]), what the token of a
//! CI job or a pod may be exchanged for ([`Exchange`]), and how a person signs in ([`Client`]).
//!
//! Knows tokens, keys and issuers, and distrusts what comes from outside: every answer and token is bounded, keys
//! come from configured issuers only, and the algorithm is what the key says, never what the token says. Knows no
//! user, no robot and no registry: who somebody *is* here, others decide.

mod claims;
mod client;
mod discovery;
mod error;
mod http;
mod issuer;
mod keys;
mod pattern;
mod secret;
mod signed_in;
mod token;
mod workload;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use claims::Claims;
pub use client::{Callback, Client, ClientSettings, LoggedOut, Pending, Started};
pub use error::OidcError;
pub use issuer::{Issuer, IssuerSettings};
pub use pattern::Pattern;
pub use secret::Secret;
pub use signed_in::SignedIn;
pub use workload::{Exchange, Matched, Rule, WorkloadError};

/// Tells the time: the composition root hands in the one clock of the house, tests one that they set.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// How far the clocks of an issuer and of this machine may be apart.
const LEEWAY: Duration = Duration::from_secs(30);

/// Outside text in an error message: bounded, and without control characters.
fn shorten(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}
