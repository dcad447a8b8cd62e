//! How much the cache may hold, and what it is told of: blobs that come, and blobs that are asked for.
//!
//! Requests note here what they do and go on; the one who evicts, in a task of its own, reads the notes. So nobody waits
//! for it, however much there is in the cache.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use blob::BlobId;
use oci::{Digest, RepoName};
use tokio::sync::{Notify, mpsc};

use crate::pins::Pin;
use crate::stats::CacheStats;

/// So many hits wait to be counted; while they do, more are not noted. What is asked for often is noted sooner or later.
const HITS: usize = 4_096;

/// So many blobs that have come wait to be counted, before the next one waits.
const ARRIVALS: usize = 1_024;

/// How long a blob that is to come waits for room on a full disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// Room is made for so much of a blob that is to come, and then for more, as it comes: an upstream can announce what it
/// never sends.
const AHEAD: u64 = 64 << 20;

/// How much the cache may hold.
#[derive(Clone, Debug, Default)]
pub struct CacheLimits {
    /// The most bytes of its blobs; 0 for all that the disk has.
    pub max_bytes: u64,
    /// How many bytes of the disk it leaves free.
    pub free_bytes: u64,
    /// Whose blobs are not evicted.
    pub pins: Vec<Pin>,
}

/// A blob that has come.
pub(crate) struct Arrival {
    pub id: BlobId,
    pub digest: Digest,
    pub size: u64,
    /// The cache cannot hold it, however much is evicted: it was only passed through.
    pub is_too_large: bool,
}

/// The notes and the sums.
pub(crate) struct Room {
    pub limits: CacheLimits,
    hits: Mutex<Vec<BlobId>>,
    arrivals: mpsc::Sender<Arrival>,
    /// There is something to do.
    pub wake: Notify,
    /// Something was evicted.
    pub made: Notify,
    /// Of blobs that are on their way here: what counts against the limit, what is to come soon, and all that is to come.
    announced: AtomicU64,
    coming: AtomicU64,
    promised: AtomicU64,
    bytes: AtomicU64,
    blobs: AtomicU64,
    /// What of the bytes is known to be pinned.
    held: AtomicU64,
    /// Whether what pinned tags need may be something else since that was last asked.
    is_changed: AtomicBool,
    evicted_bytes: AtomicU64,
    evicted_blobs: AtomicU64,
    /// Whether it is known what is in the cache.
    pub is_listed: AtomicBool,
}

impl Room {
    /// The arrivals are for the one who evicts.
    pub fn new(limits: CacheLimits) -> (Self, mpsc::Receiver<Arrival>) {
        let (arrivals, arrived) = mpsc::channel(ARRIVALS);
        let room = Self {
            limits,
            hits: Mutex::default(),
            arrivals,
            wake: Notify::new(),
            made: Notify::new(),
            announced: AtomicU64::new(0),
            coming: AtomicU64::new(0),
            promised: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            blobs: AtomicU64::new(0),
            held: AtomicU64::new(0),
            is_changed: AtomicBool::new(false),
            evicted_bytes: AtomicU64::new(0),
            evicted_blobs: AtomicU64::new(0),
            is_listed: AtomicBool::new(false),
        };
        (room, arrived)
    }

    /// A blob was asked for, and was here. Never waits.
    pub fn hit(&self, id: BlobId) {
        let is_half_full = match self.hits.try_lock() {
            Ok(mut hits) => note(&mut hits, id),
            Err(TryLockError::Poisoned(poisoned)) => note(&mut poisoned.into_inner(), id),
            Err(TryLockError::WouldBlock) => false,
        };
        if is_half_full {
            self.wake.notify_one();
        }
    }

