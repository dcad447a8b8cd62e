//! What the tests are written with: a clock that they set, keys that sign, and an issuer on loopback.

pub mod key;
pub mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use oidc::{Clock, Issuer, IssuerSettings};
use serde_json::{Value, json};

pub use key::TestKey;
pub use server::{Answer, Server};

/// The moment at which all tests begin.
pub const NOW: u64 = 1_800_000_000;

/// A clock that stands until it is told to go on.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW)))
    }

    pub fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        let seconds = self.0.clone();
        Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst)))
    }
}

/// An issuer with one key `first`, and how it is asked.
pub struct World {
    pub server: Server,
    pub key: TestKey,
    pub clock: TestClock,
}

impl World {
    pub fn new() -> Self {
        Self::with(TestKey::es256("first"))
    }

    pub fn with(key: TestKey) -> Self {
        let world = Self { server: Server::start(), key, clock: TestClock::new() };
        world.server.publish(&[&world.key]);
        world
    }

    pub fn url(&self) -> &str {
        self.server.url()
    }

    pub fn issuer(&self) -> Issuer {
        Issuer::new(&IssuerSettings::new(self.url()), self.clock.clock()).unwrap()
    }

    /// Good claims, with some changed or (by null) taken away.
    pub fn claims(&self, changes: Value) -> Value {
        let mut claims = json!({
            "iss": self.url(), "aud": "wharf", "sub": "somebody",
            "iat": NOW, "nbf": NOW, "exp": NOW + 300,
        });
        let map = claims.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            map.insert(name.clone(), value.clone());
        }
        map.retain(|_, value| !value.is_null());
        claims
    }

    /// A token that the issuer's key signed.
    pub fn token(&self, changes: Value) -> String {
        self.key.sign(&self.claims(changes))
    }
}
