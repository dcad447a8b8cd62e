//! Second factors: the secret that a user's app has, and the codes for who has lost it.
//!
//! A code is used up by writing that it was (the step of time, or the recovery codes that are left) over the very
//! revision of the entry that it was held against. So of two requests with one code one is refused, a restart
//! forgets no code, and what was written goes with the user.

use access::{Action, Context, Grant, Subject, Target};
use meta::{Batch, Condition, Entry, EntryKind, MetaError, Write};

use super::tokens::{by, oneself};
use super::{Directory, New, entry_name, expect};
use crate::IdentityError;
use crate::model::{FactorRecord, SecondFactor, UserRecord};
use crate::names::UserName;
use crate::recovery::RecoveryCodes;
use crate::secret::Secret;
use crate::totp::TotpSecret;

/// Whose sign-in needs a second factor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecondFactorFor {
    /// Whoever has set one up, and nobody else.
    #[default]
    Volunteers,
    /// Whoever has one of these roles, anywhere.
    Roles(Vec<String>),
    /// Everybody.
    Everybody,
}

impl SecondFactorFor {
    /// What the names of roles say, or `all`, or `none`.
    pub fn from_names(names: &[String]) -> Self {
        match names {
            [] => Self::Volunteers,
            [none] if none == "none" => Self::Volunteers,
            names if names.iter().any(|name| name == "all") => Self::Everybody,
            names => Self::Roles(names.to_vec()),
        }
    }

    /// Whether it includes who has these roles.
    pub(super) fn includes<'a>(&self, mut roles: impl Iterator<Item = &'a str>) -> bool {
        match self {
            Self::Volunteers => false,
            Self::Roles(names) => roles.any(|role| names.iter().any(|name| name == role)),
            Self::Everybody => true,
        }
    }
}

impl Directory {
    /// How it stands with somebody's own second factor.
    pub async fn second_factor(&self, subject: &Subject) -> Result<SecondFactor, IdentityError> {
        let access::Actor::User(name) = subject.actor() else { return Ok(SecondFactor::default()) };
        let user = name.parse().map_err(|error| IdentityError::Invalid(format!("{error}")))?;
        let (_, record) = self.get::<UserRecord>(EntryKind::User, name).await?;
        let factor = self.factor(&user).await?;
        let bindings = self.bindings_of_user(&user, &record).await?;
        Ok(SecondFactor {
            on: factor.is_some(),
            required: self.requires_factor(&bindings),
            recovery_codes: factor.map_or(0, |(_, factor)| factor.recovery.left()),
        })
    }

    /// The second factor of a user, where it is on.
    pub(crate) async fn factor(
        &self,
        user: &UserName,
    ) -> Result<Option<(Entry, FactorRecord)>, IdentityError> {
        let found = self.find::<FactorRecord>(EntryKind::Factor, &name(user)).await?;
        Ok(found.filter(|(_, factor)| factor.confirmed))
    }

    /// Makes a second factor that counts for nothing until it is confirmed, in place of one that never was.
    pub(crate) async fn start_factor(
        &self,
        subject: &Subject,
        context: &Context,
    ) -> Result<(UserName, TotpSecret), IdentityError> {
        let user = signed_in_by_hand(subject)?;
        let secret = TotpSecret::generate()?;
        let record = FactorRecord {
            secret: secret.clone(),
            confirmed: false,
            last_step: None,
            recovery: RecoveryCodes::default(),
        };
        let new = factor(&user, &record);
        match self.find::<FactorRecord>(EntryKind::Factor, &name(&user)).await? {
            Some((_, found)) if found.confirmed => {
                let message = "a second factor is on already: turn it off first (`DELETE /api/v1/me/totp`)";
                return Err(IdentityError::Invalid(message.into()));
            }
            Some((entry, _)) => self.replace(by(&user, context), &entry, new).await?,
            None => self.create_as(by(&user, context), new).await?,
        }
        Ok((user, secret))
    }

