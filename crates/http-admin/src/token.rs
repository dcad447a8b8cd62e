//! The token service of the Docker token specification, with GET and, as OAuth 2 has it, with POST; and the public
//! keys that its tokens are signed with.

use std::sync::Arc;

use access::Unauthenticated;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_kit::{Body, ConnInfo, Forwarded, Handler, Query, RequestBody, TrustedProxies};
use identity::{Claimant, Identity, IdentityError, Issued, Secret, TokenRequest};
use serde_json::json;

use crate::reply::JSON;

/// The longest form, in bytes.
const FORM_MAX: u64 = 64 << 10;

/// Answers `/token` and `/.well-known/jwks.json`.
pub struct TokenEdge {
    identity: Arc<Identity>,
    proxies: TrustedProxies,
}

/// What OAuth 2 calls an error (RFC 6749, 5.2), with the Docker registry's form beside it.
struct Failure {
    status: StatusCode,
    error: &'static str,
    message: String,
    retry_after: Option<u64>,
}

impl TokenEdge {
    /// The token service of these users.
    pub fn new(identity: Arc<Identity>, proxies: TrustedProxies) -> Self {
        Self { identity, proxies }
    }

    /// Whether a path is one of its own.
    pub fn answers(path: &str) -> bool {
        matches!(path, "/token" | "/.well-known/jwks.json")
    }

    async fn answer(&self, conn: &ConnInfo, request: Request<RequestBody>) -> Response<Body> {
        let method = request.method().clone();
        let outcome = match (request.uri().path(), &method) {
            ("/token", &Method::GET) => self.get(conn, &request).await,
            ("/token", &Method::POST) => self.post(conn, request).await,
            ("/.well-known/jwks.json", &Method::GET | &Method::HEAD) => return self.jwks(),
            _ => Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "use GET or POST")),
        };
        match outcome {
            Ok(issued) => document(StatusCode::OK, &json!(issued), "no-store"),
            Err(failure) => failure.response(),
        }
    }

    fn jwks(&self) -> Response<Body> {
        document(StatusCode::OK, &self.identity.jwks(), "max-age=300")
    }

    /// Docker's own form: everything is in the query.
    async fn get(&self, conn: &ConnInfo, request: &Request<RequestBody>) -> Result<Issued, Failure> {
        let query = Query::form(request.uri().query().unwrap_or_default());
        let scopes = query.all("scope").flat_map(|scopes| split(&scopes)).collect();
        let offline = query.first("offline_token").is_some_and(|offline| offline == "true");
        let wanted = TokenRequest { scopes, offline };
        let header = authorization(request.headers())?;
        let claimant = header.map_or(Claimant::Nobody, Claimant::Header);
        let client = Forwarded::of(conn, request.headers(), &self.proxies).client;
        Ok(self.identity.issue(claimant, &wanted, client).await?)
    }

    /// OAuth's: the credentials are in the form, or in the header.
    async fn post(&self, conn: &ConnInfo, request: Request<RequestBody>) -> Result<Issued, Failure> {
        let (head, body) = request.into_parts();
        let client = Forwarded::of(conn, &head.headers, &self.proxies).client;
        let invalid = |message: &str| Failure::new(StatusCode::BAD_REQUEST, "invalid_request", message);
        let body = body.read_all(FORM_MAX).await.map_err(|error| invalid(&error.to_string()))?;
        let form = Query::form(std::str::from_utf8(&body).map_err(|_| invalid("the form is not text"))?);
        let scopes = form.all("scope").flat_map(|scopes| split(&scopes)).collect();
        let offline = form.first("access_type").is_some_and(|access| access == "offline");
        let wanted = TokenRequest { scopes, offline };
        let field = |name: &str| form.first(name).map(std::borrow::Cow::into_owned);
        let issued = match field("grant_type").as_deref() {
            Some("password") => {
                let name = field("username").ok_or_else(|| invalid("the form has no username"))?;
                let secret =
                    Secret::new(field("password").ok_or_else(|| invalid("the form has no password"))?);
                self.identity
                    .issue(Claimant::Password { name: &name, secret: &secret }, &wanted, client)
                    .await?
            }
            Some("refresh_token") => {
                let token = field("refresh_token").ok_or_else(|| invalid("the form has no refresh_token"))?;
                self.identity.issue(Claimant::Refresh(&Secret::new(token)), &wanted, client).await?
            }
            Some("client_credentials") => {
                let header =
                    authorization(&head.headers)?.ok_or_else(|| invalid("there is no Authorization"))?;
                self.identity.issue(Claimant::Header(header), &wanted, client).await?
            }
            _ => {
                let known = "the grant_type is password, refresh_token or client_credentials";
                return Err(Failure::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", known));
            }
        };
        Ok(issued)
    }
}

/// Scopes are separated by spaces.
fn split(scopes: &str) -> Vec<String> {
    scopes.split(' ').filter(|scope| !scope.is_empty()).map(ToOwned::to_owned).collect()
}

fn authorization(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let header = headers.get(AUTHORIZATION).map(HeaderValue::to_str).transpose();
    header.map_err(|_| IdentityError::from(Unauthenticated::Malformed).into())
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
        Self { status, error, message: message.to_owned(), retry_after: None }
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
            IdentityError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_scope"),
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
        Self { retry_after, ..Self::new(status, name, &message) }
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
