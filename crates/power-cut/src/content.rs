//! The bytes of one file, as seen and as they would be found after a power cut.
//!
//! Both states share their pages until one is written to, so a sync copies references and no bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::Fate;

/// Bytes in a page, the unit that a power cut keeps or loses as a whole.
pub const PAGE: u64 = 4096;

type Page = [u8; PAGE as usize];

/// One state of a file. A page that is not there reads as zeros.
#[derive(Clone, Debug, Default)]
struct Image {
    pages: BTreeMap<u64, Arc<Page>>,
    size: u64,
}

impl Image {
    fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let end = self.size.min(offset.saturating_add(len));
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset) as usize);
        for (index, part) in parts(offset..end) {
            match self.pages.get(&index) {
                Some(page) => bytes.extend_from_slice(&page[part]),
                None => bytes.resize(bytes.len() + part.len(), 0),
            }
        }
        bytes
    }

    fn page(&mut self, index: u64) -> &mut Page {
        Arc::make_mut(self.pages.entry(index).or_insert_with(|| Arc::new([0; PAGE as usize])))
    }

    /// Takes over page `index` of another state, be it there or not.
    fn adopt(&mut self, index: u64, from: &Self) {
        match from.pages.get(&index) {
            Some(page) => self.pages.insert(index, Arc::clone(page)),
            None => self.pages.remove(&index),
        };
    }

    /// Sets the size and clears what lies beyond, so that growing again shows zeros.
    fn resize(&mut self, size: u64) {
        self.size = size;
        self.pages.split_off(&size.div_ceil(PAGE));
        let tail = (size % PAGE) as usize;
        if tail > 0 && self.pages.contains_key(&(size / PAGE)) {
            self.page(size / PAGE)[tail..].fill(0);
        }
    }
}

/// A file's bytes in both states.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    live: Image,
    durable: Image,
    /// Pages that differ, or may differ, between the two states.
    dirty: BTreeSet<u64>,
    resized: bool,
}

impl Content {
    pub(crate) fn size(&self) -> u64 {
        self.live.size
    }

    /// Pages that the live state takes up.
    pub(crate) fn allocated(&self) -> u64 {
        self.live.pages.len() as u64
    }

    /// Pages that a write to this range would add.
    pub(crate) fn missing(&self, range: Range<u64>) -> u64 {
        parts(range).filter(|(index, _)| !self.live.pages.contains_key(index)).count() as u64
    }

    pub(crate) fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        self.live.read(offset, len)
    }

    pub(crate) fn write(&mut self, offset: u64, mut data: &[u8]) {
        let end = offset + data.len() as u64;
        for (index, part) in parts(offset..end) {
            let (now, rest) = data.split_at(part.len());
            self.live.page(index)[part].copy_from_slice(now);
            self.dirty.insert(index);
            data = rest;
        }
        self.grow(end);
    }

    /// Gives every page of the range a place, without changing what is read.
    pub(crate) fn allocate(&mut self, range: Range<u64>) {
        for (index, _) in parts(range) {
            self.live.page(index);
            self.dirty.insert(index);
        }
    }

    pub(crate) fn grow(&mut self, size: u64) {
        if size > self.live.size {
            self.live.size = size;
            self.resized = true;
        }
    }

    pub(crate) fn resize(&mut self, size: u64) {
        let kept = size / PAGE;
        self.dirty.extend(self.live.pages.range(kept..).map(|(index, _)| *index));
        self.live.resize(size);
        self.resized = true;
    }

    /// Zeros a range; whole pages give their space back.
    pub(crate) fn punch(&mut self, range: Range<u64>) {
        for (index, part) in parts(range) {
            if !self.live.pages.contains_key(&index) {
                continue;
            }
            self.dirty.insert(index);
            if part.len() as u64 == PAGE {
                self.live.pages.remove(&index);
            } else {
                self.live.page(index)[part].fill(0);
            }
        }
    }

    /// What `fsync` does: everything seen now lasts.
    pub(crate) fn sync(&mut self) {
        for index in std::mem::take(&mut self.dirty) {
            self.durable.adopt(index, &self.live);
        }
        if std::mem::take(&mut self.resized) {
            self.durable.resize(self.live.size);
        }
    }

    /// What a failed `fsync` does on Linux: the pages count as clean although they never reached the disk, so a
    /// later `fsync` succeeds without saving them.
    pub(crate) fn fail_sync(&mut self) {
        self.dirty.clear();
        self.resized = false;
    }

    /// The file has no name and no user left, so nobody can see the live state any more.
    pub(crate) fn vanish(&mut self) {
        self.live = self.durable.clone();
        self.fail_sync();
    }

    /// The file as it is found after the power comes back.
    pub(crate) fn after_cut(&self, fate: &mut Fate) -> Self {
        let mut found = self.durable.clone();
        for index in &self.dirty {
            if fate.keeps() {
                found.adopt(*index, &self.live);
            }
        }
        let size = if self.resized { self.size_after_cut(fate) } else { found.size };
        found.resize(size);
        Self { live: found.clone(), durable: found, dirty: BTreeSet::new(), resized: false }
    }

    fn size_after_cut(&self, fate: &mut Fate) -> u64 {
        if !fate.keeps() {
            return self.durable.size;
        }
        let grown = self.live.size.saturating_sub(self.durable.size);
        if fate.keeps() || grown == 0 {
            return self.live.size;
        }
        // A file that was growing may be found at any page on the way.
        let between = self.durable.size + fate.dice.below(grown);
        (between / PAGE * PAGE).max(self.durable.size)
    }
}

/// Cuts a byte range into the pages that it touches and the part of each.
fn parts(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let pages = if range.is_empty() { 0..0 } else { range.start / PAGE..range.end.div_ceil(PAGE) };
    pages.map(move |index| {
        let start = range.start.saturating_sub(index * PAGE);
        let end = (range.end - index * PAGE).min(PAGE);
        (index, start as usize..end as usize)
    })
}
