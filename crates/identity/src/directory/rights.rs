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
        let mut rights = Rights::default();
        self.add_bindings(&mut rights, EntryKind::User, name.as_str()).await?;
        let known = self.known();
        let memberships =
            self.owned::<MembershipRecord>(EntryKind::User, name.as_str(), EntryKind::Membership).await?;
        let mut groups: Vec<_> = memberships.into_iter().map(|(_, membership)| membership.group).collect();
        groups.extend(record.external_groups.iter().filter_map(|name| known.externals.get(name).cloned()));
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            self.add_bindings(&mut rights, EntryKind::Group, group.as_str()).await?;
        }
        Ok(rights)
    }

    /// Adds the roles that were given to one holder.
    pub(super) async fn add_bindings(
        &self,
        rights: &mut Rights,
        kind: EntryKind,
        name: &str,
    ) -> Result<(), IdentityError> {
        let known = self.known();
        for (_, binding) in self.owned::<BindingRecord>(kind, name, EntryKind::Binding).await? {
            let actions = known.role(&binding.role).unwrap_or_default();
            rights.give(binding.project.as_ref(), actions);
        }
        Ok(())
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
