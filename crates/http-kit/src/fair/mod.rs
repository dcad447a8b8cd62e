//! Fair use: how much of the server one address, one identity and one project may take, so that everyone keeps
//! getting a share when there is not enough for all.
//!
//! [`FairLimits`] says how much. An edge asks [`Fair::admit`] before it answers, with the [`Keys`] that it found in
//! the request, and lets [`Admitted`] pace the bodies. What is limited waits its turn: requests up to a longest
//! wait, bytes as long as it takes. Three mechanisms do it:
//!
//! - `schedule`: rates. A bucket for each key, and before each bucket a `queue` that is fair to addresses. It paces
//!   the bytes of responses, those of requests, and the requests themselves.
//! - `transfers`: how many transfers run at once, with the same queue before each number.
//! - `share`: what a body holds: it asks the schedule for a quantum, and hands on no more than it got.

mod keys;
mod limits;
mod queue;
mod schedule;
mod share;
mod table;
mod transfers;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

pub use keys::Keys;
pub use limits::{FairLimits, KeyLimits};
pub(crate) use share::{RequestShare, Share};

use crate::body::Body;
use crate::request::RequestBody;
use schedule::{Course, Scheduler};
use transfers::{Permit, Transfers};

/// A body shorter than this is not held back, but counted: its bytes go into debt, which longer bodies wait out.
const SMALL: u64 = 16 << 10;

/// Keeps all requests of a server within its [`FairLimits`].
pub struct Fair {
    egress: Option<Arc<Scheduler>>,
    ingress: Option<Arc<Scheduler>>,
    requests: Option<Arc<Scheduler>>,
    transfers: Option<Arc<Transfers>>,
    max_wait: Duration,
}

/// A request that waited as long as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the limit of what may be asked for is reached: try again in {retry_after} seconds")]
pub struct Refused {
    /// After how many seconds another try may succeed; at least 1.
    pub retry_after: u64,
}

impl Refused {
    fn for_the_time(wait: Duration) -> Refused {
        Refused { retry_after: wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1) }
    }
}

impl Fair {
    /// Nothing where nothing is limited, so that nothing has to be asked.
    pub fn new(limits: &FairLimits) -> Option<Arc<Fair>> {
        let fair = Fair {
            egress: Scheduler::new(limits.egress_rates()),
            ingress: Scheduler::new(limits.ingress_rates()),
            requests: Scheduler::new(limits.request_rates()),
            transfers: Transfers::new(limits),
            max_wait: limits.max_wait,
        };
        let limited = fair.egress.is_some() || fair.ingress.is_some();
        (limited || fair.requests.is_some() || fair.transfers.is_some()).then(|| Arc::new(fair))
    }

    /// Waits until a request with these keys may be answered, at most as long as the limits say.
    pub async fn admit(self: &Arc<Fair>, keys: Keys) -> Result<Admitted, Refused> {
        let deadline = Instant::now() + self.max_wait;
        if let Some(course) = course(&self.requests, &keys) {
            wait_for_one(course, deadline).await?;
        }
        Ok(Admitted { fair: Arc::clone(self), keys, deadline, permits: Vec::new() })
    }
}

impl fmt::Debug for Fair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fair").finish_non_exhaustive()
    }
}

fn course(scheduler: &Option<Arc<Scheduler>>, keys: &Keys) -> Option<Course> {
    scheduler.as_ref().and_then(|scheduler| scheduler.course(keys))
}

/// One that could not be served in time even if its address were alone is refused at once: so no queue is longer
/// than what the longest wait serves.
async fn wait_for_one(course: Course, deadline: Instant) -> Result<(), Refused> {
    let least = course.least_wait();
    if Instant::now() + least > deadline {
        return Err(Refused::for_the_time(least));
    }
    let mut ticket = course.ticket();
    let turn = timeout_at(deadline, poll_fn(|cx| ticket.poll(cx, 1))).await;
    turn.map_err(|_| Refused::for_the_time(ticket.course().least_wait()))
}

/// A request that may be answered, with the share of the server that its keys have.
pub struct Admitted {
    fair: Arc<Fair>,
    keys: Keys,
    deadline: Instant,
    permits: Vec<Permit>,
}

impl Admitted {
    /// Takes one of the transfers that its keys may have at once: for a request that moves much in either direction.
    /// It is held until the last of the paced response goes out, or all of this is dropped. The wait ends when that
    /// of [`Fair::admit`] would have.
    pub async fn transfer(&mut self) -> Result<(), Refused> {
        let Some(transfers) = self.fair.transfers.as_ref().filter(|_| self.permits.is_empty()) else {
            return Ok(());
        };
        let permits = timeout_at(self.deadline, transfers.take(&self.keys)).await;
        // When a transfer will end, nobody knows.
        self.permits = permits.map_err(|_| Refused::for_the_time(self.fair.max_wait))?;
        Ok(())
    }

    /// Has the body of the response sent no faster than the limits allow.
    pub fn pace(self, body: Body) -> Body {
        let len = body.known_len();
        let course = course(&self.fair.egress, &self.keys);
        let unlimited = course.is_none() && self.permits.is_empty();
        if unlimited || len.is_some_and(|len| goes_at_once(len, course.as_ref())) {
            return body;
        }
        body.within(Share::new(course, self.permits))
    }

    /// Has the body of the request received no faster than the limits allow. That it is held back does not count as
    /// its client's slowness.
    pub fn pace_request(&self, body: RequestBody) -> RequestBody {
        let Some(course) = course(&self.fair.ingress, &self.keys) else { return body };
        if body.announced_len().is_some_and(|len| goes_at_once(len, Some(&course))) {
            return body;
        }
        body.within(RequestShare::new(course))
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Whether a body of this length need not wait. It is counted then; what has much debt already waits nevertheless,
/// or many small bodies would keep all others waiting.
fn goes_at_once(len: u64, course: Option<&Course>) -> bool {
    len == 0 || len < SMALL && course.is_none_or(|course| course.charge(len))
}

#[cfg(test)]
mod tests;
