//! That somebody who administers remains: decided for a whole change at once, on what would be left of the directory
//! after it. Changes are made one after another, so nothing comes between the look and the commit.
//!
//! Counted are users whose password is kept here, who are not kept out, and who have the role `system-admin`
//! everywhere, themselves or by a group that they were put into here. Whom LDAP or an OpenID provider knows may be
//! gone tomorrow without a word, and what groups they are in is said elsewhere: they do not count.

use access::{Actor, Grant};
use meta::{Batch, Entry, EntryKind, Write};
use serde::de::DeserializeOwned;

use super::{Directory, PAGE, entry_name};
use crate::IdentityError;
use crate::model::{BindingRecord, MembershipRecord, Principal, Source, UserRecord};

/// What the names of the bindings begin with that make administrators.
const ADMINISTRATORS: &str = "* system-admin ";

impl Directory {
    /// Refuses a change that takes the last administrator away. Whoever may open the socket can make one again, and so
    /// may do it.
    pub(super) async fn check_administrators(
        &self,
        grant: &Grant,
        batch: &Batch,
    ) -> Result<(), IdentityError> {
        let may = matches!(grant.actor(), Actor::Local | Actor::Job(_));
        if may || !batch.writes.iter().any(takes_away) || self.has_administrator(batch).await? {
            return Ok(());
        }
        // Where there was none before, none is lost.
        let lost = self.has_administrator(&Batch::default()).await?;
        if lost { Err(IdentityError::LastAdministrator) } else { Ok(()) }
    }

    /// Whether there is an administrator after a change.
    async fn has_administrator(&self, batch: &Batch) -> Result<bool, IdentityError> {
        // What a name begins with comes right before the names.
        let mut after = Some(entry_name(ADMINISTRATORS.trim_end())?);
        loop {
            let page = self.meta.entries(EntryKind::Binding, after.as_ref(), PAGE).await?;
            for entry in &page {
                if !entry.name.as_str().starts_with(ADMINISTRATORS) {
                    return Ok(false);
                }
                if self.makes_administrator(batch, entry).await? {
                    return Ok(true);
                }
            }
            if page.len() < PAGE {
                return Ok(false);
            }
            after = page.last().map(|entry| entry.name.clone());
        }
    }

    async fn makes_administrator(&self, batch: &Batch, entry: &Entry) -> Result<bool, IdentityError> {
        let found = self.after::<BindingRecord>(batch, EntryKind::Binding, entry.name.as_str()).await?;
        let Some(binding) = found else { return Ok(false) };
        let group = match binding.principal.parse()? {
            Principal::User(user) => return self.counts(batch, user.as_str()).await,
            Principal::Group(group) => group,
        };
        if is_dropped(batch, EntryKind::Group, group.as_str()) {
            return Ok(false);
        }
        let kind = EntryKind::Membership;
        for (entry, membership) in
            self.owned::<MembershipRecord>(EntryKind::Group, group.as_str(), kind).await?
        {
            let stays = !is_dropped(batch, kind, entry.name.as_str());
            if stays && self.counts(batch, membership.user.as_str()).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a user can sign in after a change with a password that is kept here.
    async fn counts(&self, batch: &Batch, user: &str) -> Result<bool, IdentityError> {
        let found = self.after::<UserRecord>(batch, EntryKind::User, user).await?;
        Ok(found
            .is_some_and(|user| user.source == Source::Local && user.password.is_some() && !user.disabled))
    }

    /// What an entry says after a change, if it is still there.
    async fn after<T: DeserializeOwned>(
        &self,
        batch: &Batch,
        kind: EntryKind,
        name: &str,
    ) -> Result<Option<T>, IdentityError> {
        if is_dropped(batch, kind, name) {
            return Ok(None);
        }
        let written = batch.writes.iter().find_map(|write| match write {
            Write::Entry(new) if new.kind == kind && new.name.as_str() == name => Some(&new.value),
            _ => None,
        });
        match written {
            Some(value) => serde_json::from_str(value)
                .map(Some)
                .map_err(|error| IdentityError::Damaged { name: name.to_owned(), reason: error.to_string() }),
            None => Ok(self.find(kind, name).await?.map(|(_, record)| record)),
        }
    }
}

/// Whether a write could take an administrator away.
fn takes_away(write: &Write) -> bool {
    match write {
        Write::Entry(new) => new.kind == EntryKind::User,
        Write::DropEntry { kind, .. } => {
            matches!(kind, EntryKind::User | EntryKind::Group | EntryKind::Membership | EntryKind::Binding)
        }
        _ => false,
    }
}

fn is_dropped(batch: &Batch, kind: EntryKind, name: &str) -> bool {
    batch.writes.iter().any(
        |write| matches!(write, Write::DropEntry { kind: k, name: n } if *k == kind && n.as_str() == name),
    )
}
