//! Grants: the proof that one action was allowed on one target.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use oci::{ProjectName, RepoName};

use crate::{Action, Subject, Target};

/// Who it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Nobody in particular.
    Anonymous,
    /// A user, by name.
    User(Arc<str>),
    /// A robot, by its whole name, such as `robot$team+ci`.
    Robot(Arc<str>),
    /// A CI job or a pod, by the rule that let it in and what its issuer calls it: `workload:RULE:SUBJECT`.
    Workload(Arc<str>),
    /// Whoever may open the socket in the data folder.
    Local,
    /// The registry itself, in one of its jobs.
    Job(&'static str),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(name) | Self::Robot(name) | Self::Workload(name) => f.write_str(name),
            Self::Local => f.write_str("local"),
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

/// It was not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Denied {
    /// Who asked.
    pub actor: Actor,
    /// For what.
    pub action: Action,
    /// To what.
    pub target: Target,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.action {
            Action::Pull => "pull from",
            Action::Push => "push to",
            Action::DeleteTag => "delete tags from",
            Action::DeleteArtifact => "delete artifacts from",
            Action::ReadProject => "see",
            Action::CreateProject => "create projects in",
            Action::UpdateProject => "change the settings of",
            Action::DeleteProject => "delete",
            Action::ReadMembers => "see the members of",
            Action::ManageMembers => "manage the members of",
            Action::ManageRobots => "manage the robots of",
            Action::ReadAudit => "read the audit journal of",
            Action::ManageUsers => "manage the users of",
            Action::ManageRoles => "define the roles of",
            Action::ReadSystem => "see the state of",
            Action::Administer => "administer",
        };
        let target = match &self.target {
            Target::System => "this registry",
            Target::Project(name) => name.as_str(),
            Target::Repository(name) => name.as_str(),
        };
        write!(f, "{} may not {verb} {target}: this needs the permission {}", self.actor, self.action)
    }
}

/// An action that was allowed. Only [`authorise`](crate::authorise), [`Grant::oneself`] and [`Grant::system`] make one.
#[derive(Clone, Debug)]
pub struct Grant {
    actor: Actor,
    context: Arc<Context>,
    action: Action,
    target: Target,
    epoch: u64,
}

impl Grant {
    pub(crate) fn new(
        subject: &Subject,
        context: &Arc<Context>,
        action: Action,
        target: Target,
        epoch: u64,
    ) -> Self {
        Self { actor: subject.actor().clone(), context: Arc::clone(context), action, target, epoch }
    }

    /// The grant under which the registry's own jobs act.
    pub fn system(job: &'static str, action: Action, target: Target) -> Self {
        Self { actor: Actor::Job(job), context: Arc::default(), action, target, epoch: u64::MAX }
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

    /// To what it was allowed.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The repository, where it is one.
    pub const fn repository(&self) -> Option<&RepoName> {
        match &self.target {
            Target::Repository(name) => Some(name),
            Target::System | Target::Project(_) => None,
        }
    }

    /// The project, where it is one.
    pub const fn project(&self) -> Option<&ProjectName> {
        match &self.target {
            Target::Project(name) => Some(name),
            Target::System | Target::Repository(_) => None,
        }
    }

    /// Which edition of projects and roles allowed it.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// Which repositories somebody may know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// All of them.
    All,
    /// Those of these projects.
    Projects(Vec<String>),
}

/// What somebody may see in lists. Only [`authorise_listing`](crate::authorise_listing) makes one.
#[derive(Clone, Debug)]
pub struct Listing {
    visibility: Visibility,
}

impl Listing {
    pub(crate) const fn new(visibility: Visibility) -> Self {
        Self { visibility }
    }

    /// The part of the world that may be shown.
    pub const fn visibility(&self) -> &Visibility {
        &self.visibility
    }
}
