//! Grants: the proof that a policy allowed one action on one repository.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use oci::RepoName;

use crate::{Decision, Policy, Visibility};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read manifests, blobs, tags and referrers of a repository.
    Pull,
    /// Write to a repository.
    Push,
    /// Delete from a repository.
    Delete,
    /// See which repositories there are.
    Catalog,
    /// Run the registry: garbage collection, checks.
    Administer,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pull => "pull from",
            Self::Push => "push to",
            Self::Delete => "delete from",
            Self::Catalog => "list",
            Self::Administer => "administer",
        })
    }
}

/// Who it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Nobody in particular.
    Anonymous,
    /// A user, by name.
    User(Arc<str>),
    /// The registry itself, in one of its jobs.
    Job(&'static str),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(name) => f.write_str(name),
            Self::Job(name) => write!(f, "job:{name}"),
        }
    }
}

/// Where a request came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The client's address; `None` for a local socket or a job.
    pub address: Option<IpAddr>,
    /// The client's `User-Agent`, shortened.
    pub agent: Option<String>,
    /// The request's id.
    pub request: Option<String>,
}

/// The policy said no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{actor} may not {action} {}", .repository.as_ref().map_or("this registry", RepoName::as_str))]
pub struct Denied {
    /// Who asked.
    pub actor: Actor,
    /// For what.
    pub action: Action,
    /// Where.
    pub repository: Option<RepoName>,
}

/// An action that a policy allowed. Only [`authorise`] and [`Grant::system`] make one.
#[derive(Clone, Debug)]
pub struct Grant {
    actor: Actor,
    context: Arc<Context>,
    action: Action,
    repository: Option<RepoName>,
    epoch: u64,
}

impl Grant {
    /// The grant under which the registry's own jobs act.
    pub fn system(job: &'static str, action: Action, repository: Option<RepoName>) -> Self {
        Self { actor: Actor::Job(job), context: Arc::default(), action, repository, epoch: u64::MAX }
    }

    /// Who was allowed.
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Where the request came from.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What was allowed.
    pub const fn action(&self) -> Action {
        self.action
    }

    /// Where it was allowed; `None` for what is not about one repository.
    pub const fn repository(&self) -> Option<&RepoName> {
        self.repository.as_ref()
    }

    /// Which edition of the policy allowed it.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// What an actor may see in lists.
#[derive(Clone, Debug)]
pub struct Listing {
    visibility: Visibility,
}

impl Listing {
    /// The part of the world that may be shown.
    pub const fn visibility(&self) -> &Visibility {
        &self.visibility
    }
}

/// Asks the policy for one action.
pub fn authorise(
    policy: &dyn Policy,
    actor: &Actor,
    context: &Arc<Context>,
    action: Action,
    repository: Option<&RepoName>,
) -> Result<Grant, Denied> {
    // A policy that changes in between makes the grant look older than it is, and never newer.
    let epoch = policy.epoch();
    match policy.decide(actor, context, action, repository) {
        Decision::Allow => Ok(Grant {
            actor: actor.clone(),
            context: Arc::clone(context),
            action,
            repository: repository.cloned(),
            epoch,
        }),
        Decision::Deny => Err(Denied { actor: actor.clone(), action, repository: repository.cloned() }),
    }
}

/// Asks the policy what the actor may see in lists that span repositories.
pub fn authorise_listing(
    policy: &dyn Policy,
    actor: &Actor,
    context: &Arc<Context>,
) -> Result<Listing, Denied> {
    authorise(policy, actor, context, Action::Catalog, None)?;
    Ok(Listing { visibility: policy.visibility(actor) })
}
