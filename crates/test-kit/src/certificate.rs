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
        let authority_key = rcgen::KeyPair::generate().expect("a key can be made");
        let mut authority = rcgen::CertificateParams::new([]).expect("no name is wrong");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, format!("{name} authority"));
        let own = authority.self_signed(&authority_key).expect("an authority can sign itself");
        let issuer = rcgen::Issuer::new(authority, authority_key);

        let leaf_key = rcgen::KeyPair::generate().expect("a key can be made");
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).expect("both names are well-formed");
        let leaf = leaf.signed_by(&leaf_key, &issuer).expect("an authority can sign");

        let write = |name: String, text: String| {
            let file = dir.join(name);
            std::fs::write(&file, text).expect("the folder can be written to");
            file
        };
        let ca = write(format!("{name}-ca.crt"), own.pem());
        let cert = write(format!("{name}.crt"), leaf.pem());
        let key = write(format!("{name}.key"), leaf_key.serialize_pem());
        (ca, Certificate { cert, key })
    }
}
