//! Second factors: the secret that a user's app has, passkeys, and the codes for who has lost them.
//!
//! A code is used up by writing that it was (the step of time, or the recovery codes that are left) over the very
//! revision of the entry that it was held against. So of two requests with one code one is refused, a restart
//! forgets no code, and what was written goes with the user.

use access::{Action, Context, Grant, Subject, Target};
use meta::{Batch, Condition, Entry, EntryKind, MetaError, Write};
use serde::Serialize;
use serde_json::value::RawValue;

use super::passkeys::{fingerprint_of_passkey, passkey_id};
use super::tokens::{by, oneself};
use super::{Directory, New, expect, origin, read};
use crate::IdentityError;
use crate::model::{FactorRecord, OneTimeCode, PasskeyRecord, SecondFactor, UserRecord};
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

/// All second factors of a user.
#[derive(Default)]
pub(crate) struct Factors {
    /// The app and the codes.
    pub(super) codes: Option<(Entry, FactorRecord)>,
    pub(crate) passkeys: Vec<(Entry, PasskeyRecord)>,
}

impl Factors {
    /// Whether an app shows codes.
    pub(crate) fn has_app(&self) -> bool {
        self.codes.as_ref().is_some_and(|(_, codes)| codes.confirmed)
    }

    /// Whether there is one.
    pub(crate) fn is_on(&self) -> bool {
        self.has_app() || !self.passkeys.is_empty()
    }

    /// How many recovery codes are left.
    fn recovery_codes(&self) -> usize {
        self.codes.as_ref().map_or(0, |(_, codes)| codes.recovery.left())
    }

    /// What tells each of them.
    pub(crate) fn fingerprints(&self) -> Vec<String> {
        let passkeys = self.passkeys.iter().map(|(entry, _)| fingerprint_of_passkey(passkey_id(entry)));
        let codes =
            self.codes.iter().flat_map(|(_, codes)| [codes.fingerprint(), codes.fingerprint_of_mark()]);
        passkeys.chain(codes).collect()
    }
}

/// New recovery codes in place of others.
pub(crate) struct NewCodes {
    pub(crate) shown: Vec<Secret>,
    /// What told the others.
    pub(crate) before: String,
    /// What is kept of them.
    pub(crate) record: FactorRecord,
}

impl Directory {
    /// How it stands with somebody's own second factors.
    pub async fn second_factor(&self, subject: &Subject) -> Result<SecondFactor, IdentityError> {
        let access::Actor::User(name) = subject.actor() else { return Ok(SecondFactor::default()) };
        let user = name.parse().map_err(|error| IdentityError::Invalid(format!("{error}")))?;
        let (_, record) = self.get::<UserRecord>(EntryKind::User, name).await?;
        let factors = self.factors(&user).await?;
        let bindings = self.bindings_of_user(&user, &record).await?;
        Ok(SecondFactor {
            on: factors.is_on(),
            required: self.requires_factor(&bindings),
            totp: factors.has_app(),
            passkeys: factors.passkeys.len(),
            recovery_codes: if factors.is_on() { factors.recovery_codes() } else { 0 },
        })
    }

    /// The second factors of a user.
    pub(crate) async fn factors(&self, user: &UserName) -> Result<Factors, IdentityError> {
        let mut factors = Factors::default();
        let owned = self.owned::<Box<RawValue>>(EntryKind::User, user.as_str(), EntryKind::Factor).await?;
        for (entry, _) in owned {
            if entry.name.as_str() == name(user) {
                let record = read(&entry)?;
                factors.codes = Some((entry, record));
            } else {
                let record = read(&entry)?;
                factors.passkeys.push((entry, record));
            }
        }
        factors.passkeys.sort_by_key(|(entry, _)| entry.created);
        Ok(factors)
    }

    /// Makes a secret for an app that counts for nothing until it is confirmed, in place of one that never was.
    pub(crate) async fn start_factor(
        &self,
        subject: &Subject,
        context: &Context,
    ) -> Result<(UserName, TotpSecret), IdentityError> {
        let user = signed_in_by_hand(subject)?;
        let secret = TotpSecret::generate()?;
        let found = self.find::<FactorRecord>(EntryKind::Factor, &name(&user)).await?;
        let record = match &found {
            Some((_, found)) if found.confirmed => {
                let message = "an app shows codes already: turn that off first (`DELETE /api/v1/me/totp`)";
                return Err(IdentityError::Invalid(message.into()));
            }
            Some((_, found)) => found.clone(),
            None => FactorRecord::new()?,
        };
        let record = FactorRecord { secret: Some(secret.clone()), last_step: None, ..record };
        let new = factor(&user, &record);
        match found {
            Some((entry, _)) => self.replace(by(&user, context), &entry, new).await?,
            None => self.create_as(by(&user, context), new).await?,
        }
        Ok((user, secret))
    }

    /// The secret of an app that waits to be confirmed.
    pub(crate) async fn waiting_secret(&self, user: &UserName) -> Result<TotpSecret, IdentityError> {
        let codes = self.factors(user).await?.codes.map(|(_, codes)| codes);
        let waiting = codes.filter(|codes| !codes.confirmed).and_then(|codes| codes.secret);
        waiting.ok_or_else(|| no_factor(user))
    }

