//! A queue whose entries are found by the number that each got when it came.

use std::collections::VecDeque;

use crate::Key;

const SIZE_BITS: u32 = 48;
const SIZE: u64 = (1 << SIZE_BITS) - 1;
const MARK: u64 = 1 << SIZE_BITS;
const ROUNDS: u32 = SIZE_BITS + 8;

/// Numbers begin anew after so many.
pub(crate) const NUMBERS: u32 = 1 << 31;

/// One thing in the cache: its key, and in 64 bits its size, a mark and its rounds.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    key: Key,
    rest: u64,
}

impl Entry {
    pub fn new(key: Key, size: u64, rounds: u8, mark: bool) -> Self {
        let mut entry = Self { key, rest: size.min(SIZE) | u64::from(rounds) << ROUNDS };
        entry.set_mark(mark);
        entry
    }

    pub const fn key(&self) -> &Key {
        &self.key
    }

    pub const fn size(&self) -> u64 {
        self.rest & SIZE
    }

    /// How often it may still be passed over.
    pub const fn rounds(&self) -> u8 {
        (self.rest >> ROUNDS) as u8
    }

    /// A hit that is worth some rounds. No more than `most` such hits are counted.
    pub fn add_rounds(&mut self, worth: u8, most: u8) {
        let rounds = self.rounds().saturating_add(worth).min(worth.saturating_mul(most)).max(self.rounds());
        self.rest = self.rest & (u64::MAX >> 8) | u64::from(rounds) << ROUNDS;
    }

    pub fn take_round(&mut self) {
        if self.rounds() > 0 {
            self.rest -= 1 << ROUNDS;
        }
    }

    pub const fn mark(&self) -> bool {
        self.rest & MARK != 0
    }

    pub const fn set_mark(&mut self, mark: bool) {
        self.rest = if mark { self.rest | MARK } else { self.rest & !MARK };
    }
}

/// Entries in the order in which they came.
#[derive(Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    /// The number of the first.
    first: u32,
    bytes: u64,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives the number that it got.
    pub fn push(&mut self, entry: Entry) -> u32 {
        // Far fewer than there are numbers lie in a queue.
        let number = self.first.wrapping_add(self.entries.len() as u32) % NUMBERS;
        self.bytes += entry.size();
        self.entries.push_back(entry);
        number
    }

    pub fn pop(&mut self) -> Option<(u32, Entry)> {
        let entry = self.entries.pop_front()?;
        let number = self.first;
        self.first = (number + 1) % NUMBERS;
        self.bytes -= entry.size();
        Some((number, entry))
    }

    fn at(&self, number: u32) -> usize {
        (number.wrapping_sub(self.first) % NUMBERS) as usize
    }

    pub fn get(&self, number: u32) -> Option<&Entry> {
        self.entries.get(self.at(number))
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut Entry> {
        let at = self.at(number);
        self.entries.get_mut(at)
    }

    pub fn is_all(&self, mark: bool) -> bool {
        self.entries.iter().all(|entry| entry.mark() == mark)
    }

    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter()
    }
}
