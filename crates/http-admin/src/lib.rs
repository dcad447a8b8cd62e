//! The administration API, version 1: garbage collection and checks.
//!
//! ```text
//! POST /api/v1/gc      {"grace_seconds": 86400, "dry_run": false}
//! POST /api/v1/check   {"read": false}
//! POST /api/v1/rebuild {}
//! ```
//!
//! All fields may be left out. A rebuild needs a store that nobody else uses, so a running server refuses it. The answer is a stream of JSON documents, one a line, each with a `type`: things
//! as they are found, and at the end one `summary` or `error`. docs/admin-api.md describes them for users.

mod lines;

use std::sync::Arc;
use std::time::Duration;

use access::{Action, Actor, Context, Grant, Policy, authorise};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_kit::{Body, ConnInfo, Handler, RequestBody};
use registry::{CheckOptions, GcOptions, Registry, RegistryError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The longest request, in bytes.
const REQUEST_MAX: u64 = 64 << 10;

/// The media type of an answer: a JSON document on each line.
const LINES: &str = "application/x-ndjson";

/// How many lines may wait for a slow reader before the work waits, too.
const WAITING: usize = 256;

/// Answers everything below `/api/v1`.
pub struct AdminEdge {
    registry: Arc<Registry>,
    policy: Arc<dyn Policy>,
    /// Whether others use the store at the same time.
    shared: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct GcRequest {
    grace_seconds: Option<u64>,
    dry_run: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct CheckRequest {
    read: bool,
}

/// An error on its way to a client.
struct Refusal(StatusCode, String);

impl AdminEdge {
    /// An edge for a registry that a server shares with its clients.
    pub fn new(registry: Arc<Registry>, policy: Arc<dyn Policy>) -> Self {
        Self { registry, policy, shared: true }
    }

    /// An edge for a registry that this process has opened for one command.
    pub fn alone(registry: Arc<Registry>, policy: Arc<dyn Policy>) -> Self {
        Self { registry, policy, shared: false }
    }

    async fn answer(
        &self,
        conn: &ConnInfo,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Refusal> {
        let path = request.uri().path().to_owned();
        if !matches!(path.as_str(), "/api/v1/gc" | "/api/v1/check" | "/api/v1/rebuild") {
            return Err(Refusal(
                StatusCode::NOT_FOUND,
                "the administration API has /api/v1/gc, /api/v1/check and /api/v1/rebuild".into(),
            ));
        }
        if *request.method() != Method::POST {
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "use POST".into()));
        }
        let context = Arc::new(Context { address: conn.peer.ip(), ..Context::default() });
        let grant = authorise(&*self.policy, &Actor::Anonymous, &context, Action::Administer, None)
            .map_err(|denied| Refusal(StatusCode::FORBIDDEN, denied.to_string()))?;
        let body = request.into_body().read_all(REQUEST_MAX).await;
        let body = body.map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        match path.as_str() {
            "/api/v1/gc" => Ok(self.gc(grant, parse(&body)?)),
            "/api/v1/check" => Ok(self.check(grant, parse(&body)?)),
            _ if self.shared => Err(Refusal(
                StatusCode::CONFLICT,
                "a server runs on this store: stop it, then rebuild".into(),
            )),
            _ => Ok(self.rebuild(grant)),
        }
    }

    fn gc(&self, grant: Grant, request: GcRequest) -> Response<Body> {
        let registry = Arc::clone(&self.registry);
        let options =
            GcOptions { grace: request.grace_seconds.map(Duration::from_secs), dry_run: request.dry_run };
        let summary = move |summary| lines::gc_summary(&summary, options.dry_run);
        told(
            lines::gc_item,
            summary,
            |report| async move { registry.collect(&grant, options, &{ report }).await },
        )
    }

    fn check(&self, grant: Grant, request: CheckRequest) -> Response<Body> {
        let registry = Arc::clone(&self.registry);
        let options = CheckOptions { read: request.read };
        let summary = |summary| lines::check_summary(&summary);
        told(lines::check_item, summary, |report| async move {
            registry.check(&grant, options, &{ report }).await
        })
    }

    fn rebuild(&self, grant: Grant) -> Response<Body> {
        let registry = Arc::clone(&self.registry);
        let summary = |summary| lines::replay_summary(&summary);
        told(lines::replay_item, summary, |report| async move {
            registry.replay_segments(&grant, &{ report }).await
        })
    }
}

/// Begins some work and tells of it line by line: each item that it reports, and how it ends. The work goes on where
/// the client goes away.
fn told<Item, Summary, Work>(
    item: fn(Item) -> Value,
    summary: impl FnOnce(Summary) -> Value + Send + 'static,
    work: impl FnOnce(mpsc::Sender<Item>) -> Work,
) -> Response<Body>
where
    Item: Send + 'static,
    Summary: Send + 'static,
    Work: Future<Output = Result<Summary, RegistryError>> + Send + 'static,
{
    let (lines, stream) = lines::channel(WAITING);
    let (report, items) = mpsc::channel(WAITING);
    let work = work(report);
    tokio::spawn(async move {
        let (outcome, ()) = join(work, lines.forward(items, item)).await;
        lines.end(outcome.map(summary)).await;
    });
    let mut response = Response::new(Body::stream(stream.map(Ok), None));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(LINES));
    response
}

impl Handler for AdminEdge {
    fn call(
        self: Arc<Self>,
        conn: Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move { self.answer(&conn, request).await.unwrap_or_else(refused) })
    }
}

/// An empty request means: all defaults.
fn parse<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Refusal> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("the request cannot be read: {error}")))
}

fn refused(Refusal(status, message): Refusal) -> Response<Body> {
    let line = format!("{}\n", json!({"type": "error", "message": message}));
    let mut response = Response::new(Body::full(line));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(LINES));
    response
}
