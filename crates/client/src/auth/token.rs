//! The token flow (Distribution, "Token Authentication"): a credential buys a short-lived token.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use transfer::Retry;

use super::credential::Credential;
use crate::answer::{detail, is_passing};
use crate::body::read_body;
use crate::clients::{Clients, Lane};
use crate::headers::LONGEST;
use crate::host::{same_site, shorten};
use crate::{ClientError, Host, PublicUrl, Timeouts, headers};

/// The most bytes of a token server's answer.
const ANSWER: usize = 256 << 10;

/// How long a token lasts when its server does not say. No server may say less.
const SHORTEST: u64 = 60;

/// A token is renewed so long before it ends.
const MARGIN: Duration = Duration::from_secs(10);

/// Why there is no token. No credential is in the message.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenError {
    /// The registry sends its clients to somebody else.
    #[error(
        "{registry} asks for credentials to be sent to {realm}, which belongs to another site: refused. If that registry is yours, give its token server an address in the same domain"
    )]
    ForeignRealm {
        /// The registry.
        registry: Host,
        /// Where it wants them sent.
        realm: String,
    },
    /// The realm is not an address that can be asked.
    #[error(
        "{registry} names `{realm}` as its token server, which cannot be used: it must be an https address"
    )]
    Realm {
        /// The registry.
        registry: Host,
        /// What it names.
        realm: String,
    },
    /// The token server cannot be reached.
    #[error("the token server {realm} cannot be reached: {reason}")]
    Unreachable {
        /// Its address.
        realm: String,
        /// What happened.
        reason: String,
    },
    /// The token server has too much to do, or is being repaired.
    #[error("the token server {realm} answers {status}: try again later")]
    Busy {
        /// Its address.
        realm: String,
        /// What it answers.
        status: StatusCode,
        /// How long it asks to be left alone.
        wait: Option<Duration>,
    },
    /// The token server refuses.
    #[error(
        "the token server {realm} answers {status}{detail}: log in again with `wharf login` or `docker login`"
    )]
    Refused {
        /// Its address.
        realm: String,
        /// What it answers.
        status: StatusCode,
        /// What it says about it, after a colon; empty where it says nothing.
        detail: String,
    },
    /// Its answer holds no token.
    #[error("the answer of the token server {realm} holds no usable token")]
    NoToken {
        /// Its address.
        realm: String,
    },
}

/// A token with the time until which it is good.
pub(crate) struct Token {
    /// The `Authorization` header.
    pub header: HeaderValue,
    /// When to get another one.
    pub until: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<token>")
    }
}

/// A header value that is never shown.
pub(crate) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The header that carries a token.
pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

/// A token server that may be asked on behalf of a registry.
#[derive(Debug)]
pub(crate) struct Realm {
    url: Url,
    service: Option<String>,
}

impl Realm {
    /// Accepts a realm only where credentials may go: to the registry's own site, and never in the clear when
    /// the registry itself is asked over TLS.
    pub fn new(
        realm: &str,
        service: Option<String>,
        registry: &Host,
        secure: bool,
    ) -> Result<Self, TokenError> {
        let unusable = || TokenError::Realm { registry: registry.clone(), realm: shown(realm) };
        let url = Url::parse(realm).map_err(|_| unusable())?;
        let good_scheme = url.scheme() == "https" || (url.scheme() == "http" && !secure);
        if !good_scheme || !url.username().is_empty() || url.password().is_some() {
            return Err(unusable());
        }
        let api = Url::parse(&format!("http://{}", registry.api())).map_err(|_| unusable())?;
        match (url.host_str(), api.host_str()) {
            (Some(realm), Some(api)) if same_site(realm, api) => Ok(Self { url, service }),
            _ => Err(TokenError::ForeignRealm { registry: registry.clone(), realm: shown(realm) }),
        }
    }

    /// Gets a token for these scopes, anonymously without a credential. Asks again where that may help.
    pub async fn token(
        &self,
        clients: &Clients,
        retry: &Retry,
        credential: Option<&Credential>,
        scopes: &[String],
    ) -> Result<Token, TokenError> {
        let client = clients.of(self.url.scheme(), Lane::Small);
        let client = client.map_err(|error| self.unreachable(&error.to_string()))?;
        let mut failures = 0;
        loop {
            let error = match self.ask(client, clients.timeouts(), credential, scopes).await {
                Ok(body) => {
                    return read_token(&body).ok_or_else(|| TokenError::NoToken { realm: self.name() });
                }
                Err(error) => error,
            };
            failures += 1;
            let wait = match error {
                TokenError::Unreachable { .. } => None,
                TokenError::Busy { wait, .. } => wait,
                _ => return Err(error),
            };
            let wait = wait.unwrap_or_default();
            match retry.pause(failures) {
                Some(pause) if wait <= retry.longest => tokio::time::sleep(pause.max(wait)).await,
                _ => return Err(error),
            }
        }
    }

    async fn ask(
        &self,
        client: &Client,
        Timeouts { answer, stall, .. }: Timeouts,
        credential: Option<&Credential>,
        scopes: &[String],
    ) -> Result<Bytes, TokenError> {
        let sent = tokio::time::timeout(answer, self.request(client, credential, scopes).send()).await;
        let mut response = sent
            .map_err(|_| self.unreachable("no answer in time"))?
            .map_err(|error| self.unreachable(&error.without_url().to_string()))?;
        let (realm, status) = (self.name(), response.status());
        if is_passing(status) {
            let wait = headers::retry_after(response.headers());
            return Err(TokenError::Busy { realm, status, wait });
        }
        if status != StatusCode::OK {
            let detail = detail(&mut response, stall).await;
            return Err(TokenError::Refused { realm, status, detail });
        }
        read_body(&mut response, ANSWER, stall).await.map_err(|error| match error {
            ClientError::TooLarge { .. } => TokenError::NoToken { realm },
            error => self.unreachable(&error.to_string()),
        })
    }

