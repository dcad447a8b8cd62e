//! How an upstream does: whether it is asked at all, and how much of what it allows is left.
//!
//! After some failures in a row it is left alone for a while, which doubles; then one request tries it. Who is told to
//! come back later does not ask before.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::RateLimit;
use transfer::Retry;

/// Failures in a row after which an upstream is left alone.
const FAILURES: u32 = 5;

/// For how long, at first and at most.
const REST: Retry =
    Retry { failures: u32::MAX, first: Duration::from_secs(2), longest: Duration::from_secs(60) };

/// Why it is left alone after something wrong, and for how long.
const WRONG: (&str, Duration) =
    ("it has sent something that is not what its digest says", Duration::from_mins(10));

/// Why it is left alone after failures.
const FAILED: &str = "it has failed too often";

/// Why it is left alone after 429, by what was asked for.
const ENOUGH: [&str; 2] = ["it allows no more requests at present", "it allows no more downloads at present"];

/// How long it is left alone after 429 where it does not say.
const LIMITED: Duration = Duration::from_secs(30);

/// The longest that any upstream can have itself left alone.
const LIMITED_MAX: Duration = Duration::from_secs(6 * 3_600);

/// Of what an upstream allows, the part that is left for what is not here yet.
const RESERVE: u64 = 5;

/// Why an upstream is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// In words.
    pub reason: &'static str,
    /// For how much longer.
    pub wait: Duration,
}

/// What an upstream is asked for: many limit manifests, and send blobs from elsewhere without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Manifests and lists.
    Names,
    /// Blobs.
    Blobs,
}

/// What was learnt from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It answers, be it that there is no such thing.
    Something,
    /// Nothing, or that it cannot.
    Nothing,
    /// To come back later.
    Later(Option<Duration>),
    /// Something that is not what its digest says.
    Wrong,
}

/// How it stands, for people and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why it is not asked, where it is not.
    pub closed: Option<Closed>,
    /// Failures in a row.
    pub failures: u32,
    /// What it allows.
    pub limit: Option<u64>,
    /// What is left of that.
    pub remaining: Option<u64>,
}

impl Standing {
    /// Whether it is asked, and did not fail too often when it was asked last.
    pub const fn is_available(&self) -> bool {
        self.closed.is_none() && self.failures < FAILURES
    }
}

#[derive(Default)]
struct State {
    failures: u32,
    /// Until when it is left alone after failures.
    closed: Option<Instant>,
    /// Until when it allows no more, of each that is [`Asked`].
    enough: [Option<Instant>; 2],
    /// Until when it is left alone after something wrong.
    wrong: Option<Instant>,
    /// Whether somebody tries it right now.
    trying: Option<Instant>,
    cut: Option<Instant>,
    limit: Option<(RateLimit, Instant)>,
}

impl State {
    /// Until when it is left alone whatever it does, and why.
    fn told(&self, asked: Asked, now: Instant) -> Option<(Instant, &'static str)> {
        let cut = self.cut.map(|until| (until, "it is cut off for a rehearsal"));
        let enough = self.enough[asked as usize].map(|until| (until, ENOUGH[asked as usize]));
        let wrong = self.wrong.map(|until| (until, WRONG.0));
        [cut, wrong, enough].into_iter().flatten().find(|(until, _)| now < *until)
    }

    /// What it allows, as it said in the window that is not over yet.
    fn limit(&self, now: Instant) -> Option<&RateLimit> {
        let is_over = |limit: &RateLimit, since: Instant| {
            limit.window_seconds.is_some_and(|seconds| now >= since + Duration::from_secs(seconds))
        };
        self.limit.as_ref().filter(|(limit, since)| !is_over(limit, *since)).map(|(limit, _)| limit)
    }
}

