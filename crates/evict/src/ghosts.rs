//! What has gone lately, by 32 bits of its hash: wrong once in some thousand times, which costs a place in a queue.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// What it is given is a hash.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

type Set = HashSet<u32, BuildHasherDefault<AsItIs>>;

/// Two generations: the older one goes when the younger is full.
#[derive(Default)]
pub(crate) struct Ghosts {
    younger: Set,
    older: Set,
}

impl Ghosts {
    pub fn contains(&self, content: u64) -> bool {
        let short = content as u32;
        self.younger.contains(&short) || self.older.contains(&short)
    }

    /// Remembers one of about `room`.
    pub fn insert(&mut self, content: u64, room: usize) {
        if self.younger.len() >= room / 2 {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(content as u32);
    }
}