    /// Uses a code up: any that is good, or one of an app that waits to be confirmed. Gives what it
    /// stands for, if it was one.
    pub(crate) async fn use_code(
        &self,
        user: &UserName,
        code: &Secret,
        confirmed: bool,
        context: &Context,
    ) -> Result<Option<String>, IdentityError> {
        let factors = self.factors(user).await?;
        let is_on = factors.is_on();
        let Some((entry, mut record)) = factors.codes else { return Ok(None) };
        let used = if confirmed {
            is_on.then(|| record.take(code, self.now())).flatten()
        } else {
            (!record.confirmed && record.take_of_app(code, self.now())).then(|| record.fingerprint())
        };
        if used.is_none() {
            return Ok(None);
        }
        // What anybody may do stays as it is, so no new epoch begins.
        let is_first = self.note(user, context, factor(user, &record), &entry).await?;
        Ok(used.filter(|_| is_first))
    }

    /// Writes that something was used over what it was held against. Whether nobody else was first.
    pub(super) async fn note<T: Serialize>(
        &self,
        user: &UserName,
        context: &Context,
        new: New<'_, T>,
        entry: &Entry,
    ) -> Result<bool, IdentityError> {
        let batch = Batch::of(by(user, context), Write::Entry(new.entry()?)).when(unchanged(entry));
        match self.meta.commit(batch).await {
            Ok(_) => Ok(true),
            // Another request was first, maybe with this code.
            Err(MetaError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Turns codes of an app on, with new recovery codes in place of all others. Only after one of its codes was used:
    /// a secret that took the place of that one's meanwhile was shown by nobody.
    pub(crate) async fn confirm_factor(
        &self,
        user: &UserName,
        context: &Context,
    ) -> Result<NewCodes, IdentityError> {
        let (entry, mut record) = self.get::<FactorRecord>(EntryKind::Factor, &name(user)).await?;
        if record.secret.is_none() || record.last_step.is_none() {
            return Err(IdentityError::Conflict);
        }
        record.confirmed = true;
        self.renew_codes(user, context, (entry, record)).await
    }

    /// New recovery codes, in place of all others. Only after a second factor was shown.
    pub(crate) async fn renew_recovery_codes(
        &self,
        user: &UserName,
        context: &Context,
    ) -> Result<NewCodes, IdentityError> {
        let factors = self.factors(user).await?;
        let Some(codes) = factors.is_on().then_some(factors.codes).flatten() else {
            return Err(no_factor(user));
        };
        self.renew_codes(user, context, codes).await
    }

    async fn renew_codes(
        &self,
        user: &UserName,
        context: &Context,
        (entry, old): (Entry, FactorRecord),
    ) -> Result<NewCodes, IdentityError> {
        let (shown, recovery) = RecoveryCodes::generate()?;
        let before = old.fingerprint_of_mark();
        // With another mark, so that what the old codes opened ends.
        let record = FactorRecord { recovery, mark: FactorRecord::new()?.mark, ..old };
        self.replace(by(user, context), &entry, factor(user, &record)).await?;
        Ok(NewCodes { shown, before, record })
    }

    /// Keeps a code for the command line. Only after a passkey was shown.
    pub(crate) async fn keep_one_time_code(
        &self,
        user: &UserName,
        context: &Context,
        one_time: OneTimeCode,
    ) -> Result<(), IdentityError> {
        let (entry, record) = self.factors(user).await?.codes.ok_or_else(|| no_factor(user))?;
        let record = FactorRecord { one_time: Some(one_time), ..record };
        self.replace(by(user, context), &entry, factor(user, &record)).await
    }

    /// Turns codes of somebody's own app off. Only after a second factor was shown.
    pub(crate) async fn drop_own_factor(
        &self,
        user: &UserName,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let factors = self.factors(user).await?;
        let app = factors.codes.filter(|(_, codes)| codes.confirmed);
        let (entry, record) = app.ok_or_else(|| no_factor(user))?;
        if factors.passkeys.is_empty() {
            let write = Write::DropEntry { kind: EntryKind::Factor, name: entry.name.clone() };
            return self
                .change(Batch::of(by(user, context), write).when(unchanged(&entry)))
                .await
                .map(|_| ());
        }
        let left = FactorRecord { recovery: record.recovery, ..FactorRecord::new()? };
        self.replace(by(user, context), &entry, factor(user, &left)).await
    }

    /// Removes all second factors of a user: for who has lost them and the recovery codes. It leaves the password
    /// alone to sign in with, so whoever does it must hold all that the user holds.
    pub async fn delete_factor_of(
        &self,
        grant: &Grant,
        subject: &Subject,
        user: &UserName,
    ) -> Result<(), IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        let (_, record) = self.get::<UserRecord>(EntryKind::User, user.as_str()).await?;
        self.check_covers(subject, &self.rights_of_user(user, &record).await?)?;
        let Factors { codes, passkeys } = self.factors(user).await?;
        let entries =
            codes.map(|(entry, _)| entry).into_iter().chain(passkeys.into_iter().map(|(entry, _)| entry));
        let writes: Vec<Write> =
            entries.map(|entry| Write::DropEntry { kind: entry.kind, name: entry.name }).collect();
        if writes.is_empty() {
            return Err(no_factor(user));
        }
        self.change(Batch { origin: origin(grant), writes, ..Batch::default() }).await.map(|_| ())
    }
}

pub(crate) fn no_factor(user: &UserName) -> IdentityError {
    IdentityError::Unknown { what: "second factor of", name: user.to_string() }
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

pub(super) fn factor<'a>(user: &UserName, record: &'a FactorRecord) -> New<'a, FactorRecord> {
    let owners = vec![(EntryKind::User, user.to_string())];
    New { kind: EntryKind::Factor, name: name(user).into(), record, owners }
}

pub(super) fn unchanged(entry: &Entry) -> Condition {
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
