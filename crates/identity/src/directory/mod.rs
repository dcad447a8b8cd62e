//! The directory: users, groups, roles, members, tokens, robots and projects, kept as entries of the metadata store.
//!
//! Each change is one batch, recorded as an event with who did it. Changes are made one after another, and each is
//! followed by a new *epoch*: what was worked out of earlier ones (who may do what) is worked out anew when it is next
//! needed. Projects, roles and the names that other directories have for groups are few, and are kept in memory.

mod administrators;
mod bootstrap;
mod elsewhere;
mod factors;
mod fallbacks;
mod groups;
mod members;
mod passkeys;
mod projects;
mod provider;
mod rights;
mod robots;
mod roles;
mod sessions;
mod tokens;
mod users;
mod uses;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use access::{Action, ActionSet, Grant, Projects, Target, built_in};
use meta::{
    Batch, Clock, Committed, Condition, Entry, EntryKind, EntryName, MetaError, MetaStore, NewEntry, Origin,
    Timestamp, Write,
};
use oci::ProjectName;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::IdentityError;
use crate::browser::BrowserLimits;
use crate::hasher::Hasher;
use crate::model::{FallbackRecord, GroupRecord, ProjectRecord, RoleRecord};
use crate::names::GroupName;
use crate::password::PasswordPolicy;
use crate::signing_key::SigningKey;

pub use bootstrap::FirstStart;
pub(crate) use elsewhere::Heard;
pub use factors::SecondFactorFor;
pub(crate) use factors::{Factors, NewCodes, no_factor, signed_in_by_hand};
pub(crate) use passkeys::{check_passkey, fingerprint_of_passkey, passkey_id};
pub use provider::ProviderAccount;
pub(crate) use tokens::oneself;

/// The most entries on a page of a list.
pub const PAGE: usize = 1_000;

/// How many may wait for their password to be hashed.
const HASHES_WAITING: usize = 64;

/// The bounds that an administrator sets.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What passwords must be like.
    pub password: PasswordPolicy,
    /// The longest life of a personal access token, in days; none for no end.
    pub token_days: Option<u64>,
    /// The longest life of a robot, in days; none for no end.
    pub robot_days: Option<u64>,
    /// The most tokens of one user.
    pub tokens_per_user: usize,
    /// The most robots of one project.
    pub robots_per_project: usize,
    /// Whose sign-in needs a second factor.
    pub second_factor: SecondFactorFor,
    /// How long a session lives.
    pub session_life: Duration,
    /// How long a session may rest before it ends.
    pub session_idle: Duration,
    /// How long a browser stays signed in.
    pub browser: BrowserLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            password: PasswordPolicy::default(),
            token_days: Some(365),
            robot_days: None,
            tokens_per_user: 100,
            robots_per_project: 1_000,
            second_factor: SecondFactorFor::default(),
            session_life: Duration::from_hours(12),
            session_idle: Duration::from_mins(30),
            browser: BrowserLimits::default(),
        }
    }
}

/// Everybody, and what they may do.
pub struct Directory {
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hasher: Hasher,
    pub(crate) limits: Limits,
    known: RwLock<Arc<Known>>,
    epoch: AtomicU64,
    uses: uses::Uses,
    /// Held while something is changed.
    changing: tokio::sync::Mutex<()>,
}

/// What is kept in memory.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) projects: Arc<Projects>,
    /// Which registries projects replace.
    fallbacks: HashMap<ProjectName, FallbackRecord>,
    /// The roles that were defined here.
    roles: HashMap<String, ActionSet>,
    /// Our groups by the names that other directories have for them.
    pub(crate) externals: HashMap<String, GroupName>,
}

