//! One connection to a directory: opened, encrypted, asked one thing at a time.
//!
//! A connection belongs to whoever asks. After an error, or where the asker went away half-way, it is dropped, so that no
//! answer is ever taken for that to another question.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::ber::{self, tag};
use crate::config::{Address, Protection};
use crate::message::{self, Entry, Outcome, Response, Search, code};
use crate::{LdapConfig, LdapError};

/// The most bytes of all answers to one question: far beyond ten thousand groups.
const ANSWER: usize = 16 << 20;
/// Hints at other servers that may stand among the answers.
const REFERENCES: usize = 1_000;
/// The most bytes of a file of authorities.
const AUTHORITIES: u64 = 16 << 20;

/// A directory's address, and how to speak to it.
pub(crate) struct Server {
    address: Address,
    /// For errors.
    name: Arc<str>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that is open.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    name: Arc<str>,
    timeout: Duration,
    last_id: u32,
}

impl Server {
    pub(crate) fn new(config: &LdapConfig) -> Result<Self, LdapError> {
        let address = config.address()?;
        let tls = match address.protection {
            Protection::None => None,
            Protection::Tls | Protection::StartTls => {
                let host = ServerName::try_from(address.host.clone());
                let host = host.map_err(|_| LdapError::Config {
                    key: "url",
                    reason: format!("no certificate can be for the host `{}`", address.host),
                })?;
                Some((TlsConnector::from(Arc::new(tls_config(config)?)), host))
            }
        };
        let name = match address.host.contains(':') {
            true => format!("[{}]:{}", address.host, address.port),
            false => format!("{}:{}", address.host, address.port),
        };
        Ok(Self { address, name: name.into(), tls, timeout: config.timeout })
    }

    /// Host and port.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn protection(&self) -> Protection {
        self.address.protection
    }

    /// Opens a connection; nobody is bound on it.
    pub(crate) async fn connect(&self) -> Result<Connection, LdapError> {
        let opened = tokio::time::timeout(self.timeout, self.open()).await;
        opened.unwrap_or_else(|_| Err(timed_out(&self.name, "connection", self.timeout)))
    }

    async fn open(&self) -> Result<Connection, LdapError> {
        let connected = TcpStream::connect((self.address.host.as_str(), self.address.port)).await;
        let failed = |error: std::io::Error| LdapError::Connect {
            server: self.name.to_string(),
            reason: error.to_string(),
        };
        let tcp = connected.map_err(failed)?;
        // Questions are small, and each waits for its answer.
        tcp.set_nodelay(true).map_err(failed)?;
        let Some((connector, host)) = &self.tls else { return Ok(self.connection(BufStream::new(tcp))) };
        let tcp = match self.address.protection {
            Protection::StartTls => self.start_tls(tcp).await?,
            Protection::Tls | Protection::None => tcp,
        };
        let encrypted = connector.connect(host.clone(), tcp).await;
        Ok(self.connection(BufStream::new(encrypted.map_err(|error| self.no_tls(error.to_string()))?)))
    }

    /// Asks for TLS and is told to begin. Nothing is buffered meanwhile: what somebody slips in before TLS is taken for
    /// a part of it, and breaks it.
    async fn start_tls(&self, mut tcp: TcpStream) -> Result<TcpStream, LdapError> {
        let mut plain = Plain { stream: &mut tcp, name: &self.name };
        plain.send(1, &message::start_tls()).await?;
        let mut budget = ANSWER;
        match plain.receive(1, &mut budget).await? {
            Response::Extended(outcome) if outcome.code == code::SUCCESS => Ok(tcp),
            Response::Extended(outcome) => {
                Err(self.no_tls(format!("StartTLS is refused: {}", outcome.text())))
            }
            _ => Err(unexpected(&self.name)),
        }
    }

    fn connection(&self, stream: impl Stream + 'static) -> Connection {
        Connection {
            stream: Box::new(stream),
            name: Arc::clone(&self.name),
            timeout: self.timeout,
            last_id: 0,
        }
    }

    fn no_tls(&self, reason: String) -> LdapError {
        LdapError::Tls { server: self.name.to_string(), reason }
    }
}

impl Connection {
    /// Binds; whether that was refused is for the caller to judge.
    ///
    /// The password must not be empty: such a bind succeeds in LDAP, and proves nothing.
    pub(crate) async fn bind(&mut self, dn: &str, password: &str) -> Result<Outcome, LdapError> {
        let (name, limit) = (Arc::clone(&self.name), self.timeout);
        let work = async {
            let (mut plain, id) = self.next();
            plain.send(id, &message::bind(dn, password)).await?;
            let mut budget = ANSWER;
            match plain.receive(id, &mut budget).await? {
                Response::Bound(outcome) => Ok(outcome),
                _ => Err(unexpected(plain.name)),
            }
        };
        let done = tokio::time::timeout(limit, work).await;
        done.unwrap_or_else(|_| Err(timed_out(&name, "bind", limit)))
    }

