//! No more bytes a second from an upstream than its link may bear.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much may come at once after a rest.
const BURST: Duration = Duration::from_millis(50);

/// Hands out the time of a link, in the order in which it is asked for.
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// Until when the link is taken.
    taken: Mutex<Instant>,
}

impl Pace {
    /// So many bytes a second; any number where that is 0.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, taken: Mutex::new(Instant::now()) }
    }

    /// Waits until so many bytes may have come.
    pub async fn pass(&self, bytes: u64) {
        if self.bytes_per_second == 0 {
            return;
        }
        let until = {
            let now = Instant::now();
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let time = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            *taken = (*taken).max(now.checked_sub(BURST).unwrap_or(now)) + time;
            *taken
        };
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_together_take_what_the_link_bears() {
        let (pace, start) = (Pace::new(1_000_000), Instant::now());
        let load = async || {
            for _ in 0..100 {
                pace.pass(10_000).await;
            }
        };
        tokio::join!(load(), load(), load());
        let took = start.elapsed();
        assert!((2_900..=3_001).contains(&took.as_millis()), "{took:?}");
        Pace::new(0).pass(u64::MAX).await;
        assert_eq!(start.elapsed(), took, "without a limit nobody waits");
    }
}
