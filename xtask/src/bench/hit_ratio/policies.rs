//! What is compared: each is told of each request, and says whether it was a hit.

use super::trace::Request;
use evict::Policy;
use std::collections::{BTreeMap, HashMap};

/// A cache of some bytes.
pub trait Cache {
    /// Whether it has what is asked for; it has it afterwards, if it wants it.
    fn request(&mut self, request: Request) -> bool;
}

/// The product's.
pub struct Ours {
    policy: Policy,
    capacity: u64,
}

impl Ours {
    /// An empty one.
    pub fn new(capacity: u64) -> Self {
        Self { policy: Policy::default(), capacity }
    }
}

fn key(blob: u32) -> evict::Key {
    let mut random = super::trace::Random(u64::from(blob));
    (u128::from(random.next()) << 64 | u128::from(random.next())).to_le_bytes()
}

/// Where the key lies that a content is known by.
fn content(key: &evict::Key) -> u64 {
    u128::from_le_bytes(*key) as u64
}

impl Cache for Ours {
    fn request(&mut self, request: Request) -> bool {
        let key = key(request.blob);
        if !self.policy.insert(key, content(&key), request.size) {
            self.policy.hit(&key);
            return true;
        }
        while self.policy.bytes() > self.capacity {
            if let Some(victim) = self.policy.take(&mut 1_000) {
                self.policy.gone(content(&victim.key));
            }
        }
        false
    }
}

/// Least recently used, or first in first out.
pub struct Queue {
    capacity: u64,
    bytes: u64,
    moves: bool,
    clock: u64,
    /// When each came, or was last asked for.
    times: HashMap<u32, (u64, u64)>,
    order: BTreeMap<u64, u32>,
}

impl Queue {
    /// Least recently used.
    pub fn lru(capacity: u64) -> Self {
        Self::new(capacity, true)
    }

    /// First in, first out.
    pub fn fifo(capacity: u64) -> Self {
        Self::new(capacity, false)
    }

    fn new(capacity: u64, moves: bool) -> Self {
        Self { capacity, bytes: 0, moves, clock: 0, times: HashMap::new(), order: BTreeMap::new() }
    }

    fn touch(&mut self, blob: u32) -> bool {
        self.clock += 1;
        let Some((time, _)) = self.times.get_mut(&blob) else { return false };
        if self.moves {
            self.order.remove(time);
            *time = self.clock;
            self.order.insert(self.clock, blob);
        }
        true
    }

    fn push(&mut self, Request { blob, size }: Request) {
        self.clock += 1;
        self.times.insert(blob, (self.clock, size));
        self.order.insert(self.clock, blob);
        self.bytes += size;
    }

    fn oldest(&self) -> Option<Request> {
        let (_, blob) = self.order.first_key_value()?;
        Some(Request { blob: *blob, size: self.times.get(blob)?.1 })
    }

    fn remove(&mut self, blob: u32) -> Option<Request> {
        let (time, size) = self.times.remove(&blob)?;
        self.order.remove(&time);
        self.bytes -= size;
        Some(Request { blob, size })
    }
}

impl Cache for Queue {
    fn request(&mut self, request: Request) -> bool {
        if self.touch(request.blob) {
            return true;
        }
        self.push(request);
        while self.bytes > self.capacity {
            let oldest = self.oldest().expect("what has bytes has an entry");
            self.remove(oldest.blob);
        }
        false
    }
}

/// W-TinyLFU with sizes: a window of 1 %, then a segmented LRU. Who leaves the window stays where it was asked for more often
/// than all those together that would have to go for it. Its counts are exact, and halved now and then.
pub struct TinyLfu {
    window: Queue,
    probation: Queue,
    protected: Queue,
    counts: HashMap<u32, u32>,
    since: usize,
}

impl TinyLfu {
    /// An empty one.
    pub fn new(capacity: u64) -> Self {
        let main = capacity - capacity / 100;
        Self {
            window: Queue::lru(capacity / 100),
            probation: Queue::lru(main),
            protected: Queue::lru(main / 5 * 4),
            counts: HashMap::new(),
            since: 0,
        }
    }

    fn count(&self, blob: u32) -> u32 {
        self.counts.get(&blob).copied().unwrap_or_default()
    }

    fn note(&mut self, blob: u32) {
        let count = self.counts.entry(blob).or_default();
        *count = (*count + 1).min(15);
        self.since += 1;
        let entries = self.window.times.len() + self.probation.times.len() + self.protected.times.len();
        if self.since >= 10 * entries.max(1_000) {
            self.since = 0;
            self.counts.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
        }
    }

