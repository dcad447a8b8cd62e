//! The audit journal: what is written into it, and when.
//!
//! Pulls, resolved tags, sign-ins, refusals and runs of administration are written as they are answered. Changes are taken from the
//! events that committed with them, so none can be missing; which event was the last is told by the journal itself.

mod event;

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ::audit::{Journal, NewRecord, Options, Outcome, Query, Record, SealKey, Window};
use access::{Action, Actor, Context, Subject, Unauthenticated};
use anyhow::{Context as _, Result, bail};
use http::{Method, StatusCode};
use http_admin::{JournalPlace, Permission};
use http_oci::Operation;
use meta::{Batch, Clock, Event, MetaStore, Origin, SystemClock, Write};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::refusals::{Refusals, Worth};
use crate::span::Span;

/// How often the journal is made durable.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// After how many flushes events are looked for.
const EVENTS_EVERY: u32 = 5;

/// How many events are read at once.
const EVENTS: usize = 500;

/// What the detail of a record of an event begins with.
const EVENT: &str = "event ";

/// The setting that tells how far events have been taken, for when retention has removed all records that do.
const TAKEN: &str = "audit.taken";

/// After how many looks for events that setting is written.
const TAKEN_EVERY: u32 = 100;

/// What the last refusal of an address in a minute that is written says.
const MORE: &str = "more of this address are not written until the minute is over";

/// After how many records that could not be written the log is told again.
const TELL_EVERY: u64 = 1_000;

/// The audit journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// How long records are kept.
    pub keep: Span,
    /// How many bytes of records are kept.
    pub keep_bytes: u64,
    /// A file with the key of the seals: 64 hexadecimal digits. Empty: the seals have no key.
    pub key_file: PathBuf,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            keep: Duration::from_secs(365 * 86_400).into(),
            keep_bytes: 4 << 30,
            key_file: PathBuf::new(),
        }
    }
}

/// Writes the journal.
pub(crate) struct Auditor {
    journal: Arc<Journal>,
    /// The position of the last event that the journal has.
    taken: AtomicI64,
    /// The same, as the setting has it.
    noted: AtomicI64,
    lost: AtomicU64,
}

/// Where the journal of a data folder is, if it has one, and who writes it, if this process does.
pub(crate) fn place(config: &Config, auditor: Option<&Auditor>) -> Result<Option<JournalPlace>> {
    if !config.audit.enabled {
        return Ok(None);
    }
    Ok(Some(JournalPlace {
        folder: folder(&config.data),
        key: key(&config.audit)?.map(Arc::new),
        hostname: hostname().into(),
        writer: auditor.map(|auditor| Arc::clone(&auditor.journal)),
    }))
}

/// What this machine calls itself, for syslog and among its peers.
pub(crate) fn hostname() -> String {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(hostname.trim()).filter(|name| !name.is_empty()).unwrap_or("-").to_owned()
}

fn folder(data: &Path) -> PathBuf {
    data.join("audit")
}

/// The key of the seals: 32 bytes in hex, in a file of its own.
fn key(config: &AuditConfig) -> Result<Option<SealKey>> {
    if config.key_file.as_os_str().is_empty() {
        return Ok(None);
    }
    let name = config.key_file.display();
    let text = std::fs::read_to_string(&config.key_file).with_context(|| format!("cannot read {name}"))?;
    let wrong = || format!("{name} must hold 64 hexadecimal digits, as `openssl rand -hex 32` makes them");
    let bytes = hex::decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    Ok(Some(SealKey::new(&bytes.with_context(wrong)?)))
}

impl Auditor {
    /// Opens the journal, where there is to be one, before anything can happen that belongs into it.
    pub(crate) async fn open(config: &Config, meta: &dyn MetaStore) -> Result<Option<Arc<Self>>> {
        if !config.audit.enabled {
            return Ok(None);
        }
        let options = Options {
            keep_bytes: config.audit.keep_bytes,
            keep_age: config.audit.keep.into(),
            key: key(&config.audit)?,
            ..Options::new(Arc::new(|| SystemClock.now().micros()))
        };
        let folder = folder(&config.data);
        let journal = Journal::open(&folder, options)
            .with_context(|| format!("cannot open the audit journal in {}", folder.display()))?;
        Ok(Some(Arc::new(Self::on(journal, meta).await?)))
    }

