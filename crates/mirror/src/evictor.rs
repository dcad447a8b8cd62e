//! Who evicts: a task that knows what is in the cache, and takes away what is too much.
//!
//! What it knows it reads from the metadata, a page at a time, while requests are answered; from then on it is told. In
//! between it is read anew now and then, for blobs also go with the images that needed them, or turn into somebody's own.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use blob::BlobId;
use evict::{Key, Policy, Victim};
use oci::Digest;
use registry::{Registry, RegistryError};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::pins::{self, Pin};
use crate::room::{Arrival, Room};

/// How many blobs are read at once.
const PAGE: usize = 1_000;

/// How many blobs are evicted at once.
const STEP: usize = 100;

/// For how many entries one search goes on before others have their turn.
const SEARCH: usize = 10_000;

/// How often it is looked whether there is something to do that nobody told.
const LOOK: Duration = Duration::from_secs(1);

/// How often all is read anew.
const LIST_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// After an error nothing is tried for so long.
const REST: Duration = Duration::from_secs(10);

/// The same where all is pinned: to find that out takes long.
const LONG_REST: Duration = Duration::from_secs(60);

/// For how long it is believed what pinned tags need.
const PINNED_FOR: Duration = Duration::from_secs(10);

/// The one who evicts.
pub(crate) struct Evictor {
    registry: Arc<Registry>,
    room: Arc<Room>,
    arrivals: mpsc::Receiver<Arrival>,
    policy: Policy,
    /// What pinned tags need, and since when that is known.
    pinned: Option<(HashSet<BlobId>, Instant)>,
    /// When the disk was last looked at: what was deleted and is still read is free only later.
    looked: Option<Instant>,
    rests_until: Option<Instant>,
}

fn key(id: BlobId) -> Key {
    *id.as_bytes()
}

