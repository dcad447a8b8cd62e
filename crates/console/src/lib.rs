//! The pages: signing in with a browser, by a password or at an OpenID provider, and a small console for one's own
//! account. docs/sign-in.md describes them for users.
//!
//! All is made on the server and works without scripts, but for passkeys: a browser shows them to a script only. A
//! browser's session is a cookie that counts on these pages
//! and nowhere else: images, tokens and administration are for who sends an `Authorization` header, which no other
//! site can make a browser do. Every form carries a token of its session and must come from this very origin.

mod account;
mod confirm;
mod cookie;
mod factors;
mod guard;
mod next;
mod observe;
mod page;
mod provider;
mod second_step;
mod sign_in;
mod visit;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_kit::{Body, ConnInfo, Handler, RequestBody, RequestId, TrustedProxies, X_REQUEST_ID};
use identity::Identity;

use crate::page::Reply;
use crate::visit::Visit;

pub use observe::{Event, Observation, Observe};
pub use provider::{Provider, ProviderSettings};

/// The style of all pages.
const STYLE: &str = include_str!("console.css");

/// The script that asks for passkeys.
const SCRIPT: &str = include_str!("passkey.js");

/// The longest form, in bytes.
const FORM_MAX: u64 = 16 << 10;

/// Answers the pages.
pub struct Console {
    identity: Arc<Identity>,
    proxies: TrustedProxies,
    observer: Arc<dyn Observe>,
    provider: Option<Provider>,
    origin: Option<String>,
}

impl Console {
    /// The pages for these users.
    pub fn new(identity: Arc<Identity>, proxies: TrustedProxies, observer: Arc<dyn Observe>) -> Self {
        Self { identity, proxies, observer, provider: None, origin: None }
    }

    /// The same, where the configuration says how browsers see them: the origin alone.
    #[must_use]
    pub fn at(self, origin: String) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// The same, where people can sign in at an OpenID provider, too.
    #[must_use]
    pub fn with_provider(self, provider: Provider) -> Self {
        Self { provider: Some(provider), ..self }
    }

    /// Whether a request is for one of the pages. `/` is, where a browser asks.
    pub fn answers(path: &str, headers: &HeaderMap) -> bool {
        let is_below =
            |root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match path {
            "/" => wants_page(headers),
            "/logout" | "/console.css" | "/passkey.js" => true,
            _ => is_below("/login") || is_below("/account"),
        }
    }

    async fn answer(&self, conn: &ConnInfo, request: Request<RequestBody>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let id = RequestId::of(&head.headers);
        let visit = Visit::of(conn, &head, &id, &self.proxies, self.public_origin());
        let method = if head.method == Method::HEAD { Method::GET } else { head.method.clone() };
        let reply = match (&method, head.uri.path()) {
            (&Method::GET, "/console.css") => return fixed(STYLE, "text/css; charset=utf-8"),
            (&Method::GET, "/passkey.js") => return fixed(SCRIPT, "text/javascript; charset=utf-8"),
            (&Method::GET, path) => self.get(&visit, path).await,
            (&Method::POST, path) => match visit.read_form(body).await {
                Ok(form) => self.post(&visit, path, &form).await,
                Err(reply) => reply,
            },
            _ => Reply::failure(&visit, StatusCode::METHOD_NOT_ALLOWED, "This page knows GET and POST only."),
        };
        let mut response = reply.into_response();
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        if let Some(id) = id.to_header() {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        response
    }

    async fn get(&self, visit: &Visit<'_>, path: &str) -> Reply {
        match path {
            "/" => self.home(visit).await,
            "/login" => self.login_page(visit).await,
            "/login/oidc" => self.begin_at_provider(visit).await,
            "/login/oidc/callback" => self.finish_at_provider(visit).await,
            "/account" => self.account_page(visit).await,
            "/account/confirm" => self.confirm_page(visit).await,
            "/account/factors" => self.factors_page(visit).await,
            "/account/factors/passkey" => self.new_passkey_page(visit).await,
            _ => Reply::failure(visit, StatusCode::NOT_FOUND, "There is no such page."),
        }
    }

    /// What changes something. All but the word of a provider must come from a form of these pages.
    async fn post(&self, visit: &Visit<'_>, path: &str, form: &str) -> Reply {
        match path {
            "/login" => self.sign_in(visit, form).await,
            "/login/code" => self.sign_in_with_code(visit, form).await,
            "/login/passkey" => self.sign_in_with_passkey(visit, form).await,
            "/login/password" => self.replace_password(visit, form).await,
            "/login/oidc/backchannel-logout" => self.end_by_provider(visit, form).await,
            "/logout" => self.sign_out(visit, form).await,
            "/account/tokens" => self.create_token(visit, form).await,
            "/account/tokens/revoke" => self.revoke_token(visit, form).await,
            "/account/password" => self.change_password(visit, form).await,
            _ => self.post_factors(visit, path, form).await,
        }
    }

    /// The same for what somebody signs in with besides the password.
    async fn post_factors(&self, visit: &Visit<'_>, path: &str, form: &str) -> Reply {
        match path {
            "/account/confirm/password" => self.confirm_with_password(visit, form).await,
            "/account/confirm/code" => self.confirm_with_code(visit, form).await,
            "/account/confirm/passkey" => self.confirm_with_passkey(visit, form).await,
            "/account/factors/app" => self.begin_app(visit, form).await,
            "/account/factors/app/confirm" => self.finish_app(visit, form).await,
            "/account/factors/app/remove" => self.remove_app(visit, form).await,
            "/account/factors/passkey" => self.finish_passkey(visit, form).await,
            "/account/factors/passkey/remove" => self.remove_passkey(visit, form).await,
            "/account/factors/codes" => self.renew_codes(visit, form).await,
            "/account/factors/one-time" => self.one_time_code(visit, form).await,
            _ => Reply::failure(visit, StatusCode::NOT_FOUND, "There is no such page."),
        }
    }

    fn public_origin(&self) -> Option<&str> {
        self.origin.as_deref().or_else(|| self.provider.as_ref().map(Provider::origin))
    }
}

/// Whether a page is wanted, and no plain text.
fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html")))
}

/// What is the same for everybody.
fn fixed(text: &'static str, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    page::protect(headers);
    response
}

impl Handler for Console {
    fn call(
        self: Arc<Self>,
        conn: Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move { self.answer(&conn, request).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_are_told_from_the_rest() {
        let check = |path: &str, accept: &'static str, expect: bool| {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Console::answers(path, &headers), expect, "{path} {accept}");
        };
        let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        check("/", browser, true);
        check("/", "Text/HTML;level=1", true);
        for plain in ["*/*", "", "application/json", "text/htmlx"] {
            check("/", plain, false);
        }
        for path in [
            "/login",
            "/login/oidc/callback",
            "/logout",
            "/account",
            "/account/tokens",
            "/console.css",
            "/passkey.js",
        ] {
            check(path, "*/*", true);
        }
        for path in ["/logins", "/v2/", "/token", "/api/v1/me", "/livez", "/accounting", "/logout/x"] {
            check(path, browser, false);
        }
    }
}