    fn unreachable(&self, reason: &str) -> TokenError {
        TokenError::Unreachable { realm: self.name(), reason: shorten(reason) }
    }

    /// The address without its query, which may hold what is not for messages.
    fn name(&self) -> String {
        PublicUrl::from(self.url.clone()).to_string()
    }

    fn request(&self, client: &Client, credential: Option<&Credential>, scopes: &[String]) -> RequestBuilder {
        let mut url = self.url.clone();
        if let Some(Credential::Identity(refresh)) = credential {
            let form = form(&[
                ("grant_type", "refresh_token"),
                ("client_id", "wharf"),
                ("service", self.service.as_deref().unwrap_or_default()),
                ("scope", &scopes.join(" ")),
                ("refresh_token", refresh.expose()),
            ]);
            return client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        let service = self.service.iter().map(|service| ("service", service));
        url.query_pairs_mut().extend_pairs(service.chain(scopes.iter().map(|scope| ("scope", scope))));
        let request = client.get(url);
        match credential.and_then(Credential::basic).and_then(|basic| sensitive(&basic)) {
            Some(basic) => request.header(AUTHORIZATION, basic),
            None => request,
        }
    }
}

/// What a registry names as its token server, without what is not for messages.
fn shown(realm: &str) -> String {
    match Url::parse(realm) {
        Ok(url) => shorten(&PublicUrl::from(url).to_string()),
        Err(_) => {
            let bare = realm.split(['?', '#']).next().unwrap_or_default();
            shorten(bare.rsplit('@').next().unwrap_or_default())
        }
    }
}

/// Pairs in the form of a query, for the body of a POST.
fn form(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form/").unwrap_or_else(|_| unreachable!("a constant address"));
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

fn read_token(body: &[u8]) -> Option<Token> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let Answer { token, access_token, expires_in } = serde_json::from_slice(body).ok()?;
    // No server takes a header that is longer.
    let usable = |text: &String| !text.is_empty() && text.len() <= LONGEST;
    let text = token.filter(|text| !text.is_empty()).or(access_token).filter(usable)?;
    // A day at most: a clock that stands still must not keep a token for ever.
    let seconds = expires_in.unwrap_or(SHORTEST).clamp(SHORTEST, 24 * 3600);
    let until = Instant::now() + Duration::from_secs(seconds) - MARGIN;
    Some(Token { header: bearer(&text)?, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_go_to_their_own_site_only() {
        let check = |registry: &str, secure: bool, realm: &str, good: bool| {
            let host: Host = registry.parse().unwrap();
            let outcome = Realm::new(realm, None, &host, secure);
            assert_eq!(outcome.is_ok(), good, "{registry} {realm}: {outcome:?}");
        };
        check("docker.io", true, "https://auth.docker.io/token", true);
        check("registry.example.com", true, "https://registry.example.com:8443/auth", true);
        check("registry.example.com", true, "https://login.example.com/auth", true);
        check("registry.example.com", true, "http://registry.example.com/auth", false);
        check("registry.example.com", true, "https://evil.com/auth", false);
        check("registry.example.com", true, "https://registry.example.com.evil.com/", false);
        check("registry.example.com", true, "https://registry.example.com@evil.com/", false);
        check("registry.example.com", true, "https://user@registry.example.com/", false);
        check("127.0.0.1:5000", false, "http://127.0.0.1:5001/token", true);
        check("127.0.0.1:5000", false, "http://127.0.0.2/token", false);
        check("[::1]:5000", false, "http://[::1]:5001/token", true);
        for realm in ["", "token", "/token", "file:///etc/passwd", "ftp://registry.example.com"] {
            check("registry.example.com", false, realm, false);
        }
    }

    #[test]
    fn answers_hold_a_token_or_none() {
        let check = |answer: &str, expect: Option<&str>| {
            let token = read_token(answer.as_bytes());
            let header = token.as_ref().map(|token| token.header.to_str().unwrap());
            assert_eq!(header, expect, "{answer}");
        };
        check(r#"{"token":"a"}"#, Some("Bearer a"));
        check(r#"{"token":"","access_token":"b","expires_in":1}"#, Some("Bearer b"));
        for none in ["", "{}", r#"{"token":"a\nb"}"#, r#"{"token":""}"#, r#"{"token":7}"#] {
            check(none, None);
        }
        let token = read_token(br#"{"token":"a","expires_in":18446744073709551615}"#).unwrap();
        assert!(token.until > Instant::now());
        assert!(!format!("{token:?} {:?}", token.header).contains("Bearer"));
    }

    proptest! {
        #[test]
        fn no_realm_and_no_answer_panics(text in "\\PC{0,60}", secure: bool) {
            let host: Host = "registry.example.com".parse().unwrap();
            Realm::new(&text, None, &host, secure).ok();
            Realm::new(&format!("https://{text}"), None, &host, secure).ok();
            read_token(text.as_bytes());
        }
    }
}
