//! A response body: nothing, bytes in memory, a range of a file, or a stream.
//!
//! A handler returns the same body whatever the connection is. Only `serve` knows whether a file can go by
//! sendfile (plain HTTP/1.1) or must be read (TLS, HTTP/2), and tells the body so just before hyper gets it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use http_body::{Frame, SizeHint};

use crate::conn::ConnInfo;
use crate::fair::Share;
use crate::file_body::{FileBody, FileRange};

/// The body of a response.
pub struct Body {
    kind: Kind,
    /// What paces it, where anything does.
    share: Option<Box<Share>>,
}

enum Kind {
    Empty,
    Full(Bytes),
    File(Box<FileBody>),
    Stream { stream: BoxStream<'static, io::Result<Bytes>>, left: Option<u64> },
}

impl Body {
    const fn of(kind: Kind) -> Body {
        Body { kind, share: None }
    }

    /// No body: its length is zero and known.
    pub fn empty() -> Body {
        Body::of(Kind::Empty)
    }

    /// Bytes in memory.
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        if bytes.is_empty() { Body::empty() } else { Body::of(Kind::Full(bytes)) }
    }

    /// A range of a file, sent without copying where the connection allows it.
    pub fn file(range: FileRange) -> Body {
        if range.len == 0 { Body::empty() } else { Body::of(Kind::File(Box::new(FileBody::new(range)))) }
    }

    /// A stream. With `len` the response carries a Content-Length, and a stream that yields fewer or more bytes
    /// fails the connection; without it HTTP/1.1 sends chunks.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static, len: Option<u64>) -> Body {
        Body::of(Kind::Stream { stream: stream.boxed(), left: len })
    }

    /// Lets a file go by sendfile on this connection.
    pub(crate) fn send_by(&mut self, conn: &Arc<ConnInfo>) {
        if let Kind::File(file) = &mut self.kind {
            file.send_by(conn);
        }
    }

    /// Sends it no faster than its share allows.
    pub(crate) fn within(self, share: Share) -> Body {
        Body { share: Some(Box::new(share)), ..self }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty) && self.held() == 0
    }

    /// How many bytes the share holds back.
    fn held(&self) -> u64 {
        self.share.as_ref().map_or(0, |share| share.held())
    }

    pub(crate) fn known_len(&self) -> Option<u64> {
        self.kind.known_len().map(|len| len + self.held())
    }

    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(share) = &mut self.share else { return self.kind.poll_bytes(cx, usize::MAX) };
        let left = self.kind.known_len().map(|len| len + share.held());
        // A body that has nothing left is only asked for its end.
        let most = if left == Some(0) { usize::MAX } else { ready!(share.poll_granted(cx, left)) };
        if let Some(bytes) = share.take_held() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        let next = ready!(self.kind.poll_bytes(cx, most));
        Poll::Ready(match next {
            Some(Ok(bytes)) => Some(Ok(share.hand_on(bytes))),
            end => {
                self.share = None;
                end
            }
        })
    }
}

impl Kind {
    fn known_len(&self) -> Option<u64> {
        match self {
            Kind::Empty => Some(0),
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::File(file) => Some(file.left()),
            Kind::Stream { left, .. } => *left,
        }
    }

    /// A file yields at most so many bytes; the others yield what they have.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(match self {
            Kind::Empty => None,
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Kind::Empty;
                Some(Ok(bytes))
            }
            Kind::File(file) => ready!(file.poll_next(cx, most)),
            Kind::Stream { stream, left } => {
                let next = ready!(stream.poll_next_unpin(cx));
                check_promise(next, left)
            }
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.poll_bytes(cx).map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }

    /// A stream of known length is asked once more after its last byte, to catch one that yields too much.
    fn is_end_stream(&self) -> bool {
        !matches!(self.kind, Kind::Stream { .. }) && self.known_len() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.known_len().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Holds a stream to the length it was announced with.
fn check_promise(next: Option<io::Result<Bytes>>, left: &mut Option<u64>) -> Option<io::Result<Bytes>> {
    match (next, left) {
        (Some(Ok(bytes)), Some(left)) => match left.checked_sub(bytes.len() as u64) {
            Some(rest) => {
                *left = rest;
                Some(Ok(bytes))
            }
            None => Some(Err(io::Error::other("the response body is longer than announced"))),
        },
        (None, Some(left)) if *left > 0 => Some(Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the response body ended {left} bytes early"),
        ))),
        (next, _) => next,
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Body {
        Body::full(bytes)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Empty => "empty",
            Kind::Full(_) => "full",
            Kind::File(_) => "file",
            Kind::Stream { .. } => "stream",
        };
        f.debug_struct("Body").field("kind", &kind).field("len", &self.known_len()).finish()
    }
}