    async fn on(journal: Journal, meta: &dyn MetaStore) -> Result<Self> {
        let told = meta.setting(TAKEN).await?.and_then(|text| text.parse::<i64>().ok());
        let written = last_event(&journal).await?;
        let taken = match told.max(written) {
            Some(position) => position,
            // A journal that is new begins with what happens from now on.
            None => last_position(meta).await?,
        };
        let auditor = Self {
            journal: Arc::new(journal),
            taken: AtomicI64::new(taken),
            noted: AtomicI64::new(-1),
            lost: AtomicU64::new(0),
        };
        // On a full disk it waits: whoever starts the server then has to be able to delete.
        if let Err(error) = auditor.note_taken(meta).await {
            tracing::error!(%error, "how far the audit journal is could not be noted");
        }
        Ok(auditor)
    }

    /// Notes how far events have been taken: after what was written of them is durable.
    async fn note_taken(&self, meta: &dyn MetaStore) -> Result<()> {
        let taken = self.taken.load(Ordering::Relaxed);
        if self.noted.load(Ordering::Relaxed) == taken {
            return Ok(());
        }
        let journal = Arc::clone(&self.journal);
        tokio::task::spawn_blocking(move || journal.flush()).await??;
        let write = Write::Setting { name: TAKEN.into(), value: taken.to_string() };
        meta.commit(Batch::of(Origin::default(), write)).await?;
        self.noted.store(taken, Ordering::Relaxed);
        Ok(())
    }

    /// A record that cannot be written stops nobody: the log is told, and the count is in the metrics.
    fn append(&self, record: &NewRecord<'_>) -> bool {
        let Err(error) = self.journal.append(record) else { return true };
        let lost = self.lost.fetch_add(1, Ordering::Relaxed);
        if lost.is_multiple_of(TELL_EVERY) {
            tracing::error!(%error, lost = lost + 1, "the audit journal could not be written");
        }
        false
    }

    /// How many records could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Keeps the journal until the server stops: flushes it, and takes over events.
    pub(crate) async fn run(self: Arc<Self>, meta: Arc<dyn MetaStore>, mut stop: watch::Receiver<bool>) {
        let mut turn = 0_u32;
        loop {
            let ended = tokio::time::timeout(FLUSH_EVERY, stop.wait_for(|stop| *stop)).await.is_ok();
            let looks = ended || turn.is_multiple_of(EVENTS_EVERY);
            if looks && let Err(error) = self.take_events(&*meta).await {
                tracing::error!(%error, "events could not be taken into the audit journal");
            }
            let notes = ended || turn.is_multiple_of(EVENTS_EVERY * TAKEN_EVERY);
            if notes && let Err(error) = self.note_taken(&*meta).await {
                tracing::error!(%error, "how far the audit journal is could not be noted");
            }
            turn = turn.wrapping_add(1);
            let journal = Arc::clone(&self.journal);
            let work = move || if ended { journal.close() } else { journal.flush() };
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the audit journal could not be made durable"),
                Err(error) => tracing::error!(%error, "the audit journal could not be made durable"),
            }
            if ended {
                return;
            }
        }
    }

    /// Writes the events that came since the last time.
    async fn take_events(&self, meta: &dyn MetaStore) -> Result<()> {
        loop {
            let events = meta.events(self.taken.load(Ordering::Relaxed), EVENTS).await?;
            for event in &events {
                if !self.write_event(event) {
                    bail!("the journal cannot be written: event {} waits", event.position);
                }
                self.taken.store(event.position, Ordering::Relaxed);
            }
            if events.len() < EVENTS {
                return Ok(());
            }
        }
    }

    fn write_event(&self, event: &Event) -> bool {
        // That it is forgotten that a session has ended is nobody's doing.
        let Some(action) = event::action_of(event) else { return true };
        let address = event.origin.address.map(|address| address.to_string()).unwrap_or_default();
        let digest = event.digest.map(|digest| digest.to_string()).unwrap_or_default();
        let entry = event.entry.as_ref().map(|(kind, name)| format!("{kind} {name}")).unwrap_or_default();
        let detail = format!("{EVENT}{}", event.position);
        let repository = event.repository.as_ref();
        self.append(&NewRecord {
            actor: if event.origin.actor.is_empty() { "anonymous" } else { &event.origin.actor },
            action: &action,
            project: repository
                .and_then(|name| name.projects().next())
                .unwrap_or_else(|| event::project_of(event)),
            repository: repository.map_or("", |name| name.as_str()),
            reference: event.tag.as_ref().map_or("", |tag| tag.as_str()),
            digest: &digest,
            entry: &entry,
            address: &address,
            agent: event.origin.agent.as_deref().unwrap_or_default(),
            request: event.origin.request.as_deref().unwrap_or_default(),
            detail: &detail,
            ..NewRecord::default()
        })
    }
}

