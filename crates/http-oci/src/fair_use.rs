//! How much one may take: the keys by which a request counts, and what it is told when it has waited long enough.

use std::collections::HashSet;
use std::sync::Arc;

use access::Actor;
use http::StatusCode;
use http_kit::{Admitted, Fair, Keys, Refused};
use oci::RepoName;

use crate::edge::Call;
use crate::error::{Code, WireError};

/// How much one may take.
pub(crate) struct FairUse {
    pub(crate) fair: Arc<Fair>,
    /// The projects that have limits of their own, which hold for all that is below them, too.
    pub(crate) projects: HashSet<Arc<str>>,
}

impl FairUse {
    pub(crate) async fn admit(
        &self,
        call: &Call<'_>,
        repository: Option<&RepoName>,
    ) -> Result<Admitted, WireError> {
        let keys = Keys {
            address: call.context.address,
            identity: match call.subject.actor() {
                Actor::Anonymous => None,
                Actor::User(name) | Actor::Robot(name) => Some(Arc::clone(name)),
                other => Some(other.to_string().into()),
            },
            project: repository.map(|repository| self.project(repository)),
        };
        self.fair.admit(keys).await.map_err(crowded)
    }

    /// The innermost project that has limits of its own, or else the outermost.
    fn project(&self, repository: &RepoName) -> Arc<str> {
        let own = repository.projects().find_map(|name| self.projects.get(name).cloned());
        own.unwrap_or_else(|| repository.project().into())
    }
}

pub(crate) fn crowded(refused: Refused) -> WireError {
    WireError::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, refused.to_string())
        .retry_after(refused.retry_after)
}
