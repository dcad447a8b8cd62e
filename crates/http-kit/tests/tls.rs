//! TLS and HTTP/2: real bytes instead of sendfile, and certificates that change while transfers run.

mod support;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use http_kit::{Body, Limits, Tls};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::tls::*;
use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn files_arrive_over_tls_and_http2() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certificate();
    write(folder.path(), &trusted);
    let bytes = pattern(10 << 20);
    let tls = Some(load(folder.path()).unwrap());
    let server = Running::start(Limits::default(), file_server(file_of(&bytes)), tls);

    let stream = dial(&server, &trusted, b"http/1.1").await.unwrap();
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut h2 = http2_client(dial(&server, &trusted, b"h2").await.unwrap()).await;
    for (offset, len) in [(0, 0), (0, 1), (5, 4096), (1000, 300_000), (0, 10 << 20)] {
        let path = format!("/{offset}/{len}");
        client.ready().await.unwrap();
        let response = client.send_request(get(&path)).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_11);
        assert!(body_of(response).await == bytes[offset..offset + len], "TLS {path}");
        let response = h2.send_request(get(&path)).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(response.headers()["content-length"], len.to_string());
        assert!(body_of(response).await == bytes[offset..offset + len], "HTTP/2 {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_without_tls_is_recognised() {
    let bytes = pattern(3 << 20);
    let server = Running::start(Limits::default(), file_server(file_of(&bytes)), None);
    let mut client = http2_client(server.connect().await).await;
    let parallel = (0..20).map(|i| {
        let response = client.send_request(get(&format!("/{i}/{}", 2 << 20)));
        async move { body_of(response.await.unwrap()).await }
    });
    for (i, body) in
        futures_util::future::join_all(parallel.collect::<Vec<_>>()).await.into_iter().enumerate()
    {
        assert!(body == bytes[i..i + (2 << 20)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_over_http2_sends_the_length_only() {
    let server = Running::start(Limits::default(), file_server(file_of(&pattern(5000))), None);
    let mut client = http2_client(server.connect().await).await;
    let request = Request::head("http://localhost/0/5000").body(Full::default()).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.headers()["content-length"], "5000");
    assert!(body_of(response).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_file_resets_the_stream_and_not_the_connection() {
    let bytes = pattern(300_000);
    let server = Running::start(Limits::default(), file_server(file_of(&bytes)), None);
    let mut client = http2_client(server.connect().await).await;
    // The reset may come before the client has looked at the head, or after.
    if let Ok(response) = client.send_request(get("/0/300001")).await {
        assert!(response.into_body().collect().await.is_err());
    }
    let response = client.send_request(get("/0/300000")).await.unwrap();
    assert!(body_of(response).await == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_arrive_over_http2() {
    let echo = handler(|_, request| async move {
        let mut sum = 0;
        let mut body = request.into_body();
        while let Some(frame) = body.next().await {
            sum += frame.unwrap().len();
        }
        Response::new(Body::full(sum.to_string()))
    });
    let server = Running::start(Limits::default(), echo, None);
    let mut client = http2_client(server.connect().await).await;
    let request = Request::put("http://localhost/").body(Full::from(pattern(9 << 20))).unwrap();
    assert_eq!(body_of(client.send_request(request).await.unwrap()).await, (9 << 20).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_and_running_transfers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (certificate(), certificate());
    write(folder.path(), &first);
    let bytes = pattern(32 << 20);
    let tls = load(folder.path()).unwrap();
    let server = Running::start(Limits::default(), file_server(file_of(&bytes)), Some(Arc::clone(&tls)));
    let mut client = http2_client(dial(&server, &first, b"h2").await.unwrap()).await;
    let mut response = client.send_request(get(&format!("/0/{}", 32 << 20))).await.unwrap();
    let mut got = response.frame().await.unwrap().unwrap().into_data().unwrap().to_vec();

    write(folder.path(), &second);
    tls.reload().unwrap();
    assert!(dial(&server, &first, b"h2").await.is_err());
    dial(&server, &second, b"h2").await.unwrap();
    got.extend(body_of(response).await);
    assert!(got == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_certificate_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (certificate(), certificate());
    write(folder.path(), &first);
    let tls = load(folder.path()).unwrap();
    let server = Running::start(Limits::default(), file_server(file_of(b"x")), Some(Arc::clone(&tls)));
    let chain = folder.path().join("chain.pem");
    for broken in ["", "nonsense", &second.pem] {
        std::fs::write(&chain, broken).unwrap();
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
        dial(&server, &first, b"h2").await.unwrap();
    }
    let endless = Tls::load(Path::new("/dev/zero"), &folder.path().join("key.pem")).unwrap_err();
    assert!(endless.to_string().contains("more than"), "{endless}");
    std::fs::remove_file(&chain).unwrap();
    assert!(tls.reload().unwrap_err().to_string().contains("chain.pem"));
    dial(&server, &first, b"h2").await.unwrap();
    assert!(load(folder.path()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_noticed_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (certificate(), certificate());
    write(folder.path(), &first);
    let tls = load(folder.path()).unwrap();
    let server = Running::start(Limits::default(), file_server(file_of(b"x")), Some(tls));
    dial(&server, &first, b"h2").await.unwrap();
    write(folder.path(), &second);
    let noticed = async {
        while dial(&server, &second, b"h2").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_that_takes_nothing_is_cut_off() {
    let bytes = pattern(8 << 20);
    let limits = Limits { write_stall: std::time::Duration::from_millis(500), ..Limits::default() };
    let server = Running::start(limits, file_server(file_of(&bytes)), None);
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(100_000)
        .handshake(io)
        .await
        .unwrap();
    let ended = tokio::spawn(connection);
    // The response is held and never read, so its window stays full.
    let _held = client.send_request(get(&format!("/0/{}", 8 << 20))).await.unwrap();
    drop(tokio::time::timeout(PATIENCE, ended).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_that_takes_one_byte_is_cut_off() {
    let limits = || Limits { write_stall: std::time::Duration::from_millis(500), ..Limits::default() };
    let full = handler(|_, _| async { Response::new(Body::full(pattern(1000))) });
    let stream = handler(|_, _| async {
        let frames = futures_util::stream::iter([Ok(Bytes::from(pattern(1000)))]);
        Response::new(Body::stream(frames, Some(1000)))
    });
    for handler in [file_server(file_of(&pattern(1000))), full, stream] {
        let server = Running::start(limits(), handler, None);
        let io = TokioIo::new(server.connect().await);
        let (mut client, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1)
            .handshake(io)
            .await
            .unwrap();
        let ended = tokio::spawn(connection);
        let _held = client.send_request(get("/0/1000")).await.unwrap();
        drop(tokio::time::timeout(PATIENCE, ended).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_memory_arrive_whole_over_http2() {
    let server = Running::start(
        Limits::default(),
        handler(|_, request| async move {
            Response::new(Body::full(pattern(request.uri().path()[1..].parse().unwrap())))
        }),
        None,
    );
    let mut client = http2_client(server.connect().await).await;
    for len in [0, 1, 2, 256 << 10, (256 << 10) + 1, 3 << 20] {
        let response = client.send_request(get(&format!("/{len}"))).await.unwrap();
        assert_eq!(response.headers()["content-length"], len.to_string());
        assert!(body_of(response).await == pattern(len), "{len}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_counted_on_http2_too() {
    let limits = Limits { header_count: 20, ..Limits::default() };
    let server = Running::start(limits, handler(|_, _| async { Response::new(Body::full("hello")) }), None);
    let mut client = http2_client(server.connect().await).await;
    for (fields, status) in [(20, StatusCode::OK), (21, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)] {
        let request =
            (0..fields).fold(Request::get("https://localhost/"), |request, _| request.header("a", "b"));
        let response = client.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{fields}");
    }
}
