//! Rates: what is asked for passes a bucket for each of its keys, and waits before each in a queue that is fair to
//! addresses.
//!
//! A bucket is one moment, when it is *due*: when all that has passed it is paid for. What comes then may pass,
//! whatever it costs, and moves that moment on. The buckets stand in a row, the one of an address before the one of
//! everyone: what has passed the first has been paid for there, and waits at the next. So nothing is looked at twice, and
//! who waits for a narrow bucket holds up nobody who does not.
//!
//! Who waits costs an entry in a queue. One task sleeps until the first bucket with a queue is due; there is none
//! while nobody waits.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::keys::{Key, Keys};
use super::limits::{PerKey, Rate};
use super::queue::{FairQueue, Flow};
use super::table::{Idle, Table};

/// A quantum is what the slowest bucket lets pass in about 4 ms: timers are no finer than 1 ms, and who has one
/// connection must have asked again before its next turn.
const QUANTA_PER_SECOND: u64 = 256;
/// Less in one write costs more than it is worth, even at low rates.
const QUANTUM_MIN: u64 = 8 << 10;
/// More would let others wait long for a thread that writes it.
const QUANTUM_MAX: u64 = 1 << 20;
/// How much debt a bucket may have for what does not wait.
const DEBT_MAX: Duration = Duration::from_millis(250);

/// The buckets of one kind of thing that has rates.
pub(super) struct Scheduler {
    rates: PerKey<Rate>,
    state: Mutex<State>,
    /// Told when a bucket becomes due before the task's sleep ends.
    sooner: Notify,
}

struct State {
    buckets: Table<Bucket>,
    waiters: HashMap<u64, Waiter>,
    next_waiter: u64,
    /// The buckets with a queue, by when they are due.
    due: BinaryHeap<Reverse<(Instant, Key)>>,
    /// When the task wakes up; `None` while there is no task.
    wakes: Option<Instant>,
}

struct Bucket {
    rate: Rate,
    due: Instant,
    queue: FairQueue,
    /// Whether it is in `State::due`.
    scheduled: bool,
}

struct Waiter {
    flow: Flow,
    row: Arc<[Stage]>,
    cost: u64,
    /// How many buckets of the row it has passed.
    passed: usize,
    /// The bucket in whose queue it is. Nothing: it has passed them all.
    queued: Option<Key>,
    waker: Waker,
}

#[derive(Debug)]
struct Stage {
    key: Key,
    rate: Rate,
}

impl Scheduler {
    /// Nothing where nothing is limited.
    pub(super) fn new(rates: PerKey<Rate>) -> Option<Arc<Scheduler>> {
        if rates.is_unlimited() {
            return None;
        }
        let state = State {
            buckets: Table::new(),
            waiters: HashMap::new(),
            next_waiter: 0,
            due: BinaryHeap::new(),
            wakes: None,
        };
        Some(Arc::new(Scheduler { rates, state: Mutex::new(state), sooner: Notify::new() }))
    }

