//! Policies: pure decisions.

use oci::RepoName;

use crate::{Action, Actor, Context};

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// Which repositories an actor may know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// All of them.
    All,
    /// Those of these projects.
    Projects(Vec<String>),
}

/// Decides. Has no side effects and does no I/O.
pub trait Policy: Send + Sync {
    /// May the actor do this here?
    fn decide(
        &self,
        actor: &Actor,
        context: &Context,
        action: Action,
        repository: Option<&RepoName>,
    ) -> Decision;

    /// What may the actor see in lists?
    fn visibility(&self, actor: &Actor) -> Visibility;

    /// Grows whenever a decision may have changed.
    fn epoch(&self) -> u64;
}

/// The policy of a registry without users: everyone who can reach it may pull, push and delete.
///
/// Administering it is for who may open the socket in the data folder. Whoever comes over the network may not,
/// from this machine neither: behind a proxy, everyone comes from this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenPolicy;

impl Policy for OpenPolicy {
    fn decide(
        &self,
        _actor: &Actor,
        context: &Context,
        action: Action,
        _repository: Option<&RepoName>,
    ) -> Decision {
        let local = context.address.is_none();
        match action {
            Action::Pull | Action::Push | Action::Delete | Action::Catalog => Decision::Allow,
            Action::Administer if local => Decision::Allow,
            Action::Administer => Decision::Deny,
        }
    }

    fn visibility(&self, _actor: &Actor) -> Visibility {
        Visibility::All
    }

    fn epoch(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::{authorise, authorise_listing};

    /// Lets a user do anything in the project of their own name, and nobody anything else.
    struct OwnProject;

    impl Policy for OwnProject {
        fn decide(&self, actor: &Actor, _: &Context, _: Action, repository: Option<&RepoName>) -> Decision {
            let own = matches!((actor, repository), (Actor::User(name), Some(r)) if r.project() == &**name);
            if own { Decision::Allow } else { Decision::Deny }
        }

        fn visibility(&self, actor: &Actor) -> Visibility {
            Visibility::Projects(vec![actor.to_string()])
        }

        fn epoch(&self) -> u64 {
            7
        }
    }

    #[test]
    fn a_grant_says_what_was_allowed() {
        let (mine, theirs): (RepoName, RepoName) = ("ann/app".parse().unwrap(), "bob/app".parse().unwrap());
        let ann = Actor::User("ann".into());
        let context = Arc::new(Context::default());
        let grant = authorise(&OwnProject, &ann, &context, Action::Push, Some(&mine)).unwrap();
        assert_eq!((grant.action(), grant.repository(), grant.epoch()), (Action::Push, Some(&mine), 7));
        let denied = authorise(&OwnProject, &ann, &context, Action::Push, Some(&theirs)).unwrap_err();
        assert_eq!(denied.to_string(), "ann may not push to bob/app");
        assert!(authorise_listing(&OwnProject, &ann, &context).is_err());
    }

    /// Is changed while it decides.
    #[derive(Default)]
    struct Changing(AtomicU64);

    impl Policy for Changing {
        fn decide(&self, _: &Actor, _: &Context, _: Action, _: Option<&RepoName>) -> Decision {
            self.0.fetch_add(1, Ordering::SeqCst);
            Decision::Allow
        }

        fn visibility(&self, _: &Actor) -> Visibility {
            Visibility::All
        }

        fn epoch(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_grant_is_never_newer_than_its_policy() {
        let context = Arc::new(Context::default());
        let grant = authorise(&Changing::default(), &Actor::Anonymous, &context, Action::Pull, None).unwrap();
        assert_eq!(grant.epoch(), 0);
    }

    #[test]
    fn an_open_registry_is_administered_by_its_own_socket() {
        let check = |address: Option<&str>, decision: Decision| {
            let context = Context { address: address.map(|a| a.parse().unwrap()), ..Context::default() };
            assert_eq!(OpenPolicy.decide(&Actor::Anonymous, &context, Action::Administer, None), decision);
            assert_eq!(OpenPolicy.decide(&Actor::Anonymous, &context, Action::Push, None), Decision::Allow);
        };
        check(None, Decision::Allow);
        check(Some("127.0.0.1"), Decision::Deny);
        check(Some("192.0.2.1"), Decision::Deny);
    }
}