    fn admit(&mut self, request: Request) {
        let room = self.probation.capacity.saturating_sub(self.protected.bytes);
        if request.size > room {
            return;
        }
        let (mut needed, mut weight, mut victims) = (self.probation.bytes + request.size, 0, Vec::new());
        for blob in self.probation.order.values() {
            if needed <= room {
                break;
            }
            needed -= self.probation.times[blob].1;
            weight += self.count(*blob);
            victims.push(*blob);
        }
        if !victims.is_empty() && self.count(request.blob) < weight {
            return;
        }
        for blob in victims {
            self.probation.remove(blob);
        }
        self.probation.push(request);
    }
}

impl Cache for TinyLfu {
    fn request(&mut self, request: Request) -> bool {
        self.note(request.blob);
        if self.window.touch(request.blob) || self.protected.touch(request.blob) {
            return true;
        }
        if let Some(found) = self.probation.remove(request.blob) {
            self.protected.push(found);
            while self.protected.bytes > self.protected.capacity {
                let oldest = self.protected.oldest().expect("what has bytes has an entry");
                self.protected.remove(oldest.blob);
                self.probation.push(oldest);
            }
            return true;
        }
        self.window.push(request);
        while self.window.bytes > self.window.capacity {
            let oldest = self.window.oldest().expect("what has bytes has an entry");
            self.window.remove(oldest.blob);
            self.admit(oldest);
        }
        false
    }
}

/// Belady's rule, which knows the future: what is asked for last goes first, and what comes may go at once. With sizes it is
/// no optimum, only a good cache that nobody can build.
pub struct Belady {
    capacity: u64,
    bytes: u64,
    /// For each request, the next one for the same blob.
    next: Vec<usize>,
    at: usize,
    times: HashMap<u32, (usize, u64)>,
    order: BTreeMap<usize, u32>,
}

impl Belady {
    /// One that knows a trace.
    pub fn new(capacity: u64, trace: &[Request]) -> Self {
        let next = next_requests(trace);
        Self { capacity, bytes: 0, next, at: 0, times: HashMap::new(), order: BTreeMap::new() }
    }
}

/// For each request, where the next one for the same blob is; beyond the end, each in another place, where there is none.
fn next_requests(trace: &[Request]) -> Vec<usize> {
    let mut last: HashMap<u32, usize> = HashMap::new();
    let mut next: Vec<usize> = (0..trace.len()).map(|at| trace.len() + at).collect();
    for (at, request) in trace.iter().enumerate() {
        if let Some(before) = last.insert(request.blob, at) {
            next[before] = at;
        }
    }
    next
}

impl Cache for Belady {
    fn request(&mut self, Request { blob, size }: Request) -> bool {
        let next = self.next[self.at];
        self.at += 1;
        let was_here = self.times.insert(blob, (next, size));
        match was_here {
            Some((time, _)) => {
                self.order.remove(&time);
            }
            None => self.bytes += size,
        }
        self.order.insert(next, blob);
        while self.bytes > self.capacity {
            let (_, blob) = self.order.pop_last().expect("what has bytes has an entry");
            let (_, size) = self.times.remove(&blob).expect("both have it");
            self.bytes -= size;
        }
        was_here.is_some()
    }
}

/// What no cache can exceed after the first `warm` requests, in hits of `worth` each: a hit holds its bytes from one request to the next, and of all these
/// bytes times time a cache has only so many, which here it may divide as it likes (PFOO-L).
pub fn bound(capacity: u64, trace: &[Request], warm: usize, worth: fn(Request) -> u64) -> f64 {
    let mut hits: Vec<(f64, u64)> = Vec::new();
    for (at, (next, request)) in next_requests(trace).into_iter().zip(trace).enumerate() {
        if (warm..trace.len()).contains(&next) {
            let cost = request.size as f64 * (next - at.max(warm)) as f64;
            hits.push((cost, worth(*request)));
        }
    }
    hits.sort_by(|(cost, worth), (other, more)| (cost / *worth as f64).total_cmp(&(other / *more as f64)));
    let mut left = capacity as f64 * (trace.len() - warm) as f64;
    let mut reached = 0.0;
    for (cost, worth) in hits {
        let part = (left / cost.max(1.0)).min(1.0);
        reached += part * worth as f64;
        left -= part * cost;
    }
    reached / trace[warm..].iter().map(|request| worth(*request)).sum::<u64>() as f64
}
