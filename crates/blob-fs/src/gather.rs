//! Gathers what arrives in small pieces, so that hashing and writing go in few large steps.
//!
//! The steps end where the pages of the file system's cache end, large ones too: a page that is written in two
//! halves is looked for twice, and keeps the kernel from taking larger ones (a fifth of the cost of the writes).
//!
//! Large pieces are kept as they are and small ones are copied together: a copy costs less than a system call for
//! each, and a thousand small pieces can not hold a thousand large receive buffers.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// From this size a piece is kept instead of copied.
const LARGE: usize = 16 * 1024;
/// How much one upload gathers when all together hold too much.
const SCARCE: usize = 64 * 1024;
/// The places in a file where a step had better end are multiples of this.
const ALIGNMENT: u64 = 64 * 1024;

/// How much memory the gathered bytes of all uploads may take.
pub(crate) struct Budget {
    each: usize,
    total: usize,
    used: AtomicUsize,
}

impl Budget {
    /// `each` for every upload, as long as all hold no more than `total`.
    pub fn new(each: usize, total: usize) -> Self {
        Self { each, total, used: AtomicUsize::new(0) }
    }

    fn limit(&self) -> usize {
        let scarce = self.used.load(Ordering::Relaxed) > self.total;
        if scarce { self.each.min(SCARCE) } else { self.each }
    }
}

/// Bytes that have arrived and are not written yet. Counts against the budget until it is dropped.
pub(crate) struct Gather {
    budget: Arc<Budget>,
    pieces: Vec<Bytes>,
    small: BytesMut,
    length: usize,
}

impl Gather {
    /// Nothing so far.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { budget, pieces: Vec::new(), small: BytesMut::new(), length: 0 }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: Bytes) {
        self.length += bytes.len();
        self.budget.used.fetch_add(bytes.len(), Ordering::Relaxed);
        if bytes.len() < LARGE {
            self.small.extend_from_slice(&bytes);
        } else {
            self.seal();
            self.pieces.push(bytes);
        }
    }

    /// Whether it is time to write.
    pub fn is_full(&self) -> bool {
        self.length >= self.budget.limit()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Moves out what there is.
    pub fn take(&mut self) -> Self {
        self.seal();
        let rest = Self::new(self.budget.clone());
        mem::replace(self, rest)
    }

    /// Moves out what there is up to the last good place to end a write, if there is one. `end` is where in the
    /// file the gathered bytes end.
    pub fn take_aligned(&mut self, end: u64) -> Self {
        let mut taken = self.take();
        let surplus = usize::try_from(end % ALIGNMENT).unwrap_or(0);
        if surplus < taken.length {
            *self = taken.split_off(surplus);
        }
        taken
    }

    /// Moves out the last bytes, `count` of them, as a copy: they are few, and must not hold a large receive buffer.
    /// To be called on what [`Gather::take`] gave.
    fn split_off(&mut self, count: usize) -> Self {
        let mut rest = Self::new(self.budget.clone());
        rest.length = count;
        self.length -= count;
        let mut kept = self.length;
        for piece in &mut self.pieces {
            let tail = piece.split_off(kept.min(piece.len()));
            kept -= piece.len();
            rest.small.extend_from_slice(&tail);
        }
        self.pieces.retain(|piece| !piece.is_empty());
        rest
    }

    /// The bytes, in order. To be called on what [`Gather::take`] gave.
    pub fn pieces(&self) -> &[Bytes] {
        debug_assert!(self.small.is_empty(), "taken bytes are sealed");
        &self.pieces
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(mem::take(&mut self.small).freeze());
        }
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.length, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_leave_the_budget() {
        let budget = Arc::new(Budget::new(1 << 20, 64 << 20));
        let mut gather = Gather::new(budget.clone());
        let mut sent = Vec::new();
        for (seed, length) in [1, 5000, LARGE, 3, LARGE - 1, 100_000, 0].into_iter().enumerate() {
            let piece = blob::contract::noise(seed as u64, length);
            sent.extend_from_slice(&piece);
            gather.push(piece);
        }
        assert!(!gather.is_empty());
        let taken = gather.take();
        assert!(gather.is_empty() && taken.pieces().concat() == sent);
        assert_eq!(budget.used.load(Ordering::Relaxed), sent.len());
        drop((taken, gather));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_taken_ends_at_a_good_place_if_there_is_one() {
        let alignment = usize::try_from(ALIGNMENT).unwrap();
        for pieces in
            [vec![alignment], vec![alignment + 1], vec![50, 3 * alignment, 7, 20_000], vec![100, 200]]
        {
            for start in [0, 1, alignment - 1, 5 * alignment + 77] {
                let budget = Arc::new(Budget::new(1 << 20, 64 << 20));
                let mut gather = Gather::new(budget.clone());
                let mut sent = Vec::new();
                for (seed, length) in pieces.iter().enumerate() {
                    let piece = blob::contract::noise(seed as u64, *length);
                    sent.extend_from_slice(&piece);
                    gather.push(piece);
                }
                let end = start + sent.len();
                let taken = gather.take_aligned(end as u64);
                let rest = gather.take();
                assert_eq!([taken.pieces().concat(), rest.pieces().concat()].concat(), sent);
                let place = start + taken.pieces().concat().len();
                assert!(
                    place == end || place.is_multiple_of(alignment) && end - place < alignment,
                    "{pieces:?} {start}"
                );
                assert!(place > start, "something is taken");
                assert_eq!(budget.used.load(Ordering::Relaxed), sent.len());
                drop((taken, rest));
                assert_eq!(budget.used.load(Ordering::Relaxed), 0);
            }
        }
    }

    #[test]
    fn uploads_gather_less_when_memory_is_scarce() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 20));
        let mut first = Gather::new(budget.clone());
        first.push(vec![0; 500_000].into());
        assert!(!first.is_full());
        let mut second = Gather::new(budget);
        second.push(vec![0; 600_000].into());
        assert!(first.is_full() && second.is_full());
        drop(second.take());
        assert!(!first.is_full() && !second.is_full());
    }
}
