//! The token service of the Docker token specification, with GET and, as OAuth 2 has it, with POST; and the public
//! keys that its tokens are signed with.

use std::sync::Arc;

use access::{Context, Gate, Presented, Unauthenticated};
use futures_util::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_kit::{
    Body, ConnInfo, Forwarded, Handler, Query, RequestBody, RequestId, TrustedProxies, credential,
};
use identity::{Claimant, CryptoError, Identity, IdentityError, Issued, Secret, TokenRequest};
use registry::{Located, Pull, RegistryError};
use serde_json::json;

use crate::observe::{Observation, Observe};
use crate::reply::JSON;

/// The longest form, in bytes.
const FORM_MAX: u64 = 64 << 10;

/// The exchange of the token of a CI job or a pod (RFC 8693).
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// What such a token may be called.
const SUBJECT_TOKENS: [&str; 2] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];

/// Answers `/token` and `/.well-known/jwks.json`.
pub struct TokenEdge {
    identity: Arc<Identity>,
    /// Knows what repositories are called that are pulled under other names.
    pull: Option<Arc<dyn Pull>>,
    proxies: TrustedProxies,
    observer: Arc<dyn Observe>,
}

/// What OAuth 2 calls an error (RFC 6749, 5.2), with the Docker registry's form beside it.
struct Failure {
    status: StatusCode,
    error: &'static str,
    message: String,
    retry_after: Option<u64>,
    /// Why somebody's credential was not accepted, where that is the error.
    why: Option<Unauthenticated>,
}

impl TokenEdge {
    /// The token service of these users.
    pub fn new(identity: Arc<Identity>, proxies: TrustedProxies, observer: Arc<dyn Observe>) -> Self {
        Self { identity, pull: None, proxies, observer }
    }

    /// The same, where `pull` answers who pulls.
    #[must_use]
    pub fn pulling_by(self, pull: Arc<dyn Pull>) -> Self {
        Self { pull: Some(pull), ..self }
    }

    /// Whether a path is one of its own.
    pub fn answers(path: &str) -> bool {
        matches!(path, "/token" | "/.well-known/jwks.json")
    }

    async fn answer(&self, conn: &ConnInfo, request: Request<RequestBody>) -> Response<Body> {
        let method = request.method().clone();
        if request.uri().path() != "/token" {
            return match method {
                Method::GET | Method::HEAD => self.jwks(),
                _ => Failure::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "use GET").response(),
            };
        }
        let id = RequestId::of(request.headers());
        let context = Context {
            address: Forwarded::of(conn, request.headers(), &self.proxies).client,
            agent: crate::agent(request.headers()),
            request: Some(id.as_str().to_owned()),
        };
        let mut claimed = None;
        let outcome = match method {
            Method::GET => self.get(&context, &request, &mut claimed).await,
            Method::POST => self.post(&context, request, &mut claimed).await,
            _ => Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "use GET or POST")),
        };
        let subject = outcome.as_ref().ok().map(|issued| &issued.subject);
        let scope = outcome.as_ref().map_or("", |issued| &*issued.scope);
        let status = outcome.as_ref().map_or_else(|failure| failure.status, |_| StatusCode::OK);
        self.observer.observe(&Observation {
            route: None,
            status,
            subject,
            context: &context,
            project: None,
            signed_in: subject.is_some_and(|subject| !subject.is_anonymous()),
            claimed: claimed.as_deref(),
            why: outcome.as_ref().err().and_then(|failure| failure.why.as_ref()),
            detail: scope,
        });
        match outcome {
            Ok(issued) => document(StatusCode::OK, &json!(issued), "no-store"),
            Err(failure) => failure.response(),
        }
    }

    /// What a client asks for. dockerd asks for a token for `library/nginx`, and pulls what an upstream has of that name.
    async fn wanted(&self, scopes: Vec<String>, offline: bool) -> Result<TokenRequest, Failure> {
        let mut wanted = TokenRequest { scopes, offline, ..TokenRequest::default() };
        let Some(pull) = &self.pull else { return Ok(wanted) };
        for name in wanted.pulls().collect::<Vec<_>>() {
            if let Located::Mirror(repository) = pull.locate(&name, None, true).await.map_err(unlocated)? {
                wanted.mirrored.push(repository);
            }
        }
        Ok(wanted)
    }

    fn claimed(&self, header: &str) -> Option<String> {
        self.identity.claimed(&Presented { authorization: Some(header), ..Presented::default() })
    }

    fn jwks(&self) -> Response<Body> {
        document(StatusCode::OK, &self.identity.jwks(), "max-age=300")
    }

    /// Docker's own form: everything is in the query.
    async fn get(
        &self,
        context: &Context,
        request: &Request<RequestBody>,
        claimed: &mut Option<String>,
    ) -> Result<Issued, Failure> {
        let query = Query::form(request.uri().query().unwrap_or_default());
        let scopes = query.all("scope").flat_map(|scopes| split(&scopes)).collect();
        let offline = query.first("offline_token").is_some_and(|offline| offline == "true");
        let wanted = self.wanted(scopes, offline).await?;
        let header = authorization(request.headers())?;
        *claimed = header.and_then(|header| self.claimed(header));
        let claimant = header.map_or(Claimant::Nobody, Claimant::Header);
        Ok(self.identity.issue(claimant, &wanted, context.address).await?)
    }

    /// OAuth's: the credentials are in the form, or in the header.
    async fn post(
        &self,
        context: &Context,
        request: Request<RequestBody>,
        claimed: &mut Option<String>,
    ) -> Result<Issued, Failure> {
        let (head, body) = request.into_parts();
        let client = context.address;
        let invalid = |message: &str| Failure::new(StatusCode::BAD_REQUEST, "invalid_request", message);
        let body = body.read_all(FORM_MAX).await.map_err(|error| invalid(&error.to_string()))?;
        let form = Query::form(std::str::from_utf8(&body).map_err(|_| invalid("the form is not text"))?);
        let scopes = form.all("scope").flat_map(|scopes| split(&scopes)).collect();
        let offline = form.first("access_type").is_some_and(|access| access == "offline");
        let wanted = self.wanted(scopes, offline).await?;
        let need = |name: &str| {
            let value = form.first(name).map(std::borrow::Cow::into_owned);
            value.ok_or_else(|| invalid(&format!("the form has no {name}")))
        };
        let (name, secret);
        let claimant = match form.first("grant_type").as_deref() {
            Some("password") => {
                (name, secret) = (need("username")?, Secret::new(need("password")?));
                *claimed = Some(name.clone());
                Claimant::Password { name: &name, secret: &secret }
            }
            Some("refresh_token") => {
                secret = Secret::new(need("refresh_token")?);
                Claimant::Refresh(&secret)
            }
            Some("client_credentials") => {
                let header = authorization(&head.headers)?;
                let header = header.ok_or_else(|| invalid("there is no Authorization"))?;
                *claimed = self.claimed(header);
                Claimant::Header(header)
            }
            Some(EXCHANGE) => {
                if !SUBJECT_TOKENS.contains(&&*need("subject_token_type")?) {
                    let known = SUBJECT_TOKENS.join(" or ");
                    return Err(invalid(&format!("the subject_token_type is {known}")));
                }
                secret = Secret::new(need("subject_token")?);
                Claimant::Workload(&secret)
            }
            _ => {
                let known = "the grant_type is password, refresh_token, client_credentials or that of a token exchange";
                return Err(Failure::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", known));
            }
        };
        Ok(self.identity.issue(claimant, &wanted, client).await?)
    }
}

