//! Certificates for `127.0.0.1`, signed by themselves or by an authority made for the test.

use crate::Cmd;
use std::path::{Path, PathBuf};

/// The two files of a certificate; clients trust it by taking `cert` for an authority.
pub struct Certificate {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes `<name>.crt` and `<name>.key` in `dir`; the name is the certificate's common name too.
    pub fn create(dir: &Path, name: &str) -> Self {
        let cert = dir.join(format!("{name}.crt"));
        let key = dir.join(format!("{name}.key"));
        Cmd::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", &format!("/CN={name}")])
            .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .run();
        Certificate { cert, key }
    }

    /// Makes an authority, of which only `<name>-ca.crt` is kept, and `<name>.crt` and `<name>.key` that it signed.
    /// Returns the authority's file, which clients that want a proper chain take.
    pub fn create_signed(dir: &Path, name: &str) -> (PathBuf, Self) {
        let authority = Authority::create(dir, name);
        let certificate = authority.sign(dir, name, Validity::Good);
        (authority.cert, certificate)
    }
}

/// Whether a certificate is good now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It is.
    Good,
    /// It was.
    Expired,
}

/// An authority that was made for the test.
pub struct Authority {
    /// Its own certificate, PEM: whoever takes it trusts what it signs.
    pub cert: PathBuf,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    /// Makes an authority, whose certificate is `<name>-ca.crt`.
    pub fn create(dir: &Path, name: &str) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let mut authority = rcgen::CertificateParams::new([]).expect("no name is wrong");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, format!("{name} authority"));
        let own = authority.self_signed(&key).expect("an authority can sign itself");
        let cert = write(dir, format!("{name}-ca.crt"), &own.pem());
        Authority { cert, issuer: rcgen::Issuer::new(authority, key) }
    }

    /// Signs a new certificate: `<name>.crt` and `<name>.key`, which replace what is there.
    pub fn sign(&self, dir: &Path, name: &str, validity: Validity) -> Certificate {
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut leaf = rcgen::CertificateParams::new(names).expect("both names are well-formed");
        if validity == Validity::Expired {
            leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
            leaf.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let leaf = leaf.signed_by(&key, &self.issuer).expect("an authority can sign");
        let cert = write(dir, format!("{name}.crt"), &leaf.pem());
        Certificate { cert, key: write(dir, format!("{name}.key"), &key.serialize_pem()) }
    }
}

fn write(dir: &Path, name: String, text: &str) -> PathBuf {
    let file = dir.join(name);
    std::fs::write(&file, text).expect("the folder can be written to");
    file
}
