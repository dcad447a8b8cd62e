//! Requests to one registry: authenticated, redirected with care, and tried again within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use oci::ManifestLimits;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::time::timeout;
use transfer::{ByteStream, Retry};

use crate::answer::{detail, is_passing};
use crate::auth::{Authenticator, Scope};
use crate::body::read_body;
use crate::clients::{Clients, Lane};
use crate::{Answered, ClientError, Host, Settings, Timeouts, Watch, headers};

/// The most redirects of one request.
const REDIRECTS: usize = 5;

/// How long an upload may stand still. Longer than other requests: the registry may be waiting for its disk,
/// and the source for its network.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(300);

/// A request.
pub(crate) struct Call {
    pub method: Method,
    pub url: Url,
    pub scope: Scope,
    pub lane: Lane,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Option<Bytes>,
}

impl Call {
    pub fn new(method: Method, url: Url, scope: Scope) -> Self {
        Self { method, url, scope, lane: Lane::Small, headers: Vec::new(), body: None }
    }

    pub fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// Adds a header. Our own values are always legal.
    pub fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.push((name, value));
        }
        self
    }

    pub fn body(mut self, body: Bytes) -> Self {
        self.body = Some(body);
        self
    }
}

/// One registry, as requests see it. Clones share connections and tokens.
#[derive(Clone)]
pub(crate) struct Transport {
    host: Host,
    base: Url,
    clients: Arc<Clients>,
    authenticator: Arc<Authenticator>,
    retry: Retry,
    manifests: ManifestLimits,
    watcher: Option<Arc<dyn Watch>>,
    /// Whether it has ever answered: before that, a failed connection is a wrong address rather than a fault.
    reached: Arc<AtomicBool>,
    headers: HeaderMap,
}

impl Transport {
    pub fn new(host: &Host, settings: &Settings) -> Result<Self, ClientError> {
        let secure = settings.is_secure(host);
        let scheme = if secure { "https" } else { "http" };
        let base = Url::parse(&format!("{scheme}://{}/v2/", host.api()))
            .map_err(|error| ClientError::Setup(error.to_string()))?;
        let clients = Arc::new(Clients::new(settings, host)?);
        Ok(Self {
            host: host.clone(),
            base,
            authenticator: Arc::new(Authenticator::new(host.clone(), secure, clients.clone(), settings)),
            clients,
            retry: settings.retry,
            manifests: settings.manifests,
            watcher: settings.watcher.clone(),
            reached: Arc::default(),
            headers: header_map(&settings.headers),
        })
    }

