//! People in an LDAP directory. A password is looked at once; from then on the directory is asked from time to time
//! whether the person is still there, and in which groups. While it is down, who was there goes on for an hour.

use std::sync::Arc;
use std::time::Duration;

use access::Unauthenticated;
use ldap::{Ldap, LdapConfig, LdapError, Person};
use meta::Timestamp;
use quick_cache::sync::Cache;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use super::BELIEVED_FOR;
use crate::IdentityError;
use crate::directory::{Directory, Heard};
use crate::model::Source;
use crate::names::UserName;
use crate::proof::unavailable;
use crate::secret::Secret;

/// How many people it is remembered of what the directory said.
const REMEMBERED: usize = 20_000;

/// How soon a directory that was down is asked again, at the latest.
const RETRY: Duration = Duration::from_secs(30);

/// A directory, and what is made of its people.
#[derive(Clone, Debug)]
pub struct LdapSettings {
    /// The directory.
    pub config: LdapConfig,
    /// Whether who signs in becomes a user at once; else users have to be made beforehand.
    pub create_users: bool,
    /// How long what the directory said of somebody counts.
    pub recheck: Duration,
}

pub(super) struct People {
    ldap: Ldap,
    url: String,
    create: bool,
    recheck: Duration,
    wait: Duration,
    /// As many as the directory is asked about at once: a password that waits is not counted as wrong yet.
    turns: Semaphore,
    seen: Cache<UserName, Arc<Mutex<Seen>>>,
}

/// What the directory last said of somebody.
#[derive(Default)]
struct Seen {
    what: Said,
    /// When to ask again; at once where absent.
    next: Option<Timestamp>,
}

#[derive(Clone, Copy, Default)]
enum Said {
    #[default]
    Nothing,
    There(Timestamp),
    Gone,
}

impl People {
    pub(super) fn new(settings: LdapSettings) -> Result<Self, IdentityError> {
        let LdapSettings { config, create_users, recheck } = settings;
        let (url, wait) = (config.url.clone(), config.timeout);
        let turns = Semaphore::new(config.connections);
        let ldap = Ldap::new(config).map_err(|error| IdentityError::Invalid(error.to_string()))?;
        let seen = Cache::new(REMEMBERED);
        Ok(Self { ldap, url, create: create_users, recheck, wait, turns, seen })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn check(&self) -> Result<String, String> {
        let report = self.ldap.check().await;
        report.map(|report| report.to_string()).map_err(|error| error.to_string())
    }

    /// Waits until a password can be looked at.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, Unauthenticated> {
        let turn = tokio::time::timeout(self.wait, self.turns.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or(Unauthenticated::Busy)
    }

    /// The user whose name and password these are, made a user here where that is wanted. `None`: there is no such
    /// person, the password is wrong, or they are kept out.
    pub(super) async fn sign_in(
        &self,
        directory: &Directory,
        name: &str,
        password: &Secret,
    ) -> Result<Option<UserName>, Unauthenticated> {
        let person = match self.ldap.sign_in(name, password.expose()).await {
            Ok(Some(person)) => person,
            Ok(None) => return Ok(None),
            Err(error) => return refuse(&error).map(|()| None),
        };
        let Some(user) = user_of(&person) else {
            tracing::warn!(
                dn = person.dn,
                "nobody here can have this person's name: small letters, digits, `.`, `_`, `-` and `@`"
            );
            return Ok(None);
        };
        let kept = directory.keep_heard(Source::Ldap, &user, &heard(&person), self.create).await;
        if !kept.map_err(unavailable)? {
            tracing::info!(
                %user,
                "the directory lets this person in, and this registry does not: there is no user of the source ldap \
                 by that name, or it is disabled"
            );
            return Ok(None);
        }
        let now = directory.now();
        *self.seen(&user).lock().await = Seen { what: Said::There(now), next: Some(now.plus(self.recheck)) };
        Ok(Some(user))
    }

    /// Whether the directory still has a user. When to ask again.
    ///
    /// Who comes meanwhile waits for the same answer, so that nobody is asked about twice at once.
    pub(super) async fn confirm(
        &self,
        directory: &Directory,
        user: &UserName,
    ) -> Result<Timestamp, Unauthenticated> {
        let seen = self.seen(user);
        let mut seen = seen.lock().await;
        let next = match seen.next.filter(|next| directory.now() < *next) {
            Some(next) => next,
            None => {
                let (what, next) = self.ask(directory, user, seen.what).await?;
                *seen = Seen { what, next: Some(next) };
                next
            }
        };
        match seen.what {
            Said::There(since) if directory.now() < since.plus(BELIEVED_FOR) => Ok(next),
            Said::Gone => Err(Unauthenticated::Wrong),
            Said::There(_) | Said::Nothing => Err(Unauthenticated::Unavailable),
        }
    }

    async fn ask(
        &self,
        directory: &Directory,
        user: &UserName,
        before: Said,
    ) -> Result<(Said, Timestamp), Unauthenticated> {
        match self.ldap.look_up(user.as_str()).await {
            Ok(Some(person)) if user_of(&person).as_ref() == Some(user) => {
                // Who is kept out here is refused by what the record says.
                let kept = directory.keep_heard(Source::Ldap, user, &heard(&person), false).await;
                kept.map_err(unavailable)?;
                let now = directory.now();
                Ok((Said::There(now), now.plus(self.recheck)))
            }
            Ok(_) => {
                tracing::info!(%user, "the directory does not know this user any more");
                Ok((Said::Gone, directory.now().plus(self.recheck)))
            }
            Err(error) if is_about_person(&error) => {
                tracing::error!(%error, "a user is kept out");
                Ok((Said::Gone, directory.now().plus(self.recheck)))
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    %user,
                    "the directory cannot be asked: who was verified within the last hour goes on"
                );
                Ok((before, directory.now().plus(self.recheck.min(RETRY))))
            }
        }
    }

    fn seen(&self, user: &UserName) -> Arc<Mutex<Seen>> {
        let made = self.seen.get_or_insert_with(user, || Ok::<_, std::convert::Infallible>(Arc::default()));
        made.unwrap_or_else(|never| match never {})
    }
}

/// The name that a person has here. Directories look at no capitals, and users here have none.
fn user_of(person: &Person) -> Option<UserName> {
    person.name.to_ascii_lowercase().parse().ok()
}

fn heard(person: &Person) -> Heard {
    Heard {
        email: person.email.clone().unwrap_or_default(),
        display_name: person.display.clone().unwrap_or_default(),
        groups: person.groups.clone(),
    }
}

/// Whether trying again would not help: something is wrong with this one person's entry.
fn is_about_person(error: &LdapError) -> bool {
    matches!(error, LdapError::Ambiguous { .. } | LdapError::NoName { .. } | LdapError::TooManyGroups { .. })
}

/// The log is told why nobody could be let in. `Ok`: somebody is refused like one who is not there.
fn refuse(error: &LdapError) -> Result<(), Unauthenticated> {
    tracing::error!(%error, "somebody could not sign in");
    match error {
        LdapError::Busy { .. } => Err(Unauthenticated::Busy),
        error if is_about_person(error) => Ok(()),
        _ => Err(Unauthenticated::Unavailable),
    }
}
