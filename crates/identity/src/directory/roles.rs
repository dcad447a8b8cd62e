//! Roles: the built-in ones, and those that were defined here.

use access::{Action, ActionSet, Grant, ROLES, Subject, Target, built_in};
use meta::EntryKind;

use super::{Directory, New, check_text, expect, origin, parsed};
use crate::IdentityError;
use crate::model::{Actions, Role, RoleRecord};

impl Directory {
    /// All roles, the built-in ones first.
    pub async fn roles(&self) -> Result<Vec<Role>, IdentityError> {
        let built_in = ROLES.iter().map(|role| Role {
            name: role.name.into(),
            description: role.purpose.into(),
            actions: Actions(role.actions),
            built_in: true,
        });
        let mut roles: Vec<Role> = built_in.collect();
        for (entry, record) in self.all::<RoleRecord>(EntryKind::Role).await? {
            let actions = actions_of(&record);
            let name: String = parsed(&entry.name)?;
            roles.push(Role {
                name,
                description: record.description,
                actions: Actions(actions),
                built_in: false,
            });
        }
        Ok(roles)
    }

    /// Defines a role, or changes one. It can allow only what who defines it may do everywhere: they might have it
    /// themselves. The same holds for what it allowed before, or else they could take away what they cannot give.
    pub async fn put_role(
        &self,
        grant: &Grant,
        subject: &Subject,
        role: Role,
    ) -> Result<Role, IdentityError> {
        expect(grant, Action::ManageRoles, &Target::System)?;
        check_name(&role.name)?;
        check_text("description", &role.description, 500)?;
        if role.actions.0.is_empty() {
            return Err(IdentityError::Invalid("a role allows at least one action".into()));
        }
        self.check_gift(subject, None, role.actions.0)?;
        let actions = role.actions.0.iter().map(|action| action.name().to_owned()).collect();
        let record = RoleRecord { description: role.description.clone(), actions };
        let new = New {
            kind: EntryKind::Role,
            name: role.name.as_str().into(),
            record: &record,
            owners: Vec::new(),
        };
        match self.find::<RoleRecord>(EntryKind::Role, &role.name).await? {
            Some((found, before)) => {
                self.check_gift(subject, None, actions_of(&before))?;
                self.replace(origin(grant), &found, new).await?;
            }
            None => self.create(grant, new).await?,
        }
        Ok(Role { built_in: false, ..role })
    }

    /// Deletes a role that was defined here: who had it, has it no more. Only who could have given it may do so.
    pub async fn delete_role(
        &self,
        grant: &Grant,
        subject: &Subject,
        name: &str,
    ) -> Result<(), IdentityError> {
        expect(grant, Action::ManageRoles, &Target::System)?;
        check_name(name)?;
        self.check_gift(subject, None, self.known().role(name).unwrap_or_default())?;
        self.drop_entry(grant, EntryKind::Role, name).await
    }
}

/// An action that a newer version knew is not given.
fn actions_of(record: &RoleRecord) -> ActionSet {
    record.actions.iter().filter_map(|name| name.parse::<Action>().ok()).collect()
}

fn check_name(name: &str) -> Result<(), IdentityError> {
    if built_in(name).is_some() {
        return Err(IdentityError::Invalid(format!("the role `{name}` is built in and cannot be changed")));
    }
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if starts && name.len() <= 64 && name.bytes().all(fits) {
        return Ok(());
    }
    let message =
        "a role is named with lowercase letters, digits and dashes, beginning with a letter, at most 64";
    Err(IdentityError::Invalid(message.into()))
}
