//! Subjects: somebody, what they hold, and the scopes of the credential that they came with.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use oci::{ProjectName, RepoName};

use crate::{Action, ActionSet, Actor, Target};

/// What somebody holds: for the whole registry, and in projects (with all that is below them).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Everywhere.
    pub system: ActionSet,
    /// In these projects.
    pub projects: HashMap<ProjectName, ActionSet>,
}

impl Rights {
    /// Adds what a role allows; in a project, or everywhere.
    pub fn give(&mut self, place: Option<&ProjectName>, actions: ActionSet) {
        match place {
            None => self.system = self.system.or(actions),
            Some(project) => {
                let held = self.projects.entry(project.clone()).or_default();
                *held = held.or(actions);
            }
        }
    }
}

/// What a credential is good for. It never adds to what its holder may do, it only takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// That of an access token of the token service: these repositories.
    Repositories {
        /// What may be done where.
        repositories: HashMap<RepoName, ActionSet>,
        /// Whether repositories may be listed.
        catalog: bool,
    },
    /// That of a personal access token or a robot: these projects, with all that is below them.
    Projects {
        /// What may be done where.
        projects: HashMap<ProjectName, ActionSet>,
        /// What may be done everywhere.
        anywhere: ActionSet,
    },
}

impl Scope {
    pub(crate) fn allows(&self, action: Action, target: &Target) -> bool {
        match self {
            Self::Repositories { repositories, .. } => match target {
                Target::Repository(name) => repositories.get(name).is_some_and(|set| set.contains(action)),
                Target::System | Target::Project(_) => false,
            },
            Self::Projects { projects, anywhere } => {
                anywhere.contains(action)
                    || target
                        .projects()
                        .any(|name| projects.get(name).is_some_and(|set| set.contains(action)))
            }
        }
    }

    pub(crate) fn allows_listing(&self) -> bool {
        match self {
            Self::Repositories { catalog, .. } => *catalog,
            Self::Projects { .. } => true,
        }
    }
}

/// Somebody who asks.
#[derive(Clone, Debug)]
pub struct Subject {
    actor: Actor,
    via: &'static str,
    rights: Arc<Rights>,
    scopes: Arc<[Scope]>,
}

impl Subject {
    /// Somebody who proved who they are, by `via` (such as `password`), with all that they hold.
    pub fn new(actor: Actor, via: &'static str, rights: Arc<Rights>) -> Self {
        Self { actor, via, rights, scopes: Arc::default() }
    }

    /// Nobody in particular, who holds nothing.
    pub fn anonymous() -> Self {
        static NOTHING: LazyLock<Arc<Rights>> = LazyLock::new(Arc::default);
        Self::new(Actor::Anonymous, "anonymous", Arc::clone(&NOTHING))
    }

    /// Whoever has an address that this registry signed, or one that it trusts: it is good for pulling from one repository.
    pub fn of_signed_url(repository: &RepoName) -> Self {
        let pull = ActionSet::of(&[Action::Pull]);
        let rights = Rights { system: pull, ..Rights::default() };
        let repositories = HashMap::from([(repository.clone(), pull)]);
        let subject = Self::new(Actor::Anonymous, "signed-url", Arc::new(rights));
        subject.within(Scope::Repositories { repositories, catalog: false })
    }

    /// Whoever may open the socket in the data folder: they could do anything to the files as well.
    pub fn local() -> Self {
        let rights = Rights { system: ActionSet::ALL, ..Rights::default() };
        Self::new(Actor::Local, "socket", Arc::new(rights))
    }

    /// The same with one more scope.
    #[must_use]
    pub fn within(mut self, scope: Scope) -> Self {
        self.scopes = self.scopes.iter().cloned().chain([scope]).collect();
        self
    }

    /// Who it is.
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// How they proved it.
    pub const fn via(&self) -> &'static str {
        self.via
    }

    /// What they hold.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// What their credential is good for: all of it at once.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Whether nobody is known to stand behind it.
    pub const fn is_anonymous(&self) -> bool {
        matches!(self.actor, Actor::Anonymous)
    }

    /// The same without the scopes of access tokens: what they could get a new token for.
    #[must_use]
    pub fn without_token_scopes(&self) -> Self {
        let kept = self.scopes.iter().filter(|scope| matches!(scope, Scope::Projects { .. }));
        Self { scopes: kept.cloned().collect(), ..self.clone() }
    }

    /// Whether they came with an access token of the token service.
    pub fn has_token_scope(&self) -> bool {
        self.scopes.iter().any(|scope| matches!(scope, Scope::Repositories { .. }))
    }
}
