//! Small pieces that responses are made of.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, HeaderValue, LINK, LOCATION};
use http::{HeaderMap, Response, StatusCode};
use http_kit::{Body, ETag, Precondition, Validators};
use oci::{Digest, RepoName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::edge::Call;
use crate::error::{Code, WireError};

pub(crate) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(crate) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(crate) const DOCKER_API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
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
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(media_type));
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

/// What identifies content by digest.
pub(crate) fn etag(digest: &Digest) -> Option<ETag> {
    ETag::strong(digest.to_string())
}

/// The headers that every answer with content has.
pub(crate) fn set_content(
    headers: &mut HeaderMap,
    call: &Call<'_>,
    digest: &Digest,
    etag: Option<&ETag>,
    caching: &'static str,
) {
    headers.insert(DOCKER_CONTENT_DIGEST, value(&digest.to_string()));
    if let Some(etag) = etag.and_then(ETag::to_header) {
        headers.insert(http::header::ETAG, etag);
    }
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(http::header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if call.may_be_compressed {
        // A proxy leaves alone what has an encoding already: bytes, length, ranges and digest stay what they are.
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
    }
}

/// 304 or 412 where the request's conditions ask for it.
pub(crate) fn precondition(call: &Call<'_>, validators: &Validators<'_>) -> Option<StatusCode> {
    match validators.check(call.method, call.headers) {
        Precondition::Met => None,
        Precondition::NotModified => Some(StatusCode::NOT_MODIFIED),
        Precondition::Failed => Some(StatusCode::PRECONDITION_FAILED),
    }
}
