//! The decision: pure, and the same for everything.
//!
//! What somebody may do to a repository is what they hold for the whole registry, and in the projects around it, the
//! innermost first, up to the first that lets no roles in; and, where the innermost declared project is public, what a
//! guest may do. Each scope of their credential must allow it, too.

use std::sync::Arc;

use oci::{ProjectName, RepoName};

use crate::role::GUEST;
use crate::{Action, ActionSet, Context, Denied, Grant, Listing, Projects, Rights, Subject, Visibility};

/// What somebody wants to do something to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The registry as a whole.
    System,
    /// A project.
    Project(ProjectName),
    /// A repository.
    Repository(RepoName),
}

impl Target {
    /// The names of the projects around it, declared or not, the innermost first.
    pub(crate) fn projects(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::System => Box::new(std::iter::empty()),
            Self::Project(name) => Box::new(name.ancestors()),
            Self::Repository(name) => Box::new(name.projects()),
        }
    }
}

/// What the rights allow in the places with these names, the innermost first.
fn held<'a>(projects: &Projects, rights: &Rights, names: impl Iterator<Item = &'a str>) -> ActionSet {
    let mut set = rights.system;
    let mut innermost = true;
    for name in names {
        let Some(rules) = projects.get(name) else { continue };
        set = set.or(rights.projects.get(name).copied().unwrap_or_default());
        if std::mem::take(&mut innermost) && rules.public {
            set = set.or(GUEST);
        }
        if !rules.inherit_roles {
            break;
        }
    }
    set
}

/// May they do this here?
pub fn allowed(projects: &Projects, subject: &Subject, action: Action, target: &Target) -> bool {
    let rights = subject.rights();
    let holds = rights.system.contains(action)
        || match target {
            Target::System => false,
            Target::Project(name) => held(projects, rights, name.ancestors()).contains(action),
            Target::Repository(name) => held(projects, rights, name.projects()).contains(action),
        };
    holds && subject.scopes().iter().all(|scope| scope.allows(action, target))
}

/// All that they may do here: nobody may give more.
pub fn allowed_actions(projects: &Projects, subject: &Subject, target: &Target) -> ActionSet {
    Action::all().filter(|action| allowed(projects, subject, *action, target)).collect()
}

/// The grant for one action, if it is allowed.
pub fn authorise(
    projects: &Projects,
    subject: &Subject,
    context: &Arc<Context>,
    action: Action,
    target: Target,
) -> Result<Grant, Denied> {
    if allowed(projects, subject, action, &target) {
        Ok(Grant::new(subject, context, action, target, projects.epoch()))
    } else {
        Err(Denied { actor: subject.actor().clone(), action, target })
    }
}

