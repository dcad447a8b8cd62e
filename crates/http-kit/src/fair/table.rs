//! A map from keys that does not grow with the keys that clients think of.

use std::collections::HashMap;

use super::keys::Key;

/// The most keys that are told apart. One beyond is counted together with all others beyond.
const KEYS_MAX: usize = 100_000;
/// So many new keys come at least between two looks for idle ones.
const SWEEP_MIN: usize = 1_000;

/// What is known of each key that does something.
pub(super) struct Table<T> {
    entries: HashMap<Key, T>,
    new_until_sweep: usize,
}

/// What may be forgotten, because a new one would be just the same.
pub(super) trait Idle {
    fn is_idle(&self) -> bool;
}

impl<T: Idle> Table<T> {
    pub(super) fn new() -> Table<T> {
        Table { entries: HashMap::new(), new_until_sweep: SWEEP_MIN }
    }

    /// The key under which this one is counted: itself, or the crowd of its class.
    ///
    /// Idle entries are looked for once in as many new keys as there are entries, so a flood of new keys costs
    /// each of them the same.
    pub(super) fn key(&mut self, key: &Key) -> Key {
        if self.entries.contains_key(key) {
            return key.clone();
        }
        match self.new_until_sweep.checked_sub(1) {
            Some(left) => self.new_until_sweep = left,
            None => {
                self.entries.retain(|_, entry| !entry.is_idle());
                self.new_until_sweep = self.entries.len().max(SWEEP_MIN);
            }
        }
        if self.entries.len() < KEYS_MAX { key.clone() } else { key.crowd() }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&T> {
        self.entries.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut T> {
        self.entries.get_mut(key)
    }

    pub(super) fn get_or_insert(&mut self, key: &Key, make: impl FnOnce() -> T) -> &mut T {
        self.entries.entry(key.clone()).or_insert_with(make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    struct Busy(bool);

    impl Idle for Busy {
        fn is_idle(&self) -> bool {
            !self.0
        }
    }

    fn key(number: usize) -> Key {
        Key::Address(IpAddr::V4(Ipv4Addr::from(number as u32)))
    }

    fn filled(keys: usize, busy: bool) -> Table<Busy> {
        let mut table = Table::new();
        for number in 0..keys {
            let key = table.key(&key(number));
            table.get_or_insert(&key, || Busy(busy));
        }
        table
    }

    #[test]
    fn idle_keys_are_forgotten() {
        let table = filled(10 * KEYS_MAX, false);
        assert!(table.entries.len() <= 2 * SWEEP_MIN, "{}", table.entries.len());
    }

    #[test]
    fn busy_keys_beyond_the_most_share_one_entry() {
        let mut table = filled(KEYS_MAX + 5_000, true);
        assert_eq!(table.entries.len(), KEYS_MAX + 1);
        assert_eq!(table.key(&key(7)), key(7));
        assert_eq!(table.key(&key(KEYS_MAX)), key(0).crowd());
        assert!(table.get(&key(0).crowd()).is_some());
    }
}