    /// The buckets that what has these keys must pass, if any.
    pub(super) fn course(self: &Arc<Scheduler>, keys: &Keys) -> Option<Course> {
        let row: Arc<[Stage]> = self.rates.of(keys).map(|(key, rate)| Stage { key, rate }).collect();
        (!row.is_empty()).then(|| Course { scheduler: Arc::clone(self), flow: keys.counted_address(), row })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the task is there and wakes up when the first bucket with a queue is due.
    fn watch(self: &Arc<Scheduler>, state: &mut State) {
        let Some(Reverse((first, _))) = state.due.peek() else { return };
        match state.wakes {
            None => {
                state.wakes = Some(*first);
                tokio::spawn(Arc::clone(self).run());
            }
            Some(wakes) if *first < wakes => self.sooner.notify_one(),
            Some(_) => {}
        }
    }

    /// Lets waiters pass when their buckets are due, as long as there are any.
    async fn run(self: Arc<Scheduler>) {
        loop {
            let next = {
                let mut state = self.lock();
                state.serve(Instant::now());
                state.wakes = state.due.peek().map(|Reverse((at, _))| *at);
                state.wakes
            };
            let Some(at) = next else { return };
            tokio::select! {
                () = sleep_until(at) => {}
                () = self.sooner.notified() => {}
            }
        }
    }
}

impl State {
    fn serve(&mut self, now: Instant) {
        while self.due.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, key))) = self.due.pop() else { return };
            let Some(bucket) = self.buckets.get_mut(&key) else { continue };
            let served = if bucket.due <= now { bucket.queue.pop() } else { None };
            if let Some(waiter) = served.and_then(|waiter| self.waiters.get(&waiter)) {
                bucket.pay(waiter.cost, now);
            }
            bucket.scheduled = !bucket.queue.is_empty();
            if bucket.scheduled {
                self.due.push(Reverse((bucket.due, key)));
            }
            if let Some(id) = served {
                self.pass(id, now);
            }
        }
    }

    /// A waiter has passed the bucket where it was queued.
    fn pass(&mut self, id: u64, now: Instant) {
        if let Some(waiter) = self.waiters.get_mut(&id) {
            waiter.passed += 1;
        }
        self.advance(id, now);
    }

    /// Takes a waiter as far as it can go without waiting.
    fn advance(&mut self, id: u64, now: Instant) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        waiter.queued = None;
        while let Some(stage) = waiter.row.get(waiter.passed) {
            let key = self.buckets.key(&stage.key);
            let bucket = self.buckets.get_or_insert(&key, || Bucket::new(stage.rate, now));
            if !bucket.is_open(now) {
                bucket.queue.push(waiter.flow, id, waiter.cost);
                if !std::mem::replace(&mut bucket.scheduled, true) {
                    self.due.push(Reverse((bucket.due, key.clone())));
                }
                waiter.queued = Some(key);
                return;
            }
            bucket.charge(waiter.flow, waiter.cost, now);
            waiter.passed += 1;
        }
        waiter.waker.wake_by_ref();
    }

    fn begin(&mut self, course: &Course, cost: u64, waker: &Waker) -> u64 {
        let id = self.next_waiter;
        self.next_waiter += 1;
        let row = Arc::clone(&course.row);
        let waker = waker.clone();
        self.waiters.insert(id, Waiter { flow: course.flow, row, cost, passed: 0, queued: None, waker });
        self.advance(id, Instant::now());
        id
    }

    /// Forgets a waiter, and gives back what it has paid.
    fn cancel(&mut self, id: u64) {
        let Some(waiter) = self.waiters.remove(&id) else { return };
        if let Some(bucket) = waiter.queued.as_ref().and_then(|key| self.buckets.get_mut(key)) {
            bucket.queue.remove(&waiter.flow, id);
        }
        self.credit(&waiter.row[..waiter.passed], &waiter.flow, waiter.cost);
    }

    fn credit(&mut self, row: &[Stage], flow: &Flow, cost: u64) {
        for stage in row {
            let key = self.buckets.key(&stage.key);
            if let Some(bucket) = self.buckets.get_mut(&key) {
                bucket.credit(flow, cost);
            }
        }
    }
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Bucket {
        // Too early for such a moment to exist: then nothing has been saved up yet.
        let due = now.checked_sub(rate.burst).unwrap_or(now);
        Bucket { rate, due, queue: FairQueue::default(), scheduled: false }
    }

    /// Whether one that comes now may pass at once.
    fn is_open(&self, now: Instant) -> bool {
        self.queue.is_empty() && self.due <= now
    }

    fn is_full(&self, now: Instant) -> bool {
        self.queue.is_empty() && self.due + self.rate.burst <= now
    }

    fn pay(&mut self, cost: u64, now: Instant) {
        let full = now.checked_sub(self.rate.burst).unwrap_or(self.due);
        self.due = self.due.max(full) + self.rate.time(cost);
    }

    fn charge(&mut self, flow: Flow, cost: u64, now: Instant) {
        if self.is_full(now) {
            // It rested: what each address had before is no matter any more.
            self.queue = FairQueue::default();
        }
        self.pay(cost, now);
        self.queue.charge(flow, cost);
    }

    fn credit(&mut self, flow: &Flow, cost: u64) {
        self.due = self.due.checked_sub(self.rate.time(cost)).unwrap_or(self.due);
        self.queue.credit(flow, cost);
    }
}