    /// The same registry, told something else with each request.
    pub fn with_headers(&self, headers: &[(&'static str, String)]) -> Self {
        Self { headers: header_map(headers), ..self.clone() }
    }

    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Bounds on the manifests that are read.
    pub const fn manifest_limits(&self) -> &ManifestLimits {
        &self.manifests
    }

    /// How long requests wait.
    pub fn timeouts(&self) -> Timeouts {
        self.clients.timeouts()
    }

    /// The address of something below `/v2/`. `path` is made of checked names only.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{path}"));
        url
    }

    /// Is this address on the registry itself, so that credentials may go along?
    pub fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// The address that a registry's answer points to.
    pub fn follow(&self, from: &Url, to: &str) -> Result<Url, ClientError> {
        let url = from.join(to).map_err(|_| ClientError::Answer {
            url: from.clone().into(),
            what: "it points to something that is no address".into(),
        })?;
        let downgraded = from.scheme() == "https" && url.scheme() == "http";
        if downgraded || !matches!(url.scheme(), "http" | "https") {
            let why = "it would leave TLS. If the registry is behind a proxy, tell it its outer address";
            return Err(ClientError::Redirect { from: from.clone().into(), to: url.into(), why });
        }
        Ok(url)
    }

    /// Sends a request until it is answered with something that will not pass by itself.
    pub async fn send(&self, call: &Call) -> Result<Response, ClientError> {
        Ok(self.insist(call, None).await?.0)
    }

    /// The same for a small document: where the answer is one, its body of at most `most` bytes belongs to what is
    /// tried again. Otherwise the body is empty here, and still to be read.
    pub async fn read(&self, call: &Call, most: usize) -> Result<(Response, Bytes), ClientError> {
        self.insist(call, Some(most)).await
    }

    async fn insist(&self, call: &Call, most: Option<usize>) -> Result<(Response, Bytes), ClientError> {
        let mut failures = 0;
        loop {
            let error = match self.attempt(call).await {
                Ok(response) if is_passing(response.status()) => {
                    self.failure(call.method.clone(), response).await
                }
                Ok(mut response) => {
                    let Some(most) = most.filter(|_| response.status() == StatusCode::OK) else {
                        return Ok((response, Bytes::new()));
                    };
                    match read_body(&mut response, most, self.timeouts().stall).await {
                        Ok(body) => return Ok((response, body)),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            failures += 1;
            let hopeless = !error.is_transient()
                || (!self.reached.load(Ordering::Relaxed) && matches!(error, ClientError::Lost { .. }));
            let Some(pause) = self.retry.pause(failures).filter(|_| !hopeless) else {
                return Err(error.exhausted());
            };
            let pause = match error {
                ClientError::Status { status, retry_after: Some(wait), .. } if wait > self.retry.longest => {
                    return Err(ClientError::Busy { host: self.host.clone(), status, wait });
                }
                ClientError::Status { retry_after: Some(wait), .. } => pause.max(wait),
                _ => pause,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// The error that a response with a failing status stands for.
    pub async fn failure(&self, method: Method, mut response: Response) -> ClientError {
        let status = response.status();
        let url = response.url().clone();
        let elsewhere = !self.is_own(&url);
        let retry_after = headers::retry_after(response.headers());
        let detail = detail(&mut response, self.timeouts().stall).await;
        let (url, transient) = (url.into(), is_passing(status));
        ClientError::Status { method, url, status, detail, retry_after, elsewhere, transient }
    }

    /// Sends a request whose body is a stream, once: what became of it the caller must find out.
    pub async fn send_stream(
        &self,
        call: &Call,
        length: u64,
        stream: ByteStream,
    ) -> Result<Response, ClientError> {
        let sent = self.authorization(&call.url, &call.scope).await?;
        let moved = Arc::new(AtomicU64::new(0));
        let counter = moved.clone();
        let counted = stream.inspect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let request = self
            .request(call, Lane::Bulk, &call.url, sent.as_ref())?
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(counted));
        let response = tokio::select! {
            outcome = request.send() => outcome.map_err(|error| ClientError::lost(&call.url, error))?,
            () = stalled(&moved) => {
                return Err(ClientError::Silent { url: call.url.clone().into(), transient: true });
            }
        };
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_own(&call.url) {
            self.tell(&response);
            return Ok(response);
        }
        match self.answer(&response, &call.scope, sent.as_ref()).await? {
            Some(_) => Err(ClientError::Expired(self.host.clone())),
            None => Err(self.unauthorized(&call.scope, &response)),
        }
    }

    /// One try, with the challenges and redirects that belong to it.
    async fn attempt(&self, call: &Call) -> Result<Response, ClientError> {
        let mut url = call.url.clone();
        let mut redirects = 0;
        let mut sent = self.authorization(&url, &call.scope).await?;
        let mut challenged = false;
        loop {
            let response = self.once(call, &url, sent.as_ref()).await?;
            self.reached.store(true, Ordering::Relaxed);
            if response.status() == StatusCode::UNAUTHORIZED && self.is_own(&url) {
                // Once: where a fresh token is refused, another one will be, too.
                if !challenged {
                    challenged = true;
                    sent = self.answer(&response, &call.scope, sent.as_ref()).await?;
                    if sent.is_some() {
                        continue;
                    }
                }
                return Err(self.unauthorized(&call.scope, &response));
            }
            self.tell(&response);
            let Some(next) = self.redirect(call, &response)? else { return Ok(response) };
            redirects += 1;
            if redirects > REDIRECTS {
                let why = "there are too many redirects";
                return Err(ClientError::Redirect { from: call.url.clone().into(), to: next.into(), why });
            }
            // Another host gets no credentials of this one.
            sent = self.authorization(&next, &call.scope).await?;
            url = next;
        }
    }

    async fn once(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, ClientError> {
        let mut request = self.request(call, call.lane, url, authorization)?;
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        match timeout(self.timeouts().answer, request.send()).await {
            Ok(outcome) => outcome.map_err(|error| ClientError::lost(url, error)),
            Err(_) => Err(ClientError::Silent { url: url.clone().into(), transient: true }),
        }
    }

    fn request(
        &self,
        call: &Call,
        lane: Lane,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<RequestBuilder, ClientError> {
        let mut request = self.clients.of(url.scheme(), lane)?.request(call.method.clone(), url.clone());
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if self.is_own(url) {
            request = request.headers(self.headers.clone());
        }
        Ok(match authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        })
    }

    /// The credentials for an address: none but for the registry itself.
    async fn authorization(&self, url: &Url, scope: &Scope) -> Result<Option<HeaderValue>, ClientError> {
        if !self.is_own(url) {
            return Ok(None);
        }
        self.authenticator.header(scope).await.map_err(|error| self.auth_error(error))
    }

    async fn answer(
        &self,
        response: &Response,
        scope: &Scope,
        sent: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, ClientError> {
        let answer = self.authenticator.answer(scope, response.headers(), sent).await;
        answer.map_err(|error| self.auth_error(error))
    }

    fn auth_error(&self, error: crate::AuthError) -> ClientError {
        ClientError::Auth { host: self.host.clone(), error }
    }

    /// Was a credential asked for, and is there one?
    pub fn has_credential(&self, scope: &Scope) -> bool {
        self.authenticator.has_credential(scope)
    }

    fn unauthorized(&self, scope: &Scope, response: &Response) -> ClientError {
        self.tell(response);
        ClientError::Unauthorized { host: self.host.clone(), known: self.has_credential(scope) }
    }

    /// Tells the watcher of an answer of the registry's own.
    fn tell(&self, response: &Response) {
        if let Some(watcher) = self.watcher.as_ref().filter(|_| self.is_own(response.url())) {
            watcher.answered(&Answered::read(response.status().as_u16(), response.headers()));
        }
    }

    /// Where a redirect leads. Only reading is redirected: a body would have to be sent twice.
    fn redirect(&self, call: &Call, response: &Response) -> Result<Option<Url>, ClientError> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let from = response.url();
        let to = headers::text(response.headers(), "location").ok_or_else(|| ClientError::Answer {
            url: from.clone().into(),
            what: "a redirect without a Location".into(),
        })?;
        let to = self.follow(from, to)?;
        if matches!(call.method, Method::GET | Method::HEAD) {
            return Ok(Some(to));
        }
        let why = "only reading is redirected. Name that address instead";
        Err(ClientError::Redirect { from: from.clone().into(), to: to.into(), why })
    }
}

/// Headers of our own, whose names and values are always legal.
fn header_map(headers: &[(&'static str, String)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, String)| {
        Some((HeaderName::try_from(*name).ok()?, HeaderValue::from_str(value).ok()?))
    };
    headers.iter().filter_map(pair).collect()
}

/// Ends when nothing has moved for too long.
async fn stalled(moved: &AtomicU64) {
    let mut last = u64::MAX;
    loop {
        tokio::time::sleep(UPLOAD_PATIENCE).await;
        let now = moved.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}
