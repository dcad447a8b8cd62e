//! How many bytes the request bodies that are collected in memory may have together.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// A bound on bodies in memory, whoever sends them and over however many connections.
#[derive(Debug)]
pub struct BodyBudget {
    most: u64,
    used: AtomicU64,
}

impl BodyBudget {
    /// Room for so many bytes.
    pub const fn new(most: u64) -> BodyBudget {
        BodyBudget { most, used: AtomicU64::new(0) }
    }

    /// The share of one request: nothing yet, it grows as its body does.
    pub const fn share(&self) -> BodyShare<'_> {
        BodyShare { budget: self, bytes: 0 }
    }
}

/// What one request has of a [`BodyBudget`]. Dropping it gives all of it back.
#[derive(Debug)]
pub struct BodyShare<'a> {
    budget: &'a BodyBudget,
    bytes: u64,
}

impl BodyShare<'_> {
    /// Takes room for more bytes. A request that has the budget to itself always gets it.
    pub(crate) fn grow(&mut self, by: usize) -> Result<(), Error> {
        let by = by as u64;
        let grown = |used: u64| {
            let alone = used == self.bytes;
            used.checked_add(by).filter(|used| alone || *used <= self.budget.most)
        };
        let taken = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
        taken.map_err(|_| Error::BodiesTooMany)?;
        self.bytes += by;
        Ok(())
    }
}

impl Drop for BodyShare<'_> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestBody;

    #[test]
    fn shares_are_taken_and_given_back() {
        let budget = BodyBudget::new(10);
        let (mut first, mut second) = (budget.share(), budget.share());
        first.grow(6).unwrap();
        second.grow(4).unwrap();
        assert!(matches!(second.grow(1), Err(Error::BodiesTooMany)));
        assert!(matches!(first.grow(1), Err(Error::BodiesTooMany)));
        drop(first);
        second.grow(6).unwrap();
        second.grow(100).expect("it is alone");
        assert!(matches!(budget.share().grow(1), Err(Error::BodiesTooMany)));
        drop(second);
        budget.share().grow(10).unwrap();
        assert_eq!(budget.used.into_inner(), 0);
    }

    #[tokio::test]
    async fn a_body_takes_its_bytes_from_the_budget() {
        let budget = BodyBudget::new(10);
        let mut share = budget.share();
        let read = |len: usize| RequestBody::full(vec![0; len]);
        assert_eq!(read(6).read_within(10, &mut share).await.unwrap().len(), 6);
        let refused = read(5).read_within(10, &mut budget.share()).await;
        assert!(matches!(refused, Err(Error::BodiesTooMany)));
        drop(share);
        assert_eq!(read(5).read_within(10, &mut budget.share()).await.unwrap().len(), 5);
    }
}