impl Known {
    /// What a role allows; nothing where there is none of this name.
    pub(crate) fn role(&self, name: &str) -> Option<ActionSet> {
        built_in(name).map(|role| role.actions).or_else(|| self.roles.get(name).copied())
    }
}

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one: after this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Directory {
    /// The directory in this store.
    pub async fn open(
        meta: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<Self, IdentityError> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let directory = Self {
            meta,
            clock,
            hasher: Hasher::new(threads, HASHES_WAITING),
            limits,
            known: RwLock::default(),
            epoch: AtomicU64::new(1),
            uses: uses::Uses::default(),
            changing: tokio::sync::Mutex::new(()),
        };
        directory.learn().await?;
        if let SecondFactorFor::Roles(names) = &directory.limits.second_factor {
            for name in names.iter().filter(|name| directory.known().role(name).is_none()) {
                tracing::warn!("a second factor is required of the role `{name}`, which is not defined");
            }
        }
        Ok(directory)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Grows with each change.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(crate) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what is kept in memory.
    async fn learn(&self) -> Result<(), IdentityError> {
        let epoch = self.epoch() + 1;
        let mut projects = Vec::new();
        let mut fallbacks = HashMap::new();
        let mut roles = HashMap::new();
        let mut externals = HashMap::new();
        for (entry, record) in self.all::<ProjectRecord>(EntryKind::Project).await? {
            let name: ProjectName = parsed(&entry.name)?;
            projects.push((name.clone(), record.settings()));
            if let Some(fallback) = record.fallback {
                fallbacks.insert(name, fallback);
            }
        }
        for (entry, record) in self.all::<RoleRecord>(EntryKind::Role).await? {
            // An action that a newer version knew is not given.
            let actions = record.actions.iter().filter_map(|name| name.parse::<Action>().ok()).collect();
            roles.insert(entry.name.as_str().to_owned(), actions);
        }
        for (entry, record) in self.all::<GroupRecord>(EntryKind::Group).await? {
            if let Some(external) = record.external {
                externals.insert(external, parsed(&entry.name)?);
            }
        }
        let projects = Arc::new(Projects::new(projects, epoch));
        let known = Known { projects, fallbacks, roles, externals };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        self.epoch.store(epoch, Ordering::SeqCst);
        Ok(())
    }

    /// All entries of a kind of which there are few.
    async fn all<T: DeserializeOwned>(&self, kind: EntryKind) -> Result<Vec<(Entry, T)>, IdentityError> {
        let mut found = Vec::new();
        loop {
            let after = found.last().map(|(entry, _): &(Entry, T)| entry.name.clone());
            let page = self.meta.entries(kind, after.as_ref(), PAGE).await?;
            let more = page.len() == PAGE;
            for entry in page {
                let record = read(&entry)?;
                found.push((entry, record));
            }
            if !more {
                return Ok(found);
            }
        }
    }

    /// One entry, if it is there.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        kind: EntryKind,
        name: &str,
    ) -> Result<Option<(Entry, T)>, IdentityError> {
        // What cannot be a name names nothing.
        let Ok(name) = name.parse::<EntryName>() else { return Ok(None) };
        let Some(entry) = self.meta.entry(kind, &name).await? else { return Ok(None) };
        let record = read(&entry)?;
        Ok(Some((entry, record)))
    }

    /// One entry that must be there.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        kind: EntryKind,
        name: &str,
    ) -> Result<(Entry, T), IdentityError> {
        let unknown = || IdentityError::Unknown { what: what(kind), name: name.chars().take(80).collect() };
        self.find(kind, name).await?.ok_or_else(unknown)
    }

    /// A page of a kind, each made into what is shown.
    async fn page<T: DeserializeOwned, S>(
        &self,
        kind: EntryKind,
        after: Option<&str>,
        show: impl Fn(&Entry, T) -> Result<S, IdentityError>,
    ) -> Result<Page<S>, IdentityError> {
        let after = after.and_then(|after| after.parse().ok());
        let mut entries = self.meta.entries(kind, after.as_ref(), PAGE + 1).await?;
        let more = entries.len() > PAGE;
        entries.truncate(PAGE);
        let next = entries.last().filter(|_| more).map(|entry| entry.name.as_str().to_owned());
        let items = entries.iter().map(|entry| show(entry, read(entry)?)).collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    /// All entries of a kind that name an owner.
    pub(crate) async fn owned<T: DeserializeOwned>(
        &self,
        owner: EntryKind,
        name: &str,
        kind: EntryKind,
    ) -> Result<Vec<(Entry, T)>, IdentityError> {
        let Ok(name) = name.parse::<EntryName>() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        loop {
            let after = found.last().map(|(entry, _): &(Entry, T)| entry.name.clone());
            let page = self.meta.owned((owner, &name), kind, after.as_ref(), PAGE).await?;
            let more = page.len() == PAGE;
            for entry in page {
                let record = read(&entry)?;
                found.push((entry, record));
            }
            if !more {
                return Ok(found);
            }
        }
    }

    /// Makes an entry that is not there yet.
    async fn create<T: Serialize>(&self, grant: &Grant, new: New<'_, T>) -> Result<(), IdentityError> {
        self.create_as(origin(grant), new).await
    }

    async fn create_as<T: Serialize>(&self, origin: Origin, new: New<'_, T>) -> Result<(), IdentityError> {
        let condition = Condition::EntryIs { kind: new.kind, name: entry_name(&new.name)?, revision: None };
        let batch = Batch::of(origin, Write::Entry(new.entry()?)).when(condition);
        match self.change(batch).await {
            Err(IdentityError::Conflict) => {
                Err(IdentityError::Exists { what: what(new.kind), name: new.name.into_owned() })
            }
            outcome => outcome.map(|_| ()),
        }
    }

    /// Replaces an entry as it was read.
    async fn replace<T: Serialize>(
        &self,
        origin: Origin,
        entry: &Entry,
        new: New<'_, T>,
    ) -> Result<(), IdentityError> {
        self.change(replacement(origin, entry, &new)?).await.map(|_| ())
    }

    /// Drops an entry with all that it owns. It must be there.
    pub(crate) async fn drop_entry(
        &self,
        grant: &Grant,
        kind: EntryKind,
        name: &str,
    ) -> Result<(), IdentityError> {
        let unknown = || IdentityError::Unknown { what: what(kind), name: name.chars().take(80).collect() };
        let entry = name.parse::<EntryName>().map_err(|_| unknown())?;
        let batch = Batch::of(origin(grant), Write::DropEntry { kind, name: entry });
        let committed = self.change_by(grant, batch).await?;
        if committed.effects == [meta::Effect::Absent] { Err(unknown()) } else { Ok(()) }
    }

    /// Commits a change, and begins a new epoch.
    async fn change(&self, batch: Batch) -> Result<Committed, IdentityError> {
        let _one_at_a_time = self.changing.lock().await;
        self.commit(batch).await
    }

    /// The same for a change that could take the last administrator away.
    async fn change_by(&self, grant: &Grant, batch: Batch) -> Result<Committed, IdentityError> {
        let _one_at_a_time = self.changing.lock().await;
        self.check_administrators(grant, &batch).await?;
        self.commit(batch).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, IdentityError> {
        let is_known = |write: &Write| match write {
            Write::Entry(NewEntry { kind, .. }) | Write::DropEntry { kind, .. } => {
                matches!(kind, EntryKind::Project | EntryKind::Role | EntryKind::Group)
            }
            _ => false,
        };
        let relearn = batch.writes.iter().any(is_known);
        let outcome = self.meta.commit(batch).await;
        // Also where nobody can tell how far a failed commit went.
        if relearn {
            self.learn().await?;
        } else {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        outcome.map_err(|error| match error {
            MetaError::Conflict(condition) => match *condition {
                Condition::ProjectEmpty { project } => IdentityError::ProjectInUse(project.to_string()),
                _ => IdentityError::Conflict,
            },
            MetaError::OwnerMissing { kind, name } => {
                IdentityError::Unknown { what: what(kind), name: name.as_str().to_owned() }
            }
            error => error.into(),
        })
    }
}

impl Directory {
    pub(crate) async fn signing_keys(&self) -> Result<Vec<SigningKey>, IdentityError> {
        Ok(self.all::<SigningKey>(EntryKind::SigningKey).await?.into_iter().map(|(_, key)| key).collect())
    }

    pub(crate) async fn keep_signing_key(
        &self,
        grant: &Grant,
        key: &SigningKey,
    ) -> Result<(), IdentityError> {
        let name = key.kid().into();
        self.create(grant, New { kind: EntryKind::SigningKey, name, record: key, owners: Vec::new() }).await
    }
}

/// An entry to be written.
struct New<'a, T> {
    kind: EntryKind,
    name: Cow<'a, str>,
    record: &'a T,
    owners: Vec<(EntryKind, String)>,
}

impl<T: Serialize> New<'_, T> {
    fn entry(&self) -> Result<NewEntry, IdentityError> {
        let value = serde_json::to_string(self.record).map_err(|error| IdentityError::Damaged {
            name: self.name.clone().into_owned(),
            reason: error.to_string(),
        })?;
        let owners = self.owners.iter().map(|(kind, name)| Ok((*kind, entry_name(name)?)));
        let owners = owners.collect::<Result<_, IdentityError>>()?;
        Ok(NewEntry { kind: self.kind, name: entry_name(&self.name)?, value, owners })
    }
}

