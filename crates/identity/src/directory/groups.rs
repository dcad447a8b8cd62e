//! Groups of users.

use access::{Action, Grant, Rights, Subject, Target};
use meta::{Entry, EntryKind};

use super::{Directory, New, Page, check_text, expect, origin, parsed};
use crate::IdentityError;
use crate::model::{Group, GroupRecord, MembershipRecord};
use crate::names::{GroupName, UserName};

impl Directory {
    /// Groups in the order of their names, after `after`.
    pub async fn groups(&self, grant: &Grant, after: Option<&str>) -> Result<Page<Group>, IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        self.page(EntryKind::Group, after, |entry, record: GroupRecord| shown(entry, record)).await
    }

    /// Makes a group, or changes one. Who says which outsiders are members must hold all that the group holds.
    pub async fn put_group(
        &self,
        grant: &Grant,
        subject: &Subject,
        new: Group,
    ) -> Result<Group, IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        check_text("description", &new.description, 500)?;
        if let Some(external) = &new.external {
            check_text("external name", external, 500)?;
            let known = self.known();
            if known.externals.get(external).is_some_and(|group| *group != new.name) {
                return Err(IdentityError::Exists {
                    what: "group with the external name",
                    name: external.clone(),
                });
            }
        }
        let record = GroupRecord { description: new.description.clone(), external: new.external.clone() };
        let entry = New {
            kind: EntryKind::Group,
            name: new.name.as_str().into(),
            record: &record,
            owners: Vec::new(),
        };
        match self.find::<GroupRecord>(EntryKind::Group, new.name.as_str()).await? {
            Some((found, _)) => {
                self.check_covers(subject, &self.rights_of_group(&new.name).await?)?;
                self.replace(origin(grant), &found, entry).await?;
            }
            None => self.create(grant, entry).await?,
        }
        Ok(new)
    }

    /// Deletes a group, with its roles.
    pub async fn delete_group(
        &self,
        grant: &Grant,
        subject: &Subject,
        name: &GroupName,
    ) -> Result<(), IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        self.check_covers(subject, &self.rights_of_group(name).await?)?;
        self.drop_entry(grant, EntryKind::Group, name.as_str()).await
    }

    /// The users that were put into a group here.
    pub async fn group_members(
        &self,
        grant: &Grant,
        name: &GroupName,
    ) -> Result<Vec<UserName>, IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        self.get::<GroupRecord>(EntryKind::Group, name.as_str()).await?;
        let owned = self.owned::<MembershipRecord>(EntryKind::Group, name.as_str(), EntryKind::Membership);
        Ok(owned.await?.into_iter().map(|(_, membership)| membership.user).collect())
    }

    /// Puts a user into a group: only who holds all that the group holds can give it.
    pub async fn add_to_group(
        &self,
        grant: &Grant,
        subject: &Subject,
        group: &GroupName,
        user: &UserName,
    ) -> Result<(), IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        self.check_covers(subject, &self.rights_of_group(group).await?)?;
        let record = MembershipRecord { user: user.clone(), group: group.clone() };
        let name = membership(user, group);
        let owners = vec![(EntryKind::User, user.to_string()), (EntryKind::Group, group.to_string())];
        let new = New { kind: EntryKind::Membership, name: (&*name).into(), record: &record, owners };
        match self.create(grant, new).await {
            Err(IdentityError::Exists { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// Takes a user out of a group.
    pub async fn remove_from_group(
        &self,
        grant: &Grant,
        subject: &Subject,
        group: &GroupName,
        user: &UserName,
    ) -> Result<(), IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        self.check_covers(subject, &self.rights_of_group(group).await?)?;
        self.drop_entry(grant, EntryKind::Membership, &membership(user, group)).await
    }

    async fn rights_of_group(&self, name: &GroupName) -> Result<Rights, IdentityError> {
        Ok(self.rights_of(&self.bindings(EntryKind::Group, name.as_str()).await?))
    }
}

/// No name of a user has a space.
fn membership(user: &UserName, group: &GroupName) -> String {
    format!("{user} {group}")
}

fn shown(entry: &Entry, record: GroupRecord) -> Result<Group, IdentityError> {
    Ok(Group { name: parsed(&entry.name)?, description: record.description, external: record.external })
}
