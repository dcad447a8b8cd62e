//! What can go wrong below the protocols.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What can go wrong below the protocols.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A TCP address cannot be listened on.
    #[error("cannot listen on {addr}: {source}; choose another address, or stop what uses this one")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A unix socket cannot be made.
    #[error("cannot make the socket {path}: {source}; check that its folder exists and is writable")]
    BindUnix {
        /// Where the socket was to be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process answers on a unix socket.
    #[error("another server answers on the socket {path}; stop it, or choose another data folder")]
    SocketInUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// A certificate or key file cannot be used.
    #[error("cannot use {path} for TLS: {reason}")]
    Tls {
        /// The file that is wrong.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A request body is longer than its reader takes.
    #[error("the request body is longer than {limit} bytes; send a smaller one")]
    BodyTooLarge {
        /// The most that is taken.
        limit: u64,
    },
    /// The bodies that are received have all the room that there is for them.
    #[error("the server is receiving as many bytes as it has room for: try again later")]
    BodiesTooMany,
    /// A request body came slower than the lowest rate.
    #[error(
        "the request body came slower than {rate} bytes a second; send it again over a faster connection"
    )]
    BodyTooSlow {
        /// The lowest rate, in bytes a second.
        rate: u64,
    },
    /// A request body broke off.
    #[error("the request body broke off: {0}; send the request again")]
    BodyCut(String),
}
