//! A registry looked at step by step, for who wants to know where the way to it ends: each step by itself, once, and with
//! what the step after it does not show.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use reqwest::{Method, StatusCode, Url};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::time::timeout;
use transfer::Retry;

use crate::auth::{Challenge, Realm, choose};
use crate::clients::{Clients, Lane};
use crate::{ClientError, Host, Settings, TokenError, headers, tls};

/// The most headers with a challenge that are looked at.
const CHALLENGES: usize = 16;

/// A registry that is looked at.
pub struct Probe {
    host: Host,
    base: Url,
    clients: Clients,
    settings: Settings,
}

/// The certificate that a registry shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// Why it is not trusted, where it is not.
    pub distrust: Option<String>,
    /// When it ends, as RFC 3339 has it, where that can be read.
    pub expires: Option<String>,
}

/// What a registry answers who asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The HTTP status of `/v2/`.
    pub status: u16,
    /// The registry's own time.
    pub date: Option<SystemTime>,
    /// How it wants its clients to sign in.
    pub challenge: Option<Greeted>,
}

/// How a registry wants its clients to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeted {
    /// With a password in each request.
    Basic,
    /// With a token from this address.
    Token {
        /// The address.
        realm: String,
        /// For whom the token is.
        service: Option<String>,
    },
}

impl Probe {
    /// Prepares to look at a registry. Nothing is sent yet.
    pub fn new(host: &Host, settings: &Settings) -> Result<Self, ClientError> {
        let scheme = if settings.is_secure(host) { "https" } else { "http" };
        let base = Url::parse(&format!("{scheme}://{}/v2/", host.api()))
            .map_err(|error| ClientError::Setup(error.to_string()))?;
        let clients = Clients::new(settings, host)?;
        Ok(Self { host: host.clone(), base, clients, settings: settings.clone() })
    }

    /// Is it spoken to over TLS?
    pub fn is_secure(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// The addresses that its name has.
    pub async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let name = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.base.port_or_known_default().unwrap_or(443);
        let found = timeout(self.settings.timeouts.connect, tokio::net::lookup_host((name, port))).await;
        found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(Iterator::collect)
    }

    /// Connects to an address, and lets go.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<()> {
        let connected = tokio::net::TcpStream::connect(address);
        let connected = timeout(self.settings.timeouts.connect, connected).await;
        connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(drop)
    }

    /// The certificate that is shown at an address, trusted or not.
    pub async fn certificate(&self, address: SocketAddr) -> io::Result<ShownCertificate> {
        let name = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let extra = self.settings.ca.as_deref().map_or(Ok(Vec::new()), tls::read_certificates);
        let inner = extra.and_then(tls::verifier).map_err(io::Error::other)?;
        let patience = self.settings.timeouts.connect;
        let work = move || {
            let seen = Arc::new(Seen { inner, seen: Mutex::default() });
            let name = ServerName::try_from(name).map_err(io::Error::other)?;
            let config = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .dangerous()
                .with_custom_certificate_verifier(seen.clone())
                .with_no_client_auth();
            let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
            let mut stream = TcpStream::connect_timeout(&address, patience)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            while connection.is_handshaking() {
                connection.complete_io(&mut stream)?;
            }
            let shown = seen.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
            shown.ok_or_else(|| io::Error::other("no certificate was shown"))
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// Asks for `/v2/` as nobody in particular.
    pub async fn greet(&self) -> Result<Greeting, ClientError> {
        let client = self.clients.of(self.base.scheme(), Lane::Small)?;
        let sent = client.request(Method::GET, self.base.clone()).send();
        let response = match timeout(self.settings.timeouts.answer, sent).await {
            Ok(outcome) => outcome.map_err(|error| ClientError::lost(&self.base, error))?,
            Err(_) => return Err(ClientError::Silent { url: self.base.clone().into(), transient: true }),
        };
        let challenges = response.headers().get_all("www-authenticate").iter().take(CHALLENGES);
        let challenges =
            challenges.filter_map(|value| value.to_str().ok().filter(|text| text.len() <= headers::LONGEST));
        let challenge = choose(challenges).map(|challenge| match challenge {
            Challenge::Basic => Greeted::Basic,
            Challenge::Bearer { realm, service, .. } => Greeted::Token { realm, service },
        });
        let date =
            headers::text(response.headers(), "date").and_then(|date| httpdate::parse_http_date(date).ok());
        Ok(Greeting { status: response.status().as_u16(), date, challenge })
    }

    /// Asks a token service for a token for nobody in particular. That it gives none is no failure: it has answered.
    pub async fn ask_token(&self, realm: &str, service: Option<&str>) -> Result<(), TokenError> {
        let realm = Realm::new(realm, service.map(str::to_owned), &self.host, self.is_secure())?;
        let once = Retry { failures: 0, ..self.settings.retry };
        match realm.token(&self.clients, &once, None, &[]).await {
            Err(TokenError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. }) => {
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }
}

/// Lets any certificate pass, and remembers what others would have said of it: only for who looks at it, and sends nothing.
#[derive(Debug)]
struct Seen {
    inner: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Option<ShownCertificate>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let shown = ShownCertificate {
            distrust: judged.err().map(|error| error.to_string()),
            expires: expiry(end_entity),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// When a certificate ends (RFC 5280, 4.1.2.5), as RFC 3339 has it: all that is read of it here.
fn expiry(certificate: &[u8]) -> Option<String> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if let Some((VERSION, _, after)) = element(rest) {
        rest = after;
    }
    // The serial number, the algorithm of the signature, and the issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (tag, end, _) = element(element(validity)?.2)?;
    let text = std::str::from_utf8(end).ok()?.strip_suffix('Z')?;
    let text = match tag {
        0x17 if text < "50" => format!("20{text}"),
        0x17 => format!("19{text}"),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let is_time = text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_time.then(|| {
        let part = |from: usize| &text[from..from + 2];
        format!("{}-{}-{}T{}:{}:{}Z", &text[..4], part(4), part(6), part(8), part(10), part(12))
    })
}

/// The first element of some DER: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // More than four bytes of length is no certificate.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["r.example".into()]).unwrap();
        params.not_after = date_time_ymd(year, 3, 7);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let check = |year: i32, expect: &str| assert_eq!(expiry(&certificate(year)).as_deref(), Some(expect));
        check(2031, "2031-03-07T00:00:00Z");
        check(1999, "1999-03-07T00:00:00Z");
        check(2090, "2090-03-07T00:00:00Z");
    }

    proptest! {
        #[test]
        fn no_certificate_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60), at in 0_usize..400, byte: u8) {
            expiry(&bytes);
            let mut certificate = certificate(2031);
            let at = at % certificate.len();
            certificate[at] = byte;
            expiry(&certificate);
            expiry(&certificate[..at]);
        }
    }
}
