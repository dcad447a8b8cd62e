//! The HTTP clients: who waits how long, by which protocol, through which proxy.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, redirect};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;

use crate::tls::{config, read_certificates};
use crate::{ClientError, Host, ProxyUrl, Settings, Timeouts};

/// What a request carries, which decides about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Manifests, lists, tokens, questions: HTTP/2 where the server offers it, so that many share a connection.
    Small,
    /// Blobs: HTTP/1.1, a connection for each. On one of HTTP/2 they would share a flow-control window and a socket:
    /// one reader that stands still would hold up all others, and so would one lost packet.
    Bulk,
}

/// The clients, which keep connections for the next request. Those with TLS are made when first needed, because
/// reading the system's certificates takes longer than many a whole command.
pub(crate) struct Clients {
    plain: Client,
    small: OnceLock<Client>,
    bulk: OnceLock<Client>,
    tls: OnceLock<ClientConfig>,
    certificates: Vec<CertificateDer<'static>>,
    verify: bool,
    timeouts: Timeouts,
    proxy: Option<ProxyUrl>,
    loopback: bool,
}

impl Clients {
    pub fn new(settings: &Settings, host: &Host) -> Result<Self, ClientError> {
        let certificates = settings.ca.as_deref().map_or(Ok(Vec::new()), read_certificates)?;
        let (timeouts, proxy, loopback) = (settings.timeouts, settings.proxy.clone(), host.is_loopback());
        Ok(Self {
            plain: build(builder(timeouts, proxy.as_ref(), loopback)?.http1_only().tls_certs_only([]))?,
            small: OnceLock::new(),
            bulk: OnceLock::new(),
            tls: OnceLock::new(),
            certificates,
            verify: settings.tls_verify.unwrap_or(true),
            timeouts,
            proxy,
            loopback,
        })
    }

    /// The client for addresses with this scheme.
    pub fn of(&self, scheme: &str, lane: Lane) -> Result<&Client, ClientError> {
        if scheme != "https" {
            return Ok(&self.plain);
        }
        let slot = match lane {
            Lane::Small => &self.small,
            Lane::Bulk => &self.bulk,
        };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = build(self.secure(lane)?)?;
        Ok(slot.get_or_init(|| client))
    }

    /// How long requests wait.
    pub const fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    fn secure(&self, lane: Lane) -> Result<ClientBuilder, ClientError> {
        let builder = builder(self.timeouts, self.proxy.as_ref(), self.loopback)?;
        let builder = if lane == Lane::Bulk { builder.http1_only() } else { builder };
        if !self.verify {
            return Ok(builder.tls_danger_accept_invalid_certs(true));
        }
        let mut tls = match self.tls.get() {
            Some(tls) => tls.clone(),
            None => {
                let made = config(self.certificates.clone())?;
                self.tls.get_or_init(|| made).clone()
            }
        };
        tls.alpn_protocols = match lane {
            Lane::Small => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Lane::Bulk => vec![b"http/1.1".to_vec()],
        };
        Ok(builder.tls_backend_preconfigured(tls))
    }
}

fn build(builder: ClientBuilder) -> Result<Client, ClientError> {
    builder.build().map_err(|error| ClientError::Setup(error.without_url().to_string()))
}

fn builder(
    timeouts: Timeouts,
    proxy: Option<&ProxyUrl>,
    loopback: bool,
) -> Result<ClientBuilder, ClientError> {
    // Bytes are stored as they come, and their digest is that of what was pushed.
    let identity = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
    let builder = Client::builder()
        .user_agent(concat!("wharf/", env!("CARGO_PKG_VERSION")))
        .default_headers(identity)
        .redirect(redirect::Policy::none())
        .http1_max_headers(100)
        .http2_max_header_list_size(64 << 10)
        // A connection that many share and that has silently died must not take their next tries, too.
        .http2_keep_alive_interval(Duration::from_secs(15))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .connect_timeout(timeouts.connect)
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true);
    Ok(match proxy {
        Some(proxy) => builder.proxy(proxy.to_proxy()?),
        // No proxy of the environment can reach this machine's own loopback.
        None if loopback => builder.no_proxy(),
        None => builder,
    })
}
