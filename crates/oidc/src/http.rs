//! Requests to an issuer: bounded in time and size, and never led elsewhere.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, StatusCode, Url};

use crate::{OidcError, shorten};

/// How long one request may take, its answer included.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of an answer.
const ANSWER_MAX: usize = 1 << 20;

/// The most redirects of one request, all within one host.
const REDIRECTS: usize = 3;

/// An HTTP client for one issuer.
pub(crate) struct Http {
    client: Client,
}

impl Http {
    /// A client that trusts the system's authorities and those in `ca` (PEM).
    pub fn new(issuer: &Url, ca: Option<&[u8]>) -> Result<Self, OidcError> {
        let mut builder = Client::builder()
            .user_agent(concat!("wharf/", env!("CARGO_PKG_VERSION")))
            .redirect(within_one_host())
            .http1_max_headers(100)
            .timeout(PATIENCE);
        if is_loopback(issuer) {
            // No proxy can reach this machine's own loopback.
            builder = builder.no_proxy();
        }
        if let Some(pem) = ca {
            let wrong = |why: String| OidcError::Certificates { issuer: issuer.to_string(), why };
            let certificates = Certificate::from_pem_bundle(pem).map_err(|error| wrong(reason(error)))?;
            if certificates.is_empty() {
                return Err(wrong("there is none".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| OidcError::Setup(reason(error)))?;
        Ok(Self { client })
    }

    /// A GET to be completed.
    pub fn get(&self, url: &Url) -> RequestBuilder {
        self.client.get(url.clone())
    }

    /// A POST to be completed.
    pub fn post(&self, url: &Url) -> RequestBuilder {
        self.client.post(url.clone())
    }

    /// Sends a request and reads the whole answer, which must be a success.
    pub async fn fetch(&self, url: &Url, request: RequestBuilder) -> Result<Vec<u8>, OidcError> {
        match self.send(url, request).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => {
                Err(OidcError::Unreachable { url: public(url), why: format!("it answers {status}") })
            }
        }
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, url: &Url, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), OidcError> {
        let lost = |error| OidcError::Unreachable { url: public(url), why: reason(error) };
        let mut response = request.send().await.map_err(lost)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > ANSWER_MAX {
                let why = format!("it has more than {ANSWER_MAX} bytes");
                return Err(OidcError::Answer { url: public(url), why });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }
}

/// An address for a message: without its query, in which secrets may be.
pub(crate) fn public(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    shorten(url.as_str())
}

/// Is it an address on this machine, to which plain HTTP is safe?
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let v6 = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || v6.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

/// A redirect to another host would let whoever holds one forgotten page of the issuer speak for it, and would lead
/// requests to hosts that only this machine can reach.
fn within_one_host() -> Policy {
    Policy::custom(|attempt| {
        let is_own = attempt.previous().iter().all(|url| url.origin() == attempt.url().origin());
        if !is_own {
            attempt.error("it redirects to another host, which is not followed")
        } else if attempt.previous().len() > REDIRECTS {
            attempt.error("it redirects again and again")
        } else {
            attempt.follow()
        }
    })
}

/// An error with its causes: the outermost of reqwest's says only that something failed.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text = if text.is_empty() { message } else { format!("{text}: {message}") };
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine() {
        let check = |url: &str, expect: bool| assert_eq!(is_loopback(&url.parse().unwrap()), expect, "{url}");
        for url in ["http://localhost:80/a", "http://127.0.0.1", "http://127.9.9.9:1", "http://[::1]:8080/"] {
            check(url, true);
        }
        for url in ["http://localhost.example.com", "http://10.0.0.1", "http://[::2]", "data:text,127.0.0.1"]
        {
            check(url, false);
        }
    }

    #[test]
    fn certificates_must_be_some() {
        let issuer = "https://issuer.test".parse().unwrap();
        for pem in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = Http::new(&issuer, Some(pem.as_bytes())).err();
            assert!(
                matches!(error, Some(OidcError::Certificates { .. } | OidcError::Setup(_))),
                "{pem}: {error:?}"
            );
        }
    }
}