fn unlocated(error: RegistryError) -> Failure {
    tracing::error!(%error, "a token could not be given out");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", &error.to_string())
}

/// Scopes are separated by spaces.
fn split(scopes: &str) -> Vec<String> {
    scopes.split(' ').filter(|scope| !scope.is_empty()).map(ToOwned::to_owned).collect()
}

fn authorization(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    credential(headers).map_err(|_| IdentityError::from(Unauthenticated::Malformed).into())
}

fn document(status: StatusCode, value: &serde_json::Value, caching: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::full(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

impl Failure {
    fn new(status: StatusCode, error: &'static str, message: &str) -> Self {
        Self { status, error, message: message.to_owned(), retry_after: None, why: None }
    }

    fn response(self) -> Response<Body> {
        let code = match self.status {
            StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
            StatusCode::FORBIDDEN => "DENIED",
            StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
            _ => "UNKNOWN",
        };
        let body = json!({
            "error": self.error,
            "error_description": self.message,
            "errors": [{"code": code, "message": self.message}],
        });
        let mut response = document(self.status, &body, "no-store");
        if self.status == StatusCode::UNAUTHORIZED {
            let basic = HeaderValue::from_static("Basic realm=\"wharf\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let message = error.to_string();
        let (status, name) = match &error {
            IdentityError::Unauthenticated(why) => match why {
                Unauthenticated::Wrong
                | Unauthenticated::Malformed
                | Unauthenticated::PasswordExpired
                | Unauthenticated::SecondFactor
                | Unauthenticated::CodeWanted
                | Unauthenticated::WrongCode => (StatusCode::UNAUTHORIZED, "invalid_grant"),
                Unauthenticated::SecondFactorDue => (StatusCode::FORBIDDEN, "access_denied"),
                Unauthenticated::TooManyAttempts(_) | Unauthenticated::Busy => {
                    (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable")
                }
                Unauthenticated::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            },
            IdentityError::Invalid(_) | IdentityError::Crypto(CryptoError::TokenTooLarge(_)) => {
                (StatusCode::BAD_REQUEST, "invalid_scope")
            }
            _ => {
                tracing::error!(%error, "a token could not be given out");
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error")
            }
        };
        let retry_after = match error {
            IdentityError::Unauthenticated(Unauthenticated::TooManyAttempts(seconds)) => Some(seconds),
            IdentityError::Unauthenticated(Unauthenticated::Busy | Unauthenticated::Unavailable) => Some(5),
            _ => None,
        };
        let why = match error {
            IdentityError::Unauthenticated(why) => Some(why),
            _ => None,
        };
        Self { retry_after, why, ..Self::new(status, name, &message) }
    }
}

impl Handler for TokenEdge {
    fn call(
        self: Arc<Self>,
        conn: Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move { self.answer(&conn, request).await })
    }
}
