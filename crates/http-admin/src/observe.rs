//! What the audit journal is told of requests for administration and for tokens.

use access::{Context, Subject, Unauthenticated};
use http::StatusCode;
use oci::ProjectName;

use crate::route::Route;

/// One request that was answered.
#[derive(Clone, Copy)]
pub struct Observation<'a> {
    /// What was asked for; `None` for an access token, and where there is no such route.
    pub route: Option<&'static Route>,
    /// The status of the response.
    pub status: StatusCode,
    /// Who asked; `None` where their credential was not accepted.
    pub subject: Option<&'a Subject>,
    /// From where.
    pub context: &'a Context,
    /// The project in the path.
    pub project: Option<&'a ProjectName>,
    /// Whether a name and a secret were verified for this very request.
    pub signed_in: bool,
    /// Who they said they were, where that was not accepted.
    pub claimed: Option<&'a str>,
    /// Why it was not.
    pub why: Option<&'a Unauthenticated>,
    /// What else there is to say: the path, or the scopes of a token.
    pub detail: &'a str,
}

/// Is told of each request before its answer goes out.
pub trait Observe: Send + Sync {
    /// A request was answered.
    fn observe(&self, observation: &Observation<'_>);
}

/// Nobody wants to know.
pub struct Unobserved;

impl Observe for Unobserved {
    fn observe(&self, _: &Observation<'_>) {}
}
