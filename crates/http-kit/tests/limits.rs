//! What a hostile, slow or broken client gets, and how a server ends.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use http::{Response, StatusCode};
use http_kit::{Body, Error, FileRange, Limits, Listener, PeerAddr, serve};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

const SHORT: Duration = Duration::from_millis(200);
const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

fn hello() -> Arc<dyn http_kit::Handler> {
    handler(|_, _| async { Response::new(Body::full("hello")) })
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().is_err()
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let limits = Limits { header_bytes: 16 << 10, ..Limits::default() };
    let server = Running::start(limits, hello(), None);
    let many: String = (0..200).map(|i| format!("h{i}: x\r\n")).collect();
    let large = format!("h: {}\r\n", "x".repeat(20 << 10));
    for flood in [many, large] {
        let mut stream = server.connect().await;
        send(&mut stream, &format!("GET / HTTP/1.1\r\nhost: x\r\n{flood}\r\n")).await;
        let head = receive_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    }
}

#[tokio::test]
async fn the_largest_head_that_can_be_allowed_is_taken() {
    let largest = 384 << 10;
    let server = Running::start(Limits { header_bytes: largest, ..Limits::default() }, hello(), None);
    for (size, status) in [(largest - 100, "200"), (largest + 100, "431")] {
        let mut stream = server.connect().await;
        send(&mut stream, &format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "x".repeat(size))).await;
        let head = receive_head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
    }
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_off() {
    let server = Running::start(Limits { header_time: SHORT, ..Limits::default() }, hello(), None);
    for start in ["", "P", "GET / HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut stream = server.connect().await;
        send(&mut stream, start).await;
        assert!(is_closed(&mut stream).await, "{start}");
    }
    let mut stream = server.connect().await;
    send(&mut stream, GET).await;
    receive(&mut stream).await;
    let trickle = async {
        while stream.write_all(b"G").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    tokio::time::timeout(PATIENCE, trickle).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Running::start(Limits { idle: SHORT * 5, ..Limits::default() }, hello(), None);
    let mut stream = server.connect().await;
    for _ in 0..3 {
        send(&mut stream, GET).await;
        assert_eq!(receive(&mut stream).await.1, b"hello");
    }
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn a_slow_answer_is_no_idle_connection() {
    let slow = handler(|_, _| async {
        tokio::time::sleep(SHORT * 5).await;
        Response::new(Body::full("late"))
    });
    let limits = Limits {
        idle: SHORT,
        header_time: SHORT,
        write_stall: SHORT,
        body_window: SHORT,
        ..Limits::default()
    };
    let server = Running::start(limits, slow, None);
    let mut stream = server.connect().await;
    send(&mut stream, GET).await;
    assert_eq!(receive(&mut stream).await.1, b"late");
}

/// Answers 408 to a slow body, 413 to one over 1000 bytes, else its length.
fn reader() -> Arc<dyn http_kit::Handler> {
    handler(|_, request| async move {
        let (status, text) = match request.into_body().read_all(1000).await {
            Ok(bytes) => (StatusCode::OK, bytes.len().to_string()),
            Err(error @ Error::BodyTooLarge { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            Err(error @ Error::BodyTooSlow { .. }) => (StatusCode::REQUEST_TIMEOUT, error.to_string()),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
        };
        Response::builder().status(status).body(Body::full(text)).unwrap()
    })
}

#[tokio::test]
async fn a_slow_body_times_out() {
    let limits = Limits { body_window: SHORT, body_rate: 1000, ..Limits::default() };
    let server = Running::start(limits, reader(), None);
    let mut stream = server.connect().await;
    send(&mut stream, "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n").await;
    let (mut read, mut write) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    let mut answer = vec![0; 12];
    tokio::time::timeout(PATIENCE, read.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    tokio::time::timeout(PATIENCE, trickle).await.unwrap().unwrap();
}

#[tokio::test]
async fn bodies_are_read_up_to_their_limit() {
    let server = Running::start(Limits::default(), reader(), None);
    let chunk = |len: usize| format!("{len:x}\r\n{}\r\n", "x".repeat(len));
    let plain = |len: usize| format!("content-length: {len}\r\n\r\n{}", "x".repeat(len));
    let chunked = |chunks: &str| format!("transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    let cases = [
        (plain(0), "200 OK", "0"),
        (plain(1), "200 OK", "1"),
        (plain(1000), "200 OK", "1000"),
        (plain(1001), "413 Payload Too Large", ""),
        ("content-length: 99999999999\r\n\r\n".into(), "413 Payload Too Large", ""),
        (chunked(""), "200 OK", "0"),
        (chunked(&chunk(400).repeat(2)), "200 OK", "800"),
        (chunked(&chunk(400).repeat(3)), "413 Payload Too Large", ""),
        ("transfer-encoding: chunked\r\n\r\nzz\r\n".into(), "400 Bad Request", ""),
    ];
    for (request, status, body) in cases {
        let mut stream = server.connect().await;
        send(&mut stream, &format!("PUT / HTTP/1.1\r\nhost: x\r\n{request}")).await;
        let (head, text) = receive(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {head}");
        assert!(body.is_empty() || text == body.as_bytes(), "{request}");
    }
}

#[tokio::test]
async fn an_early_answer_survives_the_unread_body() {
    let refuse = handler(|_, _| async { Response::builder().status(401).body(Body::full("no")).unwrap() });
    let server = Running::start(Limits::default(), refuse, None);
    for _ in 0..20 {
        let mut stream = server.connect().await;
        send(&mut stream, "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n").await;
        // More than the server reads before it gives the body up; a reset would throw the answer away.
        let waste = vec![0; 2 << 20];
        let (mut read, mut write) = stream.split();
        let upload = async { drop(write.write_all(&waste).await) };
        let mut answer = vec![0; 12];
        let (got, ()) = tokio::join!(tokio::time::timeout(PATIENCE, read.read_exact(&mut answer)), upload);
        got.unwrap().unwrap();
        assert_eq!(answer, b"HTTP/1.1 401");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let bytes = pattern(64 << 20);
    let limits = Limits { write_stall: SHORT, ..Limits::default() };
    let server = Running::start(limits, file_server(file_of(&bytes)), None);
    let mut stream = server.connect().await;
    send(&mut stream, &format!("GET /0/{} HTTP/1.1\r\nhost: x\r\n\r\n", 64 << 20)).await;
    tokio::time::sleep(SHORT * 10).await;
    let (rest, _) = receive_rest(&mut stream).await;
    assert!(rest.len() < bytes.len(), "the server waited for the client");
}

#[tokio::test]
async fn a_client_that_is_merely_slow_gets_everything() {
    let bytes = pattern(8 << 20);
    let limits = Limits { write_stall: SHORT * 5, idle: SHORT, header_time: SHORT, ..Limits::default() };
    let server = Running::start(limits, file_server(file_of(&bytes)), None);
    let mut stream = small_window(&server).await;
    send(&mut stream, &format!("GET /0/{} HTTP/1.1\r\nhost: x\r\n\r\n", 8 << 20)).await;
    receive_head(&mut stream).await;
    let mut got = Vec::new();
    let mut part = vec![0; 256 << 10];
    while got.len() < bytes.len() {
        tokio::time::sleep(SHORT / 10).await;
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "cut off after {} bytes", got.len());
        got.extend_from_slice(&part[..read]);
    }
    assert!(got == bytes);
}

async fn small_window(server: &Running) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 << 10).unwrap();
    socket.connect(server.addr).await.unwrap()
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let server = Running::start(Limits { connections: 2, ..Limits::default() }, hello(), None);
    let mut held = vec![server.connect().await, server.connect().await];
    for stream in &mut held {
        send(stream, GET).await;
        receive(stream).await;
    }
    let mut third = server.connect().await;
    send(&mut third, GET).await;
    assert!(tokio::time::timeout(SHORT, third.read_u8()).await.is_err());
    held.pop();
    assert_eq!(receive(&mut third).await.1, b"hello");
}

#[tokio::test]
async fn a_panic_is_one_requests_fault() {
    let server = Running::start(
        Limits::default(),
        handler(|_, request| async move {
            assert!(request.uri() != "/panic", "told to");
            Response::new(Body::full("fine"))
        }),
        None,
    );
    let mut stream = server.connect().await;
    send(&mut stream, "GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(receive_head(&mut stream).await.starts_with("HTTP/1.1 500 "));
    let mut stream = server.connect().await;
    send(&mut stream, GET).await;
    assert_eq!(receive(&mut stream).await.1, b"fine");
}

#[tokio::test]
async fn streams_keep_their_promise_or_the_connection_closes() {
    let server = Running::start(
        Limits::default(),
        handler(|_, request| async move {
            let frames = [Ok("hello ".into()), Ok("world".into())];
            let len = request.uri().path()[1..].parse().ok();
            Response::new(Body::stream(futures_util::stream::iter(frames), len))
        }),
        None,
    );
    let mut stream = server.connect().await;
    send(&mut stream, "GET /11 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(receive(&mut stream).await.1, b"hello world");
    send(&mut stream, "GET /any HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(receive_head(&mut stream).await.contains("transfer-encoding: chunked"));
    let mut wire = vec![0; b"6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n".len()];
    stream.read_exact(&mut wire).await.unwrap();
    assert_eq!(wire, b"6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n");
    send(&mut stream, "GET /12 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (rest, _) = receive_rest(&mut stream).await;
    assert!(!rest.ends_with(b"0\r\n\r\n") && rest.len() < 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_download_ends_and_idle_connections_close_at_once() {
    let bytes = pattern(64 << 20);
    let mut server = Running::start(Limits::default(), file_server(file_of(&bytes)), None);
    let mut idle = server.connect().await;
    send(&mut idle, "GET /0/1 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    receive(&mut idle).await;
    let mut fresh = server.connect().await;
    let mut busy = server.connect().await;
    send(&mut busy, &format!("GET /0/{} HTTP/1.1\r\nhost: x\r\n\r\n", 64 << 20)).await;
    receive_head(&mut busy).await;

    server.stop();
    assert!(is_closed(&mut idle).await && is_closed(&mut fresh).await);
    assert!(!server.ended.is_finished());
    assert!(TcpStream::connect(server.addr).await.is_err());
    let (rest, orderly) = receive_rest(&mut busy).await;
    assert!(orderly && rest == bytes);
    assert_eq!(server.ended.await.unwrap(), 0);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let bytes = pattern(64 << 20);
    let limits = Limits { drain: SHORT, ..Limits::default() };
    let mut server = Running::start(limits, file_server(file_of(&bytes)), None);
    let mut busy = server.connect().await;
    send(&mut busy, &format!("GET /0/{} HTTP/1.1\r\nhost: x\r\n\r\n", 64 << 20)).await;
    receive_head(&mut busy).await;
    server.stop();
    assert_eq!(tokio::time::timeout(PATIENCE, server.ended).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_unix_socket_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let bytes = pattern(3 << 20);
    let file = file_of(&bytes);
    let answer = handler(move |conn, _| {
        assert!(matches!(conn.peer, PeerAddr::Unix { .. }));
        let body = Body::file(FileRange { file: Arc::clone(&file), offset: 0, len: 3 << 20 });
        async { Response::new(body) }
    });
    // One that was left behind by a crash is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::unix(&path, Arc::clone(&answer)).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Listener::unix(&path, answer).await, Err(Error::SocketInUse { .. })));

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ended = tokio::spawn(serve(vec![listener], Limits::default(), stopped.map(drop).boxed()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(&bytes));
    drop(stop);
    assert_eq!(ended.await.unwrap(), 0);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_plain_file_is_not_replaced_by_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    assert!(matches!(Listener::unix(&path, hello()).await, Err(Error::BindUnix { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
}

#[tokio::test]
async fn frames_of_a_body_come_as_they_arrive() {
    let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
    let server = Running::start(
        Limits::default(),
        handler(move |_, request| {
            let told = told.clone();
            async move {
                let mut body = request.into_body();
                while let Some(frame) = body.next().await {
                    told.send(frame.unwrap()).unwrap();
                }
                Response::new(Body::empty())
            }
        }),
        None,
    );
    let mut stream = server.connect().await;
    send(&mut stream, "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\n").await;
    for part in ["one", "two"] {
        send(&mut stream, part).await;
        assert_eq!(tell.recv().await.unwrap(), part);
    }
    assert!(receive_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
}
