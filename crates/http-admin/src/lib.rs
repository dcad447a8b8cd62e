//! The administration API, version 1: users and what they may do, projects, garbage collection and checks; and the
//! token service. docs/admin-api.md describes it for users.
//!
//! A handler is four moves: extract, authorise, one call, render. The second is done for all of them, by the table of
//! routes.

mod accounts;
mod call;
mod factors;
mod fallbacks;
mod journal;
mod lines;
mod maintenance;
mod observe;
mod openapi;
mod parameter;
mod problem;
mod projects;
mod reference;
mod reply;
mod route;
mod token;
mod upstreams;

use std::sync::{Arc, OnceLock};

use access::{Context, Gate, Presented, Unauthenticated};
use futures_util::future::BoxFuture;
use http::header::{CONTENT_ENCODING, HOST, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_kit::{
    Body, ConnInfo, Forwarded, Handler, PeerAddr, RequestBody, RequestId, TrustedProxies, X_REQUEST_ID,
    credential,
};
use identity::{Caller, Identity, Secret};
use mirror::{Fallback, Mirror};
use registry::Registry;

use crate::call::Call;
use crate::problem::{Problem, X_WHARF_OTP};
use crate::route::Params;

pub use journal::JournalPlace;
pub use observe::{Observation, Observe, Unobserved};
pub use openapi::openapi;
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
    observer: Arc<dyn Observe>,
    journal: Option<JournalPlace>,
    /// The upstreams, where there are any.
    mirror: Option<Arc<Mirror>>,
    /// What is read for projects that replace other registries.
    fallback: Option<Arc<Fallback>>,
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
            mirror: None,
            fallback: None,
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

    /// The same, which answers for upstreams where there are any.
    #[must_use]
    pub fn with_mirror(self, mirror: Option<Arc<Mirror>>) -> Self {
        Self { mirror, ..self }
    }

    /// The same, which tells who depends on registries that are replaced.
    #[must_use]
    pub fn with_fallback(self, fallback: Option<Arc<Fallback>>) -> Self {
        Self { fallback, ..self }
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
        let (route, params) = match &found {
            Ok((route, params)) => (Some(*route), params.clone()),
            Err(_) => (None, Params::default()),
        };
        let came = self.caller(&head.headers, &context, local, route).await;
        let mut subject = came.caller.as_ref().ok().map(|caller| Arc::clone(&caller.subject));
        let claimed = Arc::new(OnceLock::new());
        let outcome = match (came.caller, found) {
            (Ok(caller), Ok((route, params))) => {
                let asker = Asker {
                    caller,
                    code: came.code,
                    context: Arc::clone(&context),
                    claimed: Arc::clone(&claimed),
                };
                Arc::clone(&self).handle(&head, body, asker, route, params).await
            }
            (_, Err(problem)) => Err(problem),
            (Err(error), _) => Err(error.into()),
        };
        let why = outcome.as_ref().err().and_then(|problem| problem.why.clone());
        let mut response = outcome.unwrap_or_else(|problem| {
            let (status, message) = (problem.status.as_u16(), problem.message());
            tracing::info!(request = id.as_str(), client = ?context.address, status, "{message}");
            problem.response(if path.is_some_and(maintains) { reply::LINES } else { reply::JSON })
        });
        if claimed.get().is_some() {
            // The proof was in the body: it is who they say, or nobody.
            subject = None;
        }
        let by_body = claimed.get().is_some() && response.status().is_success();
        self.observer.observe(&Observation {
            route,
            status: response.status(),
            subject: subject.as_deref(),
            context: &context,
            project: params.project.as_ref(),
            signed_in: came.signed_in || by_body,
            claimed: came.claimed.as_deref().or(claimed.get().map(String::as_str)),
            why: why.as_ref(),
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
        let Asker { caller, code, context, claimed } = asker;
        if caller.must_enrol && route.second_factor != SecondFactor::Enrolment {
            return Err(Unauthenticated::SecondFactorDue.into());
        }
        let grant = Call::admit(&self, &caller.subject, &context, route, &params)?;
        if let (SecondFactor::StepUp, Some(identity)) = (route.second_factor, &self.identity) {
            identity.step_up(&caller, code.as_ref(), &context).await?;
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
        let call =
            Call { edge: self, subject, caller, code, claimed, host, context, params, query, body, grant };
        Ok((route.handler)(&call).await?.0)
    }

    /// Who came. What carries its own proof must not use up a code, nor fail, by a header that it has no need of.
    async fn caller(
        &self,
        headers: &HeaderMap,
        context: &Context,
        local: bool,
        route: Option<&Route>,
    ) -> Came {
        let needs_none = route.is_some_and(|route| route.permission == Permission::Anyone);
        let presented = credential(headers).map_err(|_| Unauthenticated::Malformed).map(|header| Presented {
            authorization: header.filter(|_| !needs_none),
            address: context.address,
            local,
        });
        let (presented, code) = match (presented, code(headers)) {
            (Ok(presented), Ok(code)) => (presented, code),
            (Err(error), _) | (_, Err(error)) => return Came::refused(error),
        };
        let with_password = presented.authorization.is_some_and(|header| header.starts_with("Basic "));
        let signed_in = with_password && self.gate.recall(&presented).is_none();
        let caller = match &self.identity {
            Some(identity) => identity.caller(presented, code.as_ref(), context).await,
            None => self.gate.authenticate(presented).await.map(Caller::without),
        };
        let claimed = caller.is_err().then(|| self.gate.claimed(&presented)).flatten();
        Came { signed_in: signed_in && caller.is_ok(), caller, code, claimed }
    }
}

/// What was found out about who sends a request.
struct Came {
    caller: Result<Caller, Unauthenticated>,
    /// The code of a second factor that came along.
    code: Option<Secret>,
    /// Whether a name and a secret were verified for this very request.
    signed_in: bool,
    /// Who they said they were, where that was not accepted.
    claimed: Option<String>,
}

impl Came {
    fn refused(error: Unauthenticated) -> Self {
        Self { caller: Err(error), code: None, signed_in: false, claimed: None }
    }
}

/// Who asks, with what, and from where.
struct Asker {
    caller: Caller,
    code: Option<Secret>,
    context: Arc<Context>,
    claimed: Arc<OnceLock<String>>,
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
