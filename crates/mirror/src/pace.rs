//! No more bytes a second from an upstream than its link may bear.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much may come at once after a rest.
const BURST: Duration = Duration::from_millis(50);

/// Hands out the time of a link, in the order in which it is asked for.
pub(crate) struct Pace {
    /// Until when the link is taken.
    taken: Mutex<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { taken: Mutex::new(Instant::now()) }
    }
}

impl Pace {
    /// Waits until so many bytes may have come, where so many a second may, or any number where that is 0: what holds
    /// now, which may be another thing for the next.
    pub async fn pass(&self, bytes: u64, bytes_per_second: u64) {
        if bytes_per_second == 0 {
            return;
        }
        let until = {
            let now = Instant::now();
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let time = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
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
        let (pace, start) = (Pace::default(), Instant::now());
        let load = async || {
            for _ in 0..100 {
                pace.pass(10_000, 1_000_000).await;
            }
        };
        tokio::join!(load(), load(), load());
        let took = start.elapsed();
        assert!((2_900..=3_001).contains(&took.as_millis()), "{took:?}");
        Pace::default().pass(u64::MAX, 0).await;
        assert_eq!(start.elapsed(), took, "without a limit nobody waits");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_goes_at_the_speed_that_holds_now() {
        let (pace, start) = (Pace::default(), Instant::now());
        let elapsed = || start.elapsed().as_millis();
        for speed in [10_000, 10_000, 0, 0, 0, 1_000_000] {
            pace.pass(10_000, speed).await;
        }
        assert!((1_900..=2_020).contains(&elapsed()), "two slow ones and a fast one: {}", elapsed());
    }
}
