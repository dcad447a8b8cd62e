//! What is known of a connection: who is at the other end, and the counters that tell a busy one from an idle one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::zerocopy::Slot;

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddr {
    /// A TCP peer. An IPv4 peer of an IPv6 socket is given as IPv4.
    Tcp(SocketAddr),
    /// A process on this host, by the user it runs as.
    Unix {
        /// The user id, as the kernel tells it.
        uid: u32,
    },
}

impl PeerAddr {
    /// The address, where there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            PeerAddr::Tcp(addr) => Some(addr.ip()),
            PeerAddr::Unix { .. } => None,
        }
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddr::Tcp(addr) => addr.fmt(f),
            PeerAddr::Unix { uid } => write!(f, "unix:uid={uid}"),
        }
    }
}

/// One connection, as a handler sees it.
pub struct ConnInfo {
    /// The other end; a proxy's address when one stands between (see [`crate::Forwarded`]).
    pub peer: PeerAddr,
    /// Whether this very connection is encrypted.
    pub tls: bool,
    pub(crate) pulse: Pulse,
    pub(crate) slot: Slot,
}

impl ConnInfo {
    /// Made by `serve` for each connection, and by tests that call a handler without one.
    pub fn new(peer: PeerAddr, tls: bool) -> ConnInfo {
        ConnInfo { peer, tls, pulse: Pulse::default(), slot: Slot::default() }
    }
}

impl fmt::Debug for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnInfo").field("peer", &self.peer).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// Counters that the hot path bumps and the watch samples: no clock is read and no timer is set per request.
#[derive(Default)]
pub(crate) struct Pulse {
    reads: AtomicU32,
    writing: AtomicBool,
    requests: AtomicU32,
    active: AtomicU32,
    frames: AtomicU32,
    waiting: AtomicU32,
    body_left_unread: AtomicBool,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sample {
    pub(crate) reads: u32,
    /// Whether bytes wait for the client to take them.
    pub(crate) writing: bool,
    pub(crate) requests: u32,
    pub(crate) active: u32,
    /// Frames of response bodies that hyper has taken.
    pub(crate) frames: u32,
    /// Responses with a frame that hyper has taken and has not come back from.
    pub(crate) waiting: u32,
}

impl Pulse {
    pub(crate) fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_writing(&self, writing: bool) {
        self.writing.store(writing, Ordering::Relaxed);
    }

    pub(crate) fn note_unread_body(&self) {
        self.body_left_unread.store(true, Ordering::Relaxed);
    }

    pub(crate) fn left_body_unread(&self) -> bool {
        self.body_left_unread.load(Ordering::Relaxed)
    }

    pub(crate) fn sample(&self) -> Sample {
        Sample {
            reads: self.reads.load(Ordering::Relaxed),
            writing: self.writing.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            active: self.active.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }
}

/// Counts a request as running until it is dropped, which is when hyper has taken the last byte of its response.
pub(crate) struct Active {
    conn: Arc<ConnInfo>,
    waiting: bool,
}

impl Active {
    pub(crate) fn begin(conn: &Arc<ConnInfo>) -> Active {
        conn.pulse.requests.fetch_add(1, Ordering::Relaxed);
        conn.pulse.active.fetch_add(1, Ordering::Relaxed);
        Active { conn: Arc::clone(conn), waiting: false }
    }

    pub(crate) fn conn(&self) -> &Arc<ConnInfo> {
        &self.conn
    }

    /// A frame of the response was given to hyper: it comes back for another when the client has let it send this one.
    pub(crate) fn frame_given(&mut self) {
        self.waiting = true;
        self.conn.pulse.frames.fetch_add(1, Ordering::Relaxed);
        self.conn.pulse.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// hyper has come back.
    pub(crate) fn frame_sent(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.conn.pulse.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.frame_sent();
        self.conn.pulse.active.fetch_sub(1, Ordering::Relaxed);
    }
}
