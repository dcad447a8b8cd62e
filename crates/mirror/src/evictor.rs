//! Who evicts: a task that knows what is in the cache, and takes away what is too much.
//!
//! What it knows it reads from the metadata, a page at a time, while requests are answered; from then on it is told. In
//! between it is read anew now and then, for blobs also go with the images that needed them, or turn into somebody's own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use blob::BlobId;
use evict::{Key, Policy, Victim};
use oci::Digest;
use registry::{Evicted, Registry, RegistryError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
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

/// How often what is condemned is deleted.
const CLEAN_EVERY: Duration = Duration::from_secs(10);

/// For how long what was found pinned is not looked at again: where there is much of it, that takes long.
const HELD_FOR: Duration = Duration::from_secs(60);

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
    held: Held,
    /// Whether a listing has begun, and not come to its end.
    is_listing: bool,
    /// When the disk was last looked at: what was deleted and is still read is free only later.
    looked: Option<Instant>,
    rests_until: Option<Instant>,
    cleaning: Option<JoinHandle<()>>,
    cleaned: Option<Instant>,
}

/// What would have gone, and was found pinned. It is out of the others' way for a while.
#[derive(Default)]
struct Held {
    entries: HashMap<Key, u64>,
    bytes: u64,
    since: Option<Instant>,
}

impl Held {
    fn insert(&mut self, victim: &Victim) {
        self.since.get_or_insert_with(Instant::now);
        if self.entries.insert(victim.key, victim.size).is_none() {
            self.bytes += victim.size;
        }
    }

