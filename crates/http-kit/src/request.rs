//! A request body: frames of bytes that must not come too slowly.
//!
//! It is a type of our own, so that a handler can be called without a connection, and so that every reader of a
//! body is protected from a client that trickles it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream, StreamExt};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::budget::{BodyBudget, BodyShare};
use crate::conn::ConnInfo;
use crate::error::Error;
use crate::fair::RequestShare;

/// What a bounded read reserves at most before it has seen any byte: a length is only a claim.
const RESERVE_MAX: u64 = 64 << 10;

/// The body of a request: a stream of its bytes, frame by frame as they arrive.
pub struct RequestBody {
    source: Source,
    /// Told when the body is dropped before its end.
    conn: Option<Arc<ConnInfo>>,
    /// What paces it, where anything does.
    share: Option<Box<RequestShare>>,
}

enum Source {
    Empty,
    Full(Bytes),
    Wire { incoming: Incoming, pace: Pace },
}

impl RequestBody {
    /// No body.
    pub fn empty() -> RequestBody {
        RequestBody { source: Source::Empty, conn: None, share: None }
    }

    /// A body that is in memory already, for tests and inner calls.
    pub fn full(bytes: impl Into<Bytes>) -> RequestBody {
        RequestBody { source: Source::Full(bytes.into()), conn: None, share: None }
    }

    pub(crate) fn wire(incoming: Incoming, floor: Floor, conn: &Arc<ConnInfo>) -> RequestBody {
        if incoming.is_end_stream() {
            return RequestBody::empty();
        }
        RequestBody {
            source: Source::Wire { incoming, pace: Pace::new(floor) },
            conn: Some(Arc::clone(conn)),
            share: None,
        }
    }

    /// Receives it no faster than its share allows.
    pub(crate) fn within(mut self, share: RequestShare) -> RequestBody {
        self.share = Some(Box::new(share));
        self
    }

    /// The length that the client announced.
    pub fn announced_len(&self) -> Option<u64> {
        match &self.source {
            Source::Empty => Some(0),
            Source::Full(bytes) => Some(bytes.len() as u64),
            Source::Wire { incoming, .. } => incoming.size_hint().exact(),
        }
    }

    /// The whole body, when it has at most `limit` bytes. An announced length beyond it fails before any is read.
    pub async fn read_all(self, limit: u64) -> Result<Bytes, Error> {
        self.read_within(limit, &mut BodyBudget::new(limit).share()).await
    }

    /// The same, with room for each frame taken from a budget as it arrives. The share must be kept as long as the
    /// bytes are.
    pub async fn read_within(mut self, limit: u64, share: &mut BodyShare<'_>) -> Result<Bytes, Error> {
        let announced = self.announced_len().unwrap_or(0);
        if announced > limit {
            return Err(Error::BodyTooLarge { limit });
        }
        let Some(first) = self.next().await.transpose()? else { return Ok(Bytes::new()) };
        let mut seen = check_total(first.len() as u64, limit)?;
        share.grow(first.len())?;
        let Some(second) = self.next().await.transpose()? else { return Ok(first) };
        let mut whole = BytesMut::with_capacity(announced.min(RESERVE_MAX).max(seen) as usize);
        whole.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(frame) = next {
            seen = check_total(seen + frame.len() as u64, limit)?;
            share.grow(frame.len())?;
            whole.extend_from_slice(&frame);
            next = self.next().await.transpose()?;
        }
        Ok(whole.freeze())
    }

    /// While the share holds the body back nobody waits for the client, so that time is none of its slowness.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let Some(share) = &mut self.share else { return self.poll_source(cx) };
        ready!(share.poll_paid(cx));
        let next = ready!(self.poll_source(cx));
        match (&next, &mut self.share) {
            (Some(Ok(bytes)), Some(share)) => share.owe(bytes.len()),
            _ => self.share = None,
        }
        Poll::Ready(next)
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Empty;
                Poll::Ready(if bytes.is_empty() { None } else { Some(Ok(bytes)) })
            }
            Source::Wire { incoming, pace } => {
                let next = ready!(poll_wire(incoming, pace, cx));
                match next {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => self.source = Source::Empty,
                    None => (self.source, self.conn) = (Source::Empty, None),
                }
                Poll::Ready(next)
            }
        }
    }
}

fn check_total(seen: u64, limit: u64) -> Result<u64, Error> {
    if seen > limit { Err(Error::BodyTooLarge { limit }) } else { Ok(seen) }
}

/// The next data frame that holds anything; trailers are of no use to any protocol here and are passed over.
fn poll_wire(
    incoming: &mut Incoming,
    pace: &mut Pace,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, Error>>> {
    loop {
        let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
            return pace.poll_too_slow(cx).map(|error| Some(Err(error)));
        };
        match frame.map(|frame| frame.map(Frame::into_data)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(Error::BodyCut(chain(&error))))),
            Some(Ok(Ok(bytes))) if !bytes.is_empty() => {
                pace.arrived(bytes.len());
                return Poll::Ready(Some(Ok(bytes)));
            }
            Some(Ok(_)) => {}
        }
    }
}

/// An error with its causes: hyper's own words for a broken body say nothing without them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(conn) = &self.conn {
            conn.pulse.note_unread_body();
        }
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_bytes(cx)
    }
}

impl Default for RequestBody {
    fn default() -> RequestBody {
        RequestBody::empty()
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("announced_len", &self.announced_len()).finish_non_exhaustive()
    }
}

/// The lowest rate that a body may come at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Floor {
    pub(crate) rate: u64,
    pub(crate) window: Duration,
}

/// Measures how fast a body comes, over windows of time spent waiting for the client: a reader that takes its time
/// between frames (a busy disk) does not count against it.
struct Pace {
    floor: Floor,
    in_window: u64,
    waiting: Option<Pin<Box<Sleep>>>,
    asleep: bool,
    /// How much of the window is left; while asleep, how much was left when the sleep began.
    left: Duration,
    since: Instant,
}

impl Pace {
    /// A window of no length would never be waited through.
    fn new(mut floor: Floor) -> Pace {
        floor.window = floor.window.max(Duration::from_millis(1));
        Pace { floor, in_window: 0, waiting: None, asleep: false, left: floor.window, since: Instant::now() }
    }

    fn arrived(&mut self, bytes: usize) {
        self.in_window = self.in_window.saturating_add(bytes as u64);
        if self.asleep {
            self.asleep = false;
            self.left = self.left.saturating_sub(self.since.elapsed());
        }
    }

    /// Ready when a window of waiting has passed and too little has come in it.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        loop {
            let sleep = self.sleep();
            ready!(sleep.as_mut().poll(cx));
            let least = self.floor.rate.saturating_mul(self.floor.window.as_millis() as u64) / 1000;
            if self.in_window < least {
                return Poll::Ready(Error::BodyTooSlow { rate: self.floor.rate });
            }
            (self.in_window, self.left, self.asleep) = (0, self.floor.window, false);
        }
    }

    fn sleep(&mut self) -> &mut Pin<Box<Sleep>> {
        let begins = !std::mem::replace(&mut self.asleep, true);
        if begins {
            self.since = Instant::now();
        }
        let deadline = self.since + self.left;
        let sleep = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if begins {
            sleep.as_mut().reset(deadline);
        }
        sleep
    }
}
