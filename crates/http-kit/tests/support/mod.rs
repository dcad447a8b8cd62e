//! A server on a free port, and clients that see the bytes as they are.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod tls;

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_kit::{Body, ConnInfo, FileRange, Handler, Limits, Listener, RequestBody, Tls, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A test hangs rather than fails when something is broken; this ends it.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Running {
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    pub ended: JoinHandle<usize>,
}

impl Running {
    pub fn start(limits: Limits, handler: Arc<dyn Handler>, tls: Option<Arc<Tls>>) -> Running {
        let mut listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), handler).unwrap();
        let addr = listener.local_addr().unwrap();
        if let Some(tls) = tls {
            listener = listener.with_tls(tls);
        }
        let (stop, stopped) = oneshot::channel();
        let stopped: BoxFuture<'static, ()> = stopped.map(drop).boxed();
        let ended = tokio::spawn(serve(vec![listener], limits, stopped));
        Running { addr, stop: Some(stop), ended }
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }
}

/// A handler from an async closure.
pub fn handler<F, Fut>(answer: F) -> Arc<dyn Handler>
where
    F: Fn(Arc<ConnInfo>, Request<RequestBody>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(
        move |conn: Arc<ConnInfo>, request: Request<RequestBody>| -> BoxFuture<'static, Response<Body>> {
            answer(conn, request).boxed()
        },
    )
}

/// Bytes that differ from place to place, so that a range sent from elsewhere is seen.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

pub fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

/// Serves a file; the path gives the range: `/OFFSET/LEN`.
pub fn file_server(file: Arc<File>) -> Arc<dyn Handler> {
    handler(move |_, request| {
        let file = Arc::clone(&file);
        async move {
            let mut parts = request.uri().path()[1..].split('/').map(|part| part.parse().unwrap());
            let (offset, len) = (parts.next().unwrap(), parts.next().unwrap());
            Response::new(Body::file(FileRange { file, offset, len }))
        }
    })
}

pub async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Reads one response with a Content-Length: its head and its body.
pub async fn receive(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let head = receive_head(stream).await;
    let len = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |len| len.trim().parse().unwrap());
    let mut body = vec![0; len];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut body)).await.unwrap().unwrap();
    (head, body)
}

pub async fn receive_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap();
        head.push(byte.expect("the response head broke off"));
    }
    String::from_utf8(head).unwrap()
}

/// Everything until the server closes, and whether it closed in an orderly way.
pub async fn receive_rest(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    (rest, end.is_ok())
}
