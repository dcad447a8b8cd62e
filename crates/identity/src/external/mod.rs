//! Who is known elsewhere: people in an LDAP directory, and CI jobs and pods with tokens of their platform.
//!
//! What is kept of them here is what was last heard. Who stands behind a credential of theirs is confirmed by those
//! who know, from time to time: see [`ldap`] for people. The tokens of workloads end by themselves.

mod ldap;
mod workload;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use access::Unauthenticated;
use meta::{Clock, EntryKind, Timestamp};

use self::ldap::People;
use self::workload::Workloads;
use crate::model::{Source, TokenRecord, UserRecord};
use crate::names::UserName;
use crate::proof::{Credential, mark_of, unavailable};
use crate::secret::Secret;
use crate::{Identity, IdentityError};

pub use self::ldap::LdapSettings;
pub use self::workload::WorkloadRule;
pub use ::ldap::LdapConfig;

/// How long somebody is believed to be who they were, while those who know cannot be asked.
pub(crate) const BELIEVED_FOR: Duration = Duration::from_secs(3_600);

/// Everybody who is known elsewhere.
#[derive(Default)]
pub struct External {
    people: Option<People>,
    workloads: Option<Workloads>,
}

impl External {
    /// These sources. Nobody is asked yet: they may be down now.
    pub fn new(
        ldap: Option<LdapSettings>,
        rules: Vec<WorkloadRule>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        let people = ldap.map(People::new).transpose()?;
        let workloads = (!rules.is_empty()).then(|| Workloads::new(rules, clock)).transpose()?;
        Ok(Self { people, workloads })
    }

    /// What there is, for who starts the server.
    pub fn sources(&self) -> Vec<String> {
        let people = self.people.iter().map(|people| format!("LDAP at {}", people.url()));
        let workloads = self.workloads.iter().map(|all| format!("workloads by {}", all.names()));
        people.chain(workloads).collect()
    }

    /// Whether the directory can be used as it is configured, in words; nothing where there is none.
    pub async fn check(&self) -> Option<Result<String, String>> {
        Some(self.people.as_ref()?.check().await)
    }
}

impl Identity {
    /// The same with those who are known elsewhere.
    #[must_use]
    pub fn with_external(mut self, external: External) -> Self {
        self.external = external;
        self
    }

    /// Those who are known elsewhere.
    pub fn external(&self) -> &External {
        &self.external
    }

    /// A name and a password that others than this registry must judge. `None` where it does so itself.
    pub(crate) async fn prove_elsewhere(
        &self,
        name: &str,
        secret: &Secret,
        address: Option<IpAddr>,
    ) -> Result<Option<Credential>, Unauthenticated> {
        if self.external.workloads.is_some() && workload::is_meant(name, secret) {
            return self.prove_workload(secret).await.map(|proof| Some(proof.credential));
        }
        match &self.external.people {
            Some(people) if !self.is_kept_here(name).await? => {
                self.prove_person(people, name, secret, address).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether the name is that of a user whom the directory has no say about.
    async fn is_kept_here(&self, name: &str) -> Result<bool, Unauthenticated> {
        let Ok(user) = name.parse::<UserName>() else { return Ok(false) };
        Ok(self.source_of(&user).await?.is_some_and(|source| source != Source::Ldap))
    }

    async fn source_of(&self, user: &UserName) -> Result<Option<Source>, Unauthenticated> {
        let found = self.directory().find::<UserRecord>(EntryKind::User, user.as_str()).await;
        Ok(found.map_err(unavailable)?.map(|(_, record)| record.source))
    }

    async fn prove_person(
        &self,
        people: &People,
        name: &str,
        password: &Secret,
        address: Option<IpAddr>,
    ) -> Result<Credential, Unauthenticated> {
        // Directories look at neither capitals nor spaces around, so that guesses are counted without them.
        let counted = name.trim().to_lowercase();
        // No name of a person has a control character, and one separates what else is counted.
        if counted.contains(char::is_control) {
            return Err(Unauthenticated::Wrong);
        }
        self.may_try(&counted, address)?;
        let turn = people.turn().await?;
        // Others may have failed while this one waited for its turn.
        self.may_try(&counted, address)?;
        let found = people.sign_in(self.directory(), name, password).await?;
        drop(turn);
        self.tried(&counted, address, found.is_some());
        let user = found.ok_or(Unauthenticated::Wrong)?;
        let (entry, record) = self.directory().live_user(&user).await?;
        Ok(Credential::Ldap { user, since: self.directory().now(), mark: mark_of(&entry, &record) })
    }

    /// Asks who knows the user behind a credential whether they are still there, where it was not asked lately. When
    /// to ask again; never for who is known here.
    pub(crate) async fn confirm(
        &self,
        credential: &Credential,
    ) -> Result<Option<Timestamp>, Unauthenticated> {
        let user = match credential {
            Credential::Ldap { user, .. } => user.clone(),
            Credential::Token { id, .. } => {
                let found = self.directory().find::<TokenRecord>(EntryKind::Token, id).await;
                let (_, token) = found.map_err(unavailable)?.ok_or(Unauthenticated::Wrong)?;
                if self.source_of(&token.user).await? != Some(Source::Ldap) {
                    return Ok(None);
                }
                token.user
            }
            Credential::Nothing
            | Credential::Password { .. }
            | Credential::Robot { .. }
            | Credential::Provider { .. }
            | Credential::Workload { .. } => return Ok(None),
        };
        // Nobody vouches any more for people of a directory that was taken out of the configuration.
        let people = self.external.people.as_ref().ok_or(Unauthenticated::Wrong)?;
        people.confirm(self.directory(), &user).await.map(Some)
    }
}