/// The health of one upstream.
#[derive(Default)]
pub(crate) struct Health(Mutex<State>);

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be asked now.
    pub fn admit(&self, asked: Asked, now: Instant) -> Result<(), Closed> {
        let mut state = self.state();
        if let Some((until, reason)) = state.told(asked, now) {
            return Err(Closed { reason, wait: until - now });
        }
        let Some(until) = state.closed else { return Ok(()) };
        if now < until {
            return Err(Closed { reason: FAILED, wait: until - now });
        }
        // One at a time tries; a try that nobody ends is forgotten.
        let wait = Duration::from_secs(1);
        if state.trying.is_some_and(|since| now < since + REST.longest) {
            return Err(Closed { reason: FAILED, wait });
        }
        state.trying = Some(now);
        Ok(())
    }

    /// Notes what came of a request.
    pub fn note(&self, asked: Asked, said: Said, now: Instant) {
        let mut state = self.state();
        state.trying = None;
        match said {
            Said::Something => (state.failures, state.closed) = (0, None),
            // Those that were under way when it was closed say nothing new.
            Said::Nothing if state.closed.is_some_and(|until| now < until) => {}
            Said::Nothing => {
                state.failures = state.failures.saturating_add(1);
                if let Some(times) = (state.failures + 1).checked_sub(FAILURES).filter(|times| *times > 0) {
                    state.closed = Some(now + REST.pause(times).unwrap_or(REST.longest));
                }
            }
            Said::Wrong => state.wrong = Some(now + WRONG.1),
            Said::Later(wait) => {
                // It works, after all.
                (state.failures, state.closed) = (0, None);
                state.enough[asked as usize] = Some(now + wait.unwrap_or(LIMITED).min(LIMITED_MAX));
            }
        }
    }

    /// Notes what an answer said of what is allowed.
    pub fn note_limit(&self, limit: RateLimit, now: Instant) {
        self.state().limit = Some((limit, now));
    }

    /// Whether so little is left of what it allows that it is kept for what is not here yet.
    pub fn is_scarce(&self, now: Instant) -> bool {
        let state = self.state();
        let Some(RateLimit { limit, remaining, .. }) = state.limit(now) else { return false };
        let part = limit.unwrap_or_default() / 100 * RESERVE;
        remaining.is_some_and(|remaining| remaining <= part.max(RESERVE))
    }

    /// Cuts it off until then, whatever it does; ends that with a moment that has passed.
    pub fn cut(&self, until: Instant) {
        self.state().cut = Some(until);
    }

    /// How it stands.
    pub fn standing(&self, now: Instant) -> Standing {
        let state = self.state();
        let told = [Asked::Names, Asked::Blobs].into_iter().find_map(|asked| state.told(asked, now));
        let closed = state.closed.filter(|until| now < *until).map(|until| (until, FAILED));
        let closed = told.or(closed);
        let limit = state.limit(now);
        Standing {
            closed: closed.map(|(until, reason)| Closed { reason, wait: until - now }),
            failures: state.failures,
            limit: limit.and_then(|limit| limit.limit),
            remaining: limit.and_then(|limit| limit.remaining),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_left_alone_after_some_failures_and_tried_by_one() {
        let (health, start) = (Health::default(), Instant::now());
        for _ in 1..FAILURES {
            health.note(Asked::Names, Said::Nothing, start);
            assert_eq!(health.admit(Asked::Names, start), Ok(()));
        }
        health.note(Asked::Names, Said::Nothing, start);
        assert!(health.admit(Asked::Names, start).is_err());
        let later = start + 2 * SECOND;
        assert!(!health.standing(later).is_available(), "nobody knows yet whether it is well again");
        assert_eq!(health.admit(Asked::Names, later), Ok(()), "one may try");
        assert!(health.admit(Asked::Names, later).is_err(), "and nobody else meanwhile");
        health.note(Asked::Names, Said::Nothing, later);
        for _ in 0..100 {
            health.note(Asked::Names, Said::Nothing, later);
        }
        assert!(health.admit(Asked::Names, later + SECOND).is_err(), "the rest grows");
        assert_eq!(health.admit(Asked::Names, later + 4 * SECOND), Ok(()));
        health.note(Asked::Names, Said::Something, later);
        assert_eq!((health.admit(Asked::Names, later), health.admit(Asked::Names, later)), (Ok(()), Ok(())));
        assert!(health.standing(later).is_available());
    }

    #[test]
    fn it_is_not_asked_before_it_wants_to_be() {
        let (health, start) = (Health::default(), Instant::now());
        health.note(Asked::Names, Said::Later(Some(10 * SECOND)), start);
        health.note(Asked::Names, Said::Something, start);
        assert_eq!(health.admit(Asked::Names, start + 4 * SECOND).unwrap_err().wait, 6 * SECOND);
        assert_eq!(health.standing(start).closed.map(|closed| closed.reason), Some(ENOUGH[0]));
        assert_eq!(health.admit(Asked::Blobs, start), Ok(()), "what it does not limit goes on");
        health.note(Asked::Blobs, Said::Later(None), start);
        assert_eq!(health.admit(Asked::Blobs, start).unwrap_err().reason, ENOUGH[1]);
        let later = start + 10 * SECOND;
        assert_eq!([health.admit(Asked::Names, later), health.admit(Asked::Names, later)], [Ok(()), Ok(())]);
        health.note(Asked::Names, Said::Later(Some(Duration::MAX)), start);
        assert!(health.admit(Asked::Names, start + LIMITED_MAX).is_ok(), "not for ever");
    }

    #[test]
    fn who_sent_something_wrong_is_not_asked_though_it_answers() {
        let (health, start) = (Health::default(), Instant::now());
        health.note(Asked::Blobs, Said::Wrong, start);
        health.note(Asked::Blobs, Said::Something, start);
        let later = start + SECOND;
        assert_eq!(
            health.admit(Asked::Blobs, later),
            Err(Closed { reason: WRONG.0, wait: WRONG.1 - SECOND })
        );
        assert!(!health.standing(later).is_available());
        assert_eq!(health.admit(Asked::Blobs, start + WRONG.1), Ok(()));
    }

    #[test]
    fn the_last_requests_are_kept() {
        let (health, start) = (Health::default(), Instant::now());
        let check = |limit, remaining, scarce| {
            let window_seconds = Some(60);
            health.note_limit(
                RateLimit { limit: Some(limit), remaining: Some(remaining), window_seconds, source: None },
                start,
            );
            assert_eq!(health.is_scarce(start), scarce, "{remaining} of {limit}");
            assert_eq!(health.standing(start).remaining, Some(remaining));
            assert!(!health.is_scarce(start + 60 * SECOND), "the window is over");
            assert_eq!(health.standing(start + 60 * SECOND).remaining, None);
        };
        check(100, 6, false);
        check(100, 5, true);
        check(1000, 51, false);
        check(1000, 50, true);
        check(1000, 0, true);
    }

    #[test]
    fn a_rehearsal_cuts_it_off_until_it_is_over() {
        let (health, start) = (Health::default(), Instant::now());
        health.cut(start + 5 * SECOND);
        health.note(Asked::Names, Said::Something, start);
        assert!(health.admit(Asked::Names, start).is_err());
        assert!(health.standing(start).closed.is_some());
        assert_eq!(health.admit(Asked::Names, start + 5 * SECOND), Ok(()));
        health.cut(start + 9 * SECOND);
        health.cut(start);
        assert_eq!(health.admit(Asked::Names, start), Ok(()), "and can be ended");
    }
}
