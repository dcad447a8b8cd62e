//! Errors in the form of the distribution-spec ("Error Codes"): one translation, exhaustive.

use access::{Denied, PrepareError};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_kit::Body;
use oci::{DigestError, ManifestError, NameError};
use registry::RegistryError;
use serde::Serialize;

use crate::endpoint::RouteError;

/// The registered error codes, and Docker's `UNKNOWN` for what is nobody's fault but ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the specification's own names")]
pub enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Denied,
    Unauthorized,
    Unsupported,
    #[serde(rename = "TOOMANYREQUESTS")]
    TooManyRequests,
    Unknown,
}

/// An error on its way to a client.
#[derive(Debug)]
pub struct WireError {
    /// The status of the response.
    pub status: StatusCode,
    /// The error code.
    pub code: Code,
    /// What happened, to what, and what to do.
    pub message: String,
    /// What only the log is told.
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// Headers that help the client to go on.
    pub headers: HeaderMap,
}

#[derive(Serialize)]
struct Envelope<'a> {
    errors: [Entry<'a>; 1],
}

#[derive(Serialize)]
struct Entry<'a> {
    code: Code,
    message: &'a str,
}

impl WireError {
    /// An error that the log needs to know nothing more of.
    pub fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), cause: None, headers: HeaderMap::new() }
    }

    /// The error, with headers that help the client to go on.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// The error, with the seconds after which another try is worth its while.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.insert(RETRY_AFTER, seconds.into());
        self
    }

    /// The same at a mirror, where nobody is told to come back with 429 or 408: containerd would, at once and five times,
    /// in place of asking the next mirror.
    #[must_use]
    pub fn at_a_mirror(mut self) -> Self {
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
            self.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        self
    }

    /// The response. A HEAD request gets the same without the body.
    pub fn response(self, head: bool) -> Response<Body> {
        let envelope = Envelope { errors: [Entry { code: self.code, message: &self.message }] };
        let bytes = serde_json::to_vec(&envelope).unwrap_or_default();
        let length = bytes.len() as u64;
        let mut response = Response::new(if head { Body::empty() } else { Body::full(bytes) });
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.entry(RETRY_AFTER).or_insert(HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<RouteError> for WireError {
    fn from(error: RouteError) -> Self {
        let bad = |code: Code, message: String| Self::new(StatusCode::BAD_REQUEST, code, message);
        match error {
            RouteError::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                Code::Unsupported,
                "there is nothing at this path: see the OCI distribution-spec for those that a registry has",
            ),
            RouteError::Method(known) => Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                Code::Unsupported,
                format!("this path does not know that method, only {known}"),
            ),
            RouteError::Name(error @ (NameError::Repository(_) | NameError::Project(_))) => {
                bad(Code::NameInvalid, error.to_string())
            }
            RouteError::Name(error @ NameError::Tag(_)) => bad(Code::ManifestInvalid, error.to_string()),
            RouteError::Name(NameError::Digest(error)) | RouteError::Digest(error) => error.into(),
            RouteError::DigestMissing => bad(
                Code::DigestInvalid,
                "the request that ends an upload must name the blob: add ?digest=sha256:...".into(),
            ),
            RouteError::Query(name) => {
                bad(Code::Unsupported, format!("the query parameter `{name}` is malformed"))
            }
            RouteError::QueryTooLong => Self::new(
                StatusCode::URI_TOO_LONG,
                Code::SizeInvalid,
                "the query is too long: set fewer tags at once",
            ),
            RouteError::UploadId => Self::new(
                StatusCode::NOT_FOUND,
                Code::BlobUploadUnknown,
                "there is no such upload: start one with POST /v2/<name>/blobs/uploads/",
            ),
        }
    }
}

impl From<DigestError> for WireError {
    fn from(error: DigestError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::DigestInvalid, error.to_string())
    }
}

impl From<Denied> for WireError {
    fn from(error: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::Denied, error.to_string())
    }
}

impl From<PrepareError> for WireError {
    fn from(error: PrepareError) -> Self {
        let message = error.to_string();
        match error {
            PrepareError::Denied(_) => Self::new(StatusCode::FORBIDDEN, Code::Denied, message),
            PrepareError::Failed(cause) => Self {
                cause: Some(cause.into()),
                ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, message)
            },
        }
    }
}

