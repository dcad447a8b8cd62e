//! The administration API, version 1: users and what they may do, projects, garbage collection and checks; and the
//! token service. docs/admin-api.md describes it for users.
//!
//! A handler is four moves: extract, authorise, one call, render. The second is done for all of them, by the table of
//! routes.

mod accounts;
mod call;
mod factors;
mod lines;
mod maintenance;
mod problem;
mod projects;
mod reply;
mod route;
mod token;

use std::sync::Arc;

use access::{Context, Gate, Presented, Unauthenticated};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, HOST, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_kit::{
    Body, ConnInfo, Forwarded, Handler, PeerAddr, RequestBody, RequestId, TrustedProxies, X_REQUEST_ID,
};
use identity::{Caller, Identity, Secret};
use registry::Registry;

use crate::call::Call;
use crate::problem::{Problem, X_WHARF_OTP};

pub use route::{Permission, ROUTES, Route, SecondFactor};
pub use token::TokenEdge;

/// The longest request, in bytes.
const REQUEST_MAX: u64 = 64 << 10;

/// The most characters of a `User-Agent` that are remembered.
const AGENT_MAX: usize = 200;

/// Where the API is.
const ROOT: &str = "/api/v1";

/// Answers everything below `/api`.
pub struct AdminEdge {
    registry: Arc<Registry>,
    gate: Arc<dyn Gate>,
    /// Everybody; none where the registry has no users.
    identity: Option<Arc<Identity>>,
    proxies: TrustedProxies,
    /// Whether others use the store at the same time.
    shared: bool,
}

impl AdminEdge {
    /// An edge for a registry that a server shares with its clients.
    pub fn new(
        registry: Arc<Registry>,
        gate: Arc<dyn Gate>,
        identity: Option<Arc<Identity>>,
        proxies: TrustedProxies,
    ) -> Self {
        Self { registry, gate, identity, proxies, shared: true }
    }

    /// The same for a registry that this process has opened for one command.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { shared: false, ..self }
    }

    async fn answer(self: Arc<Self>, conn: &ConnInfo, request: Request<RequestBody>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let forwarded = Forwarded::of(conn, &head.headers, &self.proxies);
        let id = RequestId::of(&head.headers);
        let context = Arc::new(Context {
            address: forwarded.client,
            agent: agent(&head.headers),
            request: Some(id.as_str().to_owned()),
        });
        let local = matches!(conn.peer, PeerAddr::Unix { .. }) && forwarded.client.is_none();
        let work = head.uri.path().strip_prefix(ROOT).is_some_and(maintains);
        let outcome = Arc::clone(&self).handle(&head, body, Arc::clone(&context), local).await;
        let mut response = outcome.unwrap_or_else(|problem| {
            let (status, message) = (problem.status.as_u16(), problem.message());
            tracing::info!(request = id.as_str(), client = ?context.address, status, "{message}");
            problem.response(if work { reply::LINES } else { reply::JSON })
        });
        if let Some(id) = id.to_header() {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        response
    }

    async fn handle(
        self: Arc<Self>,
        head: &http::request::Parts,
        body: RequestBody,
        context: Arc<Context>,
        local: bool,
    ) -> Result<Response<Body>, Problem> {
        let path = head.uri.path().strip_prefix(ROOT);
        let path = path.ok_or_else(|| Problem::unknown("the administration API is below /api/v1"))?;
        let (route, params) = route::find(head.method.as_str(), path)?;
        let code = code(&head.headers)?;
        let authorization = head.headers.get(AUTHORIZATION).map(HeaderValue::to_str).transpose();
        let authorization = authorization.map_err(|_| Unauthenticated::Malformed)?;
        // What carries its own proof must not use up a code, nor fail, by a header that it has no need of.
        let authorization = authorization.filter(|_| route.permission != Permission::Anyone);
        let presented = Presented { authorization, address: context.address, local };
        let caller = self.caller(presented, code.as_ref()).await?;
        if caller.must_enrol && route.second_factor != SecondFactor::Enrolment {
            return Err(Unauthenticated::SecondFactorDue.into());
        }
        let grant = Call::admit(&self, &caller.subject, &context, route, &params)?;
        if let (SecondFactor::StepUp, Some(identity)) = (route.second_factor, &self.identity) {
            identity.step_up(&caller, code.as_ref(), context.address).await?;
        }
        if head.headers.contains_key(CONTENT_ENCODING) {
            let message = "a compressed request is not taken: send it as it is";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let body = body.read_all(REQUEST_MAX).await.map_err(|error| {
            let status = match error {
                http_kit::Error::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::BAD_REQUEST,
            };
            Problem::new(status, error.to_string())
        })?;
        let query = head.uri.query().unwrap_or_default().to_owned();
        let host = host(head).map(ToOwned::to_owned);
        let subject = Arc::clone(&caller.subject);
        let call = Call { edge: self, subject, caller, code, host, context, params, query, body, grant };
        Ok((route.handler)(&call).await?.0)
    }

    async fn caller(
        &self,
        presented: Presented<'_>,
        code: Option<&Secret>,
    ) -> Result<Caller, Unauthenticated> {
        match &self.identity {
            Some(identity) => identity.caller(presented, code).await,
            None => Ok(Caller::without(self.gate.authenticate(presented).await?)),
        }
    }
}

/// Whether the answers at a path are lines, which tell of work.
fn maintains(path: &str) -> bool {
    matches!(path, "/gc" | "/check" | "/rebuild")
}

/// The code of a second factor that came along.
fn code(headers: &HeaderMap) -> Result<Option<Secret>, Unauthenticated> {
    let text = headers.get(X_WHARF_OTP).map(HeaderValue::to_str).transpose();
    Ok(text.map_err(|_| Unauthenticated::WrongCode)?.map(Secret::new))
}

/// What the client calls this host: only shown to that client again.
fn host(head: &http::request::Parts) -> Option<&str> {
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    authority.or_else(|| head.headers.get(HOST)?.to_str().ok())
}

fn agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(text.get(..AGENT_MAX).unwrap_or(text).to_owned())
}

impl Handler for AdminEdge {
    fn call(
        self: Arc<Self>,
        conn: Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move { self.answer(&conn, request).await })
    }
}
