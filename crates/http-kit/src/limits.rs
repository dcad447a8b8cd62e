//! Every bound on what a peer may take from us in one place, with its default.

use std::time::Duration;

/// The bounds of a server. Each has a default that suits a registry; all are plain fields to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections on each listener; further ones wait in the kernel's queue. Default 10,000.
    pub connections: usize,
    /// For the TLS handshake and the first bytes, and then for each request head from its first byte to its last.
    /// Beyond it the connection is closed. Default 30 s.
    pub header_time: Duration,
    /// Size of a request head in bytes, at most 384 KiB; beyond it 431. Default 64 KiB: tokens can be long.
    pub header_bytes: usize,
    /// Fields in a request head; beyond it 431. Default 100.
    pub header_count: usize,
    /// How long a connection may stay open with no request on it. Default 120 s: Go clients give up at 90 s, and the
    /// side that closes first should be the client.
    pub idle: Duration,
    /// Lowest rate of a request body, in bytes a second, over each `body_window` spent waiting for the client; below
    /// it reading the body fails with `BodyTooSlow`. Default 1 KiB/s.
    pub body_rate: u64,
    /// See `body_rate`. Default 30 s.
    pub body_window: Duration,
    /// How long a client may take no byte of a response, or on HTTP/2 let all responses wait for its permission to
    /// send. Beyond it the connection is closed. Default 60 s.
    pub write_stall: Duration,
    /// How long a connection that is closed with a request body unread goes on throwing its bytes away, so that the
    /// client can read the response before it meets a reset. Default 2 s.
    pub linger: Duration,
    /// How long running requests may go on after the server was told to stop. Default 10 minutes.
    pub drain: Duration,
    /// Requests at once on one HTTP/2 connection; beyond it the stream is refused. Default 128.
    pub h2_streams: u32,
    /// Streams that the client reset before we had taken them up; beyond it the connection is closed (a "rapid reset"
    /// flood comes faster than anybody takes it up). Those reset later count no more: what ran for them has been dropped.
    /// Default 20.
    pub h2_resets: usize,
    /// What one HTTP/2 stream may send ahead of our reading, below 2 GiB. Default 1 MiB.
    pub h2_stream_window: u32,
    /// What one HTTP/2 connection may send ahead of our reading, below 2 GiB. Default 4 MiB.
    pub h2_connection_window: u32,
    /// Largest HTTP/2 frame that we take, 16 KiB to 16 MiB - 1. Default 64 KiB.
    pub h2_frame: u32,
    /// What one HTTP/2 stream may hold back unsent. Default 512 KiB.
    pub h2_send_buffer: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            header_time: Duration::from_secs(30),
            header_bytes: 64 << 10,
            header_count: 100,
            idle: Duration::from_secs(120),
            body_rate: 1 << 10,
            body_window: Duration::from_secs(30),
            write_stall: Duration::from_secs(60),
            linger: Duration::from_secs(2),
            drain: Duration::from_secs(600),
            h2_streams: 128,
            h2_resets: 20,
            h2_stream_window: 1 << 20,
            h2_connection_window: 4 << 20,
            h2_frame: 64 << 10,
            h2_send_buffer: 512 << 10,
        }
    }
}
