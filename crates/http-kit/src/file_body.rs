//! The frames of a file: read from the page cache, or handed to sendfile, but never by waiting for a disk on a
//! worker thread. What the page cache does not hold is fetched by the blocking pool first.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use crate::conn::ConnInfo;
use crate::sys;
use crate::zerocopy::{SEGMENT_MAX, file_too_short};

/// One read where the bytes pass through this process (TLS, HTTP/2): measured best between 64 KiB and 1 MiB.
const READ_MAX: usize = 256 << 10;
/// Below this one read and one write together cost less than probe, header write and sendfile.
const SENDFILE_MIN: usize = 32 << 10;
/// What the blocking pool fetches before the first of it is sent: more would let the client wait for the disk.
const FETCH_MAX: usize = 1 << 20;
/// How far apart a long segment is probed for being in the page cache.
const PROBE_STEP: usize = 2 << 20;
/// How far beyond a missed segment the kernel is asked to read ahead.
const READ_AHEAD: u64 = 4 << 20;
/// A fetch touches one byte in each step of this size, to wait until the kernel has read them all.
const TOUCH_STEP: u64 = 64 << 10;

/// A range of an open file. The file may be shared by many bodies: it is never read at its own cursor.
#[derive(Debug, Clone)]
pub struct FileRange {
    /// The file; it stays open until the last byte has been sent.
    pub file: Arc<File>,
    /// Where the range begins.
    pub offset: u64,
    /// How many bytes it has. A file that turns out shorter fails the response: it never ends early in silence.
    pub len: u64,
}

/// The frames of a [`FileRange`].
pub(crate) struct FileBody {
    left: FileRange,
    /// Set when the response goes out on plain HTTP/1.1.
    sendfile: Option<Arc<ConnInfo>>,
    buffer: BytesMut,
    fetch: Option<JoinHandle<io::Result<BytesMut>>>,
    /// How much of the range's start is known to be in the page cache.
    cached: usize,
}

impl FileBody {
    pub(crate) fn new(range: FileRange) -> FileBody {
        FileBody { left: range, sendfile: None, buffer: BytesMut::new(), fetch: None, cached: 0 }
    }

    pub(crate) fn left(&self) -> u64 {
        self.left.len
    }

    /// Lets segments go by sendfile on this connection.
    pub(crate) fn send_by(&mut self, conn: &Arc<ConnInfo>) {
        self.sendfile = Some(Arc::clone(conn));
    }

    /// The next frame, of at most so many bytes; until it is ready, `most` stays the same.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Option<io::Result<Bytes>>> {
        if self.left.len == 0 {
            return Poll::Ready(None);
        }
        let frame = match self.sendfile.clone() {
            Some(conn) if self.left.len >= SENDFILE_MIN as u64 => ready!(self.poll_segment(cx, &conn, most)),
            _ => ready!(self.poll_read(cx, most)),
        };
        if let Ok(bytes) = &frame {
            self.left.offset += bytes.len() as u64;
            self.left.len -= bytes.len() as u64;
        }
        Poll::Ready(Some(frame))
    }

    /// The next segment for sendfile, once it is in the page cache.
    fn poll_segment(
        &mut self,
        cx: &mut Context<'_>,
        conn: &ConnInfo,
        most: usize,
    ) -> Poll<io::Result<Bytes>> {
        if self.cached == 0 && self.fetch.is_none() {
            self.cached = cached_len(&self.left, self.next_len(SEGMENT_MAX.min(most)))?;
        }
        if self.cached == 0 {
            let len = self.next_len(FETCH_MAX.min(most));
            if self.fetch.is_none() {
                self.start_fetch(move |range| touch(range, len).map(|()| BytesMut::new()));
            }
            ready!(self.poll_fetch(cx))?;
            self.cached = len;
        }
        let more = self.left.len - self.cached as u64 >= SENDFILE_MIN as u64;
        let tag = ready!(conn.slot.poll_offer(cx, &self.left.file, self.left.offset, self.cached, more));
        self.cached = 0;
        Poll::Ready(Ok(tag))
    }

    /// The next bytes themselves.
    fn poll_read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        if self.fetch.is_none() {
            match self.read_cached(most) {
                Err(error) if is_miss(&error) => {
                    let len = self.next_len(READ_MAX.min(most));
                    self.start_fetch(move |range| read_all(range, len));
                }
                done => return Poll::Ready(done),
            }
        }
        let bytes = ready!(self.poll_fetch(cx))?;
        Poll::Ready(Ok(bytes.freeze()))
    }

    /// The buffer is taken back from frames that have been sent, so a long body costs one allocation.
    fn read_cached(&mut self, most: usize) -> io::Result<Bytes> {
        let len = self.next_len(READ_MAX.min(most));
        self.buffer.reserve(len);
        let read = sys::read_cached(
            &self.left.file,
            &mut self.buffer.spare_capacity_mut()[..len],
            self.left.offset,
        )?;
        if read == 0 {
            return Err(file_too_short(self.left.offset, self.left.len));
        }
        // SAFETY: the kernel has just written `read` bytes at the start of the spare capacity.
        unsafe { self.buffer.set_len(read) };
        Ok(self.buffer.split().freeze())
    }

    fn start_fetch(&mut self, work: impl FnOnce(&FileRange) -> io::Result<BytesMut> + Send + 'static) {
        let range = self.left.clone();
        self.fetch = Some(tokio::task::spawn_blocking(move || {
            sys::will_need(&range.file, range.offset, range.len.min(READ_AHEAD));
            work(&range)
        }));
    }

    fn poll_fetch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<BytesMut>> {
        let Some(fetch) = &mut self.fetch else {
            return Poll::Ready(Err(io::Error::other("no fetch is under way")));
        };
        let done = ready!(Pin::new(fetch).poll(cx));
        self.fetch = None;
        Poll::Ready(done.unwrap_or_else(|stopped| Err(io::Error::other(stopped))))
    }

    fn next_len(&self, most: usize) -> usize {
        usize::try_from(self.left.len).map_or(most, |left| left.min(most))
    }
}

/// How much of the range's first `len` bytes can be sent without waiting, judged by a few of them: a hole between two
/// probes costs one wait, no more.
fn cached_len(range: &FileRange, len: usize) -> io::Result<usize> {
    let mut byte = [MaybeUninit::uninit()];
    let mut cached = 0;
    for step in (0..len).step_by(PROBE_STEP).chain([len - 1]) {
        match sys::read_cached(&range.file, &mut byte, range.offset + step as u64) {
            Ok(0) => return Err(file_too_short(range.offset, range.len)),
            Ok(_) => cached = step,
            Err(error) if is_miss(&error) => return Ok(cached),
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn is_miss(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// Waits until the segment is in the page cache. A file that ends too soon is left for the sender to find.
fn touch(range: &FileRange, len: usize) -> io::Result<()> {
    let end = range.offset + len as u64;
    let mut byte = [0];
    for at in (range.offset..end).step_by(TOUCH_STEP as usize).chain([end - 1]) {
        range.file.read_at(&mut byte, at)?;
    }
    Ok(())
}

fn read_all(range: &FileRange, len: usize) -> io::Result<BytesMut> {
    let mut buffer = BytesMut::zeroed(len);
    let read = range.file.read_at(&mut buffer, range.offset)?;
    if read == 0 {
        return Err(file_too_short(range.offset, range.len));
    }
    buffer.truncate(read);
    Ok(buffer)
}
