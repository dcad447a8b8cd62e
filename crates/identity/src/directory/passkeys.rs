//! Passkeys, each an entry of its own: so the events, and with them the audit journal, tell which came and went.

use access::{Context, Subject};
use meta::{Batch, Condition, Entry, EntryKind, Write};

use super::factors::{Factors, factor, unchanged};
use super::tokens::by;
use super::{Directory, New, check_text, entry_name, oneself};
use crate::IdentityError;
use crate::model::{FactorRecord, Passkey, PasskeyRecord};
use crate::names::UserName;
use crate::passkey::{Credential, PASSKEY_NAME_MAX, PASSKEYS_PER_USER};
use crate::recovery::RecoveryCodes;
use crate::secret::{Secret, SecretHash};

impl Directory {
    /// The caller's own passkeys.
    pub async fn own_passkeys(&self, subject: &Subject) -> Result<Vec<Passkey>, IdentityError> {
        let passkeys = self.factors(&oneself(subject)?).await?.passkeys;
        Ok(passkeys.into_iter().map(|(entry, record)| shown(&entry, record)).collect())
    }

    /// Keeps a new passkey. Gives recovery codes where there was no second factor before.
    pub(crate) async fn add_passkey(
        &self,
        user: &UserName,
        context: &Context,
        label: &str,
        credential: Credential,
    ) -> Result<(String, Option<Vec<Secret>>), IdentityError> {
        let factors = self.factors(user).await?;
        check_passkey(&factors, label)?;
        let id = id_of(&credential);
        let name = entry_name(&name(user, &id))?;
        let record = PasskeyRecord { name: label.to_owned(), credential, last_used: None };
        let is_new = Condition::EntryIs { kind: EntryKind::Factor, name, revision: None };
        let mut batch =
            Batch::of(by(user, context), Write::Entry(entry(user, &id, &record).entry()?)).when(is_new);
        if factors.is_on() && factors.codes.is_some() {
            return self.change(batch).await.map(|_| (id, None));
        }
        let (codes, recovery) = RecoveryCodes::generate()?;
        let (found, before) = match factors.codes {
            Some((entry, record)) => (Some(entry), record),
            None => (None, FactorRecord::new()?),
        };
        let record = FactorRecord { recovery, ..before };
        let new = factor(user, &record).entry()?;
        batch = batch.when(match found {
            Some(entry) => unchanged(&entry),
            None => Condition::EntryIs { kind: EntryKind::Factor, name: new.name.clone(), revision: None },
        });
        batch.writes.push(Write::Entry(new));
        self.change(batch).await.map(|_| (id, Some(codes)))
    }

    /// Notes that a passkey was shown, with its new counter, over what it was held against. Whether nobody else was
    /// first: maybe with a copy.
    pub(crate) async fn note_passkey(
        &self,
        user: &UserName,
        context: &Context,
        held: &Entry,
        record: &PasskeyRecord,
    ) -> Result<bool, IdentityError> {
        self.note(user, context, entry(user, passkey_id(held), record), held).await
    }

    /// Removes a passkey, and with the last second factor all codes. Only after a second factor was shown.
    pub(crate) async fn drop_passkey(
        &self,
        user: &UserName,
        context: &Context,
        id: &str,
    ) -> Result<(), IdentityError> {
        let mut factors = self.factors(user).await?;
        let unknown = || IdentityError::Unknown { what: "passkey", name: id.chars().take(80).collect() };
        let at =
            factors.passkeys.iter().position(|(entry, _)| passkey_id(entry) == id).ok_or_else(unknown)?;
        let (dropped, _) = factors.passkeys.remove(at);
        let is_on = factors.is_on();
        let mut batch =
            Batch::of(by(user, context), Write::DropEntry { kind: dropped.kind, name: dropped.name });
        if let Some((entry, record)) = factors.codes {
            batch = batch.when(unchanged(&entry));
            if !is_on {
                batch.writes.push(Write::DropEntry { kind: entry.kind, name: entry.name });
            } else if record.one_time.is_some() {
                // It was given to who showed a passkey, maybe this one.
                let left = FactorRecord { one_time: None, ..record };
                batch.writes.push(Write::Entry(factor(user, &left).entry()?));
            }
        }
        self.change(batch).await.map(|_| ())
    }
}

/// Whether there can be one more, of this name.
pub(crate) fn check_passkey(factors: &Factors, label: &str) -> Result<(), IdentityError> {
    if label.is_empty() {
        return Err(IdentityError::Invalid("give the passkey a name, so that you know it again".into()));
    }
    check_text("name of a passkey", label, PASSKEY_NAME_MAX)?;
    if factors.passkeys.len() >= PASSKEYS_PER_USER {
        return Err(IdentityError::TooMany { what: "passkeys", limit: PASSKEYS_PER_USER });
    }
    match factors.passkeys.iter().any(|(_, other)| other.name == label) {
        true => Err(IdentityError::Exists { what: "passkey", name: label.to_owned() }),
        false => Ok(()),
    }
}

/// What tells a passkey from all others.
pub(crate) fn fingerprint_of_passkey(id: &str) -> String {
    format!("passkey:{id}")
}

/// Enough to tell it from the others, and short enough for a journal: authenticators have ids of a kilobyte.
fn id_of(credential: &Credential) -> String {
    crate::proof::fingerprint(&SecretHash::of(&Secret::new(credential.id.as_str())))
}

/// No user has a space in their name.
fn name(user: &UserName, id: &str) -> String {
    format!("{user} passkey {id}")
}

/// The id that an entry's name ends with.
pub(crate) fn passkey_id(entry: &Entry) -> &str {
    entry.name.as_str().rsplit(' ').next().unwrap_or_default()
}

fn entry<'a>(user: &UserName, id: &str, record: &'a PasskeyRecord) -> New<'a, PasskeyRecord> {
    let owners = vec![(EntryKind::User, user.to_string())];
    New { kind: EntryKind::Factor, name: name(user, id).into(), record, owners }
}

fn shown(entry: &Entry, record: PasskeyRecord) -> Passkey {
    Passkey {
        id: passkey_id(entry).to_owned(),
        name: record.name,
        created: entry.created,
        last_used: record.last_used,
    }
}
