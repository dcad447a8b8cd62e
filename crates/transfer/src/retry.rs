//! How often and how soon to try again: bounded, growing, and spread out.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The policy for faults that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many failures in a row are borne before giving up. Progress between two sets the count back.
    pub failures: u32,
    /// The pause after the first failure; it doubles with each.
    pub first: Duration,
    /// The longest pause. A server that asks for more is not waited for.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { failures: 5, first: Duration::from_millis(300), longest: Duration::from_secs(60) }
    }
}

impl Retry {
    /// Bytes that must arrive between two failures to count as progress. With less, a peer that cuts each
    /// connection after a byte could keep a copy busy for ever.
    pub const PROGRESS: u64 = 1 << 20;

    /// How long to wait after this many failures in a row; `None` is to give up.
    pub fn pause(&self, failures: u32) -> Option<Duration> {
        if failures > self.failures {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        Some(doubled.min(self.longest).mul_f64(spread()))
    }
}

/// Between a half and one, so that clients who failed together do not come back together.
fn spread() -> f64 {
    let random = RandomState::new().hash_one(0);
    0.5 + (random >> 12) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let retry = Retry { failures: 4, first: Duration::from_secs(1), longest: Duration::from_secs(3) };
        let check = |failures, most: Option<u64>| {
            let pause = retry.pause(failures);
            assert_eq!(pause.is_some(), most.is_some(), "{failures}");
            if let (Some(pause), Some(most)) = (pause, most.map(Duration::from_secs)) {
                assert!(pause <= most && pause >= most / 2, "{failures}: {pause:?}");
            }
        };
        check(1, Some(1));
        check(2, Some(2));
        check(3, Some(3));
        check(4, Some(3));
        check(5, None);
        check(u32::MAX, None);
    }
}
