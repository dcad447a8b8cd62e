//! How much the cache may hold, and what it is told of: blobs that come, and blobs that are asked for.
//!
//! Requests note here what they do and go on; the one who evicts, in a task of its own, reads the notes. So nobody waits
//! for it, however much there is in the cache.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use blob::BlobId;
use oci::Digest;
use tokio::sync::{Notify, mpsc};

use crate::pins::Pin;
use crate::stats::CacheStats;

/// So many hits wait to be counted; while they do, more are not noted. What is asked for often is noted sooner or later.
const HITS: usize = 4_096;

/// So many blobs that have come wait to be counted, before the next one waits.
const ARRIVALS: usize = 1_024;

/// How long a blob that is to come waits for room on a full disk.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// What blobs that are on their way here will have in all, and what of it has not come.
    announced: AtomicU64,
    coming: AtomicU64,
    bytes: AtomicU64,
    blobs: AtomicU64,
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
            bytes: AtomicU64::new(0),
            blobs: AtomicU64::new(0),
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

    /// Room for a blob that is to come. Waits a while where the disk has none now, of which `free` tells; `None` where it
    /// would have none if all were evicted.
    pub async fn reserve(&self, size: u64, free: impl Fn() -> u64) -> Option<Reservation<'_>> {
        let all = free().saturating_add(self.bytes.load(Ordering::Relaxed));
        if self.is_listed.load(Ordering::Relaxed) && size > all {
            return None;
        }
        // It takes nobody's place.
        let announced = if self.is_too_large(size) { 0 } else { size };
        self.announced.fetch_add(announced, Ordering::Relaxed);
        self.coming.fetch_add(size, Ordering::Relaxed);
        let reservation = Reservation { room: self, announced, left: AtomicU64::new(size) };
        self.wake.notify_one();
        let wait = async {
            loop {
                let made = self.made.notified();
                if free() >= size {
                    return;
                }
                made.await;
            }
        };
        // Where there is none, the download will say so.
        let _in_vain = tokio::time::timeout(PATIENCE, wait).await;
        Some(reservation)
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

    /// Tells what is in the cache now.
    pub fn set(&self, bytes: u64, blobs: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
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
    announced: u64,
    left: AtomicU64,
}

impl Reservation<'_> {
    /// So much of it has come, and is on the disk.
    pub fn received(&self, bytes: u64) {
        let before = self.left.load(Ordering::Relaxed);
        let bytes = bytes.min(before);
        self.left.store(before - bytes, Ordering::Relaxed);
        self.room.coming.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.room.announced.fetch_sub(self.announced, Ordering::Relaxed);
        self.room.coming.fetch_sub(self.left.load(Ordering::Relaxed), Ordering::Relaxed);
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
        let reservation = room.reserve(30, || u64::MAX).await.unwrap();
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
        let _reservation = room.reserve(101, || u64::MAX).await.unwrap();
        assert!(room.is_too_large(101) && !room.is_too_large(100));
        assert_eq!((room.excess(100), room.shortage(111)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_blob_waits_a_while_for_room_on_the_disk() {
        let room = room(0, 0);
        let free = AtomicU64::new(10);
        let read = || free.load(Ordering::SeqCst);
        drop(room.reserve(20, read).await);
        room.set(9, 1);
        room.is_listed.store(true, Ordering::SeqCst);
        assert!(room.reserve(20, read).await.is_none(), "all that could be evicted would not do");
        room.set(10, 1);
        let (_reservation, ()) = tokio::join!(room.reserve(20, read), async {
            tokio::task::yield_now().await;
            free.store(20, Ordering::SeqCst);
            room.made.notify_waiters();
        });
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
