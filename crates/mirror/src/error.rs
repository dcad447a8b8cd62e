//! Why something could not be had from an upstream.

use std::time::Duration;

use client::{ClientError, FailureKind};
use oci::{Digest, Reference, RepoName};
use registry::RegistryError;

/// When to come back where an upstream says nothing of it.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why something could not be had. Shared by all who wanted it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No upstream has it.
    #[error("it is not there")]
    NotFound,
    /// It cannot be had now, and maybe later.
    #[error("{reason}")]
    Unavailable { reason: String, retry_after: Duration },
    /// It is left alone at present.
    #[error("{reason}")]
    Closed { reason: String, wait: Duration },
    /// We are not let in.
    #[error("{reason}")]
    Denied { reason: String },
    /// What comes is not what it should be.
    #[error("{reason}")]
    Refused { reason: String },
    /// Who is asked leads back to who asks.
    #[error("{reason}")]
    Loops { reason: String },
    /// We could not keep it.
    #[error("{0}")]
    Here(std::sync::Arc<RegistryError>),
}

/// What was wanted.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Manifest(Reference),
    Blob(Digest),
    Tags,
    Referrers(Digest),
}

impl From<ClientError> for FetchError {
    fn from(error: ClientError) -> Self {
        let reason = error.to_string();
        match error.kind() {
            FailureKind::NotFound => Self::NotFound,
            FailureKind::Limited { retry_after } => {
                Self::Unavailable { reason, retry_after: retry_after.unwrap_or(RETRY_AFTER) }
            }
            FailureKind::Failing => Self::Unavailable { reason, retry_after: RETRY_AFTER },
            FailureKind::Denied => Self::Denied { reason },
            FailureKind::Loops => Self::Loops { reason },
            FailureKind::Invalid => Self::Refused { reason },
        }
    }
}

impl From<RegistryError> for FetchError {
    fn from(error: RegistryError) -> Self {
        Self::Here(std::sync::Arc::new(error))
    }
}

impl FetchError {
    pub fn failing(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after: RETRY_AFTER }
    }

    /// For who is only to know that an old answer is an old one: no address, and no more than a few words.
    pub fn briefly(&self) -> &'static str {
        match self {
            Self::NotFound => "it says that there is no such tag any more",
            Self::Unavailable { .. } => "it cannot be reached, or fails",
            Self::Closed { .. } => "it is left alone for a while after failures or limits",
            Self::Denied { .. } => "it does not let this registry in",
            Self::Refused { .. } => "its answer cannot be used",
            Self::Loops { .. } => "it leads back to this registry",
            Self::Here(_) => "its answer could not be kept",
        }
    }

    /// Whether it may be had later, when its upstream works again.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Closed { .. })
    }

    /// Whether something has come that is not what it should be.
    pub fn is_wrong(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Here(error) => matches!(**error, RegistryError::DigestMismatch { .. }),
            _ => false,
        }
    }

    /// What is to be told where two upstreams fail: that it may be had later is more than that it is refused, and that
    /// more than that it is not there.
    pub fn or(self, other: Self) -> Self {
        let weight = |error: &Self| match error {
            Self::NotFound => 0,
            Self::Denied { .. } | Self::Refused { .. } | Self::Loops { .. } => 1,
            Self::Closed { .. } | Self::Unavailable { .. } => 2,
            Self::Here(_) => 3,
        };
        if weight(&other) > weight(&self) { other } else { self }
    }

    /// The same in the words of the registry.
    pub fn into_registry(self, repository: &RepoName, upstream: &str, wanted: &Wanted) -> RegistryError {
        let (repository, upstream) = (repository.clone(), upstream.to_owned());
        let what = match wanted {
            Wanted::Manifest(reference) => format!("manifest `{reference}`"),
            Wanted::Blob(digest) => format!("blob {digest}"),
            Wanted::Tags => "list of tags".to_owned(),
            Wanted::Referrers(subject) => format!("list of what refers to {subject}"),
        };
        match self {
            Self::NotFound => match wanted.clone() {
                Wanted::Manifest(reference) => RegistryError::ManifestUnknown { repository, reference },
                Wanted::Blob(digest) => RegistryError::BlobUnknown { repository, digest },
                Wanted::Tags | Wanted::Referrers(_) => RegistryError::RepositoryUnknown(repository),
            },
            Self::Denied { reason } => RegistryError::UpstreamDenies { repository, what, upstream, reason },
            Self::Unavailable { reason, retry_after } | Self::Closed { reason, wait: retry_after } => {
                let retry_after = retry_after.as_secs().clamp(1, 3_600);
                RegistryError::UpstreamUnavailable { repository, what, upstream, reason, retry_after }
            }
            Self::Refused { reason } => RegistryError::UpstreamRefused { repository, what, upstream, reason },
            Self::Loops { reason } => RegistryError::UpstreamLoops { repository, what, upstream, reason },
            Self::Here(error) => here(&error, repository, what, upstream),
        }
    }
}

/// An error of this registry that many are told of.
fn here(error: &RegistryError, repository: RepoName, what: String, upstream: String) -> RegistryError {
    match error {
        RegistryError::Full => RegistryError::Full,
        RegistryError::Conflict => RegistryError::Conflict,
        RegistryError::BlobTooLarge(most) => RegistryError::BlobTooLarge(*most),
        RegistryError::TooManyUploads(most) => RegistryError::TooManyUploads(*most),
        RegistryError::ManifestInvalid(_) | RegistryError::DigestMismatch { .. } => {
            RegistryError::UpstreamRefused { repository, what, upstream, reason: error.to_string() }
        }
        error => {
            let reason = error.to_string();
            RegistryError::UpstreamUnavailable { repository, what, upstream, reason, retry_after: 5 }
        }
    }
}
