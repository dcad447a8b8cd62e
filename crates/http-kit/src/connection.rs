//! One connection, from its first byte to its last.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::conn::{ConnInfo, PeerAddr};
use crate::handler::{Edge, Handler};
use crate::io::{Io, Socket, Stream};
use crate::limits::Limits;
use crate::request::Floor;
use crate::watch::{Verdict, Watch};

/// What all connections of a listener share.
pub(crate) struct Serving {
    handler: Arc<dyn Handler>,
    tls: Option<TlsAcceptor>,
    limits: Arc<Limits>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Serving {
    pub(crate) fn new(handler: Arc<dyn Handler>, tls: Option<TlsAcceptor>, limits: Arc<Limits>) -> Serving {
        let (http1, http2) = (http1_builder(&limits), http2_builder(&limits));
        Serving { handler, tls, limits, http1, http2 }
    }

    /// Serves one connection until it ends, or until `stop` says to finish what runs and then end.
    pub(crate) async fn connection(
        self: Arc<Serving>,
        socket: Socket,
        peer: PeerAddr,
        mut stop: oneshot::Receiver<()>,
    ) {
        let conn = Arc::new(ConnInfo::new(peer, self.tls.is_some()));
        let io = Io::new(socket, Arc::clone(&conn), self.limits.write_stall);
        let established = tokio::select! {
            established = timeout(self.limits.header_time, self.establish(io)) => established,
            _ = &mut stop => return,
        };
        match established {
            Ok(Ok((stream, true))) => self.serve_http2(stream, conn, stop).await,
            Ok(Ok((stream, false))) => self.serve_http1(stream, conn, stop).await,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "the connection failed before its first request")
            }
            Err(_) => tracing::debug!(%peer, "the connection was closed: nothing came in time"),
        }
    }

    /// The stream, and whether HTTP/2 is spoken on it.
    async fn establish(&self, mut io: Io) -> io::Result<(Stream, bool)> {
        match &self.tls {
            None => {
                let h2 = io.speaks_h2().await?;
                Ok((Stream::Plain(io), h2))
            }
            Some(tls) => {
                let stream = tls.accept(io).await?;
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Ok((Stream::Tls(Box::new(stream)), h2))
            }
        }
    }

    async fn serve_http1(&self, stream: Stream, conn: Arc<ConnInfo>, stop: oneshot::Receiver<()>) {
        let mut running = self.http1.serve_connection(TokioIo::new(stream), self.edge(&conn));
        let ended = self.drive(Pin::new(&mut running), &conn, false, stop).await;
        let refused = ended.is_err_and(|error| error.is_parse());
        if refused || conn.pulse.left_body_unread() {
            let mut stream = running.into_parts().io.into_inner();
            // Its end, an error or the time: whichever it is, the connection is over.
            drop(timeout(self.limits.linger, stream.socket().drain()).await);
        }
    }

    async fn serve_http2(&self, stream: Stream, conn: Arc<ConnInfo>, stop: oneshot::Receiver<()>) {
        let running = pin!(self.http2.serve_connection(TokioIo::new(stream), self.edge(&conn)));
        // An error has been logged, and an HTTP/2 client was told of it in the protocol.
        drop(self.drive(running, &conn, true, stop).await);
    }

    fn edge(&self, conn: &Arc<ConnInfo>) -> Edge {
        let floor = Floor { rate: self.limits.body_rate, window: self.limits.body_window };
        let header_count = self.limits.header_count;
        Edge { handler: Arc::clone(&self.handler), conn: Arc::clone(conn), floor, header_count }
    }

    async fn drive(
        &self,
        mut running: Pin<&mut impl Graceful>,
        conn: &ConnInfo,
        h2: bool,
        mut stop: oneshot::Receiver<()>,
    ) -> hyper::Result<()> {
        let mut watch = Watch::new(&self.limits, h2, Instant::now());
        let mut tick = pin!(sleep(watch.period()));
        let mut draining = false;
        loop {
            let drain = tokio::select! {
                biased;
                ended = running.as_mut() => {
                    if let Err(error) = &ended {
                        tracing::debug!(peer = %conn.peer, error = error as &dyn std::error::Error, "connection");
                    }
                    return ended;
                }
                _ = &mut stop, if !draining => true,
                () = tick.as_mut() => {
                    tick.as_mut().reset(Instant::now() + watch.period());
                    match watch.look(conn.pulse.sample(), Instant::now()) {
                        Verdict::Keep => false,
                        Verdict::Drain => true,
                        Verdict::Cut => return Ok(()),
                    }
                }
            };
            if drain {
                draining = true;
                watch.drain(Instant::now());
                running.as_mut().end();
            }
        }
    }
}

/// A connection of either protocol.
trait Graceful: Future<Output = hyper::Result<()>> {
    /// Ends it once the requests that run have been answered.
    fn end(self: Pin<&mut Self>);
}

impl Graceful for http1::Connection<TokioIo<Stream>, Edge> {
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl Graceful for http2::Connection<TokioIo<Stream>, Edge, TokioExecutor> {
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// What hyper counts without being told to, and then on the stack; any other count costs an allocation a request.
const HYPER_HEADERS: usize = 100;
const H2_WINDOW_MAX: u32 = (1 << 31) - 1;

/// Written slices are queued and never copied: a tagged slice must reach the socket as it is. hyper's own header
/// timer stays off, because it sets a timer for each request; [`Watch`] does its work.
fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.writev(true).pipeline_flush(false).header_read_timeout(None).max_header_size(limits.header_bytes);
    if limits.header_count != HYPER_HEADERS {
        builder.max_headers(limits.header_count);
    }
    builder
}

/// Values that the protocol does not allow are moved to the nearest that it does: hyper would panic.
fn http2_builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .max_concurrent_streams(limits.h2_streams)
        .max_pending_accept_reset_streams(limits.h2_resets)
        .initial_stream_window_size(limits.h2_stream_window.min(H2_WINDOW_MAX))
        .initial_connection_window_size(limits.h2_connection_window.min(H2_WINDOW_MAX))
        .max_frame_size(limits.h2_frame.clamp(1 << 14, (1 << 24) - 1))
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(limits.h2_send_buffer.min(u32::MAX as usize));
    builder
}