/// What somebody may see in lists that span repositories: those that they may pull from.
pub fn authorise_listing(projects: &Projects, subject: &Subject) -> Result<Listing, Denied> {
    let denied = || Denied { actor: subject.actor().clone(), action: Action::Pull, target: Target::System };
    if !subject.scopes().iter().all(crate::Scope::allows_listing) {
        return Err(denied());
    }
    // The scopes of access tokens name repositories: for a list, that it may be read is all that they say.
    let subject = subject.without_token_scopes();
    if allowed(projects, &subject, Action::Pull, &Target::System) {
        return Ok(Listing::new(Visibility::All));
    }
    let may_pull =
        |name: &ProjectName| allowed(projects, &subject, Action::Pull, &Target::Project(name.clone()));
    let mut names: Vec<String> = projects
        .iter()
        .map(|(name, _)| name)
        .filter(|name| may_pull(name))
        .map(ToString::to_string)
        .collect();
    names.sort_unstable();
    if names.is_empty() && subject.is_anonymous() {
        return Err(denied());
    }
    Ok(Listing::new(Visibility::Projects(names)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{Actor, Scope, Settings, built_in};

    fn projects() -> Projects {
        let private = Settings::default();
        let all = [
            ("open", Settings { public: Some(true), ..private }),
            ("team", private),
            ("team/pay", private),
            ("team/sealed", Settings { inherit_roles: false, ..private }),
            ("team/sealed/deep", private),
        ];
        Projects::new(all.map(|(name, settings)| (name.parse().unwrap(), settings)), 7)
    }

    fn somebody(roles: &[(Option<&str>, &str)]) -> Subject {
        let mut rights = Rights::default();
        for (place, role) in roles {
            let place = place.map(|name| name.parse::<ProjectName>().unwrap());
            rights.give(place.as_ref(), built_in(role).unwrap().actions);
        }
        Subject::new(Actor::User("ann".into()), "password", Arc::new(rights))
    }

    fn repository(name: &str) -> Target {
        Target::Repository(name.parse().unwrap())
    }

    #[test]
    fn roles_go_down_until_a_project_lets_none_in() {
        let check = |subject: &Subject, action: Action, name: &str, expect: bool| {
            assert_eq!(allowed(&projects(), subject, action, &repository(name)), expect, "{action} {name}");
        };
        let developer = somebody(&[(Some("team"), "developer"), (Some("team/sealed/deep"), "guest")]);
        check(&developer, Action::Push, "team/app", true);
        check(&developer, Action::Push, "team/pay/app", true);
        check(&developer, Action::Push, "team/undeclared/app", true);
        check(&developer, Action::Pull, "team/sealed/app", false);
        check(&developer, Action::Pull, "team/sealed/deep/app", true);
        check(&developer, Action::Push, "team/sealed/deep/app", false);
        check(&developer, Action::DeleteTag, "team/app", false);
        check(&developer, Action::Pull, "teams/app", false);
        check(&developer, Action::Pull, "team", false);
        check(&developer, Action::Pull, "open/app", true);
        check(&developer, Action::Push, "open/app", false);
        let inner = somebody(&[(Some("team/pay"), "developer")]);
        check(&inner, Action::Pull, "team/app", false);
        let admin = somebody(&[(None, "system-admin")]);
        check(&admin, Action::DeleteArtifact, "team/sealed/app", true);
        check(&admin, Action::Push, "undeclared/app", true);
        let nobody = Subject::anonymous();
        check(&nobody, Action::Pull, "open/app", true);
        check(&nobody, Action::Push, "open/app", false);
        check(&nobody, Action::Pull, "team/app", false);
        check(&nobody, Action::Pull, "undeclared/app", false);
    }

    #[test]
    fn a_scope_only_takes_away() {
        let developer = somebody(&[(Some("team"), "developer")]);
        let pull_pay = Scope::Projects {
            projects: HashMap::from([("team/pay".parse().unwrap(), ActionSet::of(&[Action::Pull]))]),
            anywhere: ActionSet::NONE,
        };
        let token = Scope::Repositories {
            repositories: HashMap::from([("team/pay/app".parse().unwrap(), ActionSet::ALL)]),
            catalog: false,
        };
        let check = |subject: &Subject, action, target: Target, expect| {
            assert_eq!(allowed(&projects(), subject, action, &target), expect, "{action} {target:?}");
        };
        let robot = developer.clone().within(pull_pay.clone());
        check(&robot, Action::Pull, repository("team/pay/app"), true);
        check(&robot, Action::Push, repository("team/pay/app"), false);
        check(&robot, Action::Pull, repository("team/app"), false);
        let bearer = developer.within(token);
        check(&bearer, Action::Push, repository("team/pay/app"), true);
        check(&bearer, Action::DeleteTag, repository("team/pay/app"), false);
        check(&bearer, Action::Push, repository("team/pay/other"), false);
        check(&bearer, Action::ReadProject, Target::Project("team".parse().unwrap()), false);
        let both = bearer.clone().within(pull_pay);
        check(&both, Action::Pull, repository("team/pay/app"), true);
        check(&both, Action::Push, repository("team/pay/app"), false);
        check(&both.without_token_scopes(), Action::Pull, repository("team/pay/other"), true);
        let admin = somebody(&[(None, "system-admin")]);
        let everything = Scope::Projects { projects: HashMap::new(), anywhere: ActionSet::ALL };
        check(&admin.clone().within(everything), Action::Administer, Target::System, true);
        let nothing = Scope::Projects { projects: HashMap::new(), anywhere: ActionSet::NONE };
        check(&admin.within(nothing), Action::Administer, Target::System, false);
    }

    #[test]
    fn a_signed_address_is_good_for_one_repository() {
        let holder = Subject::of_signed_url(&"team/sealed/app".parse().unwrap());
        let check = |action: Action, target: Target, expect: bool| {
            assert_eq!(allowed(&projects(), &holder, action, &target), expect, "{action} {target:?}");
        };
        check(Action::Pull, repository("team/sealed/app"), true);
        check(Action::Pull, repository("team/sealed/app/more"), false);
        check(Action::Pull, repository("team/sealed"), false);
        check(Action::Pull, repository("open/app"), false);
        check(Action::Pull, Target::System, false);
        for action in Action::all().filter(|action| *action != Action::Pull) {
            check(action, repository("team/sealed/app"), false);
        }
        assert!(authorise_listing(&projects(), &holder).is_err());
    }

    #[test]
    fn a_grant_says_what_was_allowed() {
        let context = Arc::new(Context::default());
        let developer = somebody(&[(Some("team"), "developer")]);
        let grant =
            authorise(&projects(), &developer, &context, Action::Push, repository("team/app")).unwrap();
        assert_eq!((grant.action(), grant.epoch()), (Action::Push, 7));
        assert_eq!(grant.repository().map(RepoName::as_str), Some("team/app"));
        let denied = authorise(&projects(), &developer, &context, Action::DeleteTag, repository("team/app"))
            .unwrap_err();
        assert_eq!(
            denied.to_string(),
            "ann may not delete tags from team/app: this needs the permission tag.delete"
        );
        let denied =
            authorise(&projects(), &developer, &context, Action::Administer, Target::System).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "ann may not administer this registry: this needs the permission system.administer"
        );
    }

    #[test]
    fn lists_show_what_may_be_pulled() {
        let check = |subject: &Subject, expect: Option<&[&str]>| {
            let listing = authorise_listing(&projects(), subject).unwrap();
            match (listing.visibility(), expect) {
                (Visibility::All, None) => {}
                (Visibility::Projects(names), Some(expect)) => assert_eq!(names, expect),
                (other, _) => panic!("{other:?}"),
            }
        };
        check(&somebody(&[(None, "system-admin")]), None);
        check(&somebody(&[]), Some(&["open"]));
        check(&Subject::anonymous(), Some(&["open"]));
        check(&somebody(&[(Some("team"), "guest")]), Some(&["open", "team", "team/pay"]));
        let private = Projects::default();
        assert!(authorise_listing(&private, &Subject::anonymous()).is_err());
        let token = Scope::Repositories { repositories: HashMap::new(), catalog: false };
        assert!(authorise_listing(&projects(), &somebody(&[]).within(token)).is_err());
    }
}
