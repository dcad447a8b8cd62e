//! Actions: what somebody can want to do, each with the name under which roles list it.

use std::fmt;
use std::str::FromStr;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Action {
    /// Read manifests, blobs, tags and referrers of a repository.
    Pull,
    /// Write blobs, manifests and tags to a repository.
    Push,
    /// Delete a tag.
    DeleteTag,
    /// Delete a manifest with all its tags, or a blob.
    DeleteArtifact,
    /// See that a project is there, and its settings.
    ReadProject,
    /// Make a project inside another, or at the top.
    CreateProject,
    /// Change the settings of a project.
    UpdateProject,
    /// Delete a project that is empty.
    DeleteProject,
    /// See who has which role in a project.
    ReadMembers,
    /// Give and take roles in a project.
    ManageMembers,
    /// Make, rotate and delete the robots of a project.
    ManageRobots,
    /// Read the audit journal of a project, or all of it.
    ReadAudit,
    /// Make, change and delete users and groups.
    ManageUsers,
    /// Define roles.
    ManageRoles,
    /// See how the registry itself is doing.
    ReadSystem,
    /// Run the registry: garbage collection, checks, policies.
    Administer,
}

/// A name that no action has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no action: there are {list}", list = ActionSet::ALL)]
pub struct UnknownAction(pub String);

impl Action {
    /// All actions with the names that roles and tokens use. Names are never reused.
    pub const NAMES: [(Self, &'static str); 16] = [
        (Self::Pull, "pull"),
        (Self::Push, "push"),
        (Self::DeleteTag, "tag.delete"),
        (Self::DeleteArtifact, "artifact.delete"),
        (Self::ReadProject, "project.read"),
        (Self::CreateProject, "project.create"),
        (Self::UpdateProject, "project.update"),
        (Self::DeleteProject, "project.delete"),
        (Self::ReadMembers, "member.read"),
        (Self::ManageMembers, "member.manage"),
        (Self::ManageRobots, "robot.manage"),
        (Self::ReadAudit, "audit.read"),
        (Self::ManageUsers, "user.manage"),
        (Self::ManageRoles, "role.manage"),
        (Self::ReadSystem, "system.read"),
        (Self::Administer, "system.administer"),
    ];

    /// All actions.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().map(|(action, _)| *action)
    }

    /// The name in roles and tokens.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        // What was sent comes back in the message, but not all of it.
        found.map(|(action, _)| *action).ok_or_else(|| UnknownAction(text.chars().take(40).collect()))
    }
}

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ActionSet(u32);

impl ActionSet {
    /// None.
    pub const NONE: Self = Self(0);

    /// All of them.
    pub const ALL: Self = Self((1 << Action::NAMES.len()) - 1);

    /// These.
    pub const fn of(actions: &[Action]) -> Self {
        let mut set = Self::NONE;
        let mut at = 0;
        while at < actions.len() {
            set = set.with(actions[at]);
            at += 1;
        }
        set
    }

    /// The set with one more.
    #[must_use]
    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | 1 << action as u8)
    }

    /// Whether the action is in it.
    pub const fn contains(self, action: Action) -> bool {
        self.0 & (1 << action as u8) != 0
    }

    /// Whether there is none in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The actions, in their order.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::all().filter(move |action| self.contains(*action))
    }
}

impl FromIterator<Action> for ActionSet {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, action) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{action}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_has_one_name_at_its_own_place() {
        for (at, (action, name)) in Action::NAMES.iter().enumerate() {
            assert_eq!((*action as usize, action.name(), name.parse()), (at, *name, Ok(*action)));
        }
        assert_eq!(ActionSet::ALL.iter().count(), Action::NAMES.len());
        let error = "fly".parse::<Action>().unwrap_err().to_string();
        assert!(error.starts_with("`fly` is no action: there are pull, push, tag.delete"), "{error}");
    }

    #[test]
    fn sets_are_sets() {
        let (a, b) =
            (ActionSet::of(&[Action::Pull, Action::Push]), ActionSet::of(&[Action::Push, Action::ReadAudit]));
        assert_eq!(a.and(b), ActionSet::of(&[Action::Push]));
        assert_eq!(a.or(b).to_string(), "pull, push, audit.read");
        assert_eq!(a.without(b), [Action::Pull].into_iter().collect());
        assert!(ActionSet::NONE.is_empty() && !a.contains(Action::Administer));
    }
}
