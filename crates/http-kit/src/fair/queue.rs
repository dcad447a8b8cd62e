//! Start-time fair queueing: who waits is served so that each address gets as much as every other that waits,
//! over however many connections.
//!
//! Each address has a *finish*: the virtual time at which it will have had what it was served. The first of its
//! waiters starts there, or now when that is later, and the earliest start is served first. Between two addresses that
//! both wait all the time, what they are served never differs by more than one cost of each. Who rests saves up nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

/// What is served in turns: an address, or all requests that have none.
pub(super) type Flow = Option<IpAddr>;

/// The most flows that are remembered while they do not wait.
const FLOWS_MAX: usize = 100_000;
/// So many flows there are at least before those that need not be remembered are looked for.
const SWEEP_MIN: usize = 64;

/// Waiters, each known by a number and with a cost.
#[derive(Default)]
pub(super) struct FairQueue {
    /// The virtual time: where what was served last started.
    now: u64,
    flows: HashMap<Flow, Waiting>,
    /// The flows with a waiter, by where it starts.
    order: BTreeSet<(u64, Flow)>,
    sweep_at: usize,
}

#[derive(Default)]
struct Waiting {
    finish: u64,
    /// Where the first waiter starts.
    start: u64,
    /// Their numbers and costs.
    waiters: VecDeque<(u64, u64)>,
    /// All their costs.
    cost: u64,
}

