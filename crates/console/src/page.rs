//! What is answered: a page or a way to another, with the headers that keep it to itself.

use askama::Template;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    InvalidHeaderValue, LOCATION, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Response, StatusCode};
use http_kit::Body;

use crate::visit::Visit;

/// No script, nothing from elsewhere, in no frame; forms lead here only. The way to a provider is a link.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The same for pages where passkeys are used, with the one script that there is.
const POLICY_WITH_SCRIPT: &str = "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'";

/// An answer.
pub(crate) struct Reply {
    has_script: bool,
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    base: &'a str,
    message: &'a str,
}

impl Reply {
    fn new(status: StatusCode) -> Self {
        Self { has_script: false, status, headers: HeaderMap::new(), body: String::new() }
    }

    /// A page.
    pub(crate) fn page(status: StatusCode, page: &impl Template) -> Self {
        match page.render() {
            Ok(body) => Self { body, ..Self::new(status) }
                .with(CONTENT_TYPE, Ok(HeaderValue::from_static("text/html; charset=utf-8"))),
            Err(error) => {
                tracing::error!(%error, "a page cannot be written");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// The same, where passkeys are used.
    pub(crate) fn with_script(self) -> Self {
        Self { has_script: true, ..self }
    }

    /// A page that only says what is wrong.
    pub(crate) fn failure(visit: &Visit<'_>, status: StatusCode, message: &str) -> Self {
        Self::page(status, &FailurePage { base: visit.base(), message })
    }

    /// Nothing but a status, for who is no browser.
    pub(crate) fn bare(status: StatusCode) -> Self {
        Self::new(status)
    }

    /// The way to another page of ours.
    pub(crate) fn to(visit: &Visit<'_>, path: &str) -> Self {
        Self::away(&format!("{}{path}", visit.base()))
    }

    /// The way to an address.
    pub(crate) fn away(address: &str) -> Self {
        Self::new(StatusCode::SEE_OTHER).with(LOCATION, HeaderValue::from_str(address))
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: HeaderName, value: Result<HeaderValue, InvalidHeaderValue>) -> Self {
        match value {
            Ok(value) => {
                self.headers.append(name, value);
                self
            }
            Err(error) => {
                tracing::error!(%error, header = %name, "a header cannot be written");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// The same with a cookie.
    pub(crate) fn cookie(self, value: Result<HeaderValue, InvalidHeaderValue>) -> Self {
        self.with(SET_COOKIE, value)
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::full(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        protect(headers);
        if self.has_script {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY_WITH_SCRIPT));
        }
        response
    }
}

/// The headers that all answers have.
pub(crate) fn protect(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // Not `no-referrer`: with that, browsers hide the origin of our own forms from us.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
}
