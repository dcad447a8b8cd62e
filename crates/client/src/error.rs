//! What can go wrong with a registry over HTTP.

use std::path::PathBuf;
use std::time::Duration;

use oci::ManifestError;
use reqwest::{Method, StatusCode, Url};
use transfer::TransferError;

use crate::{AuthError, Host, ReferenceError};

/// Why a request to a registry failed. No secret and no query of an address is in the message.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What was named is malformed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// What was asked for does not exist.
    #[error("{what} is not in {place}")]
    NotFound {
        /// A tag, a digest or the like.
        what: String,
        /// Where.
        place: String,
    },
    /// The registry wants to know who asks, or knows and is not content.
    #[error("{host} refuses the request: {}", advice(*.known, host))]
    Unauthorized {
        /// The registry.
        host: Host,
        /// Whether there was a credential for it.
        known: bool,
    },
    /// Getting a credential or a token failed.
    #[error("cannot authenticate to {host}: {error}")]
    Auth {
        /// The registry.
        host: Host,
        /// What went wrong.
        error: AuthError,
    },
    /// The answer is a failure.
    #[error("{method} {url}: the registry answers {status}{detail}")]
    Status {
        /// What was tried.
        method: Method,
        /// On what.
        url: PublicUrl,
        /// The answer.
        status: StatusCode,
        /// What the registry says about it.
        detail: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
        /// Whether it is not the registry that answers, but what it redirects to.
        elsewhere: bool,
        /// Whether it may pass.
        transient: bool,
    },
    /// The registry wants to be left alone for longer than anybody waits.
    #[error("{host} asks to come back in {} seconds: try again then", wait.as_secs())]
    Busy {
        /// The registry.
        host: Host,
        /// What it answers.
        status: StatusCode,
        /// How long.
        wait: Duration,
    },
    /// The connection failed.
    #[error("{url} cannot be reached: {reason}")]
    Lost {
        /// What was asked.
        url: PublicUrl,
        /// What happened.
        reason: String,
        /// Whether it may pass.
        transient: bool,
    },
    /// No bytes for a long time.
    #[error("{url} has not answered for a long time")]
    Silent {
        /// What was asked.
        url: PublicUrl,
        /// Whether it may pass.
        transient: bool,
    },
    /// A token ended while a blob was on its way; the next request has a new one.
    #[error("{0} no longer takes the token that it gave")]
    Expired(Host),
    /// A small document is not small.
    #[error("{url} sends more than the {most} bytes that such an answer may have")]
    TooLarge {
        /// What was asked.
        url: PublicUrl,
        /// The limit.
        most: usize,
    },
    /// The answer is not what the specification says.
    #[error("{url} gives an answer that no registry should: {what}")]
    Answer {
        /// What was asked.
        url: PublicUrl,
        /// What is wrong with it.
        what: String,
    },
    /// A manifest is what it should be, and nothing that can be used: asking again gives the same.
    #[error("{url} has a manifest that cannot be used: {error}")]
    Manifest {
        /// What was asked.
        url: PublicUrl,
        /// Why not.
        error: ManifestError,
    },
    /// Redirects that lead nowhere, or where no request may go.
    #[error("{from} redirects to {to}, which is not followed: {why}")]
    Redirect {
        /// What was asked.
        from: PublicUrl,
        /// Where it leads.
        to: PublicUrl,
        /// Why it is not followed.
        why: &'static str,
    },
    /// The certificates cannot be used.
    #[error("the certificates in {path} cannot be used: {reason}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
}

/// What a failure is to somebody who has another way out, such as a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It does not exist.
    NotFound,
    /// Whoever asks may not have it, or it does not exist: many registries do not say which.
    Denied,
    /// Too much was asked for.
    Limited {
        /// How long to stay away, where that was said.
        retry_after: Option<Duration>,
    },
    /// The registry, its token server or the way there does not work: another time, or another registry, may do.
    Failing,
    /// The request has come back to a registry that it had been through.
    Loops,
    /// What was asked for or set up is wrong in itself.
    Invalid,
}

/// An address without its query, in which signed addresses carry secrets, and without a user's name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl From<Url> for PublicUrl {
    fn from(mut url: Url) -> Self {
        url.set_query(None);
        url.set_fragment(None);
        // Fails where there is nothing to remove.
        url.set_username("").ok();
        url.set_password(None).ok();
        Self(url.into())
    }
}

