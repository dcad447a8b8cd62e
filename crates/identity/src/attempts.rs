//! Who guesses passwords must wait, longer and longer.
//!
//! Failures are counted for a name from an address, for an address whatever the name (one password tried on many
//! names), and for a name whatever the address (many machines that guess together). That last count alone could be used
//! to lock somebody out, so it begins late, and neither it nor the address's holds up who has signed in by that name
//! from that address before: what others do elsewhere, or behind the same router, is not their fault.
//!
//! All of it is in memory, and bounded. Names are kept as hashes: they come from outside, and may be long.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meta::Timestamp;

/// The failures after which one must wait: of a name from an address, of an address, of a name.
const PAIR: u32 = 5;
const ADDRESS: u32 = 20;
const NAME: u32 = 50;

/// The first wait is one second, and each is twice the one before, up to this.
const LONGEST_WAIT: u64 = 15 * 60;
/// One failure is forgiven for so long without another.
const FORGIVEN_AFTER: Duration = Duration::from_mins(10);
/// How many counts are kept. Those that were touched longest ago go.
const COUNTS_MAX: usize = 100_000;

/// The failures to sign in, and who must wait because of them.
pub struct Attempts {
    /// Its keys are secret, so that nobody can choose a name that shares another's count.
    hashes: RandomState,
    table: Mutex<Table>,
}

/// How long to wait before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many failed attempts to sign in: try again in {seconds} seconds")]
pub struct Wait {
    /// In whole seconds, at least one.
    pub seconds: u64,
}

impl Default for Attempts {
    fn default() -> Self {
        Self::with_room_for(COUNTS_MAX)
    }
}

impl Attempts {
    /// No failures yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn with_room_for(room: usize) -> Self {
        let table = Table { room, counts: HashMap::new(), by_age: BTreeSet::new() };
        Self { hashes: RandomState::new(), table: Mutex::new(table) }
    }

    /// Whether the name may be tried from that address now. It does not count by itself: tell how it ended.
    pub fn check(&self, name: &str, address: IpAddr, now: Timestamp) -> Result<(), Wait> {
        let keys = self.keys(name, address);
        let table = self.table();
        let pair = table.get(keys.pair);
        let mut waits = vec![pair.wait(PAIR, now)];
        if !pair.has_signed_in {
            waits.push(table.get(keys.address).wait(ADDRESS, now));
            waits.push(table.get(keys.name).wait(NAME, now));
        }
        match waits.into_iter().max() {
            Some(seconds) if seconds > 0 => Err(Wait { seconds }),
            _ => Ok(()),
        }
    }

    /// The attempt failed.
    pub fn failed(&self, name: &str, address: IpAddr, now: Timestamp) {
        let keys = self.keys(name, address);
        let mut table = self.table();
        for key in [keys.pair, keys.address, keys.name] {
            let count = table.get(key);
            table.set(key, Count { failures: count.failures_at(now).saturating_add(1), last: now, ..count });
        }
    }

    /// The attempt succeeded: the name's failures are forgotten. The address's are not, or else whoever has one
    /// account could guess at others without end.
    pub fn succeeded(&self, name: &str, address: IpAddr, now: Timestamp) {
        let keys = self.keys(name, address);
        let mut table = self.table();
        table.set(keys.pair, Count { failures: 0, last: now, has_signed_in: true });
        table.remove(keys.name);
    }

    fn keys(&self, name: &str, address: IpAddr) -> Keys {
        let network = network(address);
        Keys {
            pair: self.hashes.hash_one((Kind::Pair, name, network)),
            address: self.hashes.hash_one((Kind::Address, network)),
            name: self.hashes.hash_one((Kind::Name, name)),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Hash)]
enum Kind {
    Pair,
    Address,
    Name,
}

struct Keys {
    pair: u64,
    address: u64,
    name: u64,
}

/// What one holder of addresses has: one address of version 4, 2^64 of version 6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
        address => address,
    }
}

/// The failures of one key.
#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    /// When it last failed, or succeeded.
    last: Timestamp,
    /// Whether that name was once signed in by from that address. Only for pairs.
    has_signed_in: bool,
}

impl Count {
    const NONE: Self = Self { failures: 0, last: Timestamp::from_micros(0), has_signed_in: false };