impl Idle for Bucket {
    fn is_idle(&self) -> bool {
        !self.scheduled && self.is_full(Instant::now())
    }
}

/// The buckets that something must pass.
pub(super) struct Course {
    scheduler: Arc<Scheduler>,
    flow: Flow,
    row: Arc<[Stage]>,
}

impl Course {
    /// How much should be asked for at once, at most.
    pub(super) fn quantum(&self) -> u64 {
        let quanta = self.row.iter().map(|stage| stage.rate.per_second() / QUANTA_PER_SECOND);
        quanta.min().unwrap_or(QUANTUM_MAX).clamp(QUANTUM_MIN, QUANTUM_MAX)
    }

    /// Counts what does not wait, and goes into debt where necessary. Where there is much debt already nothing is
    /// counted, and the answer is no.
    pub(super) fn charge(&self, cost: u64) -> bool {
        let now = Instant::now();
        let mut state = self.scheduler.lock();
        let in_debt = |stage: &Stage| state.buckets.get(&stage.key).is_some_and(|it| it.due > now + DEBT_MAX);
        if self.row.iter().any(in_debt) {
            return false;
        }
        for stage in self.row.iter() {
            let key = state.buckets.key(&stage.key);
            let bucket = state.buckets.get_or_insert(&key, || Bucket::new(stage.rate, now));
            bucket.charge(self.flow, cost, now);
        }
        true
    }

    /// Gives back what was passed and is not used.
    pub(super) fn credit(&self, cost: u64) {
        self.scheduler.lock().credit(&self.row, &self.flow, cost);
    }

    /// How long one that comes now would wait if no other address had anything waiting.
    pub(super) fn least_wait(&self) -> Duration {
        let now = Instant::now();
        let state = self.scheduler.lock();
        let waits = self.row.iter().map(|stage| {
            let bucket = state.buckets.get(&stage.key);
            bucket.map_or(Duration::ZERO, |bucket| {
                let before = stage.rate.time(bucket.queue.waiting_for(&self.flow));
                bucket.due.saturating_duration_since(now) + before
            })
        });
        waits.max().unwrap_or(Duration::ZERO)
    }

    pub(super) fn ticket(self) -> Ticket {
        Ticket { course: self, waiter: None }
    }
}

/// A place in the queues of a course. Dropping it gives the place back.
pub(super) struct Ticket {
    course: Course,
    waiter: Option<u64>,
}

impl Ticket {
    pub(super) fn course(&self) -> &Course {
        &self.course
    }

    /// Ready when `cost` has passed all buckets. The same cost must be asked for until then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, cost: u64) -> Poll<()> {
        let scheduler = &self.course.scheduler;
        let mut state = scheduler.lock();
        let id = match self.waiter {
            Some(id) => id,
            None => state.begin(&self.course, cost, cx.waker()),
        };
        match state.waiters.get_mut(&id) {
            Some(waiter) if waiter.queued.is_some() => {
                waiter.waker.clone_from(cx.waker());
                self.waiter = Some(id);
                scheduler.watch(&mut state);
                Poll::Pending
            }
            _ => {
                state.waiters.remove(&id);
                self.waiter = None;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(id) = self.waiter {
            self.course.scheduler.lock().cancel(id);
        }
    }
}

#[cfg(test)]
mod tests;
