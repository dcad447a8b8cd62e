//! The edge itself: finds the endpoint, asks the policy, runs the handler, and tells the observer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use access::{Action, Actor, Context, Grant, Listing, Policy, authorise, authorise_listing};
use futures_util::future::BoxFuture;
use http::header::{ACCEPT_ENCODING, ALLOW, HeaderValue, USER_AGENT, VIA};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_kit::{
    Body, BodyBudget, ConnInfo, Forwarded, Handler, RequestBody, RequestId, TrustedProxies, X_REQUEST_ID,
};
use oci::RepoName;
use registry::Registry;

use crate::endpoint::{Endpoint, RouteError};
use crate::error::WireError;
use crate::{blobs, lists, manifests, uploads};

/// The most characters of a `User-Agent` that are remembered.
const AGENT_MAX: usize = 200;

/// How many bytes the manifests that are being received may have together, however many clients send them.
const BODIES_MAX: u64 = 64 << 20;

/// One request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// The endpoint's name; `none` where the request named none.
    pub endpoint: &'static str,
    /// The status of the response.
    pub status: u16,
    /// How long the answer took, the sending of its body left out.
    pub took: Duration,
}

/// Is told of each request: metrics.
pub trait Observe: Send + Sync {
    /// A request was answered.
    fn observe(&self, observation: Observation);
}

/// Answers everything below `/v2`.
pub struct OciEdge {
    registry: Arc<Registry>,
    policy: Arc<dyn Policy>,
    proxies: TrustedProxies,
    observer: Arc<dyn Observe>,
    bodies: BodyBudget,
}

/// One request, taken apart.
pub(crate) struct Call<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) policy: &'a dyn Policy,
    /// For bodies that are collected in memory.
    pub(crate) bodies: &'a BodyBudget,
    pub(crate) actor: Actor,
    pub(crate) context: Arc<Context>,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    /// The path under which a proxy shows us, to be put before every path that is sent to the client.
    pub(crate) prefix: &'a str,
    /// Whether a proxy that might compress stands between.
    pub(crate) may_be_compressed: bool,
}

impl Call<'_> {
    pub(crate) fn is_head(&self) -> bool {
        *self.method == Method::HEAD
    }

    pub(crate) fn grant(&self, action: Action, repository: &RepoName) -> Result<Grant, WireError> {
        Ok(authorise(self.policy, &self.actor, &self.context, action, Some(repository))?)
    }

    pub(crate) fn listing(&self) -> Result<Listing, WireError> {
        Ok(authorise_listing(self.policy, &self.actor, &self.context)?)
    }
}

impl OciEdge {
    /// An edge for a registry under a policy. Forwarding headers count only from `proxies`.
    pub fn new(
        registry: Arc<Registry>,
        policy: Arc<dyn Policy>,
        proxies: TrustedProxies,
        observer: Arc<dyn Observe>,
    ) -> Self {
        Self { registry, policy, proxies, observer, bodies: BodyBudget::new(BODIES_MAX) }
    }

    async fn answer(&self, conn: &ConnInfo, request: Request<RequestBody>) -> Response<Body> {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let forwarded = Forwarded::of(conn, &head.headers, &self.proxies);
        let id = RequestId::of(&head.headers);
        let call = Call {
            registry: &self.registry,
            policy: &*self.policy,
            bodies: &self.bodies,
            actor: Actor::Anonymous,
            context: Arc::new(Context {
                address: forwarded.client,
                agent: agent(&head.headers),
                request: Some(id.as_str().to_owned()),
            }),
            method: &head.method,
            headers: &head.headers,
            prefix: forwarded.prefix,
            may_be_compressed: may_be_compressed(&head.headers),
        };
        let path = head.uri.path().strip_prefix("/v2").unwrap_or_default();
        let endpoint = Endpoint::parse(&head.method, path, head.uri.query());
        let name = endpoint.as_ref().map_or("none", Endpoint::name);
        let mut response = match endpoint {
            Ok(endpoint) => {
                dispatch(&call, endpoint, body).await.unwrap_or_else(|error| refuse(&call, name, error))
            }
            Err(error) => misrouted(&call, error),
        };
        if let Some(id) = id.to_header() {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        let observation =
            Observation { endpoint: name, status: response.status().as_u16(), took: started.elapsed() };
        self.observer.observe(observation);
        tracing::debug!(
            request = id.as_str(),
            client = ?call.context.address,
            method = %head.method,
            path = head.uri.path(),
            status = observation.status,
            took_us = observation.took.as_micros(),
            "answered"
        );
        response
    }
}

impl Handler for OciEdge {
    fn call(
        self: Arc<Self>,
        conn: Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move { self.answer(&conn, request).await })
    }
}

