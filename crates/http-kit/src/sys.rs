//! The system calls that std has no safe face for. Everything unsafe of this crate is here.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends up to `len` bytes of `file`, from `offset`, to `socket` without copying them through this process.
/// Zero means that the file has no byte at `offset`.
pub(crate) fn sendfile(socket: BorrowedFd<'_>, file: &File, offset: u64, len: usize) -> io::Result<usize> {
    let mut at = file_offset(offset)?;
    // SAFETY: both descriptors are borrowed for the whole call, and `at` is a live, writable off_t.
    let sent = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &mut at, len) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Reads what the page cache holds, and never waits for a disk: `WouldBlock` when the first byte is not cached,
/// `Unsupported` on a file system that cannot tell. Zero means the end of the file.
pub(crate) fn read_cached(file: &File, buf: &mut [MaybeUninit<u8>], offset: u64) -> io::Result<usize> {
    let at = file_offset(offset)?;
    let part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: `part` describes `buf`, which is exclusively borrowed for the call; the kernel only writes to it.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, at, libc::RWF_NOWAIT) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Tells the kernel that this range will be read soon, so that it starts to fetch it. Advice only: a file system
/// that refuses it still serves the reads that follow, so there is no result.
pub(crate) fn will_need(file: &File, offset: u64, len: u64) {
    if let (Ok(offset), Ok(len)) = (file_offset(offset), file_offset(len)) {
        // SAFETY: the call takes no pointer; the descriptor is borrowed for the whole call.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), offset, len, libc::POSIX_FADV_WILLNEED) };
    }
}

/// How many bytes the socket holds that the peer has not taken yet.
pub(crate) fn unsent(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed for the whole call, and TIOCOUTQ writes one int, to a live one.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

fn file_offset(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "file offset beyond the largest file"))
}