/// The change that replaces an entry as it was read.
fn replacement<T: Serialize>(
    origin: Origin,
    entry: &Entry,
    new: &New<'_, T>,
) -> Result<Batch, IdentityError> {
    let condition =
        Condition::EntryIs { kind: new.kind, name: entry.name.clone(), revision: Some(entry.revision) };
    Ok(Batch::of(origin, Write::Entry(new.entry()?)).when(condition))
}

fn entry_name(name: &str) -> Result<EntryName, IdentityError> {
    name.parse().map_err(|error| IdentityError::Invalid(format!("{error}")))
}

fn read<T: DeserializeOwned>(entry: &Entry) -> Result<T, IdentityError> {
    serde_json::from_str(&entry.value).map_err(|error| damaged(&entry.name, error.to_string()))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(name: &EntryName) -> Result<T, IdentityError> {
    name.as_str().parse().map_err(|error: T::Err| damaged(name, error.to_string()))
}

fn damaged(name: &EntryName, reason: String) -> IdentityError {
    IdentityError::Damaged { name: name.as_str().to_owned(), reason }
}

/// What a kind is called in messages.
fn what(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Membership => "member of that group",
        EntryKind::Binding => "member with that role",
        EntryKind::SigningKey => "signing key",
        EntryKind::Factor => "second factor",
        EntryKind::EndedSession => "ended session",
        kind => kind.name(),
    }
}

/// Who stands behind a grant, as events remember it.
pub(crate) fn origin(grant: &Grant) -> Origin {
    let context = grant.context();
    Origin {
        actor: grant.actor().to_string(),
        address: context.address,
        agent: context.agent.clone(),
        request: context.request.clone(),
    }
}

/// A grant for something else is a mistake in the house, and is refused all the same.
fn expect(grant: &Grant, action: Action, target: &Target) -> Result<(), IdentityError> {
    if grant.action() == action && grant.target() == target { Ok(()) } else { Err(IdentityError::WrongGrant) }
}

/// Cuts what people write about something.
fn check_text(what: &str, text: &str, longest: usize) -> Result<(), IdentityError> {
    if text.chars().count() > longest || text.chars().any(char::is_control) {
        return Err(IdentityError::Invalid(format!(
            "the {what} must have at most {longest} characters, none of them a control character"
        )));
    }
    Ok(())
}
