//! An upstream: one or more registries that have the same, asked in order.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::{Answered, ClientError, FailureKind, Host, Remote, Repository, Watch};
use oci::RepoName;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::FetchError;
use crate::health::{Asked, Closed, Health, Said, Standing};
use crate::pace::Pace;

/// The most questions that an upstream is asked at once.
const ASKING_MAX: usize = 64;

/// The most blobs that wait for their turn.
const WAITING_MAX: usize = 1_000;

/// The most repositories of a remote that are kept open.
const OPEN_MAX: usize = 1_000;

/// How an upstream is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The first part of the names of its repositories here.
    pub key: String,
    /// What clients call it in `ns`: `docker.io`.
    pub namespaces: Vec<String>,
    /// Whether it is meant by names that are no others'.
    pub pathless: bool,
    /// For how long a tag is believed.
    pub fresh_for: Duration,
    /// For how much longer it is given out while it is looked at again.
    pub stale_for: Duration,
    /// For how long it is believed that something is not there.
    pub absent_for: Duration,
    /// How long a client waits for an answer where there is an old one.
    pub patience: Duration,
    /// How many blobs are fetched at once.
    pub downloads: usize,
    /// How many bytes of blobs a second; any number where that is 0.
    pub bandwidth: u64,
}

/// One of its registries.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// Its host.
    pub host: Host,
    /// What its repositories' names begin with there, beyond what they are called here.
    pub prefix: Option<RepoName>,
    /// What stands before names of a single part: `library`, on Docker Hub.
    pub library: Option<String>,
    /// How to talk to it.
    pub client: client::Settings,
}

/// One registry of an upstream.
pub(crate) struct Link {
    prefix: Option<RepoName>,
    remote: Remote,
    pub(crate) health: Arc<Health>,
    open: Mutex<HashMap<RepoName, Arc<Repository>>>,
    host: Host,
}

/// Learns of limits from answers.
struct Limits(Arc<Health>);

impl Watch for Limits {
    fn answered(&self, answer: &Answered) {
        if let Some(limit) = &answer.limit {
            self.0.note_limit(limit.clone(), Instant::now());
        }
    }
}

/// An upstream.
pub struct Upstream {
    pub(crate) settings: Settings,
    /// What stands before names of a single part, here as there.
    library: Option<String>,
    links: Vec<Link>,
    downloads: Semaphore,
    /// How many wait for their turn to be fetched.
    waiting: AtomicUsize,
    asking: Semaphore,
    pub(crate) pace: Pace,
}

impl Upstream {
    /// Opens an upstream. Nothing is sent yet.
    pub fn open(settings: Settings, remotes: Vec<RemoteSettings>) -> Result<Self, ClientError> {
        let library = remotes.iter().find_map(|remote| remote.library.clone());
        let links = remotes.into_iter().map(Link::open).collect::<Result<_, _>>()?;
        let downloads = Semaphore::new(settings.downloads.clamp(1, Semaphore::MAX_PERMITS));
        let pace = Pace::new(settings.bandwidth);
        let asking = Semaphore::new(ASKING_MAX);
        Ok(Self { settings, library, links, downloads, waiting: AtomicUsize::new(0), asking, pace })
    }

    /// The first part of its repositories' names.
    pub fn key(&self) -> &str {
        &self.settings.key
    }

    /// How it is used.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The repository here of what a client calls `path` there.
    pub(crate) fn repository(&self, path: &str) -> Option<RepoName> {
        let key = self.key();
        let name = match &self.library {
            Some(library) if !path.contains('/') => format!("{key}/{library}/{path}"),
            _ => format!("{key}/{path}"),
        };
        name.parse().ok()
    }

    /// How its registries stand.
    pub fn standing(&self) -> Vec<(String, Standing)> {
        let now = Instant::now();
        self.links.iter().map(|link| (link.host.to_string(), link.health.standing(now))).collect()
    }

    /// Cuts it off for a while, to see that nobody notices. With nothing, ends that.
    pub fn cut(&self, time: Duration) {
        let now = Instant::now();
        self.links.iter().for_each(|link| link.health.cut(now + time));
    }