impl FairQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How much its waiters wait for.
    pub(super) fn waiting_for(&self, flow: &Flow) -> u64 {
        self.flows.get(flow).map_or(0, |flow| flow.cost)
    }

    /// Counts what is served without waiting.
    pub(super) fn charge(&mut self, flow: Flow, cost: u64) {
        let (now, nobody_waits) = (self.now, self.is_empty());
        let counted = self.flow(flow);
        let start = counted.finish.max(now);
        counted.finish = start + cost;
        if nobody_waits {
            self.now = start;
        }
    }

    /// Gives back what was counted and was not used.
    pub(super) fn credit(&mut self, flow: &Flow, cost: u64) {
        if let Some(flow) = self.flows.get_mut(flow) {
            flow.finish = flow.finish.saturating_sub(cost);
        }
    }

    pub(super) fn push(&mut self, flow: Flow, waiter: u64, cost: u64) {
        let now = self.now;
        let waiting = self.flow(flow);
        waiting.waiters.push_back((waiter, cost));
        waiting.cost += cost;
        if waiting.waiters.len() == 1 {
            waiting.start = waiting.finish.max(now);
            let start = waiting.start;
            self.order.insert((start, flow));
        }
    }

    /// The waiter whose turn it is. It counts as served.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let (start, flow) = self.order.pop_first()?;
        self.now = start;
        let waiting = self.flows.get_mut(&flow)?;
        let (waiter, cost) = waiting.waiters.pop_front()?;
        waiting.cost -= cost;
        // The finish is beyond the start when something was charged meanwhile.
        waiting.finish = waiting.finish.max(start) + cost;
        waiting.start = waiting.finish;
        if !waiting.waiters.is_empty() {
            self.order.insert((waiting.start, flow));
        }
        Some(waiter)
    }

    /// Takes out a waiter that waits no more.
    pub(super) fn remove(&mut self, flow: &Flow, waiter: u64) {
        let Some(waiting) = self.flows.get_mut(flow) else { return };
        let Some(at) = waiting.waiters.iter().position(|(other, _)| *other == waiter) else { return };
        waiting.cost -= waiting.waiters.remove(at).map_or(0, |(_, cost)| cost);
        if waiting.waiters.is_empty() {
            self.order.remove(&(waiting.start, *flow));
        }
    }

    /// A flow whose finish is past is as good as new.
    fn flow(&mut self, flow: Flow) -> &mut Waiting {
        if self.flows.len() >= self.sweep_at.max(SWEEP_MIN) {
            let now = self.now;
            self.flows.retain(|_, flow| !flow.waiters.is_empty() || flow.finish > now);
            if self.flows.len() > FLOWS_MAX {
                self.flows.retain(|_, flow| !flow.waiters.is_empty());
            }
            self.sweep_at = 2 * self.flows.len();
        }
        self.flows.entry(flow).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn flow(number: u32) -> Flow {
        Some(IpAddr::V4(Ipv4Addr::from(number)))
    }

    /// Waiters are numbered so that the thousands tell their flow.
    fn served(queue: &mut FairQueue, times: usize) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop()).take(times).map(|waiter| waiter / 1000).collect()
    }

    #[test]
    fn many_waiters_of_one_flow_count_as_one() {
        let mut queue = FairQueue::default();
        for waiter in 0..10 {
            queue.push(flow(1), 1000 + waiter, 5);
        }
        for waiter in 0..3 {
            queue.push(flow(2), 2000 + waiter, 5);
        }
        assert_eq!(served(&mut queue, 20), [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1]);
        assert!(queue.is_empty());
    }

    #[test]
    fn the_order_goes_by_what_was_served_and_not_by_turns() {
        let mut queue = FairQueue::default();
        for waiter in 0..3 {
            queue.push(flow(1), 1000 + waiter, 30);
        }
        for waiter in 0..6 {
            queue.push(flow(2), 2000 + waiter, 10);
        }
        assert_eq!(served(&mut queue, 6), [1, 2, 2, 2, 1, 2]);
    }

    #[test]
    fn who_rested_saved_nothing_up() {
        let mut queue = FairQueue::default();
        for waiter in 0..9 {
            queue.push(flow(1), 1000 + waiter, 10);
        }
        assert_eq!(served(&mut queue, 5), [1; 5]);
        for waiter in 0..4 {
            queue.push(flow(2), 2000 + waiter, 10);
        }
        assert_eq!(served(&mut queue, 6), [2, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn what_is_charged_and_credited_counts() {
        let mut queue = FairQueue::default();
        queue.charge(flow(1), 20);
        for waiter in 0..3 {
            queue.push(flow(1), 1000 + waiter, 10);
            queue.push(flow(2), 2000 + waiter, 10);
        }
        assert_eq!(served(&mut queue, 3), [2, 2, 1]);
        queue.charge(flow(1), 10);
        queue.credit(&flow(1), 10);
        queue.remove(&flow(2), 2002);
        assert_eq!(served(&mut queue, 3), [1, 1]);
    }

    #[test]
    fn no_more_flows_than_the_most_are_remembered() {
        let mut queue = FairQueue::default();
        queue.push(flow(1), 1, 10);
        for number in 0..3 * FLOWS_MAX as u32 {
            queue.charge(flow(number + 10), 10);
        }
        assert!(queue.flows.len() <= 2 * FLOWS_MAX + 1, "{}", queue.flows.len());
        assert_eq!(queue.pop(), Some(1));
    }

    proptest! {
        /// Flows that always have a waiter never differ by more than one cost of each.
        #[test]
        fn no_flow_falls_behind(costs in prop::collection::vec((1..1000u64, 1..1000u64, 1..1000u64), 1..200)) {
            let mut queue = FairQueue::default();
            for (waiter, cost) in costs.iter().enumerate() {
                for (number, cost) in [cost.0, cost.1, cost.2].into_iter().enumerate() {
                    queue.push(flow(number as u32), (number * 1000 + waiter) as u64, cost);
                }
            }
            let mut got = [0u64; 3];
            let mut left = [costs.len(); 3];
            while left.iter().all(|left| *left > 0) {
                let waiter = queue.pop().unwrap() as usize;
                let cost = costs[waiter % 1000];
                got[waiter / 1000] += [cost.0, cost.1, cost.2][waiter / 1000];
                left[waiter / 1000] -= 1;
                prop_assert!(got.iter().max().unwrap() - got.iter().min().unwrap() <= 2000);
            }
        }
    }
}
