//! Who a person is, whether the password is right, and in which groups the person is.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::config::Protection;
use crate::connection::{Connection, Server};
use crate::filter::{Filling, Filter};
use crate::message::{Entry, Outcome, Scope, Search, code};
use crate::{LdapConfig, LdapError, dn};

/// The most bytes of a name that somebody types, and of one that is taken over from the directory.
const NAME: usize = 255;
/// The most bytes of a password; more is nobody's.
const PASSWORD: usize = 1_024;
/// How long a connection is kept that nobody needs. Firewalls forget idle ones without a word, after minutes.
const IDLE: Duration = Duration::from_secs(60);

/// A person whom the directory knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name, as the directory writes it: not what was typed.
    pub name: String,
    /// The entry's distinguished name.
    pub dn: String,
    /// The address for mail.
    pub email: Option<String>,
    /// The name to show.
    pub display: Option<String>,
    /// The names of the person's groups, sorted.
    pub groups: Vec<String>,
}

/// What a check of the directory found, for an administrator to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Host and port.
    pub server: String,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// The account that searches; `None`: anonymous.
    pub bound_as: Option<String>,
    /// The entries below which people and groups are, all of which are there.
    pub bases: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encryption = if self.is_encrypted { "with TLS" } else { "unencrypted" };
        let account = self.bound_as.as_deref().unwrap_or("nobody");
        write!(
            f,
            "connected to {} {encryption}, bound as {account}, found {}",
            self.server,
            self.bases.join(" and ")
        )
    }
}

/// A directory to sign in against.
pub struct Ldap {
    config: LdapConfig,
    server: Server,
    user_filter: Filter,
    group_filter: Filter,
    permits: Semaphore,
    /// Connections on which the searching account is bound, and since when nobody needs them.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl fmt::Debug for Ldap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ldap").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Ldap {
    /// Checks the settings and reads the file of authorities. Connects to nothing: the directory may be down now.
    pub fn new(config: LdapConfig) -> Result<Self, LdapError> {
        let server = Server::new(&config)?;
        let (user_filter, group_filter) = config.filters()?;
        let permits = Semaphore::new(config.connections);
        Ok(Self { config, server, user_filter, group_filter, permits, idle: Mutex::default() })
    }

    /// The person of this name, if this is the password. `None`: there is no such person, or the password is wrong, or the
    /// directory does not let the person in; which of them, nobody is told.
    pub async fn sign_in(&self, user: &str, password: &str) -> Result<Option<Person>, LdapError> {
        // A bind without a password succeeds, whoever it is for: RFC 4513, 5.1.2.
        if !is_name(user) || password.is_empty() || password.len() > PASSWORD {
            return Ok(None);
        }
        let _permit = self.permit().await?;
        let Some(entry) = self.find(user).await? else { return Ok(None) };
        // An empty name would make it an anonymous bind, which succeeds too.
        if entry.dn.is_empty() || !self.is_password(&entry.dn, password).await? {
            return Ok(None);
        }
        self.person(entry).await.map(Some)
    }

