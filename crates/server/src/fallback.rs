//! The registries that projects replace: what users say of them (crate `identity`), as the mirror asks for it.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use identity::Identity;
use jobs::{Job, JobError};
use mirror::{Fallback, Mirror, Replacement, Replacements};
use oci::RepoName;

/// What is read for projects that replace other registries, where there are upstreams and projects.
pub(crate) fn open(mirror: Option<&Arc<Mirror>>, identity: Option<&Arc<Identity>>) -> Option<Arc<Fallback>> {
    let (mirror, identity) = (mirror?, identity?);
    let said = Arc::new(Said(Arc::clone(identity)));
    Some(Arc::new(Fallback::new(Mirror::clone(mirror), said)))
}

/// What projects say.
struct Said(Arc<Identity>);

impl Replacements for Said {
    fn of(&self, repository: &RepoName) -> Option<Replacement> {
        let identity::model::Fallback { project, upstream, prefix, until, keep, .. } =
            self.0.directory().fallback_of(repository)?;
        Some(Replacement { project, upstream, prefix, until, keep })
    }
}

/// Writes down from time to time who has read what there.
pub(crate) struct WriteUses(pub(crate) Arc<Fallback>);

impl Job for WriteUses {
    fn name(&self) -> &'static str {
        "fallbacks"
    }

    fn run(&self) -> BoxFuture<'_, Result<(), JobError>> {
        async move {
            self.0.write_uses().await.map_err(|error| JobError(format!("{:#}", anyhow::Error::from(error))))
        }
        .boxed()
    }
}