impl std::fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FailureKind {
    /// What an answer with this status is.
    pub(crate) fn of(status: StatusCode, retry_after: Option<Duration>) -> Self {
        match status.as_u16() {
            404 | 410 => Self::NotFound,
            401 | 403 => Self::Denied,
            429 => Self::Limited { retry_after },
            508 => Self::Loops,
            408 | 500.. => Self::Failing,
            // A name that this registry does not take says nothing of its health.
            400..=499 => Self::Invalid,
            // A success or a redirect where none can be.
            _ => Self::Failing,
        }
    }
}

impl ClientError {
    /// A connection that failed in this way.
    pub(crate) fn lost(url: &Url, error: reqwest::Error) -> Self {
        Self::Lost { url: url.clone().into(), reason: reason(error.without_url()), transient: true }
    }

    /// What this failure is to somebody who has another way out.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::NotFound { .. } => FailureKind::NotFound,
            Self::Unauthorized { .. } => FailureKind::Denied,
            Self::Auth { error, .. } => error.kind(),
            // The address that the registry gave was not good: whoever asks had been let in by then.
            Self::Status {
                status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN,
                elsewhere: true,
                ..
            } => FailureKind::Failing,
            Self::Status { status, retry_after, .. } => FailureKind::of(*status, *retry_after),
            Self::Busy { status, wait, .. } => FailureKind::of(*status, Some(*wait)),
            Self::Lost { .. }
            | Self::Silent { .. }
            | Self::Expired(_)
            | Self::Answer { .. }
            | Self::Redirect { .. } => FailureKind::Failing,
            // It will be as large the next time.
            Self::TooLarge { .. }
            | Self::Reference(_)
            | Self::Manifest { .. }
            | Self::Certificates { .. }
            | Self::Setup(_) => FailureKind::Invalid,
        }
    }

    /// Whether the registry itself, or the way there, does not work right now, whatever is asked of it: an answer that is
    /// no good, or a store that it redirects to, says nothing of that.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Silent { .. } => true,
            Self::Status { status, elsewhere, .. } => !elsewhere && is_outage(*status),
            Self::Busy { status, .. } => is_outage(*status),
            Self::Auth { error, .. } => error.is_outage(),
            _ => false,
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Status { transient, .. }
            | Self::Lost { transient, .. }
            | Self::Silent { transient, .. } => *transient,
            Self::Expired(_) => true,
            _ => false,
        }
    }

    /// The same error, when it has been tried often enough.
    pub(crate) const fn exhausted(mut self) -> Self {
        if let Self::Status { transient, .. }
        | Self::Lost { transient, .. }
        | Self::Silent { transient, .. } = &mut self
        {
            *transient = false;
        }
        self
    }

    /// The same error in the words of a copy.
    pub(crate) fn into_transfer(self) -> TransferError {
        match self {
            Self::NotFound { what, place } => TransferError::NotFound { what, place },
            error if error.is_transient() => TransferError::transient(error),
            error => TransferError::end(error),
        }
    }
}

/// That a request came back is the fault of who asked.
fn is_outage(status: StatusCode) -> bool {
    (status.is_server_error() && status != StatusCode::LOOP_DETECTED) || status == StatusCode::REQUEST_TIMEOUT
}

/// An error with its causes: the outermost of reqwest's says only that something failed.
fn reason(error: reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text = if text.is_empty() { message } else { format!("{text}: {message}") };
        }
        cause = error.source();
    }
    let hint = if text.contains("invalid HTTP version") {
        ". If that registry speaks TLS, use --tls-verify, or name its certificate with --ca FILE"
    } else if text.contains("UnknownIssuer") || text.contains("certificate") {
        ". If that certificate is right, name its authority with --ca FILE"
    } else if text.contains("InvalidContentType") || text.contains("corrupt message") {
        ". If that registry has no TLS, use --plain-http"
    } else {
        ""
    };
    format!("{text}{hint}")
}

fn advice(known: bool, host: &Host) -> String {
    if known {
        "the stored credentials do not allow it, or the repository does not exist".into()
    } else {
        format!(
            "log in first with `wharf login {host}` or `docker login {host}`, and check the repository's name"
        )
    }
}
