//! Where each key is: four bytes and a control byte for each, since the key itself lies in its queue.

use hashbrown::HashTable;

use crate::Key;
use crate::queue::{NUMBERS, Queue};

/// Many small tables grow one at a time, and none for so long that anybody notices.
const TABLES: usize = 256;

/// A queue, and the number in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    pub const fn new(is_main: bool, number: u32) -> Self {
        Self(if is_main { number | NUMBERS } else { number })
    }

    pub const fn is_main(self) -> bool {
        self.0 & NUMBERS != 0
    }

    pub const fn number(self) -> u32 {
        self.0 & !NUMBERS
    }

    fn key(self, small: &Queue, main: &Queue) -> Option<Key> {
        let queue = if self.is_main() { main } else { small };
        queue.get(self.number()).map(|entry| *entry.key())
    }
}

/// The places of all keys.
#[derive(Default)]
pub(crate) struct Index {
    /// Empty until something comes.
    tables: Vec<HashTable<Place>>,
}

/// Keys are random enough in most of their bits; nobody outside chooses them.
fn hash(key: &Key) -> u64 {
    let number = u128::from_le_bytes(*key);
    let folded = (number as u64) ^ (number >> 64) as u64;
    let mixed = folded.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed >> 32
}

fn table(hash: u64) -> usize {
    // The tables themselves look at the lowest and the highest bits.
    (hash >> 40) as usize % TABLES
}

impl Index {
    pub fn find(&self, key: &Key, small: &Queue, main: &Queue) -> Option<Place> {
        let hash = hash(key);
        let is_it = |place: &Place| place.key(small, main).as_ref() == Some(key);
        self.tables.get(table(hash))?.find(hash, is_it).copied()
    }

    /// Puts in a key that is not there.
    pub fn insert(&mut self, key: &Key, place: Place, small: &Queue, main: &Queue) {
        if self.tables.is_empty() {
            self.tables.resize_with(TABLES, HashTable::new);
        }
        let number = hash(key);
        if let Some(table) = self.tables.get_mut(table(number)) {
            let rehash = |place: &Place| place.key(small, main).as_ref().map_or(0, hash);
            table.insert_unique(number, place, rehash);
        }
    }

    pub fn remove(&mut self, key: &Key, place: Place) {
        let hash = hash(key);
        if let Some(table) = self.tables.get_mut(table(hash))
            && let Ok(found) = table.find_entry(hash, |other| *other == place)
        {
            found.remove();
        }
    }
}
