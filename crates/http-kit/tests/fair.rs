//! Fair use over real sockets: shares by address, bytes that stay whole on every path, and no limit that takes our own
//! holding back for the client's slowness.

mod support;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use http_kit::{Body, Fair, FairLimits, Handler, KeyLimits, Keys, Limits};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use support::tls::{body_of, certificate, dial, get, http2_client, load, write};
use support::*;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

const FEW: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const MANY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Does for another handler what an edge does.
fn fairly(limits: &FairLimits, inner: Arc<dyn Handler>) -> Arc<dyn Handler> {
    let fair = Fair::new(limits).unwrap();
    handler(move |conn, request| {
        let (fair, inner) = (Arc::clone(&fair), Arc::clone(&inner));
        async move {
            let keys = Keys { address: conn.peer.ip(), ..Keys::default() };
            let admitted = async {
                let mut admitted = fair.admit(keys).await?;
                admitted.transfer().await.map(|()| admitted)
            };
            match admitted.await {
                Ok(admitted) => {
                    let request = request.map(|body| admitted.pace_request(body));
                    let response = inner.call(conn, request).await;
                    response.map(|body| admitted.pace(body))
                }
                Err(refused) => Response::builder()
                    .status(StatusCode::TOO_MANY_REQUESTS)
                    .header("retry-after", refused.retry_after)
                    .body(Body::full(refused.to_string()))
                    .unwrap(),
            }
        }
    })
}

fn egress(rate: u64) -> FairLimits {
    FairLimits { egress_bytes_per_second: NonZeroU64::new(rate), ..FairLimits::default() }
}

async fn connect_from(server: SocketAddr, address: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((address, 0).into())?;
    socket.connect(server).await
}

