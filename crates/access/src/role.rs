//! The roles that every registry has. More can be defined; these cannot be changed.

use crate::{Action, ActionSet};

/// A role: a name for a set of actions.
#[derive(Clone, Copy, Debug)]
pub struct RoleDefinition {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// What it allows where it is given, and below.
    pub actions: ActionSet,
}

/// What a guest may do: also what anybody may do in a public project.
pub(crate) const GUEST: ActionSet = ActionSet::of(&[Action::Pull, Action::ReadProject]);

const DEVELOPER: ActionSet = GUEST.with(Action::Push);

const MAINTAINER: ActionSet = DEVELOPER
    .with(Action::DeleteTag)
    .with(Action::DeleteArtifact)
    .with(Action::ReadMembers)
    .with(Action::ReadAudit);

const PROJECT_ADMIN: ActionSet = MAINTAINER
    .with(Action::CreateProject)
    .with(Action::UpdateProject)
    .with(Action::DeleteProject)
    .with(Action::ManageMembers)
    .with(Action::ManageRobots);

const AUDITOR: ActionSet =
    ActionSet::of(&[Action::ReadProject, Action::ReadMembers, Action::ReadAudit, Action::ReadSystem]);

/// The built-in roles.
pub const ROLES: [RoleDefinition; 6] = [
    RoleDefinition { name: "guest", purpose: "pulls", actions: GUEST },
    RoleDefinition { name: "developer", purpose: "pulls and pushes", actions: DEVELOPER },
    RoleDefinition {
        name: "maintainer",
        purpose: "deletes, too, and sees members and the audit journal",
        actions: MAINTAINER,
    },
    RoleDefinition {
        name: "project-admin",
        purpose: "runs a project: its settings, members, robots and the projects in it",
        actions: PROJECT_ADMIN,
    },
    RoleDefinition { name: "auditor", purpose: "sees who did what, and pulls nothing", actions: AUDITOR },
    RoleDefinition { name: "system-admin", purpose: "runs the registry", actions: ActionSet::ALL },
];

/// The built-in role of this name.
pub fn built_in(name: &str) -> Option<&'static RoleDefinition> {
    ROLES.iter().find(|role| role.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_of_a_project_has_what_the_one_before_it_has() {
        let [guest, developer, maintainer, admin, auditor, system] = ROLES.map(|role| role.actions);
        for (less, more) in
            [(guest, developer), (developer, maintainer), (maintainer, admin), (admin, system)]
        {
            assert!(less.without(more).is_empty() && less != more);
        }
        assert!(!auditor.contains(Action::Pull) && auditor.without(system).is_empty());
        for action in [Action::ManageUsers, Action::ManageRoles, Action::Administer] {
            assert!(!admin.contains(action), "{action} is for the whole registry");
        }
        assert!(built_in("guest").is_some() && built_in("Guest").is_none());
    }
}