/// What a content is remembered by when it has gone.
fn content(digest: &Digest) -> u64 {
    digest.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Leaves as much time to others as something took.
async fn rest(started: Instant) {
    sleep(started.elapsed().min(LOOK)).await;
}

impl Evictor {
    pub fn new(registry: Arc<Registry>, room: Arc<Room>, arrivals: mpsc::Receiver<Arrival>) -> Self {
        Self {
            registry,
            room,
            arrivals,
            policy: Policy::default(),
            pinned: None,
            looked: None,
            rests_until: None,
        }
    }

    /// Evicts for ever.
    pub async fn run(mut self) {
        // What a crash left.
        if let Err(error) = self.registry.delete_condemned().await {
            tracing::error!(%error, "what was evicted before could not be deleted");
        }
        loop {
            let listed = Instant::now();
            if let Err(error) = self.list().await {
                tracing::error!(%error, "it could not be read what is in the cache: it is tried again");
                sleep(REST).await;
                continue;
            }
            while listed.elapsed() < LIST_EVERY {
                self.wait().await;
                self.make_room().await;
            }
        }
    }

    /// Reads what is in the cache.
    async fn list(&mut self) -> Result<(), RegistryError> {
        self.policy.begin_listing();
        let mut after = None;
        loop {
            let started = Instant::now();
            let page = self.registry.meta().cached_blobs(after, PAGE).await?;
            for blob in &page {
                self.policy.list(key(blob.id), blob.size);
            }
            let is_last = page.len() < PAGE;
            after = page.last().map(|blob| blob.id);
            self.take_notes().await;
            self.make_room().await;
            if is_last {
                break;
            }
            rest(started).await;
        }
        // Where there is much, this takes a while.
        let mut policy = std::mem::take(&mut self.policy);
        let settled = tokio::task::spawn_blocking(move || {
            let gone = policy.end_listing();
            (policy, gone)
        });
        // It fails only in a panic or at the end of the process, and then all is read anew.
        let (policy, gone) = settled.await.unwrap_or_default();
        self.policy = policy;
        self.tell();
        self.room.is_listed.store(true, Ordering::Relaxed);
        let (blobs, bytes) = (self.policy.len(), self.policy.bytes());
        tracing::info!(blobs, bytes, gone, "the cache was looked through");
        Ok(())
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self) {
        tokio::select! {
            arrival = self.arrivals.recv() => {
                if let Some(arrival) = arrival {
                    self.note(arrival).await;
                }
            }
            () = self.room.wake.notified() => {}
            () = sleep(LOOK) => {}
        }
        self.take_notes().await;
    }

    async fn take_notes(&mut self) {
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.note(arrival).await;
        }
        for id in self.room.take_hits() {
            self.policy.hit(&key(id));
        }
        self.tell();
    }

    async fn note(&mut self, Arrival { id, digest, size, is_too_large }: Arrival) {
        if is_too_large {
            match self.let_go(id).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%digest, %error, "a blob larger than the cache was not removed")
                }
            }
        }
        self.policy.insert(key(id), content(&digest), size);
    }

    /// Lets go of one, unless it is pinned: then others make room for it. Says whether it has gone.
    async fn let_go(&mut self, id: BlobId) -> Result<bool, RegistryError> {
        let is_pinned = self.is_pinned(id).await?;
        if !is_pinned {
            self.evict(vec![id]).await?;
        }
        Ok(!is_pinned)
    }

    fn tell(&self) {
        self.room.set(self.policy.bytes(), self.policy.len());
    }

    /// Evicts what is too much.
    async fn make_room(&mut self) {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.rests_until = None;
        let shortage = self.shortage();
        let mut freed = 0;
        // What is too much may grow meanwhile, with each blob that comes.
        while !self.policy.is_empty() && (self.room.excess(self.policy.bytes()) > 0 || freed < shortage) {
            let wanted = self.room.excess(self.policy.bytes()).max(shortage.saturating_sub(freed));
            match self.step(wanted).await {
                Ok(Some(bytes)) => freed += bytes,
                Ok(None) => {
                    tracing::warn!(wanted, "the cache is larger than it should be, and all of it is pinned");
                    return self.rests_until = Some(Instant::now() + LONG_REST);
                }
                Err(error) => {
                    tracing::error!(%error, "blobs could not be evicted: it is tried again");
                    return self.rests_until = Some(Instant::now() + REST);
                }
            }
            self.take_notes().await;
        }
    }

    /// How many bytes the disk lacks.
    fn shortage(&mut self) -> u64 {
        if self.policy.is_empty() || self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return 0;
        }
        self.looked = Some(Instant::now());
        self.room.shortage(self.registry.free_bytes())
    }

    /// Evicts some, at most as much as is wanted and one blob more. Gives how much that was; `None` where nothing can go.
    async fn step(&mut self, wanted: u64) -> Result<Option<u64>, RegistryError> {
        let (mut chosen, mut kept, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut steps, most_kept) = (SEARCH, self.policy.len());
        while chosen.len() < STEP && bytes < wanted && kept.len() < most_kept {
            let Some(victim) = self.policy.take(&mut steps) else {
                if self.policy.is_empty() {
                    break;
                }
                tokio::task::yield_now().await;
                steps = SEARCH;
                continue;
            };
            let Some(id) = BlobId::from_stored(&victim.key) else { continue };
            match self.is_pinned(id).await {
                Ok(false) => {
                    bytes += victim.size;
                    chosen.push((id, victim));
                }
                Ok(true) => kept.push(victim),
                Err(error) => {
                    kept.push(victim);
                    self.put_back(kept.into_iter().chain(chosen.into_iter().map(|(_, victim)| victim)));
                    return Err(error);
                }
            }
        }
        self.put_back(kept);
        if chosen.is_empty() {
            return Ok(None);
        }
        // What has been asked for since stays.
        let hits = self.room.take_hits();
        let (saved, chosen): (Vec<_>, Vec<_>) =
            chosen.into_iter().partition(|(id, _)| hits.binary_search(id).is_ok());
        bytes -= saved.iter().map(|(_, victim)| victim.size).sum::<u64>();
        self.put_back(saved.into_iter().map(|(_, victim)| victim));
        hits.iter().for_each(|id| self.policy.hit(&key(*id)));
        let evicted = self.evict(chosen.iter().map(|(id, _)| *id).collect()).await;
        if evicted.is_err() {
            self.put_back(chosen.into_iter().map(|(_, victim)| victim));
        }
        // What was not there any more, or has become a hosted repository's, makes the cache smaller as well.
        evicted.map(|_| Some(bytes))
    }

    fn put_back(&mut self, victims: impl IntoIterator<Item = Victim>) {
        victims.into_iter().for_each(|victim| self.policy.keep(victim));
    }

    async fn evict(&mut self, ids: Vec<BlobId>) -> Result<(), RegistryError> {
        let gone = self.registry.evict(ids).await?;
        for blob in &gone {
            self.policy.gone(content(&blob.digest));
        }
        self.room.count_evicted(gone.iter().map(|blob| blob.size).sum(), gone.len());
        self.room.made.notify_waiters();
        Ok(())
    }

    async fn is_pinned(&mut self, id: BlobId) -> Result<bool, RegistryError> {
        let pins: &[Pin] = &self.room.limits.pins;
        if pins.is_empty() {
            return Ok(false);
        }
        let is_known = |pinned: &Option<(_, Instant)>| {
            pinned.as_ref().is_some_and(|(_, since)| since.elapsed() < PINNED_FOR)
        };
        if !is_known(&self.pinned) {
            self.pinned = Some((pins::of_tags(&self.registry, pins).await?, Instant::now()));
        }
        if self.pinned.as_ref().is_some_and(|(blobs, _)| blobs.contains(&id)) {
            return Ok(true);
        }
        pins::is_pinned(&self.registry, pins, id).await
    }
}
