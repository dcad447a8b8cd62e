//! Errors of the administration API: a status and a message in JSON.

use access::{Denied, Unauthenticated};
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use http_kit::Body;
use identity::IdentityError;
use serde_json::json;

/// Carries a code of the second factor; in a refusal, says that one is wanted.
pub(crate) const X_WHARF_OTP: HeaderName = HeaderName::from_static("x-wharf-otp");

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    message: String,
    headers: HeaderMap,
    /// Why somebody's credential was not accepted, where that is the error.
    pub(crate) why: Option<Unauthenticated>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), headers: HeaderMap::new(), why: None }
    }

    pub(crate) fn unknown(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn invalid(error: &dyn std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }

    pub(crate) fn method(known: &[&str]) -> Self {
        let known = known.join(", ");
        let mut problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("this path does not know that method, only {known}"),
        );
        problem.set(ALLOW, &known);
        problem
    }

    /// Asks to sign in.
    pub(crate) fn sign_in(message: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, message);
        problem.set(WWW_AUTHENTICATE, "Basic realm=\"wharf\", charset=\"UTF-8\"");
        problem
    }

    fn set(&mut self, name: http::HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    /// The response, with the media type of what a success would have been.
    pub(crate) fn response(self, media_type: &'static str) -> Response<Body> {
        let line = format!("{}\n", json!({"type": "error", "message": self.message}));
        let mut response = Response::new(Body::full(line));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<Denied> for Problem {
    fn from(error: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, error.to_string())
    }
}

impl From<Unauthenticated> for Problem {
    fn from(error: Unauthenticated) -> Self {
        let message = error.to_string();
        let why = Some(error.clone());
        let problem = match error {
            Unauthenticated::Wrong | Unauthenticated::Malformed | Unauthenticated::PasswordExpired => {
                Self::sign_in(message)
            }
            Unauthenticated::SecondFactor | Unauthenticated::CodeWanted | Unauthenticated::WrongCode => {
                let mut problem = Self::sign_in(message);
                problem.set(X_WHARF_OTP, "required");
                problem
            }
            Unauthenticated::SecondFactorDue => Self::new(StatusCode::FORBIDDEN, message),
            Unauthenticated::TooManyAttempts(seconds) => {
                let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, message);
                problem.set(RETRY_AFTER, &seconds.to_string());
                problem
            }
            Unauthenticated::Busy => Self::new(StatusCode::TOO_MANY_REQUESTS, message),
            Unauthenticated::Unavailable => Self::new(StatusCode::SERVICE_UNAVAILABLE, message),
        };
        Self { why, ..problem }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        let status = match &error {
            IdentityError::Unknown { .. } => StatusCode::NOT_FOUND,
            IdentityError::Exists { .. }
            | IdentityError::ProjectInUse(_)
            | IdentityError::LastAdministrator
            | IdentityError::Conflict => StatusCode::CONFLICT,
            IdentityError::Invalid(_) => StatusCode::BAD_REQUEST,
            IdentityError::Exceeds { .. } | IdentityError::Passkey(_) | IdentityError::Expired => {
                StatusCode::FORBIDDEN
            }
            IdentityError::TooMany { .. } => StatusCode::CONFLICT,
            IdentityError::Unauthenticated(error) => return error.clone().into(),
            IdentityError::Crypto(identity::CryptoError::Busy) => StatusCode::TOO_MANY_REQUESTS,
            IdentityError::Meta(meta::MetaError::Full) => StatusCode::INSUFFICIENT_STORAGE,
            IdentityError::WrongGrant
            | IdentityError::Crypto(_)
            | IdentityError::Damaged { .. }
            | IdentityError::Meta(_) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, cause, "an administration request failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error.to_string())
    }
}
