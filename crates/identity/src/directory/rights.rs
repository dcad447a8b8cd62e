//! What somebody holds: the roles given to them and to their groups.

use access::{ActionSet, Rights, Subject, Target, allowed_actions};
use meta::EntryKind;
use oci::ProjectName;

use super::Directory;
use crate::IdentityError;
use crate::model::{BindingRecord, MembershipRecord, Permission, UserRecord};
use crate::names::UserName;

impl Directory {
    /// All that a user holds.
    pub(crate) async fn rights_of_user(
        &self,
        name: &UserName,
        record: &UserRecord,
    ) -> Result<Rights, IdentityError> {
        Ok(self.rights_of(&self.bindings_of_user(name, record).await?))
    }

    /// The roles that a user has, also by their groups.
    pub(crate) async fn bindings_of_user(
        &self,
        name: &UserName,
        record: &UserRecord,
    ) -> Result<Vec<BindingRecord>, IdentityError> {
        let mut bindings = self.bindings(EntryKind::User, name.as_str()).await?;
        let known = self.known();
        let memberships =
            self.owned::<MembershipRecord>(EntryKind::User, name.as_str(), EntryKind::Membership).await?;
        let mut groups: Vec<_> = memberships.into_iter().map(|(_, membership)| membership.group).collect();
        groups.extend(record.external_groups.iter().filter_map(|name| known.externals.get(name).cloned()));
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            bindings.append(&mut self.bindings(EntryKind::Group, group.as_str()).await?);
        }
        Ok(bindings)
    }

    /// The roles that were given to one holder.
    pub(super) async fn bindings(
        &self,
        kind: EntryKind,
        name: &str,
    ) -> Result<Vec<BindingRecord>, IdentityError> {
        let found = self.owned::<BindingRecord>(kind, name, EntryKind::Binding).await?;
        Ok(found.into_iter().map(|(_, binding)| binding).collect())
    }

    /// What roles allow together.
    pub(crate) fn rights_of(&self, bindings: &[BindingRecord]) -> Rights {
        let known = self.known();
        let mut rights = Rights::default();
        for binding in bindings {
            rights.give(binding.project.as_ref(), known.role(&binding.role).unwrap_or_default());
        }
        rights
    }

    /// Whether the registry requires a second factor of who has these roles.
    pub(crate) fn requires_factor(&self, bindings: &[BindingRecord]) -> bool {
        self.limits.second_factor.includes(bindings.iter().map(|binding| binding.role.as_str()))
    }

    /// Whether somebody may do all that they want to give, where they want to give it.
    pub(super) fn check_gift(
        &self,
        subject: &Subject,
        place: Option<&ProjectName>,
        actions: ActionSet,
    ) -> Result<(), IdentityError> {
        let target = place.map_or(Target::System, |project| Target::Project(project.clone()));
        let missing = actions.without(allowed_actions(&self.known().projects, subject, &target));
        if missing.is_empty() {
            return Ok(());
        }
        let place = place.map_or_else(|| "in the whole registry".into(), |project| format!("in {project}"));
        Err(IdentityError::Exceeds { missing, place })
    }

    /// The same for several permissions.
    pub(super) fn check_gifts(
        &self,
        subject: &Subject,
        permissions: &[Permission],
    ) -> Result<(), IdentityError> {
        permissions.iter().try_for_each(|permission| {
            self.check_gift(subject, permission.project.as_ref(), permission.actions.0)
        })
    }

    /// Whether somebody may do all that somebody else may: only then can they act in their place.
    pub(super) fn check_covers(&self, subject: &Subject, rights: &Rights) -> Result<(), IdentityError> {
        self.check_gift(subject, None, rights.system)?;
        rights
            .projects
            .iter()
            .try_for_each(|(project, actions)| self.check_gift(subject, Some(project), *actions))
    }
}
