//! How to talk to a registry.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Client, redirect};
use rustls_pki_types::CertificateDer;
use transfer::Retry;

use crate::tls::{config, read_certificates};
use crate::{ClientError, Host, Keyring};

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
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plain_http: false,
            tls_verify: None,
            ca: None,
            keyring: Keyring::of_this_user(),
            retry: Retry::default(),
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

/// The HTTP clients: one for plain addresses, and one with TLS that is made when first needed, because reading
/// the system's certificates takes longer than many a whole command.
pub(crate) struct Clients {
    plain: Client,
    secure: OnceLock<Client>,
    certificates: Vec<CertificateDer<'static>>,
    verify: bool,
    loopback: bool,
}

impl Clients {
    pub fn new(settings: &Settings, host: &Host) -> Result<Self, ClientError> {
        let certificates = settings.ca.as_deref().map_or(Ok(Vec::new()), read_certificates)?;
        let loopback = host.is_loopback();
        let plain = builder(loopback).tls_certs_only([]).build();
        Ok(Self {
            plain: plain.map_err(|error| ClientError::Setup(error.to_string()))?,
            secure: OnceLock::new(),
            certificates,
            verify: settings.tls_verify.unwrap_or(true),
            loopback,
        })
    }

    /// The client for addresses with this scheme.
    pub fn of(&self, scheme: &str) -> Result<&Client, ClientError> {
        if scheme != "https" {
            return Ok(&self.plain);
        }
        if let Some(client) = self.secure.get() {
            return Ok(client);
        }
        let builder = builder(self.loopback);
        let builder = if self.verify {
            builder.tls_backend_preconfigured(config(self.certificates.clone())?)
        } else {
            builder.tls_danger_accept_invalid_certs(true)
        };
        let client = builder.build().map_err(|error| ClientError::Setup(error.to_string()))?;
        Ok(self.secure.get_or_init(|| client))
    }
}

/// HTTP/1.1 only: blobs that share one HTTP/2 connection share one flow-control window, too.
fn builder(loopback: bool) -> reqwest::ClientBuilder {
    let builder = Client::builder()
        .user_agent(concat!("wharf/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .http1_only()
        .http1_max_headers(100)
        .connect_timeout(Duration::from_secs(20))
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true);
    // No proxy can reach this machine's own loopback.
    if loopback { builder.no_proxy() } else { builder }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_spoken_to_without_tls_unless_told() {
        let check = |host: &str, plain_http: bool, tls_verify: Option<bool>, ca: bool, expect: bool| {
            let ca = ca.then(|| "ca.pem".into());
            let settings =
                Settings { plain_http, tls_verify, ca, keyring: Keyring::empty(), retry: Retry::default() };
            assert_eq!(settings.is_secure(&host.parse().unwrap()), expect, "{host} {settings:?}");
        };
        check("localhost:5000", false, None, false, false);
        check("localhost:5000", false, None, true, true);
        check("localhost:5000", false, Some(false), false, true);
        check("example.com", false, None, false, true);
        check("example.com", true, None, false, false);
    }
}
