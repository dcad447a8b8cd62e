//! Users whom an OpenID provider knows: made when they first sign in, and brought up to date whenever they do.
//!
//! A user is bound to what the provider never gives to another (`sub`), and keeps the name of the first sign-in. So
//! nobody can take over a user by taking their name at the provider, and nobody who is kept out here comes back under
//! another name.

use std::net::IpAddr;

use meta::{Batch, Condition, Entry, EntryKind, Origin, Write};
use sha2::{Digest as _, Sha256};

use super::users::user;
use super::{Directory, entry_name};
use crate::IdentityError;
use crate::model::{ProviderSubject, Source, UserRecord};
use crate::names::UserName;
use crate::secret::Secret;

/// The most groups of one person, and the longest name of one, in bytes.
const GROUPS_MAX: usize = 500;
const GROUP_MAX: usize = 255;

/// The longest texts that are kept of somebody, in bytes.
const EMAIL_MAX: usize = 254;
const DISPLAY_NAME_MAX: usize = 200;

/// Somebody whom an OpenID provider has let in.
#[derive(Clone, Debug)]
pub struct ProviderAccount {
    /// Who it is for good.
    pub subject: ProviderSubject,
    /// What they are called there.
    pub name: Option<String>,
    /// Their address.
    pub email: Option<String>,
    /// What people call them.
    pub display_name: Option<String>,
    /// The groups that they are in there.
    pub groups: Vec<String>,
    /// Which of their sessions there this is (`sid`).
    pub session: Option<String>,
    /// What ends that session, when it is shown.
    pub id_token: Secret,
}

/// The setting that remembers the user's name.
fn setting(subject: &ProviderSubject) -> String {
    format!("oidc/{}", hex::encode(Sha256::digest(subject.key())))
}

impl Directory {
    /// The user who somebody is, made or brought up to date.
    pub(crate) async fn provider_user(
        &self,
        account: &ProviderAccount,
        address: Option<IpAddr>,
    ) -> Result<UserName, IdentityError> {
        let (name, found) = match self.bound_user(&account.subject).await? {
            Some((name, entry, record)) => (name, Some((entry, record))),
            None => self.new_provider_user(account).await?,
        };
        let record = refreshed(account, found.as_ref().map(|(_, record)| record));
        let is_current = found.as_ref().is_some_and(|(_, before)| is_same(before, &record));
        if is_current {
            return Ok(name);
        }
        let is = Condition::EntryIs {
            kind: EntryKind::User,
            name: entry_name(name.as_str())?,
            revision: found.map(|(entry, _)| entry.revision),
        };
        let origin = Origin { actor: name.to_string(), address, ..Origin::default() };
        let remembered = Write::Setting { name: setting(&account.subject), value: name.to_string() };
        let batch = Batch::of(origin, Write::Entry(user(&name, &record).entry()?)).then(remembered).when(is);
        self.change(batch).await?;
        Ok(name)
    }

    /// The user that the provider's word is bound to, if there still is one.
    async fn bound_user(
        &self,
        subject: &ProviderSubject,
    ) -> Result<Option<(UserName, Entry, UserRecord)>, IdentityError> {
        let Some(name) = self.meta.setting(&setting(subject)).await? else { return Ok(None) };
        let Ok(name) = name.parse::<UserName>() else { return Ok(None) };
        let found = self.find::<UserRecord>(EntryKind::User, name.as_str()).await?;
        let found = found.filter(|(_, record)| record.subject.as_ref() == Some(subject));
        Ok(found.map(|(entry, record)| (name, entry, record)))
    }

    /// The name for somebody who was never here, where nobody else has it.
    async fn new_provider_user(
        &self,
        account: &ProviderAccount,
    ) -> Result<(UserName, Option<(Entry, UserRecord)>), IdentityError> {
        let Some(name) = &account.name else {
            let message = "the identity provider does not say what you are called: have the registry configured \
                           with the claim that does (auth.oidc.name_claim)";
            return Err(IdentityError::Invalid(message.into()));
        };
        // Many providers keep the capitals that somebody typed. Two who differ in nothing else cannot both come in.
        let name = name.to_ascii_lowercase().parse::<UserName>().map_err(|error| {
            IdentityError::Invalid(format!(
                "the name that you have at the identity provider cannot be used: {error}"
            ))
        })?;
        match self.find::<UserRecord>(EntryKind::User, name.as_str()).await? {
            None => Ok((name, None)),
            // Made beforehand for whoever comes by this name first.
            Some((entry, record)) if record.source == Source::Oidc && record.subject.is_none() => {
                Ok((name, Some((entry, record))))
            }
            Some(_) => Err(IdentityError::Invalid(format!(
                "the user `{name}` here is somebody else: ask an administrator of this registry"
            ))),
        }
    }
}

/// What is kept of somebody from now on. What an administrator said stays.
fn refreshed(account: &ProviderAccount, before: Option<&UserRecord>) -> UserRecord {
    let fits = |text: &str, longest: usize| text.len() <= longest && !text.chars().any(char::is_control);
    let text = |text: &Option<String>, longest: usize| {
        text.as_deref().filter(|text| fits(text, longest)).unwrap_or_default().to_owned()
    };
    let groups = account.groups.iter().filter(|group| fits(group, GROUP_MAX)).take(GROUPS_MAX);
    UserRecord {
        source: Source::Oidc,
        email: text(&account.email, EMAIL_MAX),
        display_name: text(&account.display_name, DISPLAY_NAME_MAX),
        disabled: before.is_some_and(|before| before.disabled),
        times_disabled: before.map_or(0, |before| before.times_disabled),
        password: None,
        must_change_password: false,
        external_groups: groups.cloned().collect(),
        subject: Some(account.subject.clone()),
    }
}

fn is_same(one: &UserRecord, other: &UserRecord) -> bool {
    one.source == other.source
        && one.email == other.email
        && one.display_name == other.display_name
        && one.external_groups == other.external_groups
        && one.subject == other.subject
}
