//! Address-tagged sendfile: how a file goes through hyper without its bytes going through this process.
//!
//! hyper moves `Bytes` and never looks at what they hold. So a file body hands it a slice of one static region of
//! zeros, the *zone*, that stands for a segment of the file, and puts the segment itself into the connection's
//! [`Slot`]. The IO wrapper beneath hyper knows a slice of the zone by its address and calls sendfile(2) instead
//! of writing the zeros.
//!
//! Were hyper ever to copy such a slice, zeros would go out as content. The slot makes that impossible: it holds
//! at most one segment, and while it holds one, a write must carry the slice that stands for exactly the part not
//! yet sent, else the connection fails before a byte leaves.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// The longest segment. Each begins and ends with costs of its own, so it is larger than one call sends.
pub(crate) const SEGMENT_MAX: usize = 8 << 20;

/// The most that one call sends: bounds the time that a worker thread spends in it.
pub(crate) const SEND_MAX: usize = 2 << 20;

/// Never written and never read, so that its pages never come to exist: the allocator maps zero pages for it.
static ZONE: LazyLock<&'static [u8]> = LazyLock::new(|| Box::leak(vec![0; SEGMENT_MAX].into_boxed_slice()));

/// Whether this slice stands for a part of a file.
pub(crate) fn is_tag(slice: &[u8]) -> bool {
    ZONE.as_ptr_range().contains(&slice.as_ptr()) && !slice.is_empty()
}

/// The one segment of a file that a connection is about to send. Body and IO wrapper live in the same task, so the
/// lock is never contended; the flag spares all other writes from taking it.
#[derive(Default)]
pub(crate) struct Slot {
    taken: AtomicBool,
    /// Whether another segment follows the last one that was put in.
    more: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    segment: Option<Segment>,
    waiter: Option<Waker>,
}

struct Segment {
    file: Arc<File>,
    offset: u64,
    len: usize,
    sent: usize,
}

impl Slot {
    /// Puts a segment in, and gives the slice that stands for it; pending while the last one is still being sent.
    /// `more` says that another one will follow.
    pub(crate) fn poll_offer(
        &self,
        cx: &mut Context<'_>,
        file: &Arc<File>,
        offset: u64,
        len: usize,
        more: bool,
    ) -> Poll<Bytes> {
        let mut state = self.lock();
        if state.segment.is_some() {
            state.waiter = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let len = len.min(SEGMENT_MAX);
        state.segment = Some(Segment { file: Arc::clone(file), offset, len, sent: 0 });
        self.more.store(more, Ordering::Relaxed);
        self.taken.store(true, Ordering::Release);
        Poll::Ready(Bytes::from_static(&ZONE[..len]))
    }

    /// Whether a segment waits to be sent.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    /// Whether another segment follows the last one that was put in.
    pub(crate) fn expects_more(&self) -> bool {
        self.more.load(Ordering::Relaxed)
    }

    /// Sends a part of what `tag` stands for, by `send(file, offset, len)`.
    pub(crate) fn poll_send(
        &self,
        tag: &[u8],
        send: impl FnOnce(&File, u64, usize) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        let Some(segment) = state.segment.as_mut().filter(|segment| segment.is_tagged_by(tag)) else {
            return Poll::Ready(Err(io::Error::other(
                "a file segment was not sent in the order it was queued",
            )));
        };
        let at = segment.offset + segment.sent as u64;
        let sent = std::task::ready!(send(&segment.file, at, tag.len().min(SEND_MAX)))?;
        if sent == 0 {
            return Poll::Ready(Err(file_too_short(at, tag.len() as u64)));
        }
        segment.sent += sent;
        if segment.sent == segment.len {
            state.segment = None;
            self.taken.store(false, Ordering::Release);
            if let Some(waiter) = state.waiter.take() {
                waiter.wake();
            }
        }
        Poll::Ready(Ok(sent))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Segment {
    /// hyper may cut the end off (a Content-Length below the body's), but must begin where the last send ended.
    fn is_tagged_by(&self, tag: &[u8]) -> bool {
        tag.as_ptr() == ZONE[self.sent..].as_ptr() && tag.len() <= self.len - self.sent
    }
}

/// What a body fails with when its file ends before its range does.
pub(crate) fn file_too_short(offset: u64, missing: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the file ends within the {missing} bytes from byte {offset} that were to be sent"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(slot: &Slot, len: usize) -> Poll<Bytes> {
        let file = Arc::new(tempfile::tempfile().unwrap());
        slot.poll_offer(&mut Context::from_waker(Waker::noop()), &file, 10, len, false)
    }

    fn ready(poll: Poll<Bytes>) -> Bytes {
        match poll {
            Poll::Ready(bytes) => bytes,
            Poll::Pending => panic!("the slot is taken"),
        }
    }

    fn send(slot: &Slot, tag: &[u8], sent: usize) -> Result<(u64, usize), io::ErrorKind> {
        let mut asked = (0, 0);
        let poll = slot.poll_send(tag, |_, offset, len| {
            asked = (offset, len);
            Poll::Ready(Ok(sent))
        });
        match poll {
            Poll::Ready(Ok(_)) => Ok(asked),
            Poll::Ready(Err(error)) => Err(error.kind()),
            Poll::Pending => panic!("nothing to wait for"),
        }
    }

    #[test]
    fn a_segment_is_sent_in_parts_and_then_makes_room() {
        let slot = Slot::default();
        let mut tag = ready(offer(&slot, 5000));
        assert!(is_tag(&tag) && slot.is_taken());
        assert!(offer(&slot, 1).is_pending());
        assert_eq!(send(&slot, &tag, 4999), Ok((10, 5000)));
        let rest = tag.split_off(4999);
        assert_eq!(send(&slot, &rest, 1), Ok((5009, 1)));
        assert!(!slot.is_taken() && offer(&slot, 1).is_ready());
    }

    #[test]
    fn a_slice_out_of_order_is_refused() {
        let slot = Slot::default();
        let tag = ready(offer(&slot, 5000));
        assert_eq!(send(&slot, &tag[1..], 1), Err(io::ErrorKind::Other));
        assert_eq!(send(&slot, b"copied", 1), Err(io::ErrorKind::Other));
        let copied = tag.to_vec();
        assert!(!is_tag(&copied) && !is_tag(b"") && !is_tag(&tag[5000..]));
    }

    #[test]
    fn a_file_that_ended_is_an_error() {
        let slot = Slot::default();
        let tag = ready(offer(&slot, 5000));
        assert_eq!(send(&slot, &tag, 0), Err(io::ErrorKind::UnexpectedEof));
    }
}
