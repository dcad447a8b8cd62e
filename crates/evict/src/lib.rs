//! What a cache of blobs lets go of: S3-FIFO, counted in bytes, with more rounds for what is small.
//!
//! What comes waits in a small queue, of a tenth of the bytes. What is asked for again meanwhile moves to the main queue, what
//! is not goes: so a scan, which asks for everything once, passes through the small queue and leaves the main one as it
//! is. What went too soon is remembered by 32 bits, and gets to the main queue at once when it comes back. In the main
//! queue, each hit is worth one more round; of what is small, more than one, and it comes with some.
//!
//! Nothing here knows a clock, a disk or a blob: a key is 16 bytes, a content 64 bits of its hash. An entry takes 24 bytes,
//! and its place in the index about 8.

mod ghosts;
mod index;
mod queue;

use ghosts::Ghosts;
use index::{Index, Place};
use queue::{Entry, Queue};

/// What names an entry.
pub type Key = [u8; 16];

/// The small queue is evicted from while it has more than one in so many bytes.
const SMALL_SHARE: u64 = 10;

/// Up to which size a hit is worth how many rounds, and else one: what is small costs a request for few bytes, so it may
/// stay longer. Chosen by `cargo xtask bench hit-ratio`: more favours requests, less favours bytes.
const WORTH: [(u64, u8); 2] = [(1 << 20, 12), (10 << 20, 4)];

/// The most hits that are counted: more than a few say nothing new, and would take long to forget.
const MOST_HITS: u8 = 3;

/// An entry that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Its key.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
}

/// What is in a cache, and in which order it goes.
#[derive(Default)]
pub struct Policy {
    small: Queue,
    main: Queue,
    index: Index,
    ghosts: Ghosts,
    /// Which of two marks says that an entry was seen by the listing that goes on, or by the last one.
    mark: bool,
}

impl Policy {
    /// How many bytes are in the cache.
    pub fn bytes(&self) -> u64 {
        self.small.bytes() + self.main.bytes()
    }

    /// How many entries are in the cache.
    pub fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    /// Whether nothing is in the cache.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Something has come. Says whether it is new.
    pub fn insert(&mut self, key: Key, content: u64, size: u64) -> bool {
        if self.index.find(&key, &self.small, &self.main).is_some() {
            return false;
        }
        let is_back = self.ghosts.contains(content);
        self.push(Entry::new(key, size, worth(size) - 1, self.mark), is_back);
        true
    }

    /// Something was found in a listing of what is there, in the order in which it came. Says whether it is new.
    pub fn list(&mut self, key: Key, size: u64) -> bool {
        if let Some(place) = self.index.find(&key, &self.small, &self.main) {
            let mark = self.mark;
            if let Some(entry) = self.entry(place) {
                entry.set_mark(mark);
            }
            return false;
        }
        self.push(Entry::new(key, size, worth(size) - 1, self.mark), true);
        true
    }

    /// A listing begins: what it does not find, and does not come meanwhile, is not there.
    pub fn begin_listing(&mut self) {
        self.mark = !self.mark;
    }

    /// The listing has ended: forgets what it did not find. Says how much that was.
    pub fn end_listing(&mut self) -> usize {
        let (before, mark) = (self.len(), self.mark);
        if self.small.is_all(mark) && self.main.is_all(mark) {
            return 0;
        }
        let entries = [std::mem::take(&mut self.small), std::mem::take(&mut self.main)];
        self.index = Index::default();
        for (queue, is_main) in entries.into_iter().zip([false, true]) {
            for entry in queue.into_entries().filter(|entry| entry.mark() == mark) {
                self.push(entry, is_main);
            }
        }
        before - self.len()
    }

    /// Something was asked for.
    pub fn hit(&mut self, key: &Key) {
        let place = self.index.find(key, &self.small, &self.main);
        if let Some(entry) = place.and_then(|place| self.entry(place)) {
            entry.add_rounds(worth(entry.size()), MOST_HITS);
        }
    }

    /// Takes out what should go next, after at most so many `steps`, so that nobody waits for a long search. `None` where
    /// there is nothing, or it was not found so soon: the next call goes on.
    pub fn take(&mut self, steps: &mut usize) -> Option<Victim> {
        while *steps > 0 {
            *steps -= 1;
            let from_small = self.main.len() == 0 || self.small.bytes() > self.bytes() / SMALL_SHARE;
            let queue = if from_small { &mut self.small } else { &mut self.main };
            let (number, mut entry) = queue.pop()?;
            self.index.remove(entry.key(), Place::new(!from_small, number));
            if entry.rounds() == 0 {
                return Some(Victim { key: *entry.key(), size: entry.size() });
            }
            entry.take_round();
            self.push(entry, true);
        }
        None
    }

    /// Puts back what was taken out, and is not to go after all.
    pub fn keep(&mut self, Victim { key, size }: Victim) {
        if self.index.find(&key, &self.small, &self.main).is_none() {
            self.push(Entry::new(key, size, 1, self.mark), true);
        }
    }

    /// Remembers the content of what has gone.
    pub fn gone(&mut self, content: u64) {
        let room = self.len().max(1_024);
        self.ghosts.insert(content, room);
    }

    fn entry(&mut self, place: Place) -> Option<&mut Entry> {
        let queue = if place.is_main() { &mut self.main } else { &mut self.small };
        queue.get_mut(place.number())
    }

    fn push(&mut self, entry: Entry, is_main: bool) {
        let queue = if is_main { &mut self.main } else { &mut self.small };
        let place = Place::new(is_main, queue.push(entry));
        self.index.insert(entry.key(), place, &self.small, &self.main);
    }
}

/// How many rounds a hit of an entry of that size is worth.
fn worth(size: u64) -> u8 {
    WORTH.iter().find(|(most, _)| size <= *most).map_or(1, |(_, rounds)| *rounds)
}

#[cfg(test)]
mod tests;
