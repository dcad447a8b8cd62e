//! From a request to a response: the one trait that the edges implement, and the hyper service around it.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;

use crate::body::Body;
use crate::conn::{Active, ConnInfo};
use crate::request::{Floor, RequestBody};

/// Answers requests. It cannot fail: an error is a response like any other, in the protocol's own form.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of a connection.
    ///
    /// It takes `Arc<Self>` so that the future can own it: `Box::pin(async move { self... })` is the only allocation
    /// of a call.
    fn call(
        self: Arc<Self>,
        conn: Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>>;
}

/// A closure is a handler, which is what tests want.
impl<F> Handler for F
where
    F: Fn(Arc<ConnInfo>, Request<RequestBody>) -> BoxFuture<'static, Response<Body>> + Send + Sync + 'static,
{
    fn call(
        self: Arc<Self>,
        conn: Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        self(conn, request)
    }
}

/// The hyper service of one connection.
pub(crate) struct Edge {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) conn: Arc<ConnInfo>,
    pub(crate) floor: Floor,
    /// The most fields of a request head. On HTTP/1 hyper counts them.
    pub(crate) header_count: usize,
}

impl Service<Request<Incoming>> for Edge {
    type Response = Response<WireBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let h2 = request.version() > Version::HTTP_11;
        let wire = Wire { head: request.method() == Method::HEAD, h2, sendfile: !self.conn.tls && !h2 };
        let active = Active::begin(&self.conn);
        if h2 && request.headers().len() > self.header_count {
            let answer = Box::pin(ready(plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)));
            return Answer { answer, wire, active: Some(active) };
        }
        let request = request.map(|incoming| RequestBody::wire(incoming, self.floor, &self.conn));
        let answer = Arc::clone(&self.handler).call(Arc::clone(&self.conn), request);
        Answer { answer, wire, active: Some(active) }
    }
}

/// A handler's future, made fit for hyper.
pub(crate) struct Answer {
    answer: BoxFuture<'static, Response<Body>>,
    wire: Wire,
    active: Option<Active>,
}

/// What of a request decides how its response is sent.
#[derive(Clone, Copy)]
struct Wire {
    head: bool,
    h2: bool,
    sendfile: bool,
}

impl Wire {
    /// Announces the length where hyper would not (HEAD; no body on HTTP/2), and leaves out what must not be sent.
    /// An empty body of a HEAD tells nothing of the length that GET would have: that is for the handler to say.
    fn fit(self, response: &mut Response<Body>) {
        let empty = response.body().is_empty();
        let announce = if self.head { !empty } else { self.h2 && empty };
        if !announce || is_bodiless(response.status()) {
            return;
        }
        if let Some(len) = response.body().known_len() {
            response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(len));
        }
        *response.body_mut() = Body::empty();
    }
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

impl Future for Answer {
    type Output = Result<Response<WireBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // A panic is one request's fault, and must not take the connection's other requests with it. The future is
        // dropped and never polled again, so nobody sees what the panic left half done in it.
        let polled = catch_unwind(AssertUnwindSafe(|| this.answer.as_mut().poll(cx)));
        let mut response = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(response)) => response,
            Err(_) => panicked(),
        };
        this.wire.fit(&mut response);
        let active = this.active.take();
        if let (true, Some(active)) = (this.wire.sendfile, &active) {
            response.body_mut().send_by(active.conn());
        }
        let h2 = this.wire.h2;
        Poll::Ready(Ok(response.map(|body| WireBody::new(body, active, h2))))
    }
}

/// The panic hook has told what and where; the client learns only that it was not its fault.
fn panicked() -> Response<Body> {
    tracing::error!("a request handler panicked; the request was answered with 500");
    let mut response = Response::new(Body::full("internal error\n"));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The most that hyper is given at once of an HTTP/2 response: so much a client must take in each `write_stall`.
const PIECE_MAX: usize = 256 << 10;

/// A body that keeps its request counted as running, on HTTP/2 until the client has let all of it be sent.
///
/// hyper gives a frame away as soon as the client takes a single byte, and drops a body that has no more. So the last
/// byte goes by itself: hyper comes for it at once, and drops the body when the client has room for it, too.
pub(crate) struct WireBody {
    body: Body,
    active: Option<Active>,
    h2: bool,
    /// What was cut off the body's last frame. Always empty on HTTP/1, where the socket itself tells whether the
    /// client takes what it gets.
    rest: Bytes,
}

impl WireBody {
    fn new(body: Body, active: Option<Active>, h2: bool) -> WireBody {
        WireBody { body, active, h2, rest: Bytes::new() }
    }

    fn next_piece(&mut self) -> Bytes {
        let ends = self.body.known_len() == Some(0);
        let len = match self.rest.len() {
            len if len > PIECE_MAX => PIECE_MAX,
            len if len > 1 && ends => len - 1,
            len => len,
        };
        self.rest.split_to(len)
    }
}

impl http_body::Body for WireBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if !this.h2 {
            return Pin::new(&mut this.body).poll_frame(cx);
        }
        if let Some(active) = &mut this.active {
            active.frame_sent();
        }
        if this.rest.is_empty() {
            match task::ready!(this.body.poll_bytes(cx)) {
                Some(Ok(bytes)) => this.rest = bytes,
                end => return Poll::Ready(end.map(|bytes| bytes.map(Frame::data))),
            }
        }
        if let Some(active) = &mut this.active {
            active.frame_given();
        }
        Poll::Ready(Some(Ok(Frame::data(this.next_piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    /// Asked before the first frame only.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
