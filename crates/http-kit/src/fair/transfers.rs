//! How many transfers each key has at once: a number for each key, and before it a queue that is fair to addresses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::keys::{Key, Keys};
use super::limits::{FairLimits, PerKey};
use super::queue::{FairQueue, Flow};
use super::table::{Idle, Table};

/// The transfers that run, and those that wait.
pub(super) struct Transfers {
    most: PerKey<u32>,
    state: Mutex<State>,
}

struct State {
    running: Table<Running>,
    waiters: HashMap<u64, oneshot::Sender<Permit>>,
    next_waiter: u64,
}

#[derive(Default)]
struct Running {
    count: u32,
    queue: FairQueue,
}

impl Idle for Running {
    fn is_idle(&self) -> bool {
        self.count == 0 && self.queue.is_empty()
    }
}

impl Transfers {
    /// Nothing where nothing is limited.
    pub(super) fn new(limits: &FairLimits) -> Option<Arc<Transfers>> {
        let most = limits.transfer_counts();
        let state = State { running: Table::new(), waiters: HashMap::new(), next_waiter: 0 };
        (!most.is_unlimited()).then(|| Arc::new(Transfers { most, state: Mutex::new(state) }))
    }

    /// One transfer of each key. All take them in the same order of classes, so none waits for one that waits for it.
    pub(super) async fn take(self: &Arc<Transfers>, keys: &Keys) -> Vec<Permit> {
        let mut permits = Vec::new();
        for (key, most) in self.most.of(keys) {
            permits.extend(self.take_one(&key, most, keys.counted_address()).await);
        }
        permits
    }

    async fn take_one(self: &Arc<Transfers>, key: &Key, most: u32, flow: Flow) -> Option<Permit> {
        let (turn, _waiting) = {
            let mut state = self.lock();
            let key = state.running.key(key);
            let running = state.running.get_or_insert(&key, Running::default);
            if running.count < most {
                running.count += 1;
                running.queue.charge(flow, 1);
                return Some(Permit { transfers: Arc::clone(self), key });
            }
            let id = state.next_waiter;
            state.next_waiter += 1;
            if let Some(running) = state.running.get_mut(&key) {
                running.queue.push(flow, id, 1);
            }
            let (tell, turn) = oneshot::channel();
            state.waiters.insert(id, tell);
            (turn, Waiting { transfers: self, key, flow, id })
        };
        // The other end is dropped only by a waiter that is gone.
        turn.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The waiter who has the turn, or nobody: then one transfer fewer runs.
    fn next(&self, key: &Key) -> Option<oneshot::Sender<Permit>> {
        let mut state = self.lock();
        let running = state.running.get_mut(key)?;
        match running.queue.pop() {
            Some(id) => state.waiters.remove(&id),
            None => {
                running.count -= 1;
                None
            }
        }
    }
}

/// A place in a queue. It is given back when its waiter is gone.
struct Waiting<'a> {
    transfers: &'a Transfers,
    key: Key,
    flow: Flow,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.transfers.lock();
        if state.waiters.remove(&self.id).is_some()
            && let Some(running) = state.running.get_mut(&self.key)
        {
            running.queue.remove(&self.flow, self.id);
        }
    }
}

/// One transfer of one key. Dropping it lets the next one begin.
pub(super) struct Permit {
    transfers: Arc<Transfers>,
    key: Key,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(next) = self.transfers.next(&self.key) {
            let transfers = Arc::clone(&self.transfers);
            // Who is gone at this very moment gives it back, and the one after has the turn.
            drop(next.send(Permit { transfers, key: self.key.clone() }));
        }
    }
}
