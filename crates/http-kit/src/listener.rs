//! Where connections come from: a TCP address or a unix socket, each with its handler and perhaps TLS.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::conn::PeerAddr;
use crate::error::Error;
use crate::handler::Handler;
use crate::io::Socket;
use crate::tls::Tls;

/// How many connections the kernel may hold that we have not accepted yet.
const BACKLOG: i32 = 4096;

/// An open listener, ready to be served.
pub struct Listener {
    pub(crate) source: Source,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) tls: Option<Arc<Tls>>,
}

pub(crate) enum Source {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

impl Listener {
    /// Listens on a TCP address. Port 0 picks a free one, see [`Listener::local_addr`].
    pub fn tcp(addr: SocketAddr, handler: Arc<dyn Handler>) -> Result<Listener, Error> {
        let listener = bind_tcp(addr).map_err(|source| Error::Bind { addr, source })?;
        Ok(Listener { source: Source::Tcp(listener), handler, tls: None })
    }

    /// Makes a unix socket that only its owner may use, in the place of one that nobody answers on any more.
    pub async fn unix(path: &Path, handler: Arc<dyn Handler>) -> Result<Listener, Error> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(Error::SocketInUse { path: path.to_owned() });
        }
        let listener = bind_unix(path).map_err(|source| Error::BindUnix { path: path.to_owned(), source })?;
        Ok(Listener { source: Source::Unix { listener, path: path.to_owned() }, handler, tls: None })
    }

    /// Speaks TLS on every connection, HTTP/2 and HTTP/1.1 as the client prefers.
    pub fn with_tls(mut self, tls: Arc<Tls>) -> Listener {
        self.tls = Some(tls);
        self
    }

    /// The TCP address listened on.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.source {
            Source::Tcp(listener) => listener.local_addr().ok(),
            Source::Unix { .. } => None,
        }
    }
}

impl Source {
    pub(crate) async fn accept(&self) -> io::Result<(Socket, PeerAddr)> {
        match self {
            Source::Tcp(listener) => {
                let (stream, addr) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
                Ok((Socket::Tcp(stream), PeerAddr::Tcp(addr)))
            }
            Source::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Socket::Unix(stream), PeerAddr::Unix { uid }))
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Source::Unix { path, .. } = self
            && let Err(error) = std::fs::remove_file(&*path)
        {
            tracing::debug!(path = %path.display(), %error, "the unix socket was gone already");
        }
    }
}

fn bind_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The socket gets its permissions under another name and is then moved to its own, so that there is no moment at
/// which others could connect.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if path.symlink_metadata().is_ok_and(|old| !old.file_type().is_socket()) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name that is no socket",
        ));
    }
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    if let Err(error) = std::fs::remove_file(&hidden)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, path)?;
    Ok(listener)
}
