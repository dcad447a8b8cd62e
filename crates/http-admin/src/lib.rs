//! The administration API, version 1: users and what they may do, projects, garbage collection and checks; and the
//! token service. docs/admin-api.md describes it for users.
//!
//! A handler is four moves: extract, authorise, one call, render. The second is done for all of them, by the table of
//! routes.

mod accounts;
mod call;
mod journal;
mod lines;
mod maintenance;
mod observe;
mod problem;
mod projects;
mod reply;
mod route;
mod token;

use std::sync::Arc;

use access::{Caller, Context, Gate, Presented, Subject, Unauthenticated};
use futures_util::future::BoxFuture;
use http::header::{CONTENT_ENCODING, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_kit::{
    Body, ConnInfo, Forwarded, Handler, PeerAddr, RequestBody, RequestId, TrustedProxies, X_REQUEST_ID,
    credential,
};
use identity::Identity;
use registry::Registry;

use crate::call::Call;
use crate::problem::Problem;
use crate::route::Params;

pub use journal::JournalPlace;
pub use observe::{Observation, Observe, Unobserved};
pub use route::{Permission, ROUTES, Route};
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
    observer: Arc<dyn Observe>,
    journal: Option<JournalPlace>,
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
        Self {
            registry,
            gate,
            identity,
            proxies,
            observer: Arc::new(Unobserved),
            journal: None,
            shared: true,
        }
    }

    /// The same, which tells an observer of each request.
    #[must_use]
    pub fn observed(self, observer: Arc<dyn Observe>) -> Self {
        Self { observer, ..self }
    }

    /// The same, which answers for an audit journal.
    #[must_use]
    pub fn with_journal(self, journal: JournalPlace) -> Self {
        Self { journal: Some(journal), ..self }
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
        let path = head.uri.path().strip_prefix(ROOT);
        let found = path.ok_or_else(|| Problem::unknown("the administration API is below /api/v1"));
        let found = found.and_then(|path| route::find(head.method.as_str(), path));
        let presented = presented(&head.headers, &context, local);
        let Caller { subject, signed_in, claimed } = Caller::of(&*self.gate, presented).await;
        let (route, params) = match &found {
            Ok((route, params)) => (Some(*route), params.clone()),
            Err(_) => (None, Params::default()),
        };
        let outcome = match (&subject, found) {
            (Ok(subject), Ok((route, params))) => {
                let asker = Asker { subject: Arc::clone(subject), context: Arc::clone(&context) };
                Arc::clone(&self).handle(&head, body, asker, route, params).await
            }
            (_, Err(problem)) => Err(problem),
            (Err(error), _) => Err(error.clone().into()),
        };
        let mut response = outcome.unwrap_or_else(|problem| {
            let (status, message) = (problem.status.as_u16(), problem.message());
            tracing::info!(request = id.as_str(), client = ?context.address, status, "{message}");
            problem.response(if path.is_some_and(maintains) { reply::LINES } else { reply::JSON })
        });
        self.observer.observe(&Observation {
            route,
            status: response.status(),
            subject: subject.as_deref().ok(),
            context: &context,
            project: params.project.as_ref(),
            signed_in,
            claimed: claimed.as_deref(),
            detail: head.uri.path(),
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
        asker: Asker,
        route: &'static Route,
        params: Params,
    ) -> Result<Response<Body>, Problem> {
        let Asker { subject, context } = asker;
        let grant = Call::admit(&self, &subject, &context, route, &params)?;
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
        let call = Call { edge: self, subject, context, params, query, body, grant };
        Ok((route.handler)(&call).await?.0)
    }
}

/// Who asks, and from where.
struct Asker {
    subject: Arc<Subject>,
    context: Arc<Context>,
}

fn presented<'a>(
    headers: &'a HeaderMap,
    context: &Context,
    local: bool,
) -> Result<Presented<'a>, Unauthenticated> {
    let authorization = credential(headers).map_err(|_| Unauthenticated::Malformed)?;
    Ok(Presented { authorization, address: context.address, local })
}

/// Whether the answers at a path are lines, which tell of work.
fn maintains(path: &str) -> bool {
    matches!(path, "/gc" | "/check" | "/rebuild")
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
