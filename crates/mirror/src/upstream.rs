//! An upstream: one or more registries that have the same, asked in order.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{ClientError, Host, Repository};
use meta::Clock;
use oci::{Digest, RepoName};
use registry::{NodeId, Trail};
use tokio::sync::Semaphore;

use crate::error::FetchError;
use crate::health::{Asked, Closed, Standing};
use crate::link::{Link, Signature};
use crate::pace::Pace;
use crate::turns::{Turn, Turns};
use crate::wary::Wary;
use crate::windows::{Figures, Schedule};

/// The most questions that an upstream is asked at once.
const ASKING_MAX: usize = 64;

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
    /// How much may come at once, and when.
    pub schedule: Schedule,
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

/// An upstream.
pub struct Upstream {
    pub(crate) settings: Settings,
    /// What stands before names of a single part, here as there.
    library: Option<String>,
    links: Vec<Link>,
    turns: Turns,
    asking: Semaphore,
    pace: Pace,
    clock: Arc<dyn Clock>,
    wary: Wary,
}

impl Upstream {
    /// Opens an upstream, which is told that `node` asks. Nothing is sent yet.
    pub fn open(
        settings: Settings,
        remotes: Vec<RemoteSettings>,
        node: NodeId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        let library = remotes.iter().find_map(|remote| remote.library.clone());
        let open = |RemoteSettings { host, prefix, client, .. }| {
            Link::open(host, prefix, client, Signature { node, peer: None })
        };
        let links = remotes.into_iter().map(open).collect::<Result<_, _>>()?;
        let (turns, asking, pace) = (Turns::default(), Semaphore::new(ASKING_MAX), Pace::default());
        Ok(Self { settings, library, links, turns, asking, pace, clock, wary: Wary::default() })
    }

    /// The first part of its repositories' names.
    pub fn key(&self) -> &str {
        &self.settings.key
    }

    /// How it is used.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How much may come at once now.
    pub fn figures(&self) -> Figures {
        self.settings.schedule.at(self.clock.now())
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

    /// Whether nothing stands before what a client calls `path` there.
    pub(crate) fn is_whole(&self, path: &str) -> bool {
        self.library.is_none() || path.contains('/')
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
        self.turns.are_taken(self.most())
    }

    fn most(&self) -> usize {
        self.figures().downloads.max(1)
    }

    /// A turn to fetch something.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, FetchError> {
        self.turns.next(|| self.most()).await
    }

    /// Waits until so many bytes may have come.
    pub(crate) async fn pass(&self, bytes: u64) {
        self.pace.pass(bytes, self.figures().bandwidth).await;
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

    /// Asks its registries in their order until one has it. `path` is the name without the key, and `trail` how the
    /// question came here.
    pub(crate) async fn ask<T, F>(
        &self,
        asked: Asked,
        path: &RepoName,
        trail: &Trail,
        request: impl Fn(Arc<Repository>) -> F,
    ) -> Result<T, FetchError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        self.ask_one(asked, path, trail, &[], request).await.map(|(found, _)| found)
    }

    /// Asks for a blob: those of its registries last that have sent something else in its place. Says which of them has it.
    pub(crate) async fn ask_for_blob<T, F>(
        &self,
        digest: &Digest,
        path: &RepoName,
        trail: &Trail,
        request: impl Fn(Arc<Repository>) -> F,
    ) -> Result<(T, usize), FetchError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let last = self.wary.of(digest, Instant::now());
        self.ask_one(Asked::Blobs, path, trail, &last, request).await
    }

    /// Something else than this came from one of its registries.
    pub(crate) fn distrust(&self, digest: Digest, link: usize) {
        self.wary.note(digest, link, Instant::now());
    }

    /// The same, and which of them has it. Those that are `last` are asked after the others.
    async fn ask_one<T, F>(
        &self,
        asked: Asked,
        path: &RepoName,
        trail: &Trail,
        last: &[usize],
        request: impl Fn(Arc<Repository>) -> F,
    ) -> Result<(T, usize), FetchError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        // At most so many at once: what is asked for beyond waits for its turn.
        let _turn = self.asking.acquire().await;
        let mut worst = FetchError::NotFound;
        let (last, first): (Vec<_>, Vec<_>) =
            self.links.iter().enumerate().partition(|(number, _)| last.contains(number));
        for (number, link) in first.into_iter().chain(last) {
            // Before it is admitted: of one who may try, it must be heard how that went.
            let Some(repository) = link.repository(path, trail) else { continue };
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use meta::Timestamp;

    use super::*;
    use crate::windows::Window;

    struct Set(Mutex<Timestamp>);

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    #[tokio::test]
    async fn what_may_come_at_once_changes_with_the_time() {
        let hours = |hours: i64| Timestamp::from_micros(hours * 3_600_000_000);
        let clock = Arc::new(Set(Mutex::new(hours(7))));
        let day = Window::new(
            ("08:00".parse().unwrap(), "18:00".parse().unwrap()),
            Vec::new(),
            Some(1),
            Some(65_536),
        );
        let usual = Figures { downloads: 2, bandwidth: 0 };
        let settings = Settings {
            key: "hub".into(),
            namespaces: Vec::new(),
            pathless: false,
            fresh_for: Duration::ZERO,
            stale_for: Duration::ZERO,
            absent_for: Duration::ZERO,
            patience: Duration::ZERO,
            schedule: Schedule { windows: vec![day.unwrap()], ..Schedule::always(usual) },
        };
        let upstream = Upstream::open(settings, Vec::new(), NodeId::new(1), clock.clone()).unwrap();
        assert_eq!(upstream.figures(), usual);
        let first = upstream.turn().await.unwrap();
        assert!(!upstream.is_busy());
        *clock.0.lock().unwrap() = hours(8);
        assert_eq!(upstream.figures(), Figures { downloads: 1, bandwidth: 65_536 });
        assert!(upstream.is_busy(), "what has begun goes on, and is as much as may");
        drop(first);
        assert!(!upstream.is_busy());
        *clock.0.lock().unwrap() = hours(18);
        assert_eq!(upstream.figures(), usual);
    }
}