    /// The entries that were found, and how the search ended.
    pub(crate) async fn search(&mut self, search: &Search<'_>) -> Result<(Vec<Entry>, Outcome), LdapError> {
        let (name, limit) = (Arc::clone(&self.name), self.timeout);
        let done = tokio::time::timeout(limit, self.search_untimed(search)).await;
        done.unwrap_or_else(|_| Err(timed_out(&name, "search", limit)))
    }

    async fn search_untimed(&mut self, search: &Search<'_>) -> Result<(Vec<Entry>, Outcome), LdapError> {
        let most = usize::try_from(search.limit).unwrap_or(usize::MAX);
        // At least a second, for zero would mean: no limit.
        let seconds = u32::try_from(self.timeout.as_secs()).unwrap_or(u32::MAX).max(1);
        let (mut plain, id) = self.next();
        plain.send(id, &message::search(search, seconds)).await?;
        let (mut entries, mut references, mut budget) = (Vec::new(), 0, ANSWER);
        loop {
            match plain.receive(id, &mut budget).await? {
                Response::Entry(entry) if entries.len() < most => entries.push(entry),
                Response::Entry(_) => return Err(protocol(plain.name, "more entries than it was asked for")),
                Response::Reference if references < REFERENCES => references += 1,
                Response::Reference => return Err(protocol(plain.name, "too many referrals")),
                Response::Done(outcome) => return Ok((entries, outcome)),
                Response::Bound(_) | Response::Extended(_) => return Err(unexpected(plain.name)),
            }
        }
    }

    /// The stream, and the id of the next message.
    fn next(&mut self) -> (Plain<'_, Box<dyn Stream>>, u32) {
        // Ids end at 2^31; no connection lives that long.
        self.last_id = self.last_id.wrapping_add(1) & 0x7fff_ffff;
        (Plain { stream: &mut self.stream, name: &self.name }, self.last_id)
    }
}

/// Messages over any stream.
struct Plain<'a, S> {
    stream: &'a mut S,
    name: &'a str,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Plain<'_, S> {
    async fn send(&mut self, id: u32, operation: &[u8]) -> Result<(), LdapError> {
        let bytes = message::message(id, operation);
        let sent = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| broken(self.name, &error))
    }

    /// The next answer to the message of this id; takes its bytes off the budget.
    async fn receive(&mut self, id: u32, budget: &mut usize) -> Result<Response, LdapError> {
        let content = self.content(budget).await?;
        match message::response(&content) {
            Some((answered, response)) if answered == id => Ok(response),
            // A notice of disconnection is such an answer: the directory shuts down, or has been idle for too long.
            Some((0, _)) => {
                let reason = "the directory ended it".into();
                Err(LdapError::Broken { server: self.name.to_owned(), reason })
            }
            _ => Err(unexpected(self.name)),
        }
    }

    /// What the next message's sequence holds.
    async fn content(&mut self, budget: &mut usize) -> Result<Vec<u8>, LdapError> {
        let name = self.name;
        let failed = |error| broken(name, &error);
        if self.stream.read_u8().await.map_err(failed)? != tag::SEQUENCE {
            return Err(protocol(name, "what is no LDAP"));
        }
        let first = self.stream.read_u8().await.map_err(failed)?;
        let length = match ber::length(first).ok_or_else(|| protocol(name, "what is no LDAP"))? {
            Ok(length) => length,
            Err(count) => {
                let mut length = 0;
                for _ in 0..count {
                    length = length << 8 | usize::from(self.stream.read_u8().await.map_err(failed)?);
                }
                length
            }
        };
        *budget =
            budget.checked_sub(length).ok_or_else(|| protocol(name, "an answer of more than 16 MiB"))?;
        // Memory is taken as bytes come, not as they are announced.
        let mut content = Vec::new();
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        (&mut self.stream).take(limit).read_to_end(&mut content).await.map_err(failed)?;
        if content.len() < length {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(content)
    }
}

fn timed_out(server: &str, operation: &'static str, limit: Duration) -> LdapError {
    LdapError::Timeout { server: server.to_owned(), operation, limit }
}

fn broken(server: &str, error: &std::io::Error) -> LdapError {
    LdapError::Broken { server: server.to_owned(), reason: error.to_string() }
}

fn protocol(server: &str, what: &'static str) -> LdapError {
    LdapError::Protocol { server: server.to_owned(), what }
}

fn unexpected(server: &str) -> LdapError {
    protocol(server, "an answer that does not belong to the question")
}

/// Trusts the authorities of the given file, or those of the system; never just anybody.
fn tls_config(config: &LdapConfig) -> Result<ClientConfig, LdapError> {
    let wrong = |reason: String| LdapError::Authorities { path: config.ca.clone(), reason };
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    if config.ca.as_os_str().is_empty() {
        let verifier = Verifier::new(provider).map_err(|error| wrong(error.to_string()))?;
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth());
    }
    let size = std::fs::metadata(&config.ca).map_err(|error| wrong(error.to_string()))?.len();
    if size > AUTHORITIES {
        return Err(wrong("it is larger than 16 MiB".into()));
    }
    let bytes = std::fs::read(&config.ca).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("there is no certificate in it (PEM is expected)".into()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
