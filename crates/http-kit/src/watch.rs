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
    /// It sends a request head too slowly: cut it.
    Cut,
}

/// What a connection was last seen doing, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Answering,
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
            h2,
            draining: false,
            doing: Doing::ReadingHead,
            seen: Sample::default(),
            since: now,
        }
    }

    /// How often to look: a limit is overrun by a quarter at most.
    pub(crate) fn period(&self) -> Duration {
        (self.header_time.min(self.idle) / 4).clamp(Duration::from_millis(10), Duration::from_secs(5))
    }

    /// From now on the connection should end by itself. One that has no request left and takes nothing any more
    /// (an HTTP/2 client that does not answer) is cut.
    pub(crate) fn drain(&mut self, now: Instant) {
        (self.draining, self.since) = (true, now);
    }

    pub(crate) fn look(&mut self, seen: Sample, now: Instant) -> Verdict {
        let doing = self.classify(seen);
        let moved = if self.draining {
            seen.active > 0 || seen.writes != self.seen.writes
        } else {
            std::mem::discriminant(&doing) != std::mem::discriminant(&self.doing)
                || seen.requests != self.seen.requests
        };
        if moved {
            self.since = now;
        }
        (self.doing, self.seen) = (doing, seen);
        let lasted = now.saturating_duration_since(self.since);
        match doing {
            _ if self.draining && lasted < self.header_time => Verdict::Keep,
            _ if self.draining => Verdict::Cut,
            Doing::Resting { .. } if lasted >= self.idle => Verdict::Drain,
            Doing::ReadingHead if lasted >= self.header_time => Verdict::Cut,
            _ => Verdict::Keep,
        }
    }

    fn classify(&self, seen: Sample) -> Doing {
        match self.doing {
            _ if seen.active > 0 => Doing::Answering,
            _ if self.h2 && seen.requests > 0 => Doing::Resting { reads: seen.reads },
            _ if seen.requests != self.seen.requests => Doing::Resting { reads: seen.reads },
            Doing::Answering => Doing::Resting { reads: seen.reads },
            Doing::Resting { reads } if reads == seen.reads => Doing::Resting { reads },
            Doing::Resting { .. } | Doing::ReadingHead => Doing::ReadingHead,
        }
    }
}