    /// Uses a code of a second factor up, of one that is on or one that waits to be confirmed. Whether it was one.
    pub(crate) async fn use_code(
        &self,
        user: &UserName,
        code: &Secret,
        confirmed: bool,
        context: &Context,
    ) -> Result<bool, IdentityError> {
        let found = self.find::<FactorRecord>(EntryKind::Factor, &name(user)).await?;
        let Some((entry, mut record)) = found.filter(|(_, factor)| factor.confirmed == confirmed) else {
            return Ok(false);
        };
        if !record.take(code, self.now()) {
            return Ok(false);
        }
        // What anybody may do stays as it is, so no new epoch begins.
        let batch = Batch::of(by(user, context), Write::Entry(factor(user, &record).entry()?))
            .when(unchanged(&entry));
        match self.meta.commit(batch).await {
            Ok(_) => Ok(true),
            // Another request was first, maybe with this code.
            Err(MetaError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// New recovery codes for a second factor, in place of all others; they turn it on where it was not. Only after
    /// one of its codes was used: a secret that took the place of that one's meanwhile was shown by nobody.
    pub(crate) async fn renew_recovery_codes(
        &self,
        user: &UserName,
        context: &Context,
    ) -> Result<Vec<Secret>, IdentityError> {
        let (entry, mut record) = self.get::<FactorRecord>(EntryKind::Factor, &name(user)).await?;
        if record.last_step.is_none() {
            return Err(IdentityError::Conflict);
        }
        let (shown, kept) = RecoveryCodes::generate()?;
        record.confirmed = true;
        record.recovery = kept;
        self.replace(by(user, context), &entry, factor(user, &record)).await?;
        Ok(shown)
    }

    /// Turns somebody's own second factor off. Only after one of its codes was used.
    pub(crate) async fn drop_own_factor(
        &self,
        user: &UserName,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let write = Write::DropEntry { kind: EntryKind::Factor, name: entry_name(&name(user))? };
        self.change(Batch::of(by(user, context), write)).await.map(|_| ())
    }

    /// Turns the second factor of a user off: for who has lost the device and the recovery codes. It leaves the
    /// password alone to sign in with, so whoever does it must hold all that the user holds.
    pub async fn delete_factor_of(
        &self,
        grant: &Grant,
        subject: &Subject,
        user: &UserName,
    ) -> Result<(), IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        let (_, record) = self.get::<UserRecord>(EntryKind::User, user.as_str()).await?;
        self.check_covers(subject, &self.rights_of_user(user, &record).await?)?;
        self.drop_entry(grant, EntryKind::Factor, &name(user)).await
    }
}

/// The user who signed in with a password, or in a session: a token does not touch second factors.
pub(crate) fn signed_in_by_hand(subject: &Subject) -> Result<UserName, IdentityError> {
    let user = oneself(subject)?;
    if !subject.scopes().is_empty() || !matches!(subject.via(), "password" | "ldap") {
        let message = "a second factor is changed by who signed in with a password: sign in with yours";
        return Err(IdentityError::Invalid(message.into()));
    }
    Ok(user)
}

/// No user has a space in their name.
fn name(user: &UserName) -> String {
    format!("{user} totp")
}

fn factor<'a>(user: &UserName, record: &'a FactorRecord) -> New<'a, FactorRecord> {
    let owners = vec![(EntryKind::User, user.to_string())];
    New { kind: EntryKind::Factor, name: name(user).into(), record, owners }
}

fn unchanged(entry: &Entry) -> Condition {
    Condition::EntryIs { kind: entry.kind, name: entry.name.clone(), revision: Some(entry.revision) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_read() {
        let check = |names: &[&str], roles: &[&str], expect: bool| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let policy = SecondFactorFor::from_names(&names);
            assert_eq!(policy.includes(roles.iter().copied()), expect, "{names:?} {roles:?}");
        };
        check(&[], &["system-admin"], false);
        check(&["none"], &["system-admin"], false);
        check(&["all"], &[], true);
        check(&["auditor", "all"], &["guest"], true);
        check(&["auditor", "system-admin"], &["guest", "system-admin"], true);
        check(&["auditor", "system-admin"], &["guest"], false);
        check(&["auditor"], &[], false);
    }
}
