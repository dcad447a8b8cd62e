//! Whose certificates are good.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;

use crate::ClientError;

/// The most bytes of a file of certificates.
const CERTIFICATES: u64 = 16 << 20;

/// Reads a PEM file of certificates.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let wrong = |reason: String| ClientError::Certificates { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > CERTIFICATES {
        return Err(wrong("the file is larger than 16 MiB".into()));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("there is none in it (PEM is expected)".into()));
    }
    Ok(certificates)
}

/// The one implementation of cryptography.
pub(crate) fn provider() -> CryptoProvider {
    default_provider()
}

/// Trusts the system's authorities and `extra` ones.
pub(crate) fn verifier(
    extra: Vec<CertificateDer<'static>>,
) -> Result<Arc<dyn ServerCertVerifier>, ClientError> {
    let system = Verifier::new_with_extra_roots(extra.clone(), Arc::new(provider())).map_err(setup)?;
    Ok(Arc::new(Named { certificates: extra, others: Arc::new(system) }))
}

fn setup(error: Error) -> ClientError {
    ClientError::Setup(error.to_string())
}

/// A configuration that trusts the system's authorities and `extra` ones.
pub(crate) fn config(extra: Vec<CertificateDer<'static>>) -> Result<ClientConfig, ClientError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(extra)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts the very certificates that the user named, and leaves all others to the usual rules.
///
/// A registry that signed its own certificate often marked it as an authority's, as `openssl req -x509` does, and
/// the usual rules refuse an authority's certificate for a server. Whoever names that file with `--ca` means it.
#[derive(Debug)]
struct Named {
    certificates: Vec<CertificateDer<'static>>,
    others: Arc<dyn ServerCertVerifier>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.iter().any(|named| named == end_entity) {
            // It must still be the certificate of this server.
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.others.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses everything, as the usual rules do with what they do not know.
    #[derive(Debug)]
    struct Never;

    impl ServerCertVerifier for Never {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Err(Error::General("unknown".into()))
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("unknown".into()))
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("unknown".into()))
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            Vec::new()
        }
    }

    fn self_signed(name: &str) -> CertificateDer<'static> {
        let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_named_certificate_is_good_for_its_own_names() {
        let (named, other) = (self_signed("registry.test"), self_signed("registry.test"));
        let verifier = Named { certificates: vec![named.clone()], others: Arc::new(Never) };
        let check = |certificate: &CertificateDer<'_>, name: &str, good: bool| {
            let name = ServerName::try_from(name).unwrap();
            let outcome = verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now());
            assert_eq!(outcome.is_ok(), good, "{name:?}: {outcome:?}");
        };
        check(&named, "registry.test", true);
        check(&named, "elsewhere.test", false);
        check(&other, "registry.test", false);
    }

    #[test]
    fn files_without_certificates_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert!(matches!(read_certificates(&file), Err(ClientError::Certificates { .. })));
        std::fs::write(&file, "nothing").unwrap();
        let error = read_certificates(&file).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("PEM"), "{error}");
    }
}
