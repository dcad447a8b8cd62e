//! What a body holds of its keys' shares: the bytes that it may hand on, and a ticket for more.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::schedule::{Course, Ticket};
use super::transfers::Permit;

/// The share of a response body. It asks before it hands on: a quantum at a time.
pub(crate) struct Share {
    ticket: Option<Ticket>,
    quantum: u64,
    /// What may be handed on without asking.
    granted: u64,
    /// What the body has yielded beyond what was granted.
    rest: Bytes,
    _permits: Vec<Permit>,
}

impl Share {
    pub(super) fn new(course: Option<Course>, permits: Vec<Permit>) -> Share {
        let quantum = course.as_ref().map_or(u64::MAX, Course::quantum);
        let ticket = course.map(Course::ticket);
        Share { ticket, quantum, granted: 0, rest: Bytes::new(), _permits: permits }
    }

    /// How much may be handed on, once it is more than nothing. It stays the same until some is.
    pub(crate) fn poll_granted(&mut self, cx: &mut Context<'_>, left: Option<u64>) -> Poll<usize> {
        let Some(ticket) = &mut self.ticket else { return Poll::Ready(usize::MAX) };
        if self.granted == 0 {
            let asked = left.map_or(self.quantum, |left| left.min(self.quantum));
            ready!(ticket.poll(cx, asked));
            self.granted = asked;
        }
        Poll::Ready(usize::try_from(self.granted).unwrap_or(usize::MAX))
    }

    /// How many bytes are held back.
    pub(crate) fn held(&self) -> u64 {
        self.rest.len() as u64
    }

    /// The bytes that are held back, as far as they are granted.
    pub(crate) fn take_held(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| self.hand_on(rest))
    }

    /// As many of these bytes as are granted; the others are held back.
    pub(crate) fn hand_on(&mut self, mut bytes: Bytes) -> Bytes {
        if self.ticket.is_none() {
            return bytes;
        }
        let most = usize::try_from(self.granted).unwrap_or(usize::MAX);
        if bytes.len() > most {
            self.rest = bytes.split_off(most);
        }
        self.granted -= bytes.len() as u64;
        bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let (Some(ticket), 1..) = (&self.ticket, self.granted) {
            ticket.course().credit(self.granted);
        }
    }
}

/// The share of a request body. How much comes at once is for the client to say: so it pays for what came, before it
/// takes more.
pub(crate) struct RequestShare {
    ticket: Ticket,
    owed: u64,
}

impl RequestShare {
    pub(super) fn new(course: Course) -> RequestShare {
        RequestShare { ticket: course.ticket(), owed: 0 }
    }

    pub(crate) fn owe(&mut self, bytes: usize) {
        self.owed = bytes as u64;
    }

    /// Ready when all that came is paid for.
    pub(crate) fn poll_paid(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.owed > 0 {
            ready!(self.ticket.poll(cx, self.owed));
            self.owed = 0;
        }
        Poll::Ready(())
    }
}
