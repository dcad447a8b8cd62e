//! Asking a client to sign in (RFC 7235; the Docker token specification, "Requesting a Token").

use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use oci::RepoName;

use access::{Action, Unauthenticated};

use crate::error::{Code, WireError};
use crate::operation::{Operation, Permission};
use crate::reply::{DOCKER_API_VERSION, value};

/// The audience of access tokens, as challenges name it.
pub const SERVICE: &str = "wharf";

/// What the scope of a token is called that allows an operation.
fn scope(operation: Option<Operation>, repository: Option<&RepoName>) -> Option<String> {
    match (operation?.permission(), repository) {
        (Permission::List, _) => Some("registry:catalog:*".into()),
        (Permission::Repository(action), Some(name)) => {
            let actions = match action {
                Action::Push => "pull,push",
                Action::DeleteTag | Action::DeleteArtifact => "delete",
                _ => "pull",
            };
            Some(format!("repository:{name}:{actions}"))
        }
        (Permission::Repository(_) | Permission::SignedIn, _) => None,
    }
}

/// Who is asked to sign in, where, and for what.
pub(crate) struct Challenge<'a> {
    /// Where the client sees this registry; without it only Basic can be offered.
    pub(crate) origin: Option<&'a str>,
    pub(crate) operation: Option<Operation>,
    pub(crate) repository: Option<&'a RepoName>,
    /// Why the token that was sent is not enough (RFC 6750, 3.1).
    pub(crate) error: Option<&'static str>,
}

impl Challenge<'_> {
    fn header(&self) -> HeaderValue {
        let Some(origin) = self.origin else { return HeaderValue::from_static("Basic realm=\"wharf\"") };
        let mut text = format!("Bearer realm=\"{origin}/token\",service=\"{SERVICE}\"");
        if let Some(scope) = scope(self.operation, self.repository) {
            text += &format!(",scope=\"{scope}\"");
        }
        if let Some(error) = self.error {
            text += &format!(",error=\"{error}\"");
        }
        value(&text)
    }

    /// The refusal that asks for (other) credentials.
    pub(crate) fn refuse(&self, message: String) -> WireError {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, self.header());
        // By this, clients know a registry where the path alone would not tell them.
        headers.insert(DOCKER_API_VERSION, HeaderValue::from_static("registry/2.0"));
        WireError::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message).with_headers(headers)
    }

    /// The refusal of credentials that were not accepted.
    pub(crate) fn unauthenticated(mut self, error: &Unauthenticated, bearer: bool) -> WireError {
        let message = error.to_string();
        match error {
            Unauthenticated::Wrong
            | Unauthenticated::Malformed
            | Unauthenticated::PasswordExpired
            | Unauthenticated::SecondFactor
            | Unauthenticated::CodeWanted
            | Unauthenticated::WrongCode => {
                self.error = bearer.then_some("invalid_token");
                self.refuse(message)
            }
            Unauthenticated::SecondFactorDue => WireError::new(StatusCode::FORBIDDEN, Code::Denied, message),
            Unauthenticated::TooManyAttempts(seconds) => {
                WireError::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, message)
                    .retry_after(*seconds)
            }
            Unauthenticated::Busy => {
                WireError::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, message)
            }
            Unauthenticated::Unavailable => {
                WireError::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unknown, message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_name_what_a_token_must_allow() {
        let name: RepoName = "team/app".parse().unwrap();
        let check = |operation: Operation, expect: &str| {
            let repository = matches!(operation.permission(), Permission::Repository(_)).then_some(&name);
            let origin = Some("https://r.example/prefix");
            let challenge = Challenge { origin, operation: Some(operation), repository, error: None };
            let text = challenge.header();
            let expect = format!("Bearer realm=\"https://r.example/prefix/token\",service=\"wharf\"{expect}");
            assert_eq!(text.to_str().unwrap(), expect);
        };
        check(Operation::Version, "");
        check(Operation::Catalog, ",scope=\"registry:catalog:*\"");
        check(Operation::GetBlob, ",scope=\"repository:team/app:pull\"");
        check(Operation::StartUpload, ",scope=\"repository:team/app:pull,push\"");
        check(Operation::DeleteTag, ",scope=\"repository:team/app:delete\"");
        let blind = Challenge { origin: None, operation: None, repository: None, error: None };
        assert_eq!(blind.header(), "Basic realm=\"wharf\"");
    }
}
