//! The registries that projects replace, and who still depends on them.

use std::sync::Arc;

use http::StatusCode;
use identity::model::{Fallback, MoreDays, NewFallback};
use meta::FallbackUse;
use mirror::Upstream;
use oci::{ProjectName, RepoName};
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Items;

/// That somebody has read something from the registry that a project replaces.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FallbackUse")]
pub(crate) struct UseShown {
    /// Who.
    actor: String,
    /// From which repository, by its name here.
    #[schemars(with = "String")]
    repository: RepoName,
    /// Which tag or digest.
    reference: String,
    /// How often.
    times: u64,
    /// When first.
    first: String,
    /// When last.
    last: String,
}

pub(crate) async fn fallback(call: &Call) -> Result<Fallback, Problem> {
    Ok(call.directory()?.fallback(call.grant()?)?)
}

pub(crate) async fn set_fallback(call: &Call, new: NewFallback) -> Result<Fallback, Problem> {
    let project = named(call)?;
    let upstreams = call.edge.mirror.iter().flat_map(|mirror| mirror.upstreams());
    let keys: Vec<&str> = upstreams.map(Arc::as_ref).map(Upstream::key).collect();
    let first = project.as_str().split('/').next().unwrap_or_default();
    if keys.contains(&first) {
        let message =
            format!("`{first}` is what an upstream has, and replaces nothing: name a project of your own");
        return Err(Problem::invalid(&message));
    }
    if !keys.contains(&new.upstream.as_str()) {
        let message = "there is no upstream of this key: `wharf upstream list` shows those that there are, and \
            docs/upstreams.md how the configuration names another";
        return Err(Problem::invalid(&message));
    }
    Ok(call.directory()?.set_fallback(call.grant()?, project, new).await?)
}

pub(crate) async fn extend_fallback(call: &Call, more: MoreDays) -> Result<Fallback, Problem> {
    Ok(call.directory()?.extend_fallback(call.grant()?, more.days).await?)
}

pub(crate) async fn end_fallback(call: &Call) -> Result<(), Problem> {
    Ok(call.directory()?.end_fallback(call.grant()?).await?)
}

pub(crate) async fn fallback_uses(call: &Call) -> Result<Items<UseShown>, Problem> {
    let project = named(call)?;
    // It may be set further out: then its report tells of all that lies there.
    let set = call.directory()?.fallback(call.grant()?)?.project;
    let Some(fallback) = &call.edge.fallback else {
        let message = "this registry has no upstreams, so nothing is read elsewhere";
        return Err(Problem::new(StatusCode::CONFLICT, message));
    };
    let uses = fallback.uses(&set).await.map_err(|error| {
        tracing::error!(%error, "the uses of a replaced registry could not be read");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    })?;
    let uses = uses.into_iter().filter(|used| project.contains(&used.repository));
    Ok(Items { items: uses.map(shown).collect() })
}

fn named(call: &Call) -> Result<&ProjectName, Problem> {
    call.params.project.as_ref().ok_or_else(|| Problem::unknown("the path names no project"))
}

fn shown(used: FallbackUse) -> UseShown {
    let FallbackUse { actor, repository, reference, times, first, last, .. } = used;
    let (first, last) = (identity::moment(first), identity::moment(last));
    UseShown { actor, repository, reference: reference.to_string(), times, first, last }
}