/// Takes all that comes, and tells who got how much.
async fn pull(server: SocketAddr, address: Ipv4Addr, len: usize, got: mpsc::Sender<(Ipv4Addr, usize)>) {
    let mut stream = connect_from(server, address).await.unwrap();
    send(&mut stream, &format!("GET /0/{len} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
        if got.send((address, read)).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_get_as_much_as_forty_of_another_address() {
    const LEN: usize = 64 << 20;
    let files = file_server(file_of(&pattern(LEN)));
    let server = Running::start(Limits::default(), fairly(&egress(8 << 20), files), None);
    let (tell, mut told) = mpsc::channel(1000);
    for number in 0..42 {
        let address = if number < 40 { MANY } else { FEW };
        tokio::spawn(pull(server.addr, address, LEN, tell.clone()));
    }
    let (mut few, mut all) = (0, 0);
    while all < 16 << 20 {
        let (address, bytes) = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        assert!(bytes > 0, "a connection was closed");
        all += bytes;
        few += if address == FEW { bytes } else { 0 };
    }
    assert!((all * 2 / 5..=all * 3 / 5).contains(&few), "{few} of {all} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_arrive_whole_on_every_path() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certificate();
    write(folder.path(), &trusted);
    let tls = Some(load(folder.path()).unwrap());
    let bytes = pattern(3 << 20);
    let files = fairly(&egress(16 << 20), file_server(file_of(&bytes)));
    let secure = Running::start(Limits::default(), Arc::clone(&files), tls);
    let plain = Running::start(Limits::default(), files, None);

    let mut h1 = plain.connect().await;
    let (mut h1_tls, connection) =
        http1::handshake(TokioIo::new(dial(&secure, &trusted, b"http/1.1").await.unwrap())).await.unwrap();
    tokio::spawn(connection);
    let mut h2 = http2_client(plain.connect().await).await;
    let mut h2_tls = http2_client(dial(&secure, &trusted, b"h2").await.unwrap()).await;
    for (offset, len) in [(0, 1), (3, (16 << 10) - 1), (5, 16 << 10), (7, 100_001), (0, 3 << 20)] {
        let (path, expect) = (format!("/{offset}/{len}"), &bytes[offset..offset + len]);
        send(&mut h1, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(receive(&mut h1).await.1 == expect, "{path}");
        h1_tls.ready().await.unwrap();
        assert!(body_of(h1_tls.send_request(get(&path)).await.unwrap()).await == expect, "TLS {path}");
        let parallel = join_all((0..3).map(|_| h2.send_request(get(&path))));
        for response in parallel.await {
            assert!(body_of(response.unwrap()).await == expect, "HTTP/2 {path}");
        }
        let response = h2_tls.send_request(get(&path)).await.unwrap();
        assert_eq!(response.headers()["content-length"], len.to_string());
        assert!(body_of(response).await == expect, "HTTP/2 with TLS {path}");
    }
}

/// The pauses between quanta are longer than any time that a client has.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_held_back_is_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certificate();
    write(folder.path(), &trusted);
    let short = Duration::from_millis(200);
    let limits = Limits { write_stall: short, header_time: short, idle: short, ..Limits::default() };
    let bytes = pattern(32 << 10);
    let files = fairly(&egress(32 << 10), file_server(file_of(&bytes)));
    let secure = Running::start(limits.clone(), Arc::clone(&files), Some(load(folder.path()).unwrap()));
    let plain = Running::start(limits, files, None);

    let path = format!("/0/{}", bytes.len());
    let h1 = async {
        let mut stream = plain.connect().await;
        send(&mut stream, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        Bytes::from(receive(&mut stream).await.1)
    };
    let h2 = async {
        let mut client = http2_client(plain.connect().await).await;
        body_of(client.send_request(get(&path)).await.unwrap()).await
    };
    let h2_tls = async {
        let mut client = http2_client(dial(&secure, &trusted, b"h2").await.unwrap()).await;
        body_of(client.send_request(get(&path)).await.unwrap()).await
    };
    let (h1, h2, h2_tls) = tokio::join!(h1, h2, h2_tls);
    assert!([h1, h2, h2_tls].iter().all(|body| *body == bytes));
}

/// Half a MiB a second is let in, where a client that is waited for must send eight.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_held_back_is_not_too_slow() {
    let count = handler(|_, request| async move {
        let mut body = request.into_body();
        let mut sum = 0;
        while let Some(frame) = body.next().await {
            match frame {
                Ok(frame) => sum += frame.len(),
                Err(error) => return Response::new(Body::full(error.to_string())),
            }
        }
        Response::new(Body::full(sum.to_string()))
    });
    let limits = Limits { body_rate: 8 << 20, body_window: Duration::from_millis(500), ..Limits::default() };
    let fair = FairLimits { ingress_bytes_per_second: NonZeroU64::new(512 << 10), ..FairLimits::default() };
    let server = Running::start(limits, fairly(&fair, count), None);
    let len = 1 << 20;
    let h1 = async {
        let (mut client, connection) = http1::handshake(TokioIo::new(server.connect().await)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::put("http://localhost/").body(Full::new(Bytes::from(pattern(len)))).unwrap();
        body_of(client.send_request(request).await.unwrap()).await
    };
    assert_eq!(h1.await, len.to_string());
    let mut h2 = http2_client(server.connect().await).await;
    let request = Request::put("http://localhost/").body(Full::new(Bytes::from(pattern(len)))).unwrap();
    assert_eq!(body_of(h2.send_request(request).await.unwrap()).await, len.to_string());
}

/// The one transfer that the address may have would take minutes: that the next one is answered shows that the
/// server has noticed who is gone, though it was sending nothing at the time.
#[tokio::test(flavor = "multi_thread")]
async fn who_disconnects_gives_everything_back() {
    let bytes = pattern(4 << 20);
    let one = KeyLimits { transfers: NonZeroU32::new(1), ..KeyLimits::default() };
    let limits = FairLimits { per_address: one, ..egress(50_000) };
    let server = Running::start(Limits::default(), fairly(&limits, file_server(file_of(&bytes))), None);
    let whole = format!("/0/{}", bytes.len());

    let mut h1 = server.connect().await;
    send(&mut h1, &format!("GET {whole} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    receive_head(&mut h1).await;
    drop(h1);
    let mut h2 = http2_client(server.connect().await).await;
    let response = h2.send_request(get(&whole)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    drop((response, h2));
    let mut last = server.connect().await;
    send(&mut last, "GET /9/20000 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (head, body) = receive(&mut last).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(body == bytes[9..20_009]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_is_told_when_to_come_back() {
    let per_address = KeyLimits { requests_per_second: NonZeroU32::new(1), ..KeyLimits::default() };
    let limits = FairLimits { per_address, max_wait: Duration::from_millis(100), ..FairLimits::default() };
    let server = Running::start(Limits::default(), fairly(&limits, file_server(file_of(b"hello"))), None);
    let ask = async |address: Ipv4Addr| {
        let mut stream = connect_from(server.addr, address).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), IpAddr::V4(address));
        send(&mut stream, "GET /0/5 HTTP/1.1\r\nhost: x\r\n\r\n").await;
        receive(&mut stream).await.0
    };
    assert!(ask(FEW).await.starts_with("HTTP/1.1 200 "));
    let refused = ask(FEW).await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(ask(MANY).await.starts_with("HTTP/1.1 200 "));
}
