//! Members: who has which role, in a project or everywhere.

use access::{Action, Grant, Subject, Target, built_in};
use meta::{Entry, EntryKind};
use oci::ProjectName;

use super::{Directory, New, expect};
use crate::IdentityError;
use crate::model::{BindingRecord, Member, Principal, ProjectRecord};

/// What stands for the whole registry in the name of a binding: no project can be called so.
const EVERYWHERE: &str = "*";

impl Directory {
    /// The members of a project, without those further out; or those of the whole registry.
    pub async fn members(
        &self,
        grant: &Grant,
        project: Option<&ProjectName>,
    ) -> Result<Vec<Member>, IdentityError> {
        expect(grant, Action::ReadMembers, &target(project))?;
        let found: Vec<(Entry, BindingRecord)> = match project {
            Some(project) => {
                self.get::<ProjectRecord>(EntryKind::Project, project.as_str()).await?;
                self.owned(EntryKind::Project, project.as_str(), EntryKind::Binding).await?
            }
            None => {
                let all = self.all::<BindingRecord>(EntryKind::Binding).await?;
                all.into_iter().filter(|(_, binding)| binding.project.is_none()).collect()
            }
        };
        found.into_iter().map(|(_, binding)| shown(binding)).collect()
    }

    /// Gives a role. Nobody can give what they may not do themselves.
    pub async fn add_member(
        &self,
        grant: &Grant,
        subject: &Subject,
        member: &Member,
    ) -> Result<(), IdentityError> {
        expect(grant, Action::ManageMembers, &target(member.project.as_ref()))?;
        let unknown =
            || IdentityError::Unknown { what: "role", name: member.role.chars().take(80).collect() };
        let actions = self.known().role(&member.role).ok_or_else(unknown)?;
        self.check_gift(subject, member.project.as_ref(), actions)?;
        match self.create(grant, binding(member, &record(member))).await {
            Err(IdentityError::Exists { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// Takes a role away: only who could have given it.
    pub async fn remove_member(
        &self,
        grant: &Grant,
        subject: &Subject,
        member: &Member,
    ) -> Result<(), IdentityError> {
        expect(grant, Action::ManageMembers, &target(member.project.as_ref()))?;
        let actions = self.known().role(&member.role).unwrap_or_default();
        self.check_gift(subject, member.project.as_ref(), actions)?;
        self.drop_entry(grant, EntryKind::Binding, &name(member)).await
    }
}

fn target(project: Option<&ProjectName>) -> Target {
    project.map_or(Target::System, |project| Target::Project(project.clone()))
}

/// What is kept of a member.
pub(super) fn record(member: &Member) -> BindingRecord {
    BindingRecord {
        principal: member.principal.to_string(),
        project: member.project.clone(),
        role: member.role.clone(),
    }
}

/// The entry that keeps it, which goes with who has the role, with the project, and with the role.
pub(super) fn binding<'a>(member: &Member, record: &'a BindingRecord) -> New<'a, BindingRecord> {
    let mut owners = vec![match &member.principal {
        Principal::User(name) => (EntryKind::User, name.to_string()),
        Principal::Group(name) => (EntryKind::Group, name.to_string()),
    }];
    if let Some(project) = &member.project {
        owners.push((EntryKind::Project, project.to_string()));
    }
    if built_in(&member.role).is_none() {
        owners.push((EntryKind::Role, member.role.clone()));
    }
    New { kind: EntryKind::Binding, name: name(member).into(), record, owners }
}

/// Neither projects nor roles have spaces in their names.
fn name(member: &Member) -> String {
    let place = member.project.as_ref().map_or(EVERYWHERE, ProjectName::as_str);
    format!("{place} {} {}", member.role, member.principal)
}

fn shown(binding: BindingRecord) -> Result<Member, IdentityError> {
    Ok(Member { principal: binding.principal.parse()?, role: binding.role, project: binding.project })
}