    /// The failures that are not forgiven yet.
    fn failures_at(self, now: Timestamp) -> u32 {
        let forgiven = self.quiet(now).map_or(0, |quiet| quiet.as_secs() / FORGIVEN_AFTER.as_secs());
        self.failures.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    /// How many seconds are still to wait, rounded up, where so many failures are free.
    fn wait(self, free: u32, now: Timestamp) -> u64 {
        let Some(beyond) = self.failures.checked_sub(free) else { return 0 };
        // A clock that was set back does not make anyone wait until it has caught up.
        let Some(quiet) = self.quiet(now) else { return 0 };
        let wait = 1_u64.checked_shl(beyond).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        let left = Duration::from_secs(wait).saturating_sub(quiet);
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    }

    /// How long ago it last failed. `None` if that lies in the future.
    fn quiet(self, now: Timestamp) -> Option<Duration> {
        let micros = now.micros().checked_sub(self.last.micros())?;
        u64::try_from(micros).ok().map(Duration::from_micros)
    }
}

/// The counts, and which was touched longest ago.
struct Table {
    room: usize,
    counts: HashMap<u64, Count>,
    by_age: BTreeSet<(Timestamp, u64)>,
}

impl Table {
    fn get(&self, key: u64) -> Count {
        self.counts.get(&key).copied().unwrap_or(Count::NONE)
    }

    fn set(&mut self, key: u64, count: Count) {
        self.remove(key);
        self.counts.insert(key, count);
        self.by_age.insert((count.last, key));
        while self.counts.len() > self.room
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.counts.remove(&oldest);
        }
    }

