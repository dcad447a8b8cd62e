//! TLS from PEM files that may change while the server runs.
//!
//! Only the certificate is swapped: sessions, tickets and running transfers go on. A pair of files that cannot be
//! used changes nothing; the old certificate stays, and the log names the file.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::error::Error;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(5);
/// Larger than any chain or key; a wrong path (a log, a device) must not fill the memory.
const PEM_MAX: u64 = 1 << 20;

/// A server's TLS: its certificate chain and key, and the files they came from.
pub struct Tls {
    chain: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    seen: Mutex<Option<[Stamp; 2]>>,
}

/// What tells a file from the one that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Tls {
    /// Loads a chain (leaf first) and its key, both PEM.
    pub fn load(chain: &Path, key: &Path) -> Result<Arc<Tls>, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let seen = stamps(chain, key);
        let certified = read_pair(chain, key, &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(chain, error))?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (chain, key) = (chain.to_owned(), key.to_owned());
        Ok(Arc::new(Tls { chain, key, current, config: Arc::new(config), seen: Mutex::new(seen) }))
    }

    /// Reads both files again. New connections use what they hold; on an error everything stays as it was.
    pub fn reload(&self) -> Result<(), Error> {
        let seen = stamps(&self.chain, &self.key);
        let loaded = read_pair(&self.chain, &self.key, self.config.crypto_provider());
        // Also after a failure: broken files are reported once, and tried again when they change.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        let mut current = self.current.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(loaded?);
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Reloads whenever the files change. Never ends.
    pub(crate) async fn follow(self: Arc<Tls>) {
        loop {
            tokio::time::sleep(POLL).await;
            let tls = Arc::clone(&self);
            // Files can be on a slow disk: not on a worker thread. A panic in there would leave the old certificate.
            if let Err(error) = tokio::task::spawn_blocking(move || tls.reload_if_changed()).await {
                tracing::error!(%error, "the TLS files could not be looked at");
            }
        }
    }

    /// Whether the files had changed, and were loaded or reported.
    pub(crate) fn reload_if_changed(&self) -> bool {
        let now = stamps(&self.chain, &self.key);
        let last = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Files that are gone for a moment are being replaced: look again next time.
        if now.is_none() || now == last {
            return false;
        }
        match self.reload() {
            Ok(()) => tracing::info!(chain = %self.chain.display(), "loaded a new TLS certificate"),
            Err(error) => tracing::error!(%error, "kept the old TLS certificate"),
        }
        true
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("chain", &self.chain).field("key", &self.key).finish_non_exhaustive()
    }
}

/// The certificate that new connections get.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read_pair(chain: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let pem = read_pem(chain)?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(chain, error))?;
    if certificates.is_empty() {
        return Err(wrong(chain, "it holds no certificate"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read_pem(key)?).map_err(|error| wrong(key, error))?;
    let signer = provider.key_provider.load_private_key(private).map_err(|error| wrong(key, error))?;
    let certified = CertifiedKey::new(certificates, signer);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(wrong(key, format_args!("it is not the key of the certificate in {}", chain.display())))
        }
        Err(error) => Err(wrong(chain, error)),
    }
}

fn read_pem(path: &Path) -> Result<Vec<u8>, Error> {
    let mut pem = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PEM_MAX + 1).read_to_end(&mut pem));
    match read {
        Ok(_) if pem.len() as u64 > PEM_MAX => {
            Err(wrong(path, format_args!("it has more than {PEM_MAX} bytes, and so no certificate or key")))
        }
        Ok(_) => Ok(pem),
        Err(error) => Err(wrong(path, error)),
    }
}

fn wrong(path: &Path, reason: impl fmt::Display) -> Error {
    Error::Tls { path: path.to_owned(), reason: reason.to_string() }
}

fn stamps(chain: &Path, key: &Path) -> Option<[Stamp; 2]> {
    let stamp = |path| {
        let data = std::fs::metadata(path).ok()?;
        let modified = (data.mtime(), data.mtime_nsec());
        Some(Stamp { device: data.dev(), inode: data.ino(), len: data.len(), modified })
    };
    Some([stamp(chain)?, stamp(key)?])
}
