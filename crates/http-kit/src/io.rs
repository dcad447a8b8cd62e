//! The stream beneath hyper: a socket that sends tagged slices by sendfile, counts what it reads, and gives up on a
//! client that takes nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use crate::conn::ConnInfo;
use crate::{sys, zerocopy};

/// What a client that speaks HTTP/2 without asking first sends first.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first read of a connection, for telling HTTP/1 from HTTP/2: most request heads fit.
const FIRST_READ: usize = 1 << 10;

/// An accepted socket of either kind.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same call on whichever stream it is.
macro_rules! each {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl Socket {
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_write_ready(cx))
    }

    /// Runs a system call that writes, and clears the readiness when it would block.
    fn try_write(&self, call: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>) -> io::Result<usize> {
        each!(self, stream => stream.try_io(Interest::WRITABLE, || call(stream.as_fd())))
    }

    /// Holds back what does not fill a segment of the network, or lets go of it.
    fn cork(&self, on: bool) {
        if let Socket::Tcp(stream) = self {
            // Where it fails, the same bytes go out in other portions.
            let _as_well = socket2::SockRef::from(stream).set_tcp_cork(on);
        }
    }

    /// Unknown counts as none: then no progress is seen, and the write times out as it would without asking.
    fn unsent(&self) -> usize {
        each!(self, stream => sys::unsent(stream.as_fd())).unwrap_or(0)
    }

    /// Runs a system call that writes up to `len` bytes. One that wrote less has filled the socket: the next is then
    /// not tried before the socket is writable again. (Were it another reason, the write timer would notice.)
    fn poll_call(
        &self,
        cx: &mut Context<'_>,
        len: usize,
        call: impl Fn(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let mut partly = None;
            let done = self.try_write(|socket| match call(socket) {
                Ok(wrote) if wrote > 0 && wrote < len => {
                    partly = Some(wrote);
                    Err(io::ErrorKind::WouldBlock.into())
                }
                done => done,
            });
            match (done, partly) {
                (_, Some(wrote)) => return Poll::Ready(Ok(wrote)),
                (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => {}
                (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => {}
                (done, _) => return Poll::Ready(done),
            }
        }
    }
}

/// A socket with its connection's slot, counters and stall timer.
pub(crate) struct Io {
    socket: Socket,
    conn: Arc<ConnInfo>,
    /// Read while finding out the protocol, and not yet given to hyper.
    early: BytesMut,
    stall: Stall,
    /// From the head of a response that takes several calls of sendfile to the flush after its end, only full segments leave. Without
    /// that each call ends with a small one, and a client takes twice as long to read what it gets.
    corked: bool,
}

impl Io {
    pub(crate) fn new(socket: Socket, conn: Arc<ConnInfo>, write_stall: Duration) -> Io {
        Io { socket, conn, early: BytesMut::new(), stall: Stall::new(write_stall), corked: false }
    }

    /// Reads until it is clear whether the client speaks HTTP/2 outright.
    pub(crate) async fn speaks_h2(&mut self) -> io::Result<bool> {
        let mut seen = BytesMut::with_capacity(FIRST_READ);
        loop {
            let read = self.read_buf(&mut seen).await?;
            let common = seen.len().min(H2_PREFACE.len());
            let matches = seen[..common] == H2_PREFACE[..common];
            if read == 0 || !matches || common == H2_PREFACE.len() {
                self.early = seen;
                return Ok(matches && common == H2_PREFACE.len());
            }
        }
    }

    /// Throws away what still comes, until the client closes.
    pub(crate) async fn drain(&mut self) -> io::Result<()> {
        let mut waste = BytesMut::with_capacity(16 << 10);
        while self.read_buf(&mut waste).await? > 0 {
            waste.clear();
        }
        Ok(())
    }

    /// Fails a write that has been pending for too long without the client taking a byte.
    fn check_stall(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if wrote.is_ready() {
            if std::mem::take(&mut self.stall.running) {
                self.conn.pulse.set_writing(false);
            }
            return wrote;
        }
        if !self.stall.running {
            self.conn.pulse.set_writing(true);
        }
        ready!(self.stall.poll_expired(cx, &self.socket));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the client took no byte for {} seconds", self.stall.limit.as_secs()),
        )))
    }

    /// Writes a response's tagged slice by sendfile, or what comes before it with the hint that more follows.
    fn poll_write_tagged(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let at = bufs.iter().position(|buf| zerocopy::is_tag(buf)).unwrap_or(bufs.len());
        let (before, tagged) = bufs.split_at(at);
        let is_long = tagged.first().is_some_and(|tag| tag.len() > zerocopy::SEND_MAX);
        if is_long && !self.corked {
            self.corked = true;
            self.socket.cork(true);
        }
        match tagged.first() {
            Some(tag) if before.iter().all(|buf| buf.is_empty()) => {
                self.conn.slot.poll_send(tag, |file, offset, len| {
                    self.socket.poll_call(cx, len, |socket| sys::sendfile(socket, file, offset, len))
                })
            }
            Some(_) => {
                let len = before.iter().map(|buf| buf.len()).sum();
                self.socket.poll_call(cx, len, |socket| {
                    socket2::SockRef::from(&socket).send_vectored_with_flags(before, libc::MSG_MORE)
                })
            }
            // The slot waits for its tag, and this write does not carry it: the slice must have been copied.
            None => self.conn.slot.poll_send(&[], |_, _, _| Poll::Ready(Ok(0))),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            let before = buf.filled().len();
            ready!(each!(&mut this.socket, stream => Pin::new(stream).poll_read(cx, buf)))?;
            if buf.filled().len() > before {
                this.conn.pulse.count_read();
            }
            return Poll::Ready(Ok(()));
        }
        let len = this.early.len().min(buf.remaining());
        buf.put_slice(&this.early[..len]);
        this.early.advance(len);
        if this.early.is_empty() {
            this.early = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = if this.conn.slot.is_taken() {
            this.poll_write_tagged(cx, &[io::IoSlice::new(buf)])
        } else {
            each!(&mut this.socket, stream => Pin::new(stream).poll_write(cx, buf))
        };
        this.check_stall(cx, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = if this.conn.slot.is_taken() {
            this.poll_write_tagged(cx, bufs)
        } else {
            each!(&mut this.socket, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
        };
        this.check_stall(cx, wrote)
    }

    /// hyper asks this once, and then queues what it is given instead of copying it into one buffer.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.corked && !this.conn.slot.expects_more() {
            this.corked = false;
            this.socket.cork(false);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().socket, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// Times a pending write. A large socket buffer becomes writable only after much of it has been taken, so what counts
/// is whether any of it was: it is looked at after half of the time and again at the end, and not at all in the
/// common case that the wait is short.
struct Stall {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
    unsent: Option<usize>,
}

impl Stall {
    fn new(limit: Duration) -> Stall {
        Stall { limit, timer: None, running: false, unsent: None }
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>, socket: &Socket) -> Poll<()> {
        let half = self.limit / 2;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(half)));
        if !std::mem::replace(&mut self.running, true) {
            self.unsent = None;
            timer.as_mut().reset(Instant::now() + half);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let unsent = socket.unsent();
            if self.unsent.is_some_and(|before| unsent >= before) {
                return Poll::Ready(());
            }
            self.unsent = Some(unsent);
            timer.as_mut().reset(Instant::now() + half);
        }
    }
}

/// What hyper runs on: one type for both, so that hyper is compiled once for each protocol.
pub(crate) enum Stream {
    Plain(Io),
    Tls(Box<TlsStream<Io>>),
}

impl Stream {
    /// The socket itself, past the encryption.
    pub(crate) fn socket(&mut self) -> &mut Io {
        match self {
            Stream::Plain(io) => io,
            Stream::Tls(tls) => tls.get_mut().0,
        }
    }
}

macro_rules! either {
    ($stream:expr, $io:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Plain($io) => $call,
            Stream::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PeerAddr;
    use std::net::Ipv4Addr;
    use std::task::Waker;
    use tokio::net::TcpListener;

    /// What stays corked is sent a fifth of a second late.
    #[tokio::test]
    async fn a_long_file_is_corked_from_its_head_to_its_end() {
        let check = async |len: usize, more: bool, corked: [bool; 2]| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, address) = listener.accept().await.unwrap();
            let conn = Arc::new(ConnInfo::new(PeerAddr::Tcp(address), false));
            let mut io = Io::new(Socket::Tcp(server), Arc::clone(&conn), Duration::from_secs(60));
            let is_corked = |io: &Io| match &io.socket {
                Socket::Tcp(stream) => socket2::SockRef::from(stream).tcp_cork().unwrap(),
                Socket::Unix(_) => false,
            };
            let file = tempfile::tempfile().unwrap();
            file.set_len(len as u64).unwrap();
            let cx = &mut Context::from_waker(Waker::noop());
            let Poll::Ready(tag) = conn.slot.poll_offer(cx, &Arc::new(file), 0, len, more) else {
                panic!("the slot is taken")
            };
            let head = b"head";
            let bufs = [io::IoSlice::new(head), io::IoSlice::new(&tag)];
            let wrote = std::future::poll_fn(|cx| Pin::new(&mut io).poll_write_vectored(cx, &bufs)).await;
            assert_eq!(wrote.unwrap(), head.len());
            let during = is_corked(&io);
            let reader =
                tokio::spawn(async move { tokio::io::copy(&mut client, &mut tokio::io::sink()).await });
            let mut sent = 0;
            while sent < len {
                let rest = &tag[sent..];
                sent += std::future::poll_fn(|cx| Pin::new(&mut io).poll_write(cx, rest)).await.unwrap();
            }
            std::future::poll_fn(|cx| Pin::new(&mut io).poll_flush(cx)).await.unwrap();
            assert_eq!([during, is_corked(&io)], corked, "{len} {more}");
            drop(io);
            assert_eq!(reader.await.unwrap().unwrap(), (head.len() + len) as u64);
        };
        check(zerocopy::SEND_MAX, false, [false, false]).await;
        check(zerocopy::SEND_MAX + 1, false, [true, false]).await;
        check(zerocopy::SEGMENT_MAX, true, [true, true]).await;
    }
}