    fn remove(&mut self, key: u64) {
        if let Some(count) = self.counts.remove(&key) {
            self.by_age.remove(&(count.last, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOME: &str = "192.0.2.1";
    const AWAY: &str = "198.51.100.7";

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000 + (seconds * 1e6) as i64)
    }

    fn wait(attempts: &Attempts, name: &str, from: &str, now: f64) -> u64 {
        attempts.check(name, address(from), at(now)).map_or_else(|wait| wait.seconds, |()| 0)
    }

    fn fail(attempts: &Attempts, name: &str, from: &str, now: f64, times: u32) {
        (0..times).for_each(|_| attempts.failed(name, address(from), at(now)));
    }

    #[test]
    fn the_wait_of_a_name_doubles() {
        let attempts = Attempts::new();
        fail(&attempts, "ada", HOME, 0.0, 4);
        assert_eq!(wait(&attempts, "ada", HOME, 0.0), 0);
        for expect in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            fail(&attempts, "ada", HOME, 0.0, 1);
            assert_eq!(wait(&attempts, "ada", HOME, 0.0), expect);
            assert_eq!(wait(&attempts, "ada", HOME, expect as f64 - 0.5), 1, "rounded up");
            assert_eq!(wait(&attempts, "ada", HOME, expect as f64), 0);
        }
        assert_eq!(wait(&attempts, "bob", HOME, 0.0), 0, "another name");
        assert_eq!(wait(&attempts, "ada", AWAY, 0.0), 0, "another address");
        fail(&attempts, "ada", HOME, 0.0, 1_000);
        assert_eq!(wait(&attempts, "ada", HOME, 0.0), 900);
    }

    #[test]
    fn an_address_that_tries_many_names_waits() {
        let attempts = Attempts::new();
        for (count, name) in ('a'..='u').enumerate() {
            assert_eq!(wait(&attempts, "ada", HOME, 0.0) > 0, count >= 20, "{count}");
            fail(&attempts, &name.to_string(), HOME, 0.0, 1);
        }
        assert_eq!(wait(&attempts, "ada", HOME, 0.0), 2);
        assert_eq!(wait(&attempts, "ada", AWAY, 0.0), 0);
    }

    #[test]
    fn a_name_that_is_guessed_from_everywhere_waits() {
        let attempts = Attempts::new();
        for count in 0..50 {
            assert_eq!(wait(&attempts, "ada", HOME, 0.0), 0, "{count}");
            fail(&attempts, "ada", &format!("203.0.113.{count}"), 0.0, 1);
        }
        assert_eq!(wait(&attempts, "ada", HOME, 0.0), 1);
        assert_eq!(wait(&attempts, "bob", HOME, 0.0), 0);
    }

    #[test]
    fn who_has_signed_in_from_there_answers_only_for_the_own_failures() {
        let attempts = Attempts::new();
        attempts.succeeded("ada", address(HOME), at(0.0));
        for count in 0..80 {
            fail(&attempts, "ada", &format!("203.0.113.{count}"), 1.0, 1);
            fail(&attempts, &format!("user{count}"), HOME, 1.0, 1);
        }
        assert_eq!(wait(&attempts, "ada", HOME, 1.0), 0);
        assert_eq!(wait(&attempts, "ada", AWAY, 1.0), 900, "by its name");
        assert_eq!(wait(&attempts, "bob", HOME, 1.0), 900, "by the address");
        fail(&attempts, "ada", HOME, 1.0, 6);
        assert_eq!(wait(&attempts, "ada", HOME, 1.0), 2, "by both together");
    }

    #[test]
    fn nobody_can_lock_another_out_from_one_address() {
        let attempts = Attempts::new();
        let mut now = 0.0;
        // For a month, as fast as is allowed.
        while now < 30.0 * 86_400.0 {
            assert_eq!(wait(&attempts, "ada", HOME, now), 0, "{now}");
            match wait(&attempts, "ada", AWAY, now) {
                0 => fail(&attempts, "ada", AWAY, now, 1),
                seconds => now += seconds as f64,
            }
        }
    }

    #[test]
    fn success_clears_the_name_and_not_the_address() {
        let attempts = Attempts::new();
        fail(&attempts, "ada", HOME, 0.0, 21);
        attempts.succeeded("ada", address(HOME), at(1_000.0));
        fail(&attempts, "ada", HOME, 1_000.0, 4);
        assert_eq!(wait(&attempts, "ada", HOME, 1_000.0), 0);
        // 21, of which one is forgiven after a thousand seconds, and 4 more.
        assert_eq!(wait(&attempts, "bob", HOME, 1_000.0), 16);
    }

    #[test]
    fn failures_are_forgiven_in_time() {
        let attempts = Attempts::new();
        fail(&attempts, "ada", HOME, 0.0, 6);
        fail(&attempts, "ada", HOME, 1_799.0, 1);
        assert_eq!(wait(&attempts, "ada", HOME, 1_799.0), 1, "two of six are forgiven");
        fail(&attempts, "ada", HOME, 100_000.0, 4);
        assert_eq!(wait(&attempts, "ada", HOME, 100_000.0), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait() {
        let attempts = Attempts::new();
        fail(&attempts, "ada", HOME, 86_400.0, 30);
        assert_eq!(wait(&attempts, "ada", HOME, 0.0), 0);
        fail(&attempts, "ada", HOME, 0.0, 1);
        assert_eq!(wait(&attempts, "ada", HOME, 0.0), 900);
    }

    #[test]
    fn addresses_are_counted_by_who_holds_them() {
        let same = |one: &str, other: &str, expect: bool| {
            assert_eq!(network(address(one)) == network(address(other)), expect, "{one} {other}");
        };
        same("2001:db8::1", "2001:db8::ffff:1", true);
        same("2001:db8::1", "2001:db8:0:1::1", false);
        same("192.0.2.1", "192.0.2.2", false);
        same("192.0.2.1", "::ffff:192.0.2.1", true);
        same("::1", "127.0.0.1", false);
    }

    proptest! {
        #[test]
        fn memory_is_bounded(steps in proptest::collection::vec((0..60_u8, 0..60_u8, 0..1_000_u32, 0..8_u8), 0..300)) {
            let attempts = Attempts::with_room_for(50);
            for (name, host, now, kind) in steps {
                let (name, from, now) = (name.to_string(), address(&format!("192.0.2.{host}")), at(f64::from(now)));
                match kind {
                    0 => attempts.succeeded(&name, from, now),
                    _ => attempts.failed(&name, from, now),
                }
                let table = attempts.table();
                prop_assert!(table.counts.len() <= 50);
                prop_assert_eq!(table.counts.len(), table.by_age.len());
                prop_assert!(table.by_age.iter().all(|(last, key)| table.get(*key).last == *last));
            }
        }
    }
}