    /// The blobs that were asked for since the last time, each once: the parts of one pull are no more than that.
    pub fn take_hits(&self) -> Vec<BlobId> {
        let mut hits = {
            let mut hits: MutexGuard<'_, Vec<BlobId>> =
                self.hits.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *hits)
        };
        hits.sort_unstable();
        hits.dedup();
        hits
    }

    /// A blob has come.
    pub async fn arrived(&self, arrival: Arrival) {
        // Fails only where nobody evicts any more: the process ends.
        let _ending = self.arrivals.send(arrival).await;
    }

    /// Whether the cache cannot hold a blob of that size.
    pub fn is_too_large(&self, size: u64) -> bool {
        self.limits.max_bytes > 0 && size > self.limits.max_bytes
    }

    /// Room for a blob that is to come, of a size where that is known. Waits a while where the disk has none now, of which
    /// `free` tells; `None` where it would have none, beside what else is to come, if all were evicted that may be.
    pub async fn reserve(&self, size: Option<u64>, free: impl Fn() -> u64) -> Option<Reservation<'_>> {
        let promised = size.unwrap_or(AHEAD);
        let before = self.promised.fetch_add(promised, Ordering::Relaxed);
        let left = AtomicU64::new(promised);
        let reservation =
            Reservation { room: self, size, came: AtomicU64::new(0), left, counted: Mutex::default() };
        let needed = before.saturating_add(promised).saturating_add(self.limits.free_bytes);
        if self.is_listed.load(Ordering::Relaxed) && needed > free().saturating_add(self.evictable()) {
            return None;
        }
        reservation.count();
        self.wake.notify_one();
        let wait = async {
            loop {
                let made = self.made.notified();
                if free() >= self.coming.load(Ordering::Relaxed) {
                    return;
                }
                made.await;
            }
        };
        // Where there is none, the download will say so.
        let _in_vain = tokio::time::timeout(PATIENCE, wait).await;
        Some(reservation)
    }

    fn evictable(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed).saturating_sub(self.held.load(Ordering::Relaxed))
    }

    /// Something of a repository has come here, or a tag of it has moved.
    pub fn changed(&self, repository: &RepoName) {
        let is_of = |pin: &Pin| matches!(pin, Pin::Tag(pinned, _) if pinned == repository);
        if self.limits.pins.iter().any(is_of) {
            self.is_changed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether that was so since the last time.
    pub fn take_changed(&self) -> bool {
        self.is_changed.swap(false, Ordering::Relaxed)
    }

    /// By how many bytes the cache is larger than it should be, when it has `bytes` and will have those that are coming.
    pub fn excess(&self, bytes: u64) -> u64 {
        let most = self.limits.max_bytes;
        if most == 0 {
            return 0;
        }
        bytes.saturating_add(self.announced.load(Ordering::Relaxed)).saturating_sub(most)
    }

    /// How many bytes the disk lacks, when it has `free` ones.
    pub fn shortage(&self, free: u64) -> u64 {
        self.limits.free_bytes.saturating_add(self.coming.load(Ordering::Relaxed)).saturating_sub(free)
    }

    /// Tells what is in the cache now, and how much of it is pinned as far as that is known.
    pub fn set(&self, bytes: u64, blobs: usize, held: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
        self.blobs.store(blobs as u64, Ordering::Relaxed);
    }

    /// Counts what was evicted.
    pub fn count_evicted(&self, bytes: u64, blobs: usize) {
        self.evicted_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.evicted_blobs.fetch_add(blobs as u64, Ordering::Relaxed);
    }

    pub fn stats(&self) -> CacheStats {
        CacheStats {
            bytes: self.bytes.load(Ordering::Relaxed),
            blobs: self.blobs.load(Ordering::Relaxed),
            evicted_bytes: self.evicted_bytes.load(Ordering::Relaxed),
            evicted_blobs: self.evicted_blobs.load(Ordering::Relaxed),
        }
    }
}

/// Says whether that makes half of them.
fn note(hits: &mut Vec<BlobId>, id: BlobId) -> bool {
    if hits.len() < HITS {
        hits.push(id);
    }
    hits.len() == HITS / 2
}

/// Room for a blob that comes.
pub(crate) struct Reservation<'a> {
    room: &'a Room,
    size: Option<u64>,
    came: AtomicU64,
    /// What of the promise is left.
    left: AtomicU64,
    /// What it has added to the sums of what is announced and coming.
    counted: Mutex<(u64, u64)>,
}