    /// The person of this name, without a password: whether there still is one, and in which groups.
    pub async fn look_up(&self, user: &str) -> Result<Option<Person>, LdapError> {
        if !is_name(user) {
            return Ok(None);
        }
        let _permit = self.permit().await?;
        match self.find(user).await? {
            Some(entry) => self.person(entry).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether the directory can be used as it is configured: connects, binds, looks for the bases.
    pub async fn check(&self) -> Result<Report, LdapError> {
        let mut connection = self.connect().await?;
        let mut bases = Vec::new();
        for (key, base) in [("user_base", &self.config.user_base), ("group_base", &self.config.group_base)] {
            if base.is_empty() {
                continue;
            }
            let filter = Filter::Present("objectClass".into()).encode(Filling { user: "", dn: "" });
            // "1.1" is the name of no attribute: none is wanted.
            let search = Search { base, scope: Scope::Base, filter, attributes: vec!["1.1"], limit: 1 };
            let (entries, outcome) = connection.search(&search).await?;
            self.must_succeed(key, base, &outcome)?;
            if entries.is_empty() {
                return Err(LdapError::NoBase { key, base: base.clone() });
            }
            bases.push(base.clone());
        }
        let bound_as = Some(self.config.bind_dn.clone()).filter(|dn| !dn.is_empty());
        let is_encrypted = self.server.protection() != Protection::None;
        Ok(Report { server: self.server.name().to_owned(), is_encrypted, bound_as, bases })
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, LdapError> {
        let permit = tokio::time::timeout(self.config.timeout, self.permits.acquire()).await;
        permit.ok().and_then(Result::ok).ok_or(LdapError::Busy { connections: self.config.connections })
    }

    /// The one entry of a name.
    async fn find(&self, user: &str) -> Result<Option<Entry>, LdapError> {
        let config = &self.config;
        let wanted = [
            &config.name_attribute,
            &config.email_attribute,
            &config.display_attribute,
            &config.member_of_attribute,
        ];
        let search = Search {
            base: &config.user_base,
            scope: Scope::Subtree,
            filter: self.user_filter.encode(Filling { user, dn: "" }),
            attributes: wanted.into_iter().map(String::as_str).filter(|name| !name.is_empty()).collect(),
            // The second tells that the name is not one person's.
            limit: 2,
        };
        let (mut entries, outcome) = self.search(&search).await?;
        if entries.len() > 1 || outcome.code == code::SIZE_LIMIT {
            return Err(LdapError::Ambiguous { name: user.to_owned() });
        }
        self.must_succeed("user_base", &config.user_base, &outcome)?;
        Ok(entries.pop())
    }

    /// Whether the directory lets this entry in with this password: on a connection of its own, which ends with it.
    async fn is_password(&self, dn: &str, password: &str) -> Result<bool, LdapError> {
        let outcome = self.server.connect().await?.bind(dn, password).await?;
        match outcome.code {
            code::SUCCESS => Ok(true),
            // The wrong password, none at all, a locked or expired account, an entry that is gone by now.
            code::INVALID_CREDENTIALS
            | code::INAPPROPRIATE
            | code::CONSTRAINT
            | code::UNWILLING
            | code::NO_SUCH_OBJECT => {
                tracing::debug!(dn, outcome = outcome.text(), "the directory does not let the person in");
                Ok(false)
            }
            _ => Err(self.refused("bind", &outcome)),
        }
    }

    async fn person(&self, entry: Entry) -> Result<Person, LdapError> {
        let config = &self.config;
        let first = |attribute: &str| entry.values(attribute).first().filter(|value| is_name(value)).cloned();
        let Some(name) = first(&config.name_attribute) else {
            return Err(LdapError::NoName { dn: entry.dn, attribute: config.name_attribute.clone() });
        };
        let mut groups = self.groups_of_entry(&entry, &name)?;
        if !config.group_base.is_empty() {
            groups.extend(self.groups_by_search(&entry.dn, &name).await?);
        }
        if groups.len() > self.most_groups() {
            return Err(self.too_many(&name));
        }
        let (email, display) = (first(&config.email_attribute), first(&config.display_attribute));
        Ok(Person { name, email, display, groups: groups.into_iter().collect(), dn: entry.dn })
    }

    /// The groups that the person's own entry lists, if it is to be believed.
    fn groups_of_entry(&self, entry: &Entry, name: &str) -> Result<BTreeSet<String>, LdapError> {
        let LdapConfig { member_of_attribute: attribute, group_name_attribute, .. } = &self.config;
        if attribute.is_empty() {
            return Ok(BTreeSet::new());
        }
        let values = entry.values(attribute);
        if values.len() > self.most_groups() || entry.is_partial(attribute) {
            return Err(self.too_many(name));
        }
        let names = values.iter().filter_map(|group| match dn::first_value(group, group_name_attribute) {
            Some(name) if is_name(&name) => Some(name),
            _ => {
                tracing::warn!(group, "a group is left out: its name cannot be read");
                None
            }
        });
        Ok(names.collect())
    }

    async fn groups_by_search(&self, dn: &str, name: &str) -> Result<Vec<String>, LdapError> {
        let config = &self.config;
        let search = Search {
            base: &config.group_base,
            scope: Scope::Subtree,
            filter: self.group_filter.encode(Filling { user: name, dn }),
            attributes: vec![&config.group_name_attribute],
            limit: config.max_groups,
        };
        let (entries, outcome) = self.search(&search).await?;
        if outcome.code == code::SIZE_LIMIT {
            return Err(self.too_many(name));
        }
        self.must_succeed("group_base", &config.group_base, &outcome)?;
        let names = entries.iter().filter_map(|entry| {
            let name = entry.values(&config.group_name_attribute).first().filter(|name| is_name(name));
            if name.is_none() {
                tracing::warn!(group = entry.dn, "a group is left out: it has no usable name");
            }
            name.cloned()
        });
        Ok(names.collect())
    }

    fn most_groups(&self) -> usize {
        usize::try_from(self.config.max_groups).unwrap_or(usize::MAX)
    }

    fn too_many(&self, name: &str) -> LdapError {
        LdapError::TooManyGroups { name: name.to_owned(), limit: self.config.max_groups }
    }

    /// Searches on a connection that is there, or on a new one.
    async fn search(&self, search: &Search<'_>) -> Result<(Vec<Entry>, Outcome), LdapError> {
        if let Some(mut connection) = self.take_idle() {
            match connection.search(search).await {
                Ok(found) => return Ok(self.keep(connection, found)),
                // The directory was restarted, or ended what was idle. The others that are idle are no better.
                Err(LdapError::Broken { .. }) => self.idle().clear(),
                Err(error) => return Err(error),
            }
        }
        let mut connection = self.connect().await?;
        let found = connection.search(search).await?;
        Ok(self.keep(connection, found))
    }

    /// A new connection with the searching account bound on it.
    async fn connect(&self) -> Result<Connection, LdapError> {
        let mut connection = self.server.connect().await?;
        let LdapConfig { bind_dn: dn, bind_password, .. } = &self.config;
        if dn.is_empty() {
            return Ok(connection);
        }
        let outcome = connection.bind(dn, bind_password.expose()).await?;
        match outcome.code {
            code::SUCCESS => Ok(connection),
            code::INVALID_CREDENTIALS | code::INAPPROPRIATE | code::NO_SUCH_OBJECT => {
                Err(LdapError::ServiceAccount {
                    server: self.server.name().to_owned(),
                    dn: dn.clone(),
                    text: outcome.text(),
                })
            }
            _ => Err(self.refused("bind", &outcome)),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|(_, since)| since.elapsed() < IDLE);
        idle.pop().map(|(connection, _)| connection)
    }

    /// Keeps a connection for the next who needs one. There are never more than permits.
    fn keep<T>(&self, connection: Connection, found: T) -> T {
        self.idle().push((connection, Instant::now()));
        found
    }

    fn must_succeed(&self, key: &'static str, base: &str, outcome: &Outcome) -> Result<(), LdapError> {
        match outcome.code {
            code::SUCCESS => Ok(()),
            code::NO_SUCH_OBJECT => Err(LdapError::NoBase { key, base: base.to_owned() }),
            _ => Err(self.refused("search", outcome)),
        }
    }

    fn refused(&self, operation: &'static str, outcome: &Outcome) -> LdapError {
        let (server, code, text) = (self.server.name().to_owned(), outcome.code, outcome.text());
        LdapError::Refused { server, operation, code, text }
    }
}

/// Whether a text can be a name: short, and nothing in it that ends lines or moves cursors where it is shown.
fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= NAME && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_printable() {
        let check = |text: &str, expect| assert_eq!(is_name(text), expect, "{text:?}");
        check("ann", true);
        check("Änn Möller, Dr.", true);
        check("", false);
        check("  ", false);
        check("ann\n", false);
        check("a\0b", false);
        check("a\u{9b}b", false);
        check(&"a".repeat(255), true);
        check(&"a".repeat(256), false);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_for_others_is_told() {
        let (url, user_base) = ("ldap://localhost".into(), "dc=a".into());
        let ldap = Ldap::new(LdapConfig { url, user_base, connections: 1, ..LdapConfig::default() }).unwrap();
        let _others = ldap.permits.acquire().await.unwrap();
        let error = ldap.sign_in("ann", "secret").await.unwrap_err();
        assert!(matches!(error, LdapError::Busy { connections: 1 }), "{error}");
    }
}
