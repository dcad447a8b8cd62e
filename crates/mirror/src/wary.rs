//! Who has sent something wrong: for a while others are asked for that first.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oci::Digest;

/// For how long.
const FOR: Duration = Duration::from_secs(600);

/// The most that is remembered.
const MOST: usize = 1_000;

struct Wrong {
    digest: Digest,
    link: usize,
    since: Instant,
}

/// Which registries of an upstream have sent what under a digest that is not its.
#[derive(Default)]
pub(crate) struct Wary(Mutex<VecDeque<Wrong>>);

impl Wary {
    fn all(&self) -> MutexGuard<'_, VecDeque<Wrong>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something else than this came from a registry.
    pub fn note(&self, digest: Digest, link: usize, since: Instant) {
        let mut all = self.all();
        all.retain(|wrong| (wrong.digest, wrong.link) != (digest, link));
        if all.len() == MOST {
            all.pop_front();
        }
        all.push_back(Wrong { digest, link, since });
    }

    /// From which registries it came wrong not long ago.
    pub fn of(&self, digest: &Digest, now: Instant) -> Vec<usize> {
        let is_recent = |wrong: &&Wrong| wrong.digest == *digest && now < wrong.since + FOR;
        self.all().iter().filter(is_recent).map(|wrong| wrong.link).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_wrong_is_remembered_for_a_while() {
        let (wary, now) = (Wary::default(), Instant::now());
        let (one, other) = (Digest::sha256(b"one"), Digest::sha256(b"other"));
        wary.note(one, 0, now);
        wary.note(one, 2, now);
        wary.note(one, 0, now + FOR / 2);
        assert_eq!(wary.of(&one, now), [2, 0]);
        assert!(wary.of(&other, now).is_empty());
        assert_eq!(wary.of(&one, now + FOR), [0], "it was wrong again");
        for number in 0..MOST as u64 {
            wary.note(Digest::sha256(&number.to_le_bytes()), 0, now);
        }
        assert!(wary.of(&one, now).is_empty());
    }
}
