//! How to talk to a registry.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oci::ManifestLimits;
use transfer::Retry;

use crate::{Host, Keyring, ProxyUrl, Watch};

/// What a user may say about a registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Use HTTP without TLS.
    pub plain_http: bool,
    /// Check the registry's certificate. Unless something is said, a registry on this machine is spoken to
    /// without TLS.
    pub tls_verify: Option<bool>,
    /// Certificates of authorities that are trusted beside the system's: a PEM file.
    pub ca: Option<PathBuf>,
    /// Where credentials are.
    pub keyring: Keyring,
    /// What to do about faults that may pass.
    pub retry: Retry,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The proxy that all requests go through, even those to this machine. Without one, the environment's.
    pub proxy: Option<ProxyUrl>,
    /// Bounds on the manifests that are read.
    pub manifests: ManifestLimits,
    /// More headers of each request to the registry itself: neither its token server nor what it redirects to gets them.
    pub headers: Vec<(&'static str, String)>,
    /// Who wants to know what the registry answers.
    pub watcher: Option<Arc<dyn Watch>>,
}

/// How long to wait for a registry, its token server and the stores that it redirects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the head of an answer, the connection included.
    pub answer: Duration,
    /// Between two pieces of an answer's body.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { connect: Duration::from_secs(20), answer: minute, stall: minute }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plain_http: false,
            tls_verify: None,
            ca: None,
            keyring: Keyring::of_this_user(),
            retry: Retry::default(),
            timeouts: Timeouts::default(),
            proxy: None,
            manifests: ManifestLimits::default(),
            headers: Vec::new(),
            watcher: None,
        }
    }
}

impl Settings {
    /// Is `host` spoken to over TLS?
    pub(crate) fn is_secure(&self, host: &Host) -> bool {
        let said_tls = self.ca.is_some() || self.tls_verify.is_some();
        !self.plain_http && (said_tls || !host.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_spoken_to_without_tls_unless_told() {
        let check = |host: &str, plain_http: bool, tls_verify: Option<bool>, ca: bool, expect: bool| {
            let ca = ca.then(|| "ca.pem".into());
            let keyring = Keyring::empty();
            let settings = Settings { plain_http, tls_verify, ca, keyring, ..Settings::default() };
            assert_eq!(settings.is_secure(&host.parse().unwrap()), expect, "{host} {settings:?}");
        };
        check("localhost:5000", false, None, false, false);
        check("localhost:5000", false, None, true, true);
        check("localhost:5000", false, Some(false), false, true);
        check("example.com", false, None, false, true);
        check("example.com", true, None, false, false);
    }
}