async fn dispatch(
    call: &Call<'_>,
    endpoint: Endpoint,
    body: RequestBody,
) -> Result<Response<Body>, WireError> {
    match endpoint {
        Endpoint::Version => Ok(lists::version()),
        Endpoint::Catalog { page } => lists::catalog(call, &page).await,
        Endpoint::Tags { repository, page } => lists::tags(call, &repository, &page).await,
        Endpoint::GetManifest { repository, reference } => {
            manifests::get(call, &repository, &reference).await
        }
        Endpoint::PutManifest { repository, reference, tags } => {
            manifests::put(call, &repository, &reference, &tags, body).await
        }
        Endpoint::DeleteManifest { repository, reference } => {
            manifests::delete(call, &repository, &reference).await
        }
        Endpoint::GetBlob { repository, digest } => blobs::get(call, &repository, &digest).await,
        Endpoint::DeleteBlob { repository, digest } => blobs::delete(call, &repository, &digest).await,
        Endpoint::StartUpload { repository, start } => uploads::start(call, &repository, start, body).await,
        Endpoint::UploadStatus { repository, id } => uploads::status(call, &repository, id).await,
        Endpoint::UploadChunk { repository, id } => uploads::chunk(call, &repository, id, body).await,
        Endpoint::FinishUpload { repository, id, digest } => {
            uploads::finish(call, &repository, id, digest, body).await
        }
        Endpoint::CancelUpload { repository, id } => uploads::cancel(call, &repository, id).await,
        Endpoint::Referrers { repository, subject, artifact_type, last } => {
            lists::referrers(call, &repository, subject, artifact_type, last).await
        }
    }
}

/// Turns an error into its response. What is our fault goes to the log, once, with its cause.
fn refuse(call: &Call<'_>, endpoint: &'static str, error: WireError) -> Response<Body> {
    let request = call.context.request.as_deref().unwrap_or_default();
    if error.status.is_server_error() {
        let cause = error.cause.as_deref().map(ToString::to_string).unwrap_or_default();
        tracing::error!(request, endpoint, client = ?call.context.address, actor = %call.actor, status = error.status.as_u16(), cause, "{}", error.message);
    } else if error.status == StatusCode::NOT_FOUND {
        // Clients ask for what may not be there before they push it.
        tracing::debug!(request, endpoint, status = error.status.as_u16(), "{}", error.message);
    } else {
        tracing::info!(request, endpoint, client = ?call.context.address, actor = %call.actor, status = error.status.as_u16(), "{}", error.message);
    }
    error.response(call.is_head())
}

fn misrouted(call: &Call<'_>, error: RouteError) -> Response<Body> {
    let allow = match &error {
        RouteError::Method(methods) => Some(HeaderValue::from_static(methods)),
        _ => None,
    };
    let mut response = refuse(call, "none", error.into());
    if let Some(allow) = allow {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

fn agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(text.get(..AGENT_MAX).unwrap_or(text).to_owned())
}

/// A proxy may compress what it passes on when the client takes gzip.
fn may_be_compressed(headers: &HeaderMap) -> bool {
    let proxied = || {
        headers.contains_key(VIA)
            || headers.contains_key("forwarded")
            || headers.contains_key("x-forwarded-for")
            || headers.contains_key("x-forwarded-proto")
    };
    headers.contains_key(ACCEPT_ENCODING) && proxied()
}