impl Reservation<'_> {
    /// So much of it has come, and is on the disk.
    pub fn received(&self, bytes: u64) {
        let before = self.came.fetch_add(bytes, Ordering::Relaxed);
        // One of an unknown size goes on to promise the same.
        if self.size.is_some() {
            let left = self.left.load(Ordering::Relaxed);
            let bytes = bytes.min(left);
            self.left.store(left - bytes, Ordering::Relaxed);
            self.room.promised.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.count();
        if before / (AHEAD / 4) != (before + bytes) / (AHEAD / 4) {
            self.room.wake.notify_one();
        }
    }

    /// Counts what has come and what is to come soon.
    fn count(&self) {
        let came = self.came.load(Ordering::Relaxed);
        let came = self.size.map_or(came, |size| came.min(size));
        let soon = self.left.load(Ordering::Relaxed).min(AHEAD);
        // What is too large takes nobody's place.
        let is_passed_through = self.room.is_too_large(self.size.unwrap_or(came));
        let announced = if is_passed_through { 0 } else { came.saturating_add(soon) };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (announced_before, soon_before) = *counted;
        self.room.announced.fetch_add(announced, Ordering::Relaxed);
        self.room.announced.fetch_sub(announced_before, Ordering::Relaxed);
        self.room.coming.fetch_add(soon, Ordering::Relaxed);
        self.room.coming.fetch_sub(soon_before, Ordering::Relaxed);
        *counted = (announced, soon);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let (announced, soon) = *self.counted.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.room.announced.fetch_sub(announced, Ordering::Relaxed);
        self.room.coming.fetch_sub(soon, Ordering::Relaxed);
        self.room.promised.fetch_sub(*self.left.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(max_bytes: u64, free_bytes: u64) -> Room {
        Room::new(CacheLimits { max_bytes, free_bytes, pins: Vec::new() }).0
    }

    #[tokio::test]
    async fn what_is_announced_counts_until_it_has_come() {
        let room = room(100, 10);
        let reservation = room.reserve(Some(30), || u64::MAX).await.unwrap();
        assert_eq!((room.excess(70), room.excess(71)), (0, 1));
        assert_eq!((room.shortage(40), room.shortage(35)), (0, 5));
        reservation.received(20);
        assert_eq!((room.excess(71), room.shortage(20), room.shortage(19)), (1, 0, 1));
        reservation.received(20);
        assert_eq!(room.shortage(10), 0, "more than was announced is not counted");
        drop(reservation);
        assert_eq!((room.excess(100), room.excess(101), room.shortage(10)), (0, 1, 0));
    }

    #[tokio::test]
    async fn what_is_too_large_takes_nobodys_room() {
        let room = room(100, 10);
        let _reservation = room.reserve(Some(101), || u64::MAX).await.unwrap();
        assert!(room.is_too_large(101) && !room.is_too_large(100));
        assert_eq!((room.excess(100), room.shortage(111)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_blob_waits_a_while_for_room_on_the_disk() {
        let room = room(0, 0);
        let free = AtomicU64::new(10);
        let read = || free.load(Ordering::SeqCst);
        drop(room.reserve(Some(20), read).await);
        room.set(9, 1, 0);
        room.is_listed.store(true, Ordering::SeqCst);
        assert!(room.reserve(Some(20), read).await.is_none(), "all that could be evicted would not do");
        room.set(10, 1, 0);
        let (_reservation, ()) = tokio::join!(room.reserve(Some(20), read), async {
            tokio::task::yield_now().await;
            free.store(20, Ordering::SeqCst);
            room.made.notify_waiters();
        });
    }

    #[tokio::test]
    async fn room_is_made_as_it_comes_and_not_as_it_is_announced() {
        let room = room(10 * AHEAD, 0);
        let reservation = room.reserve(Some(5 * AHEAD), || u64::MAX).await.unwrap();
        assert_eq!((room.excess(9 * AHEAD), room.excess(9 * AHEAD + 1)), (0, 1));
        assert_eq!((room.shortage(AHEAD), room.shortage(0)), (0, AHEAD));
        reservation.received(3 * AHEAD);
        assert_eq!((room.excess(6 * AHEAD), room.excess(6 * AHEAD + 1)), (0, 1));
        reservation.received(2 * AHEAD);
        assert_eq!((room.excess(5 * AHEAD), room.excess(5 * AHEAD + 1), room.shortage(0)), (0, 1, 0));
        drop(reservation);
        let unknown = room.reserve(None, || u64::MAX).await.unwrap();
        unknown.received(2 * AHEAD);
        assert_eq!((room.excess(7 * AHEAD), room.excess(7 * AHEAD + 1)), (0, 1));
        assert_eq!(room.shortage(0), AHEAD, "more may come");
        drop(unknown);
        assert_eq!((room.excess(10 * AHEAD), room.shortage(0)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_promised_to_one_is_promised_to_no_other() {
        let room = room(0, 10);
        room.is_listed.store(true, Ordering::SeqCst);
        room.set(60, 1, 20);
        let free = || 50;
        let first = room.reserve(Some(50), free).await.unwrap();
        assert!(room.reserve(Some(31), free).await.is_none(), "40 may be evicted, and 10 are to be left");
        let second = room.reserve(Some(30), free).await.unwrap();
        assert!(room.reserve(Some(1), free).await.is_none());
        first.received(50);
        // What has come is on the disk, and in what is free no more.
        assert!(room.reserve(Some(1), || 0).await.is_none());
        drop(second);
        assert!(room.reserve(Some(30), || 0).await.is_some());
    }

    #[test]
    fn what_changes_in_a_pinned_repository_is_told_once() {
        let pins = vec!["hub/a:v1".parse().unwrap(), "hub/b".parse().unwrap()];
        let (room, _arrivals) = Room::new(CacheLimits { pins, ..CacheLimits::default() });
        room.changed(&"hub/b".parse().unwrap());
        assert!(!room.take_changed());
        room.changed(&"hub/a".parse().unwrap());
        assert!(room.take_changed() && !room.take_changed());
    }

    #[test]
    fn hits_are_bounded_and_counted_once() {
        let room = room(100, 0);
        let (one, other) = (BlobId::random(), BlobId::random());
        for _ in 0..10 {
            room.hit(one);
            room.hit(other);
        }
        let mut expect = vec![one, other];
        expect.sort_unstable();
        assert_eq!(room.take_hits(), expect);
        (0..2 * HITS).for_each(|_| room.hit(BlobId::random()));
        assert_eq!(room.take_hits().len(), HITS);
    }
}