    fn is_over(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() > HELD_FOR)
    }
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
            held: Held::default(),
            is_listing: false,
            looked: None,
            rests_until: None,
            cleaning: None,
            cleaned: None,
        }
    }

    /// Evicts for ever.
    pub async fn run(mut self) {
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
                self.clean();
            }
        }
    }

    /// Reads what is in the cache.
    async fn list(&mut self) -> Result<(), RegistryError> {
        // One that is tried again goes on with the same marks: else what it has not seen yet would look as if it had.
        if !std::mem::replace(&mut self.is_listing, true) {
            self.policy.begin_listing();
        }
        let mut after = None;
        loop {
            let started = Instant::now();
            let page = self.registry.meta().cached_blobs(after, PAGE).await?;
            for blob in page.iter().filter(|blob| !self.held.entries.contains_key(&key(blob.id))) {
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
        (self.policy, self.is_listing) = (policy, false);
        self.tell();
        self.room.is_listed.store(true, Ordering::Relaxed);
        let (blobs, bytes) = (self.blobs(), self.bytes());
        tracing::info!(blobs, bytes, gone, "the cache was looked through");
        Ok(())
    }

    /// Deletes what is condemned: what a crash left, and what was pushed twice. It may be any number, and nobody need wait
    /// for it.
    fn clean(&mut self) {
        let is_time = self.cleaned.is_none_or(|cleaned| cleaned.elapsed() > CLEAN_EVERY);
        if !is_time || self.cleaning.as_ref().is_some_and(|cleaning| !cleaning.is_finished()) {
            return;
        }
        self.cleaned = Some(Instant::now());
        let registry = self.registry.clone();
        self.cleaning = Some(tokio::spawn(async move {
            if let Err(error) = registry.delete_condemned().await {
                tracing::error!(%error, "what nobody needs any more could not be deleted");
            }
        }));
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
        if self.is_pinned(id).await? {
            return Ok(false);
        }
        self.evict(vec![id]).await.error.map_or(Ok(true), Err)
    }

    fn bytes(&self) -> u64 {
        self.policy.bytes() + self.held.bytes
    }

    fn blobs(&self) -> usize {
        self.policy.len() + self.held.entries.len()
    }

    fn tell(&self) {
        self.room.set(self.bytes(), self.blobs(), self.held.bytes);
    }

    /// Evicts what is too much.
    async fn make_room(&mut self) {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.rests_until = None;
        if self.held.is_over() {
            let Held { entries, .. } = std::mem::take(&mut self.held);
            self.put_back(entries.into_iter().map(|(key, size)| Victim { key, size }));
        }
        let shortage = self.shortage();
        let mut freed = 0;
        // What is too much may grow meanwhile, with each blob that comes.
        while !self.policy.is_empty() && (self.excess() > 0 || freed < shortage) {
            let wanted = self.excess().max(shortage.saturating_sub(freed));
            match self.step(wanted).await {
                Ok(bytes) => freed += bytes,
                Err(error) => {
                    tracing::error!(%error, "blobs could not be evicted: it is tried again");
                    return self.rests_until = Some(Instant::now() + REST);
                }
            }
            self.take_notes().await;
            if self.policy.is_empty() && (self.excess() > 0 || freed < shortage) {
                tracing::warn!(wanted, "the cache is larger than it should be, and all of it is pinned");
            }
        }
    }

    fn excess(&self) -> u64 {
        self.room.excess(self.bytes())
    }

    /// How many bytes the disk lacks.
    fn shortage(&mut self) -> u64 {
        if self.policy.is_empty() || self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return 0;
        }
        self.looked = Some(Instant::now());
        self.room.shortage(self.registry.free_bytes())
    }

    /// Evicts some, at most as much as is wanted and one blob more. Gives how much that was.
    async fn step(&mut self, wanted: u64) -> Result<u64, RegistryError> {
        let (mut chosen, mut held, mut bytes) = (Vec::new(), 0, 0);
        let mut steps = SEARCH;
        while chosen.len() < STEP && bytes < wanted && held < PAGE {
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
                Ok(true) => {
                    held += 1;
                    self.held.insert(&victim);
                }
                Err(error) => {
                    self.put_back(chosen.into_iter().map(|(_, victim)| victim).chain([victim]));
                    return Err(error);
                }
            }
        }
        // What has been asked for since stays.
        let hits = self.room.take_hits();
        let (saved, chosen): (Vec<_>, Vec<_>) =
            chosen.into_iter().partition(|(id, _)| hits.binary_search(id).is_ok());
        bytes -= saved.iter().map(|(_, victim)| victim.size).sum::<u64>();
        self.put_back(saved.into_iter().map(|(_, victim)| victim));
        hits.iter().for_each(|id| self.policy.hit(&key(*id)));
        if chosen.is_empty() {
            return Ok(0);
        }
        let Evicted { gone, error } = self.evict(chosen.iter().map(|(id, _)| *id).collect()).await;
        let Some(error) = error else {
            // What was not there any more, or has become a hosted repository's, makes the cache smaller as well.
            return Ok(bytes);
        };
        let gone: HashSet<BlobId> = gone.iter().map(|blob| blob.id).collect();
        let left = chosen.into_iter().filter(|(id, _)| !gone.contains(id));
        self.put_back(left.map(|(_, victim)| victim));
        Err(error)
    }

    fn put_back(&mut self, victims: impl IntoIterator<Item = Victim>) {
        victims.into_iter().for_each(|victim| self.policy.keep(victim));
    }

    async fn evict(&mut self, ids: Vec<BlobId>) -> Evicted {
        let evicted = self.registry.evict(ids).await;
        for blob in &evicted.gone {
            self.policy.gone(content(&blob.digest));
        }
        self.room.count_evicted(evicted.gone.iter().map(|blob| blob.size).sum(), evicted.gone.len());
        self.room.made.notify_waiters();
        evicted
    }

    async fn is_pinned(&mut self, id: BlobId) -> Result<bool, RegistryError> {
        let pins: &[Pin] = &self.room.limits.pins;
        if pins.is_empty() {
            return Ok(false);
        }
        let is_known = |pinned: &Option<(_, Instant)>| {
            pinned.as_ref().is_some_and(|(_, since)| since.elapsed() < PINNED_FOR)
        };
        // A pinned tag that has moved, or a blob that has come, counts from now on.
        if self.room.take_changed() || !is_known(&self.pinned) {
            self.pinned = Some((pins::of_tags(&self.registry, pins).await?, Instant::now()));
        }
        if self.pinned.as_ref().is_some_and(|(blobs, _)| blobs.contains(&id)) {
            return Ok(true);
        }
        pins::is_pinned(&self.registry, pins, id).await
    }
}
