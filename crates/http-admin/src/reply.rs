//! What handlers answer.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_kit::Body;
use schemars::JsonSchema;
use serde::Serialize;

use crate::problem::Problem;

/// The media type of most answers.
pub(crate) const JSON: &str = "application/json";

/// The media type of an answer that comes as the work goes on: a JSON document on each line.
pub(crate) const LINES: &str = "application/x-ndjson";

/// The media type of a page for people.
pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// All of a list that is not long.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub(crate) struct Items<T> {
    /// What is on it.
    pub(crate) items: Vec<T>,
}

/// An answer.
pub(crate) struct Reply(pub(crate) Response<Body>);

impl Reply {
    /// A document.
    pub(crate) fn json<T: Serialize>(value: &T) -> Result<Self, Problem> {
        Self::with(StatusCode::OK, value)
    }

    /// What was made.
    pub(crate) fn created<T: Serialize>(value: &T) -> Result<Self, Problem> {
        Self::with(StatusCode::CREATED, value)
    }

    /// Nothing to say: it is done.
    pub(crate) fn done() -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Self(response)
    }

    fn with<T: Serialize>(status: StatusCode, value: &T) -> Result<Self, Problem> {
        let mut bytes = serde_json::to_vec(value).map_err(|error| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {error}"))
        })?;
        bytes.push(b'\n');
        let mut response = Response::new(Body::full(bytes));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        // Some answers have a secret, which is shown this once.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(Self(response))
    }
}
