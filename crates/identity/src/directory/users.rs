//! Users.

use access::{Action, Context, Grant, Subject, Target};
use meta::{Entry, EntryKind};

use super::tokens::{by, oneself};
use super::{Directory, New, Page, check_text, expect, origin, parsed, replacement};
use crate::IdentityError;
use crate::model::{NewUser, Source, User, UserPatch, UserRecord};
use crate::names::UserName;
use crate::password::PasswordHash;
use crate::secret::Secret;

impl Directory {
    /// Users in the order of their names, after `after`.
    pub async fn users(&self, grant: &Grant, after: Option<&str>) -> Result<Page<User>, IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        self.page(EntryKind::User, after, |entry, record: UserRecord| shown(entry, record)).await
    }

    /// One user.
    pub async fn user(&self, grant: &Grant, name: &UserName) -> Result<User, IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        let (entry, record) = self.get(EntryKind::User, name.as_str()).await?;
        shown(&entry, record)
    }

    /// What is kept of somebody, for themselves.
    pub async fn own_user(&self, subject: &Subject) -> Result<User, IdentityError> {
        let (entry, record) = self.get(EntryKind::User, oneself(subject)?.as_str()).await?;
        shown(&entry, record)
    }

    /// Makes a user, who holds nothing yet.
    pub async fn create_user(&self, grant: &Grant, new: NewUser) -> Result<User, IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        check_text("address", &new.email, 254)?;
        check_text("name to be shown", &new.display_name, 200)?;
        if new.source != Source::Local && new.password.is_some() {
            return Err(IdentityError::Invalid(format!("the password of {} is kept elsewhere", new.name)));
        }
        let password = match &new.password {
            Some(password) => Some(self.hash_new(&new.name, password).await?),
            None => None,
        };
        let record = UserRecord {
            source: new.source,
            email: new.email,
            display_name: new.display_name,
            disabled: false,
            times_disabled: 0,
            must_change_password: password.is_some() && new.must_change_password,
            password,
            external_groups: Vec::new(),
            subject: None,
        };
        self.create(grant, user(&new.name, &record)).await?;
        self.user(grant, &new.name).await
    }

    /// Changes a user. Who gives them a password could act in their place, so must hold all that they hold.
    pub async fn change_user(
        &self,
        grant: &Grant,
        subject: &Subject,
        name: &UserName,
        patch: UserPatch,
    ) -> Result<User, IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        let (entry, mut record) = self.get::<UserRecord>(EntryKind::User, name.as_str()).await?;
        self.check_covers(subject, &self.rights_of_user(name, &record).await?)?;
        if let Some(email) = patch.email {
            check_text("address", &email, 254)?;
            record.email = email;
        }
        if let Some(display_name) = patch.display_name {
            check_text("name to be shown", &display_name, 200)?;
            record.display_name = display_name;
        }
        if let Some(disabled) = patch.disabled {
            record.times_disabled += u32::from(disabled && !record.disabled);
            record.disabled = disabled;
        }
        if let Some(password) = patch.password {
            if record.source != Source::Local {
                return Err(IdentityError::Invalid(format!("the password of {name} is kept elsewhere")));
            }
            record.password = Some(self.hash_new(name, &password).await?);
            record.must_change_password = true;
        }
        self.change_by(grant, replacement(origin(grant), &entry, &user(name, &record))?).await?;
        self.user(grant, name).await
    }

    /// Deletes a user, with their tokens and roles.
    pub async fn delete_user(
        &self,
        grant: &Grant,
        subject: &Subject,
        name: &UserName,
    ) -> Result<(), IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        let (_, record) = self.get::<UserRecord>(EntryKind::User, name.as_str()).await?;
        self.check_covers(subject, &self.rights_of_user(name, &record).await?)?;
        self.drop_entry(grant, EntryKind::User, name.as_str()).await
    }

    /// Gives a user a password that the host made up, and lets them in again: for who has lost theirs.
    pub async fn reset_password(
        &self,
        grant: &Grant,
        subject: &Subject,
        name: &UserName,
    ) -> Result<Secret, IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        let (entry, mut record) = self.get::<UserRecord>(EntryKind::User, name.as_str()).await?;
        self.check_covers(subject, &self.rights_of_user(name, &record).await?)?;
        if record.source != Source::Local {
            return Err(IdentityError::Invalid(format!("the password of {name} is kept elsewhere")));
        }
        let password = Secret::random_password()?;
        record.password = Some(self.hash_new(name, &password).await?);
        record.disabled = false;
        record.must_change_password = false;
        self.replace(origin(grant), &entry, user(name, &record)).await?;
        Ok(password)
    }

    /// Sets the password that somebody chose for themselves, after the one before it was checked.
    pub(crate) async fn set_own_password(
        &self,
        name: &UserName,
        new: &Secret,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let (entry, mut record) = self.get::<UserRecord>(EntryKind::User, name.as_str()).await?;
        record.password = Some(self.hash_new(name, new).await?);
        record.must_change_password = false;
        self.replace(by(name, context), &entry, user(name, &record)).await
    }

    pub(super) async fn hash_new(
        &self,
        name: &UserName,
        password: &Secret,
    ) -> Result<PasswordHash, IdentityError> {
        let weak = self.limits.password.check(password, name);
        weak.map_err(|error| IdentityError::Invalid(error.to_string()))?;
        Ok(self.hasher.turn().await?.hash(password.clone()).await?)
    }
}

pub(super) fn user<'a>(name: &'a UserName, record: &'a UserRecord) -> New<'a, UserRecord> {
    New { kind: EntryKind::User, name: name.as_str().into(), record, owners: Vec::new() }
}

fn shown(entry: &Entry, record: UserRecord) -> Result<User, IdentityError> {
    Ok(User {
        name: parsed(&entry.name)?,
        source: record.source,
        email: record.email,
        display_name: record.display_name,
        disabled: record.disabled,
        must_change_password: record.must_change_password,
        created: entry.created,
    })
}
