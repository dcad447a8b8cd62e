//! Rates and shares over virtual time: nothing here depends on how fast the machine is.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::*;
use crate::fair::{FairLimits, KeyLimits};

const MB: u64 = 1_000_000;

fn bytes(rate: u64) -> KeyLimits {
    KeyLimits { bytes_per_second: NonZeroU64::new(rate), ..KeyLimits::default() }
}

fn egress(total: u64, limits: FairLimits) -> Arc<Scheduler> {
    let limits = FairLimits { egress_bytes_per_second: NonZeroU64::new(total), ..limits };
    Scheduler::new(limits.egress_rates()).unwrap()
}

fn keys(address: u8, project: Option<&str>) -> Keys {
    let address = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, address)));
    Keys { address, identity: None, project: project.map(Arc::from) }
}

/// Clients that always want more, over so many connections.
struct Clients {
    got: Arc<AtomicU64>,
    connections: JoinSet<()>,
}

impl Clients {
    fn start(scheduler: &Arc<Scheduler>, connections: usize, keys: &Keys) -> Clients {
        let got = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        for _ in 0..connections {
            let (got, course) = (Arc::clone(&got), scheduler.course(keys).unwrap());
            running.spawn(async move {
                let quantum = course.quantum();
                let mut ticket = course.ticket();
                loop {
                    poll_fn(|cx| ticket.poll(cx, quantum)).await;
                    got.fetch_add(quantum, Ordering::Relaxed);
                    // A write takes its time, and lets the others have theirs.
                    sleep(Duration::from_millis(1)).await;
                }
            });
        }
        Clients { got, connections: running }
    }

    fn got(&self) -> u64 {
        self.got.load(Ordering::Relaxed)
    }

    /// What they get in the next seconds.
    async fn get_for(&self, seconds: u64) -> u64 {
        let before = self.got();
        sleep(Duration::from_secs(seconds)).await;
        self.got() - before
    }
}

#[track_caller]
fn assert_near(got: u64, expect: u64, percent: u64) {
    assert!(got.abs_diff(expect) <= expect * percent / 100, "{got}, not {expect} within {percent} %");
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_within_five_percent() {
    for rate in [100_000, MB, 8 * MB, 22_500_000, 112 * MB, 1_250 * MB] {
        for connections in [1, 7, 200] {
            // One connection that rests 1 ms after each quantum gets no more than a quantum in 2 ms.
            if connections == 1 && rate > 112 * MB {
                continue;
            }
            let total = egress(rate, FairLimits::default());
            let got = Clients::start(&total, connections, &keys(1, None)).get_for(10).await;
            assert_near(got, 10 * rate, 5);
            let per_address = egress(0, FairLimits { per_address: bytes(rate), ..FairLimits::default() });
            let got = Clients::start(&per_address, connections, &keys(1, None)).get_for(10).await;
            assert_near(got, 10 * rate, 5);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_gets_its_half_over_two_connections() {
    for rate in [MB, 8 * MB, 22_500_000, 500 * MB] {
        let scheduler = egress(rate, FairLimits::default());
        let many = Clients::start(&scheduler, 200, &keys(1, None));
        let few = Clients::start(&scheduler, 2, &keys(2, None));
        sleep(Duration::from_secs(10)).await;
        assert_near(few.got(), 5 * rate, 3);
        assert_near(many.got(), 5 * rate, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn forty_addresses_get_the_same() {
    let scheduler = egress(20 * MB, FairLimits::default());
    let clients: Vec<_> = (0..40)
        .map(|number| Clients::start(&scheduler, 1 + usize::from(number), &keys(number, None)))
        .collect();
    sleep(Duration::from_secs(20)).await;
    for clients in clients {
        assert_near(clients.got(), 10 * MB, 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_narrow_project_holds_up_nobody_else() {
    let projects = [("slow".into(), bytes(MB))].into();
    let scheduler = egress(10 * MB, FairLimits { projects, ..FairLimits::default() });
    let slow = Clients::start(&scheduler, 50, &keys(1, Some("slow")));
    let same_address = Clients::start(&scheduler, 1, &keys(1, Some("other")));
    let other = Clients::start(&scheduler, 1, &keys(2, None));
    sleep(Duration::from_secs(10)).await;
    assert_near(slow.got(), 10 * MB, 5);
    assert_near(same_address.got(), 40 * MB, 5);
    assert_near(other.got(), 50 * MB, 5);
}

#[tokio::test(start_paused = true)]
async fn addresses_share_a_projects_limit() {
    let scheduler = egress(0, FairLimits { per_project: bytes(4 * MB), ..FairLimits::default() });
    let many = Clients::start(&scheduler, 50, &keys(1, Some("shared")));
    let few = Clients::start(&scheduler, 2, &keys(2, Some("shared")));
    let alone = Clients::start(&scheduler, 3, &keys(2, Some("alone")));
    assert!(scheduler.course(&keys(3, None)).is_none());
    sleep(Duration::from_secs(10)).await;
    assert_near(many.got(), 20 * MB, 5);
    assert_near(few.got(), 20 * MB, 5);
    assert_near(alone.got(), 40 * MB, 5);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_gives_the_share_back() {
    let scheduler = egress(8 * MB, FairLimits::default());
    let stays = Clients::start(&scheduler, 2, &keys(1, None));
    let mut leaves = Clients::start(&scheduler, 100, &keys(2, None));
    assert_near(stays.get_for(5).await, 20 * MB, 5);
    leaves.connections.shutdown().await;
    assert_near(stays.get_for(5).await, 40 * MB, 5);
    let comes_back = Clients::start(&scheduler, 100, &keys(2, None));
    assert_near(stays.get_for(5).await, 20 * MB, 5);
    assert_near(comes_back.got(), 20 * MB, 5);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_who_is_gone() {
    let scheduler = egress(8 * MB, FairLimits { per_address: bytes(MB), ..FairLimits::default() });
    let mut clients = Clients::start(&scheduler, 100, &keys(1, None));
    sleep(Duration::from_secs(1)).await;
    assert!(scheduler.lock().wakes.is_some());
    clients.connections.shutdown().await;
    sleep(Duration::from_secs(1)).await;
    let state = scheduler.lock();
    assert!(state.waiters.is_empty() && state.due.is_empty());
    assert_eq!(state.wakes, None, "the task goes on without anything to do");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_can_be_had_again() {
    let scheduler = egress(MB, FairLimits::default());
    let course = scheduler.course(&keys(1, None)).unwrap();
    assert!(course.charge(10 * MB));
    assert!(!course.charge(1), "the debt is too high");
    course.credit(10 * MB);
    assert!(course.charge(1));
    let mut ticket = course.ticket();
    assert!(poll_fn(|cx| ticket.poll(cx, 10)).now_or_never().is_some());
}

/// Small bodies do not wait, and yet take no more than their address may have.
#[tokio::test(start_paused = true)]
async fn a_flood_of_small_bodies_leaves_others_their_share() {
    let scheduler = egress(8 * MB, FairLimits::default());
    let flood: JoinHandle<()> = tokio::spawn({
        let scheduler = Arc::clone(&scheduler);
        async move {
            loop {
                while scheduler.course(&keys(1, None)).unwrap().charge(10_000) {}
                let mut ticket = scheduler.course(&keys(1, None)).unwrap().ticket();
                poll_fn(|cx| ticket.poll(cx, 10_000)).await;
            }
        }
    });
    let other = Clients::start(&scheduler, 2, &keys(2, None));
    let got = other.get_for(10).await;
    assert!(got >= 38 * MB, "{got}");
    flood.abort();
}