impl From<RegistryError> for WireError {
    fn from(error: RegistryError) -> Self {
        let (status, code) = translate(&error);
        let message = error.to_string();
        let mut headers = HeaderMap::new();
        if let RegistryError::UpstreamUnavailable { retry_after, .. } = &error {
            headers.insert(RETRY_AFTER, (*retry_after).into());
        }
        let cause: Option<Box<dyn std::error::Error + Send + Sync>> = match error {
            RegistryError::Blobs(cause) => Some(cause.into()),
            RegistryError::Meta(cause) => Some(cause.into()),
            _ => None,
        };
        Self { status, code, message, cause, headers }
    }
}

fn translate(error: &RegistryError) -> (StatusCode, Code) {
    match error {
        RegistryError::RepositoryUnknown(_) => (StatusCode::NOT_FOUND, Code::NameUnknown),
        RegistryError::ManifestUnknown { .. } => (StatusCode::NOT_FOUND, Code::ManifestUnknown),
        RegistryError::ManifestInvalid(error) => translate_manifest(error),
        RegistryError::ManifestBlobsUnknown { .. } => (StatusCode::NOT_FOUND, Code::ManifestBlobUnknown),
        RegistryError::BlobUnknown { .. } => (StatusCode::NOT_FOUND, Code::BlobUnknown),
        RegistryError::BlobInUse { .. } => (StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported),
        RegistryError::DigestMismatch { .. } => (StatusCode::BAD_REQUEST, Code::DigestInvalid),
        RegistryError::UploadUnknown(_) => (StatusCode::NOT_FOUND, Code::BlobUploadUnknown),
        RegistryError::UploadBusy => (StatusCode::CONFLICT, Code::BlobUploadInvalid),
        RegistryError::RangeInvalid { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, Code::BlobUploadInvalid),
        RegistryError::SizeInvalid { .. } => (StatusCode::BAD_REQUEST, Code::SizeInvalid),
        RegistryError::BlobTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid),
        RegistryError::TooManyTags(_) => (StatusCode::URI_TOO_LONG, Code::SizeInvalid),
        RegistryError::TooManyUploads(_) => (StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests),
        RegistryError::Body(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            (StatusCode::REQUEST_TIMEOUT, Code::BlobUploadInvalid)
        }
        RegistryError::Body(_) => (StatusCode::BAD_REQUEST, Code::BlobUploadInvalid),
        RegistryError::Full => (StatusCode::INSUFFICIENT_STORAGE, Code::Unknown),
        RegistryError::Conflict | RegistryError::Collecting => (StatusCode::CONFLICT, Code::Unknown),
        // Never 429 or 408: containerd would ask again at once, where it could ask the next mirror.
        RegistryError::UpstreamUnavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, Code::Unknown),
        RegistryError::UpstreamDenies { .. } => (StatusCode::FORBIDDEN, Code::Denied),
        RegistryError::UpstreamRefused { .. } => (StatusCode::BAD_GATEWAY, Code::Unknown),
        RegistryError::UpstreamLoops { .. } => (StatusCode::LOOP_DETECTED, Code::Unknown),
        RegistryError::Mirrored(_) => (StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported),
        RegistryError::WrongGrant { .. }
        | RegistryError::MetadataLost
        | RegistryError::MetadataNotEmpty
        | RegistryError::Blobs(_)
        | RegistryError::Meta(_) => (StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown),
    }
}

fn translate_manifest(error: &ManifestError) -> (StatusCode, Code) {
    match error {
        ManifestError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid),
        ManifestError::TooDeep(_)
        | ManifestError::TooManyReferences(_)
        | ManifestError::Json(_)
        | ManifestError::MediaTypeMismatch { .. }
        | ManifestError::Ambiguous { .. }
        | ManifestError::Unsupported(_)
        | ManifestError::SchemaOne
        | ManifestError::NoMediaType => (StatusCode::BAD_REQUEST, Code::ManifestInvalid),
    }
}
