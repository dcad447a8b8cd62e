//! Small pieces that responses are made of.

use http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LINK, LOCATION,
};
use http::{HeaderMap, Response, StatusCode};
use http_kit::{Body, ByteRange, ETag, Precondition};
use oci::{Digest, RepoName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::edge::Call;
use crate::error::{Code, WireError};

/// That something is kept nowhere.
pub(crate) const NO_STORE: &str = "no-store";

/// How long content may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    /// It is named by its digest, and never means anything else.
    Immutable,
    /// It is named by a tag, which may move: ask again, the `ETag` makes it cheap.
    Revalidate,
    /// Nobody has verified it yet.
    Unsure,
}

impl Caching {
    /// The header. What was given to somebody with a credential is for them: there are caches that keep it for all
    /// unless they are told not to.
    const fn header(self, is_personal: bool) -> &'static str {
        match (self, is_personal) {
            (Self::Immutable, false) => "max-age=31536000, immutable",
            (Self::Immutable, true) => "private, max-age=31536000, immutable",
            (Self::Revalidate, false) => "no-cache",
            (Self::Revalidate, true) => "private, no-cache",
            (Self::Unsure, _) => NO_STORE,
        }
    }
}

pub(crate) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(crate) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(crate) const DOCKER_API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(crate) const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
pub(crate) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(crate) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub(crate) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// What may stand in a query value as it is.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Sends the client to where it can read the content, range and all. Nobody keeps that: the address expires.
pub(crate) fn elsewhere(digest: &Digest, location: &str) -> Response<Body> {
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    let headers = response.headers_mut();
    headers.insert(LOCATION, value(location));
    headers.insert(DOCKER_CONTENT_DIGEST, value(&digest.to_string()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
    response
}

/// A JSON document, its headers only for HEAD.
pub(crate) fn json<T: Serialize>(
    call: &Call<'_>,
    media_type: &'static str,
    value: &T,
) -> Result<Response<Body>, WireError> {
    let bytes = serde_json::to_vec(value).map_err(|error| {
        WireError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unknown,
            format!("the answer cannot be written: {error}"),
        )
    })?;
    let length = bytes.len() as u64;
    let mut response = Response::new(if call.is_head() { Body::empty() } else { Body::full(bytes) });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, length.into());
    Ok(response)
}

/// A header value of text that is known to be printable ASCII: names, digests and paths are.
pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A path below `/v2`, as the client must ask for it.
pub(crate) fn set_location(headers: &mut HeaderMap, call: &Call<'_>, repository: &RepoName, rest: &str) {
    headers.insert(LOCATION, value(&format!("{}/v2/{repository}/{rest}", call.prefix)));
}

/// The page after this one.
pub(crate) fn set_next(headers: &mut HeaderMap, call: &Call<'_>, path: &str, query: &[(&str, &str)]) {
    let pairs: Vec<String> =
        query.iter().map(|(name, text)| format!("{name}={}", utf8_percent_encode(text, VALUE))).collect();
    headers.insert(LINK, value(&format!("<{}/v2/{path}?{}>; rel=\"next\"", call.prefix, pairs.join("&"))));
}

/// Which part of some content a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    /// All of it.
    Whole,
    /// A part.
    Part { offset: u64, length: u64 },
    /// None: the client has it already.
    NotModified,
}

/// Content that is named by its digest.
pub(crate) struct Content<'a> {
    pub(crate) digest: &'a Digest,
    pub(crate) media_type: &'a str,
    /// The size of the whole, in bytes.
    pub(crate) total: u64,
    /// How long it may be kept.
    pub(crate) caching: Caching,
}

impl Content<'_> {
    /// Weighs the conditions and the range of a request. A range is defined for GET alone (RFC 9110, 14.2).
    pub(crate) fn select(&self, call: &Call<'_>) -> Result<Selected, WireError> {
        let digest = self.digest.to_string();
        let etag = ETag(&digest);
        match etag.check(call.headers) {
            Precondition::Met => {}
            Precondition::NotModified => return Ok(Selected::NotModified),
            Precondition::Failed => {
                let message =
                    format!("the content has the digest {}, which is not the one asked for", self.digest);
                return Err(WireError::new(StatusCode::PRECONDITION_FAILED, Code::Unknown, message));
            }
        }
        if call.is_head() || !etag.range_applies(call.headers) {
            return Ok(Selected::Whole);
        }
        match ByteRange::of(call.headers, self.total) {
            ByteRange::Whole => Ok(Selected::Whole),
            ByteRange::Part { offset, len } => Ok(Selected::Part { offset, length: len }),
            range @ ByteRange::Unsatisfiable => Err(self.unsatisfiable(range)),
        }
    }

    fn unsatisfiable(&self, range: ByteRange) -> WireError {
        let message = format!(
            "the content has {} bytes, and none in that range: ask for bytes before its end",
            self.total
        );
        let headers = range.content_range(self.total).map(|range| (CONTENT_RANGE, range));
        WireError::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::SizeInvalid, message)
            .with_headers(headers.into_iter().collect())
    }

    /// The response; `body` has what was selected, or nothing for HEAD.
    pub(crate) fn respond(&self, call: &Call<'_>, selected: Selected, body: Body) -> Response<Body> {
        let (status, length, range) = match selected {
            Selected::Whole => (StatusCode::OK, Some(self.total), None),
            Selected::Part { offset, length } => {
                let range = ByteRange::Part { offset, len: length }.content_range(self.total);
                (StatusCode::PARTIAL_CONTENT, Some(length), range)
            }
            Selected::NotModified => (StatusCode::NOT_MODIFIED, None, None),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let digest = self.digest.to_string();
        headers.insert(DOCKER_CONTENT_DIGEST, value(&digest));
        headers.insert(ETAG, value(&format!("\"{digest}\"")));
        let caching = self.caching.header(call.headers.contains_key(AUTHORIZATION));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_TYPE, value(self.media_type));
        headers.extend(range.map(|range| (CONTENT_RANGE, range)));
        headers.extend(length.map(|length| (CONTENT_LENGTH, length.into())));
        if call.may_be_compressed {
            // A proxy leaves alone what has an encoding already: bytes, length, ranges and digest stay what they are.
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
        }
        response
    }
}
