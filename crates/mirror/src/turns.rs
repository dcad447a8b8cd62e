//! Turns to fetch something: no more at once than there may be, of which the number changes with the time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use crate::error::FetchError;

/// The most that wait for their turn.
const WAITING_MAX: usize = 1_000;

/// How often who is next looks whether more may be fetched at once by now.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Those that fetch, and those that wait.
#[derive(Default)]
pub(crate) struct Turns {
    /// They come in here one by one, in their order.
    door: Mutex<()>,
    running: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

/// A turn. Dropping it is the end of it.
pub(crate) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}

impl Turns {
    /// Whether the next one has to wait where so many may fetch at once.
    pub fn are_taken(&self, most: usize) -> bool {
        self.running.load(Ordering::Acquire) >= most
    }

    /// The next turn, where `most` says how many there may be now. Not without end: what nobody waits for any more waits,
    /// too.
    pub async fn next(&self, most: impl Fn() -> usize) -> Result<Turn<'_>, FetchError> {
        struct Left<'a>(&'a AtomicUsize);
        impl Drop for Left<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _left = Left(&self.waiting);
        if before >= WAITING_MAX {
            return Err(FetchError::failing("too many blobs of it are waited for"));
        }
        let _next = self.door.lock().await;
        while self.are_taken(most()) {
            // A turn that ended before leaves its word, so none is missed.
            let _ended = timeout(LOOK_AGAIN, self.freed.notified()).await;
        }
        self.running.fetch_add(1, Ordering::AcqRel);
        Ok(Turn(self))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_at_once_than_there_may_be() {
        let (turns, most) = (Turns::default(), Cell::new(2));
        let now = || turns.next(|| most.get()).now_or_never();
        let (first, second) = (now().unwrap().unwrap(), now().unwrap().unwrap());
        assert!(now().is_none() && turns.are_taken(2));
        drop(first);
        let third = now().unwrap().unwrap();
        most.set(1);
        drop(second);
        assert!(now().is_none(), "fewer may come from now on");
        most.set(2);
        assert!(now().is_some(), "and more again");
        drop(third);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_learns_that_more_may_come() {
        let (turns, most) = (Turns::default(), Cell::new(0));
        let more = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            most.set(1);
        };
        let (turn, ()) = tokio::join!(turns.next(|| most.get()), more);
        assert!(turn.is_ok());
    }

    #[tokio::test]
    async fn not_any_number_waits() {
        let turns = Turns::default();
        turns.waiting.store(WAITING_MAX, Ordering::Relaxed);
        assert!(turns.next(|| 1).await.is_err());
        assert_eq!(turns.waiting.load(Ordering::Relaxed), WAITING_MAX);
    }
}
