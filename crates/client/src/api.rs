//! The REST API that a registry may have beside the distribution API, with the same credentials.

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use tokio::time::timeout;

use crate::auth::sensitive;
use crate::body::read_body;
use crate::settings::Clients;
use crate::{AuthError, ClientError, Credential, Host, Keyring, PATIENCE, Settings};

/// The most bytes of an answer.
const ANSWER: usize = 8 << 20;

/// A host with such an API. A request is sent once, with the host's credential where there is one: nobody asks for it
/// first, and not all that it does may be done twice.
pub struct Api {
    host: Host,
    base: Url,
    clients: Clients,
    keyring: Keyring,
}

/// What it answers.
#[derive(Debug)]
pub struct ApiAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Api {
    /// Opens the API of a host. Nothing is sent yet.
    pub fn open(host: &Host, settings: &Settings) -> Result<Self, ClientError> {
        let scheme = if settings.is_secure(host) { "https" } else { "http" };
        let base = Url::parse(&format!("{scheme}://{}", host.api()))
            .map_err(|error| ClientError::Setup(error.to_string()))?;
        let (clients, keyring) = (Clients::new(settings, host)?, settings.keyring.clone());
        Ok(Self { host: host.clone(), base, clients, keyring })
    }

    /// Sends a request. `path` begins with a slash, is encoded, and may have a query; the body is JSON.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> Result<ApiAnswer, ClientError> {
        let setup = |reason: &str| ClientError::Setup(format!("{method} {path}: {reason}"));
        let method: Method = method.parse().map_err(|_| setup("that is no method"))?;
        let url = self.base.join(path).ok().filter(|url| url.origin() == self.base.origin());
        let url = url.ok_or_else(|| setup("that is no path"))?;
        let mut request = self.clients.of(url.scheme())?.request(method, url.clone());
        if let Some(header) = self.authorization().await? {
            request = request.header(AUTHORIZATION, header);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let mut response = match timeout(PATIENCE, request.send()).await {
            Ok(outcome) => outcome.map_err(|error| ClientError::lost(&url, error))?,
            Err(_) => return Err(ClientError::Silent { url: url.into(), transient: false }),
        };
        let status = response.status().as_u16();
        Ok(ApiAnswer { status, body: read_body(&mut response, ANSWER).await? })
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, ClientError> {
        let fail = |error: AuthError| ClientError::Auth { host: self.host.clone(), error };
        let credential = self.keyring.find(&self.host, None).await.map_err(|error| fail(error.into()))?;
        let text = match &credential {
            None => return Ok(None),
            Some(Credential::Registry(token)) => Some(format!("Bearer {}", token.expose())),
            Some(Credential::Identity(_)) => return Err(fail(AuthError::RefreshToken)),
            Some(credential) => credential.basic(),
        };
        Ok(text.and_then(|text| sensitive(&text)))
    }
}