    /// Whether what is to be fetched has to wait: then it is asked for first whether it is there.
    pub(crate) fn is_busy(&self) -> bool {
        self.downloads.available_permits() == 0
    }

    /// A turn to fetch something. Not without end: what nobody waits for any more waits, too.
    pub(crate) async fn turn(&self) -> Result<SemaphorePermit<'_>, FetchError> {
        struct Left<'a>(&'a AtomicUsize);
        impl Drop for Left<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _left = Left(&self.waiting);
        if before >= WAITING_MAX {
            return Err(FetchError::failing("too many blobs of it are waited for"));
        }
        self.downloads.acquire().await.map_err(|_| FetchError::failing("it is closed"))
    }

    /// Whether what it allows is nearly used up.
    pub(crate) fn is_scarce(&self) -> bool {
        let now = Instant::now();
        self.links.iter().all(|link| link.health.is_scarce(now))
    }

    /// Notes how one of its registries did after it had begun to send a blob.
    pub(crate) fn note(&self, link: usize, error: Option<&ClientError>) {
        if let Some(link) = self.links.get(link) {
            link.note(Asked::Blobs, error);
        }
    }

    /// Asks its registries in their order until one has it. `path` is the name without the key.
    pub(crate) async fn ask<T, F>(
        &self,
        asked: Asked,
        path: &RepoName,
        request: impl Fn(Arc<Repository>) -> F,
    ) -> Result<T, FetchError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        self.ask_one(asked, path, request).await.map(|(found, _)| found)
    }

    /// The same, and which of them has it.
    pub(crate) async fn ask_one<T, F>(
        &self,
        asked: Asked,
        path: &RepoName,
        request: impl Fn(Arc<Repository>) -> F,
    ) -> Result<(T, usize), FetchError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        // At most so many at once: what is asked for beyond waits for its turn.
        let _turn = self.asking.acquire().await;
        let mut worst = FetchError::NotFound;
        for (number, link) in self.links.iter().enumerate() {
            // Before it is admitted: of one who may try, it must be heard how that went.
            let Some(repository) = link.repository(path) else { continue };
            let outcome = match link.health.admit(asked, Instant::now()) {
                Ok(()) => link.call(asked, request(repository)).await,
                Err(Closed { reason, wait }) => {
                    let reason = format!("{}: {reason}", link.host);
                    Err(FetchError::Closed { reason, wait })
                }
            };
            match outcome {
                Ok(found) => return Ok((found, number)),
                Err(error) => worst = worst.or(error),
            }
        }
        Err(worst)
    }
}

impl Link {
    fn open(settings: RemoteSettings) -> Result<Self, ClientError> {
        let RemoteSettings { host, prefix, client, .. } = settings;
        let health = Arc::new(Health::default());
        let client = client::Settings { watcher: Some(Arc::new(Limits(health.clone()))), ..client };
        let remote = Remote::open(&host, &client)?;
        Ok(Self { prefix, remote, health, open: Mutex::default(), host })
    }

    async fn call<T>(
        &self,
        asked: Asked,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, FetchError> {
        let outcome = request.await;
        self.note(asked, outcome.as_ref().err());
        outcome.map_err(FetchError::from)
    }

    /// Notes how a request went.
    pub(crate) fn note(&self, asked: Asked, error: Option<&ClientError>) {
        let said = match error {
            Some(error) => match error.kind() {
                FailureKind::Limited { retry_after } => Said::Later(retry_after),
                // What one client asks for must not close it to all others.
                _ if error.is_outage() => Said::Nothing,
                _ => Said::Something,
            },
            None => Said::Something,
        };
        self.health.note(asked, said, Instant::now());
    }

    fn repository(&self, path: &RepoName) -> Option<Arc<Repository>> {
        let name = match &self.prefix {
            Some(prefix) => format!("{prefix}/{path}").parse().ok()?,
            None => path.clone(),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repository) = open.get(&name) {
            return Some(repository.clone());
        }
        if open.len() >= OPEN_MAX {
            // They are cheap: what is asked for again is opened again.
            open.clear();
        }
        let repository = Arc::new(self.remote.repository(&name));
        open.insert(name, repository.clone());
        Some(repository)
    }
}
