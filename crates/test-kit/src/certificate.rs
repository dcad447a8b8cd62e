//! Certificates for `127.0.0.1`, signed by themselves.

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
}
