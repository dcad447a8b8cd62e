//! Gathers what arrives in small pieces, so that hashing and writing go in few large steps.
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

    /// Moves out what there is.
    pub fn take(&mut self) -> Self {
        self.seal();
        let rest = Self::new(self.budget.clone());
        mem::replace(self, rest)
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