/// The last event that the journal has, if it has any.
async fn last_event(journal: &Journal) -> Result<Option<i64>> {
    let position = |record: &Record| record.detail.strip_prefix(EVENT)?.parse().ok();
    // On a full disk some are in no file yet.
    if let Some(last) = journal.waiting().iter().rev().find_map(position) {
        return Ok(Some(last));
    }
    let folder = journal.folder().to_owned();
    let query = Query { text: Some(EVENT.into()), ..Query::default() };
    let find = move || -> Result<Option<i64>, ::audit::AuditError> {
        let mut window = Window { records: 100, ..Window::default() };
        loop {
            let page = ::audit::search(&folder, &query, &window)?;
            if let Some(last) = page.records.iter().find_map(position) {
                return Ok(Some(last));
            }
            match page.next {
                Some(next) => window.after = Some(next),
                None => return Ok(None),
            }
        }
    };
    Ok(tokio::task::spawn_blocking(find).await??)
}

/// The position of the newest event: found by its place, for positions have no gaps.
async fn last_position(meta: &dyn MetaStore) -> Result<i64> {
    let exists = async |after: i64| Ok::<_, meta::MetaError>(!meta.events(after, 1).await?.is_empty());
    let (mut low, mut high) = (0_i64, 1_i64);
    while exists(high).await? {
        (low, high) = (high, high.saturating_mul(2));
    }
    if !exists(low).await? {
        return Ok(low);
    }
    // There is an event after `low`, and none after `high`.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if exists(middle).await? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(high)
}

/// What requests tell of: metrics and the journal.
pub(crate) struct Observers {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) auditor: Option<Arc<Auditor>>,
    pub(crate) refusals: Refusals,
}

impl Observers {
    /// Writes that somebody was refused: of nobody in particular, not without end. A password that was `right` must
    /// not be lost among guesses that were not.
    fn refused(
        &self,
        auditor: &Auditor,
        subject: Option<&Subject>,
        address: Option<IpAddr>,
        right: Option<&str>,
        record: &NewRecord<'_>,
    ) {
        let worth = match subject.filter(|subject| !subject.is_anonymous()) {
            None if right.is_none() => self.refusals.count(address, SystemClock.now().micros()),
            _ => Worth::Written,
        };
        match worth {
            Worth::Written => {
                auditor.append(&NewRecord { detail: right.unwrap_or(record.detail), ..*record })
            }
            Worth::Last => auditor.append(&NewRecord { detail: MORE, ..*record }),
            Worth::Passed => false,
        };
    }
}

/// What each record of a request has.
struct Asked<'a> {
    actor: Cow<'a, str>,
    via: &'static str,
    address: String,
    context: &'a Context,
    status: StatusCode,
}

impl<'a> Asked<'a> {
    fn of(
        subject: Option<&'a Subject>,
        claimed: Option<&'a str>,
        context: &'a Context,
        status: StatusCode,
    ) -> Self {
        let actor = match subject.map(Subject::actor) {
            None => Cow::Borrowed(claimed.unwrap_or("unknown")),
            Some(Actor::Anonymous) => Cow::Borrowed("anonymous"),
            Some(Actor::User(name) | Actor::Robot(name)) => Cow::Borrowed(&**name),
            Some(other) => Cow::Owned(other.to_string()),
        };
        let via = subject.map_or("", Subject::via);
        let address = context.address.map(|address| address.to_string()).unwrap_or_default();
        Self { actor, via, address, context, status }
    }

    fn record<'r>(&'r self, action: &'r str, outcome: Outcome) -> NewRecord<'r> {
        NewRecord {
            actor: &self.actor,
            via: self.via,
            action,
            address: &self.address,
            agent: self.context.agent.as_deref().unwrap_or_default(),
            request: self.context.request.as_deref().unwrap_or_default(),
            status: self.status.as_u16(),
            outcome,
            ..NewRecord::default()
        }
    }
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS)
}

/// What is to be told of the password of who was refused, where it was right. Who sent none has claimed no name.
fn right(claimed: Option<&str>, why: Option<&Unauthenticated>) -> Option<&'static str> {
    claimed.and(why).and_then(Unauthenticated::of_right_password)
}

