//! Users whom another directory knows: what is kept of them here is what was last heard.

use access::{Action, Grant, Target};
use meta::EntryKind;

use super::users::user;
use super::{Directory, origin};
use crate::IdentityError;
use crate::model::{Source, UserRecord};
use crate::names::UserName;

/// How often a change is tried that somebody else's gets in the way of.
const TRIES: usize = 3;

/// The longest address, and the longest name to be shown, in characters: as for users who are known here.
const EMAIL_MAX: usize = 254;
const DISPLAY_NAME_MAX: usize = 200;

/// What another directory says of somebody.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) email: String,
    pub(crate) display_name: String,
    pub(crate) groups: Vec<String>,
}

impl Directory {
    /// Keeps what was heard of a user, where that is news. Who is not here yet is made a user, if that is wanted.
    /// Says whether they may come in: somebody who is kept out may not, and a user of another source is somebody else.
    pub(crate) async fn keep_heard(
        &self,
        source: Source,
        name: &UserName,
        heard: &Heard,
        create: bool,
    ) -> Result<bool, IdentityError> {
        for _ in 0..TRIES {
            match self.try_to_keep(source, name, heard, create).await {
                Err(IdentityError::Conflict | IdentityError::Exists { .. }) => {}
                outcome => return outcome,
            }
        }
        Err(IdentityError::Conflict)
    }

    async fn try_to_keep(
        &self,
        source: Source,
        name: &UserName,
        heard: &Heard,
        create: bool,
    ) -> Result<bool, IdentityError> {
        let grant = Grant::system(source.name(), Action::ManageUsers, Target::System);
        let Some((entry, kept)) = self.find::<UserRecord>(EntryKind::User, name.as_str()).await? else {
            if create {
                let record = self.said(heard, UserRecord { source, ..UserRecord::default() });
                self.create(&grant, user(name, &record)).await?;
            }
            return Ok(create);
        };
        if kept.source != source || kept.disabled {
            return Ok(false);
        }
        let record = self.said(heard, kept.clone());
        let same = record.email == kept.email
            && record.display_name == kept.display_name
            && record.external_groups == kept.external_groups;
        if !same {
            self.replace(origin(&grant), &entry, user(name, &record)).await?;
        }
        Ok(true)
    }

    /// A record with what was heard. Only groups that stand for some here are kept: people are in many others, whose
    /// changes mean nothing here.
    fn said(&self, heard: &Heard, record: UserRecord) -> UserRecord {
        let known = self.known();
        let groups = heard.groups.iter().filter(|name| known.externals.contains_key(*name));
        UserRecord {
            email: heard.email.chars().take(EMAIL_MAX).collect(),
            display_name: heard.display_name.chars().take(DISPLAY_NAME_MAX).collect(),
            external_groups: groups.cloned().collect(),
            ..record
        }
    }
}
