//! What the rule keeps and lets go of, and that it is above LRU where somebody reads through everything once.

use super::*;

fn key(number: u64) -> Key {
    u128::from(number).to_le_bytes()
}

const LARGE: u64 = 20 << 20;

/// A cache of so many bytes that is told of requests of large blobs.
struct Cache {
    policy: Policy,
    capacity: u64,
}

impl Cache {
    fn new(blobs: u64) -> Self {
        Self { policy: Policy::default(), capacity: blobs * LARGE }
    }

    fn ask_for(&mut self, number: u64, size: u64) -> bool {
        if !self.policy.insert(key(number), number, size) {
            self.policy.hit(&key(number));
            return true;
        }
        while self.policy.bytes() > self.capacity {
            let victim = self.policy.take(&mut 10_000).expect("there is one");
            self.policy.gone(u64::from_le_bytes(victim.key[..8].try_into().unwrap()));
        }
        false
    }

    /// Which of these are there. Asking changes nothing.
    fn has(&self, numbers: std::ops::Range<u64>) -> usize {
        numbers
            .filter(|number| {
                self.policy.index.find(&key(*number), &self.policy.small, &self.policy.main).is_some()
            })
            .count()
    }
}

#[test]
fn a_scan_takes_nothing_that_is_asked_for() {
    let mut cache = Cache::new(100);
    for _ in 0..3 {
        (0..80).for_each(|number| {
            cache.ask_for(number, LARGE);
        });
    }
    (1_000..2_000).for_each(|number| assert!(!cache.ask_for(number, LARGE)));
    assert_eq!(cache.has(0..80), 80);
    assert_eq!(cache.policy.bytes(), cache.capacity);
}

#[test]
fn what_comes_back_soon_stays() {
    let mut cache = Cache::new(100);
    (0..110).for_each(|number| {
        cache.ask_for(number, LARGE);
    });
    let gone: Vec<u64> = (0..110).filter(|number| cache.has(*number..number + 1) == 0).collect();
    assert_eq!(gone.len(), 10);
    gone.iter().for_each(|number| assert!(!cache.ask_for(*number, LARGE)));
    (1_000..1_050).for_each(|number| {
        cache.ask_for(number, LARGE);
    });
    assert!(gone.iter().all(|number| cache.has(*number..number + 1) == 1), "they are in the main queue");
}

#[test]
fn what_is_small_outlives_what_is_large() {
    let mut cache = Cache::new(100);
    (0..1_000).for_each(|number| {
        cache.ask_for(number, if number % 2 == 0 { 100_000 } else { LARGE });
    });
    assert_eq!((0..1_000).step_by(2).filter(|number| cache.has(*number..number + 1) == 1).count(), 500);
}

#[test]
fn bytes_and_entries_are_counted_whatever_happens() {
    let mut policy = Policy::default();
    let mut there = std::collections::HashMap::new();
    let mut seed = 7_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    for _ in 0..200_000 {
        let (what, number) = (next() % 6, next() % 5_000);
        match what {
            0 | 1 => {
                let size = next() % (30 << 20);
                let is_new = policy.insert(key(number), number, size);
                assert_eq!(is_new, !there.contains_key(&number));
                there.entry(number).or_insert(size);
            }
            2 => policy.hit(&key(number)),
            3 | 4 => {
                if let Some(victim) = policy.take(&mut 50) {
                    let number = u64::from_le_bytes(victim.key[..8].try_into().unwrap());
                    if what == 3 && number % 3 == 0 {
                        policy.keep(victim);
                    } else {
                        assert_eq!(there.remove(&number), Some(victim.size));
                        policy.gone(number);
                    }
                }
            }
            _ => {
                let size = *there.entry(number).or_insert(5);
                policy.list(key(number), size);
            }
        }
        assert_eq!(policy.len(), there.len());
    }
    assert_eq!(policy.bytes(), there.values().sum::<u64>());
    for number in 0..5_000 {
        let is_there = policy.index.find(&key(number), &policy.small, &policy.main).is_some();
        assert_eq!(is_there, there.contains_key(&number), "{number}");
    }
}

#[test]
fn a_listing_finds_what_is_new_and_what_is_gone() {
    let mut policy = Policy::default();
    policy.begin_listing();
    (0..100).for_each(|number| assert!(policy.list(key(number), 10)));
    assert_eq!(policy.end_listing(), 0);
    assert!(policy.insert(key(100), 100, 10));
    policy.begin_listing();
    assert!(policy.insert(key(101), 101, 10), "it comes after its place was listed");
    (50..101).for_each(|number| {
        policy.list(key(number), 10);
    });
    assert_eq!(policy.end_listing(), 50);
    assert_eq!((policy.len(), policy.bytes()), (52, 520));
    policy.hit(&key(101));
    let mut taken: Vec<Key> = Vec::new();
    while let Some(victim) = policy.take(&mut 1_000) {
        taken.push(victim.key);
    }
    taken.sort_unstable();
    let mut expect: Vec<Key> = (50..102).map(key).collect();
    expect.sort_unstable();
    assert_eq!(taken, expect);
}

#[test]
fn a_search_ends_after_its_steps() {
    let mut policy = Policy::default();
    (0..100).for_each(|number| {
        policy.insert(key(number), number, 1);
    });
    let mut steps = 50;
    assert_eq!((policy.take(&mut steps), steps), (None, 0), "all of them have rounds left");
    assert_eq!(policy.len(), 100);
    assert!(policy.take(&mut 10_000).is_some(), "and the next call goes on");
}

#[test]
fn an_entry_is_small() {
    assert_eq!(std::mem::size_of::<Entry>(), 24);
    assert_eq!(std::mem::size_of::<Place>(), 4);
}