/// What somebody wanted who was refused.
fn wanted(operation: Operation) -> &'static str {
    match operation.permission() {
        http_oci::Permission::Repository(action) => action.name(),
        http_oci::Permission::List => "catalog",
        http_oci::Permission::SignedIn => "sign-in",
    }
}

/// What somebody got who read something. Many clients ask by HEAD what a tag stands for, and then pull that by its
/// digest: nothing else would tell which tag they pulled.
fn taken(observation: &http_oci::Observation<'_>) -> Option<&'static str> {
    let http_oci::Observation { operation, status, method, reference, .. } = *observation;
    // Who is sent elsewhere for a blob takes it there, and what a cache there gives out nobody here is told.
    let is_given = status.is_success() || status == StatusCode::TEMPORARY_REDIRECT;
    match (operation, method) {
        _ if !is_given => None,
        (Some(Operation::GetManifest), &Method::GET) => Some("pull"),
        (Some(Operation::GetBlob), &Method::GET) => Some("pull.blob"),
        (Some(Operation::GetManifest), &Method::HEAD)
            if matches!(reference, Some(oci::Reference::Tag(_))) =>
        {
            Some("resolve")
        }
        _ => None,
    }
}

impl http_oci::Observe for Observers {
    fn observe(&self, observation: &http_oci::Observation<'_>) {
        self.metrics.observe(observation);
        let Some(auditor) = &self.auditor else { return };
        let http_oci::Observation { operation, status, subject, context, .. } = *observation;
        let refused = is_refusal(status);
        let taken = taken(observation);
        if taken.is_none() && !refused && !observation.signed_in {
            return;
        }
        let asked = Asked::of(subject, observation.claimed, context, status);
        if observation.signed_in {
            auditor.append(&asked.record("sign-in", Outcome::Success));
        }
        let action = match (subject, operation) {
            _ if taken.is_none() && !refused => return,
            (None, _) => "sign-in",
            // Clients ask as nobody first, to learn how to sign in.
            (Some(subject), Some(Operation::Version)) if subject.is_anonymous() => return,
            (Some(_), Some(operation)) => taken.unwrap_or_else(|| wanted(operation)),
            (Some(_), None) => return,
        };
        let reference = match observation.reference {
            Some(oci::Reference::Tag(tag)) => tag.as_str(),
            _ => "",
        };
        let named = match observation.reference {
            Some(oci::Reference::Digest(digest)) if observation.digest.is_none() => digest.to_string(),
            _ => String::new(),
        };
        let repository = observation.repository;
        let detail = observation.replaced.map(|upstream| format!("fallback {upstream}")).unwrap_or_default();
        let record = NewRecord {
            project: repository.and_then(|name| name.projects().next()).unwrap_or_default(),
            repository: repository.map_or("", |name| name.as_str()),
            reference,
            digest: observation.digest.unwrap_or(&named),
            detail: &detail,
            ..asked.record(action, if taken.is_some() { Outcome::Success } else { Outcome::Denied })
        };
        if taken.is_some() {
            auditor.append(&record);
        } else {
            let right = right(observation.claimed, observation.why);
            self.refused(auditor, subject, context.address, right, &record);
        }
    }
}

impl http_admin::Observe for Observers {
    fn observe(&self, observation: &http_admin::Observation<'_>) {
        let Some(auditor) = &self.auditor else { return };
        let http_admin::Observation { route, status, subject, context, .. } = *observation;
        let asked = Asked::of(subject, observation.claimed, context, status);
        let refused = is_refusal(status);
        if observation.signed_in {
            let detail = if route.is_none() { observation.detail } else { "" };
            auditor.append(&NewRecord { detail, ..asked.record("sign-in", Outcome::Success) });
        }
        // What is changed is told by its event; that a collection, a check or a rehearsal was run, by nothing else.
        let ran = route.is_some_and(|route| {
            route.permission == Permission::System(Action::Administer) && route.method != "GET"
        });
        let action = match (subject, route) {
            (None, _) if refused => "sign-in",
            (Some(_), Some(route)) if refused || ran => route.name,
            _ => return,
        };
        let outcome = match status {
            status if is_refusal(status) => Outcome::Denied,
            status if status.is_success() => Outcome::Success,
            _ => Outcome::Failed,
        };
        let record = NewRecord {
            project: observation.project.map_or("", |project| project.as_str()),
            detail: observation.detail,
            ..asked.record(action, outcome)
        };
        if refused {
            let right = right(observation.claimed, observation.why);
            self.refused(auditor, subject, context.address, right, &record);
        } else {
            auditor.append(&record);
        }
    }
}

impl ::console::Observe for Observers {
    fn observe(&self, observation: &::console::Observation<'_>) {
        let Some(auditor) = &self.auditor else { return };
        let (action, outcome, status) = match observation.event {
            ::console::Event::SignedIn => ("sign-in", Outcome::Success, StatusCode::OK),
            ::console::Event::Refused => ("sign-in", Outcome::Denied, StatusCode::FORBIDDEN),
            ::console::Event::FactorWanted => ("sign-in", Outcome::Denied, StatusCode::UNAUTHORIZED),
            ::console::Event::SignedOut => ("sign-out", Outcome::Success, StatusCode::OK),
        };
        let asked = Asked::of(observation.subject, observation.claimed, observation.context, status);
        auditor.append(&NewRecord { detail: observation.detail, ..asked.record(action, outcome) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_sql::SqliteMeta;

    fn made(name: &str) -> Batch {
        let entry = meta::NewEntry {
            kind: meta::EntryKind::Group,
            name: name.parse().unwrap(),
            value: "{}".into(),
            owners: Vec::new(),
        };
        Batch::of(Origin { actor: "ann".into(), ..Origin::default() }, Write::Entry(entry))
    }

    async fn auditor(folder: &Path, meta: &dyn MetaStore) -> Auditor {
        let journal = Journal::open(folder, Options::new(Arc::new(|| SystemClock.now().micros()))).unwrap();
        Auditor::on(journal, meta).await.unwrap()
    }

    fn entries(auditor: &Auditor) -> Vec<String> {
        auditor.journal.settle().unwrap();
        let folder = auditor.journal.folder();
        let oldest_first = Window { newest_first: false, ..Window::default() };
        let page = ::audit::search(folder, &Query::default(), &oldest_first).unwrap();
        page.records.into_iter().map(|record| format!("{} {}", record.action, record.entry)).collect()
    }

    #[tokio::test]
    async fn each_event_is_written_once_however_often_the_server_starts() {
        let folder = tempfile::tempdir().unwrap();
        let meta: Arc<dyn MetaStore> = Arc::new(SqliteMeta::in_memory(Arc::new(SystemClock)).unwrap());
        meta.commit(made("before")).await.unwrap();
        let first = auditor(folder.path(), &*meta).await;
        first.take_events(&*meta).await.unwrap();
        assert_eq!(entries(&first), Vec::<String>::new(), "what was before the journal is not in it");
        for name in ["one", "two"] {
            meta.commit(made(name)).await.unwrap();
        }
        first.take_events(&*meta).await.unwrap();
        drop(first);
        meta.commit(made("three")).await.unwrap();
        let second = auditor(folder.path(), &*meta).await;
        second.take_events(&*meta).await.unwrap();
        second.take_events(&*meta).await.unwrap();
        let expect = ["one", "two", "three"].map(|name| format!("group.create group {name}"));
        assert_eq!(entries(&second), expect);
        assert_eq!(meta.events(0, 10).await.unwrap().len(), 4);
    }

    #[tokio::test]
    async fn events_are_not_passed_over_where_no_record_tells_of_them_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let meta: Arc<dyn MetaStore> = Arc::new(SqliteMeta::in_memory(Arc::new(SystemClock)).unwrap());
        let first = auditor(folder.path(), &*meta).await;
        meta.commit(made("taken")).await.unwrap();
        first.take_events(&*meta).await.unwrap();
        first.note_taken(&*meta).await.unwrap();
        drop(first);
        meta.commit(made("pending")).await.unwrap();
        // All that told of events is gone, as when retention has removed it.
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::fs::create_dir(folder.path()).unwrap();
        let second = auditor(folder.path(), &*meta).await;
        second.take_events(&*meta).await.unwrap();
        assert_eq!(entries(&second), ["group.create group pending"]);
    }

    #[tokio::test]
    async fn the_newest_event_is_found() {
        let meta: Arc<dyn MetaStore> = Arc::new(SqliteMeta::in_memory(Arc::new(SystemClock)).unwrap());
        for expect in 0..20 {
            assert_eq!(last_position(&*meta).await.unwrap(), expect);
            meta.commit(made(&format!("g{expect}"))).await.unwrap();
        }
    }
}
