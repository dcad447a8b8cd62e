//! When a connection is to be closed for doing nothing, decided from counters now and then instead of by a timer
//! for each request.

use std::time::Duration;

use tokio::time::Instant;

use crate::conn::Sample;
use crate::limits::Limits;

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is busy, or has time left.
    Keep,
    /// It has been idle for too long: let it end by itself.
    Drain,
    /// Its client sends a request head, or takes its responses, too slowly: cut it.
    Cut,
}

/// What a connection was last seen doing, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Answering,
    /// On HTTP/2, all requests are answered, and all answers wait for the client to let them be sent.
    Blocked,
    /// No request, and no byte of one since `reads`.
    Resting {
        reads: u32,
    },
    /// Bytes have come, but no whole request head.
    ReadingHead,
}

/// Watches one connection.
pub(crate) struct Watch {
    header_time: Duration,
    idle: Duration,
    write_stall: Duration,
    h2: bool,
    draining: bool,
    doing: Doing,
    seen: Sample,
    since: Instant,
}

impl Watch {
    /// `h2` connections exchange frames without any request: only the lack of requests tells that they are idle.
    pub(crate) fn new(limits: &Limits, h2: bool, now: Instant) -> Watch {
        Watch {
            header_time: limits.header_time,
            idle: limits.idle,
            write_stall: limits.write_stall,
            h2,
            draining: false,
            doing: Doing::ReadingHead,
            seen: Sample::default(),
            since: now,
        }
    }

    /// How often to look: a limit is overrun by a quarter at most.
    pub(crate) fn period(&self) -> Duration {
        (self.header_time.min(self.idle).min(self.write_stall) / 4)
            .clamp(Duration::from_millis(10), Duration::from_secs(5))
    }

    /// From now on the connection should end by itself. One that has no request left and takes nothing any more
    /// (an HTTP/2 client that does not answer) is cut.
    pub(crate) fn drain(&mut self, now: Instant) {
        (self.draining, self.since) = (true, now);
    }

    pub(crate) fn look(&mut self, seen: Sample, now: Instant) -> Verdict {
        let doing = self.classify(seen);
        let moved = if self.draining {
            doing == Doing::Answering || seen.frames != self.seen.frames
        } else {
            std::mem::discriminant(&doing) != std::mem::discriminant(&self.doing)
                || (seen.requests, seen.frames) != (self.seen.requests, self.seen.frames)
        };
        if moved {
            self.since = now;
        }
        (self.doing, self.seen) = (doing, seen);
        let lasted = now.saturating_duration_since(self.since);
        match doing {
            Doing::Blocked if lasted >= self.write_stall => Verdict::Cut,
            Doing::Blocked => Verdict::Keep,
            _ if self.draining && lasted >= self.header_time => Verdict::Cut,
            _ if self.draining => Verdict::Keep,
            Doing::Resting { .. } if lasted >= self.idle => Verdict::Drain,
            Doing::ReadingHead if lasted >= self.header_time => Verdict::Cut,
            _ => Verdict::Keep,
        }
    }

    fn classify(&self, seen: Sample) -> Doing {
        match self.doing {
            _ if self.h2 && seen.active > 0 && seen.waiting >= seen.active => Doing::Blocked,
            // A client that does not take what waits for it is the write timer's business.
            _ if seen.active > 0 || seen.writing => Doing::Answering,
            _ if self.h2 && seen.requests > 0 => Doing::Resting { reads: seen.reads },
            _ if seen.requests != self.seen.requests => Doing::Resting { reads: seen.reads },
            Doing::Answering | Doing::Blocked => Doing::Resting { reads: seen.reads },
            Doing::Resting { reads } if reads == seen.reads => Doing::Resting { reads },
            Doing::Resting { .. } | Doing::ReadingHead => Doing::ReadingHead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Cut, Drain, Keep};
    use super::*;

    const HEADER: u64 = 10;
    const IDLE: u64 = 100;

    /// Each step: seconds since the start, (reads, requests, active), and the verdict.
    #[track_caller]
    fn check(h2: bool, drained_at: Option<u64>, steps: &[(u64, (u32, u32, u32), Verdict)]) {
        let limits = Limits {
            header_time: Duration::from_secs(HEADER),
            idle: Duration::from_secs(IDLE),
            ..Limits::default()
        };
        let start = Instant::now();
        let mut watch = Watch::new(&limits, h2, start);
        for &(second, (reads, requests, active), expect) in steps {
            let now = start + Duration::from_secs(second);
            if drained_at == Some(second) {
                watch.drain(now);
            }
            let seen = Sample { reads, requests, active, ..Sample::default() };
            assert_eq!(watch.look(seen, now), expect, "{steps:?} at {second} s");
        }
    }

    #[test]
    fn a_first_head_has_the_header_time() {
        check(false, None, &[(0, (1, 0, 0), Keep), (9, (5, 0, 0), Keep), (10, (6, 0, 0), Cut)]);
        check(false, None, &[(9, (1, 0, 0), Keep), (12, (2, 1, 1), Keep), (900, (2, 1, 1), Keep)]);
    }

    #[test]
    fn rest_ends_after_the_idle_time() {
        check(false, None, &[(1, (1, 1, 0), Keep), (100, (1, 1, 0), Keep), (101, (1, 1, 0), Drain)]);
        check(false, None, &[(1, (1, 1, 1), Keep), (500, (1, 1, 0), Keep), (599, (1, 1, 0), Keep)]);
        check(false, None, &[(1, (1, 1, 0), Keep), (90, (2, 2, 0), Keep), (180, (3, 3, 0), Keep)]);
    }

    #[test]
    fn a_later_head_has_the_header_time_too() {
        check(
            false,
            None,
            &[(1, (1, 1, 0), Keep), (50, (2, 1, 0), Keep), (59, (9, 1, 0), Keep), (60, (9, 1, 0), Cut)],
        );
        check(
            false,
            None,
            &[(1, (1, 1, 0), Keep), (50, (2, 1, 0), Keep), (59, (3, 2, 0), Keep), (70, (3, 2, 0), Keep)],
        );
    }

    #[test]
    fn http2_frames_without_requests_are_rest() {
        check(true, None, &[(1, (1, 1, 0), Keep), (50, (9, 1, 0), Keep), (101, (20, 1, 0), Drain)]);
    }

    #[test]
    fn a_drained_connection_that_does_nothing_is_cut() {
        check(
            true,
            Some(5),
            &[(5, (9, 1, 1), Keep), (500, (9, 1, 1), Keep), (509, (9, 1, 0), Keep), (519, (9, 1, 0), Cut)],
        );
        check(false, Some(5), &[(5, (9, 1, 0), Keep), (14, (9, 1, 0), Keep), (15, (10, 1, 0), Cut)]);
    }

    #[test]
    fn http2_responses_that_nobody_takes_are_cut() {
        let stall = Duration::from_secs(20);
        let limits = Limits { write_stall: stall, ..Limits::default() };
        let start = Instant::now();
        let mut watch = Watch::new(&limits, true, start);
        let mut check = |second, frames, waiting, expect| {
            let seen = Sample { reads: 1, requests: 2, active: 2, frames, waiting, writing: false };
            assert_eq!(watch.look(seen, start + Duration::from_secs(second)), expect, "at {second} s");
        };
        check(1, 2, 2, Keep);
        check(20, 3, 2, Keep);
        check(39, 3, 1, Keep);
        check(300, 3, 1, Keep);
        check(301, 4, 2, Keep);
        check(320, 4, 2, Keep);
        check(321, 4, 2, Cut);
    }
}
