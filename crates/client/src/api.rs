//! The REST API that a registry may have beside the distribution API, with the same credentials.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, Url};
use serde_json::json;
use tokio::time::timeout;
use transfer::ByteStream;

use crate::auth::sensitive;
use crate::body::{read_body, stream_body};
use crate::clients::{Clients, Lane};
use crate::{AuthError, ClientError, Credential, Host, Keyring, Secret, Settings, headers};

/// The most bytes of an answer.
const ANSWER: usize = 8 << 20;

/// How long an answer may take to begin: a journal of some gigabytes is verified before anything is said of it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Carries a code of the second factor; in a refusal, says that one is wanted.
const OTP: &str = "x-wharf-otp";

/// What the tokens begin with that stand in the place of a password.
const TOKENS: [&str; 2] = ["wpt_", "wrt_"];

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
    /// Whether it is a refusal that wants a code of the second factor.
    pub wants_code: bool,
}

/// What it answers where that may be long.
pub enum ApiStream {
    /// The body of a success.
    Body(ByteStream),
    /// Anything else.
    Refusal(ApiAnswer),
}

/// What is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct ApiRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// Begins with a slash, is encoded, and may have a query.
    pub path: &'a str,
    /// JSON.
    pub body: Option<&'a Secret>,
    /// A code of the second factor.
    pub code: Option<&'a Secret>,
    /// What is sent as `Bearer`, in place of the host's credential.
    pub token: Option<&'a Secret>,
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

    /// Sends a request.
    pub async fn call(&self, request: ApiRequest<'_>) -> Result<ApiAnswer, ClientError> {
        answer(self.send(request).await?, self.clients.timeouts().stall).await
    }

    /// Sends a request whose answer may be long: it comes as it arrives.
    pub async fn stream(&self, request: ApiRequest<'_>) -> Result<ApiStream, ClientError> {
        let response = self.send(request).await?;
        let stall = self.clients.timeouts().stall;
        if response.status().is_success() {
            return Ok(ApiStream::Body(
                stream_body(response, 0, stall).map_err(ClientError::into_transfer).boxed(),
            ));
        }
        answer(response, stall).await.map(ApiStream::Refusal)
    }

    async fn send(&self, request: ApiRequest<'_>) -> Result<Response, ClientError> {
        let ApiRequest { method, path, body, code, token } = request;
        let setup = |reason: &str| ClientError::Setup(format!("{method} {path}: {reason}"));
        let method: Method = method.parse().map_err(|_| setup("that is no method"))?;
        let url = self.base.join(path).ok().filter(|url| url.origin() == self.base.origin());
        let url = url.ok_or_else(|| setup("that is no path"))?;
        let mut request = self.clients.of(url.scheme(), Lane::Bulk)?.request(method, url.clone());
        let bearer = |token: &Secret| sensitive(&format!("Bearer {}", token.expose()));
        let header = match token {
            Some(token) => Some(bearer(token).ok_or_else(|| setup("that is no token"))?),
            None => self.authorization().await?,
        };
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        if let Some(code) = code {
            let value = sensitive(code.expose());
            request = request.header(OTP, value.ok_or_else(|| setup("that is no code of a second factor"))?);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.expose().to_owned());
        }
        match timeout(PATIENCE, request.send()).await {
            Ok(outcome) => outcome.map_err(|error| ClientError::lost(&url, error)),
            Err(_) => Err(ClientError::Silent { url: url.into(), transient: false }),
        }
    }

    /// Asks for a session at that path, with the host's password and a code of the second factor. `None` where the
    /// credential is no password: of a token no code is wanted.
    pub async fn open_session(&self, path: &str, code: &Secret) -> Result<Option<ApiAnswer>, ClientError> {
        let Some(Credential::Password { username, password }) = self.credential().await? else {
            return Ok(None);
        };
        if TOKENS.iter().any(|token| password.expose().starts_with(token)) {
            return Ok(None);
        }
        let body = json!({"user": username, "password": password.expose(), "otp": code.expose()});
        let body = Secret::new(body.to_string());
        self.call(ApiRequest { method: "POST", path, body: Some(&body), code: None, token: None })
            .await
            .map(Some)
    }

    async fn credential(&self) -> Result<Option<Credential>, ClientError> {
        let found = self.keyring.find(&self.host, None).await;
        found.map_err(|error| self.refused(error.into()))
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, ClientError> {
        let text = match self.credential().await? {
            None => return Ok(None),
            Some(Credential::Registry(token)) => Some(format!("Bearer {}", token.expose())),
            Some(Credential::Identity(_)) => return Err(self.refused(AuthError::RefreshToken)),
            Some(credential) => credential.basic(),
        };
        Ok(text.and_then(|text| sensitive(&text)))
    }

    fn refused(&self, error: AuthError) -> ClientError {
        ClientError::Auth { host: self.host.clone(), error }
    }
}

async fn answer(mut response: Response, stall: Duration) -> Result<ApiAnswer, ClientError> {
    let status = response.status().as_u16();
    let wants_code = headers::text(response.headers(), OTP) == Some("required");
    Ok(ApiAnswer { status, body: read_body(&mut response, ANSWER, stall).await?, wants_code })
}
