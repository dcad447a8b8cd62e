//! Files over plain HTTP/1.1: every byte by sendfile, in any size, range and order.

mod support;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use http::Response;
use http_kit::{Body, FileRange, Limits};
use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_size_and_range_arrives_as_it_is() {
    let bytes = pattern(64 << 20);
    let server = Running::start(Limits::default(), file_server(file_of(&bytes)), None);
    let mut stream = server.connect().await;
    let whole = bytes.len();
    let ranges = [
        (0, 0),
        (0, 1),
        (0, 4095),
        (0, 4096),
        (0, 4097),
        (0, 32 << 10),
        (0, (32 << 10) + 1),
        (0, 1 << 20),
        (0, (1 << 20) + 1),
        (0, (1 << 20) + 40_000),
        (1, 4095),
        (4095, 1 << 20),
        (12_345, 5 << 20),
        (whole - 1, 1),
        (whole - 40_000, 40_000),
        (0, whole),
    ];
    for (offset, len) in ranges {
        send(&mut stream, &format!("GET /{offset}/{len} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let (head, body) = receive(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(body == bytes[offset..offset + len], "bytes {offset}+{len} differ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let bytes = pattern(3 << 20);
    let server = Running::start(Limits::default(), file_server(file_of(&bytes)), None);
    let mut stream = server.connect().await;
    let ranges: Vec<_> =
        (0..40).map(|i| (i * 1000, if i % 3 == 0 { 100 } else { 50_000 * (i + 1) })).collect();
    let wanted: String = ranges
        .iter()
        .map(|(offset, len)| format!("GET /{offset}/{len} HTTP/1.1\r\nhost: x\r\n\r\n"))
        .collect();
    send(&mut stream, &wanted).await;
    for (offset, len) in ranges {
        let (_, body) = receive(&mut stream).await;
        assert!(body == bytes[offset..offset + len], "bytes {offset}+{len} differ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_sends_the_length_only() {
    let bytes = pattern(100_000);
    let server = Running::start(Limits::default(), file_server(file_of(&bytes)), None);
    let mut stream = server.connect().await;
    send(&mut stream, "HEAD /0/100000 HTTP/1.1\r\nhost: x\r\n\r\nGET /5/7 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let head = receive_head(&mut stream).await;
    assert!(head.contains("content-length: 100000\r\n"), "{head}");
    let (_, body) = receive(&mut stream).await;
    assert_eq!(body, bytes[5..12]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_shorter_than_promised_closes_the_connection() {
    for (held, promised) in
        [(0, 5000), (100, 4000), (40_000, 50_000), (1 << 20, 2 << 20), (3 << 20, 64 << 20)]
    {
        let bytes = pattern(held);
        let server = Running::start(Limits::default(), file_server(file_of(&bytes)), None);
        let mut stream = server.connect().await;
        send(&mut stream, &format!("GET /0/{promised} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        // A range that cannot be read at all may also close before the head; what counts is that it closes.
        let (rest, _) = receive_rest(&mut stream).await;
        if let Some(end) = rest.windows(4).position(|part| part == b"\r\n\r\n") {
            assert!(
                rest[end + 4..] == bytes[..rest.len() - end - 4],
                "{held} of {promised}: other bytes came"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_truncated_while_it_is_sent_closes_the_connection() {
    let bytes = pattern(64 << 20);
    let file = file_of(&bytes);
    let server = Running::start(Limits::default(), file_server(Arc::clone(&file)), None);
    let mut stream = server.connect().await;
    send(&mut stream, &format!("GET /0/{} HTTP/1.1\r\nhost: x\r\n\r\n", bytes.len())).await;
    receive_head(&mut stream).await;
    file.set_len(1000).unwrap();
    let (rest, _) = receive_rest(&mut stream).await;
    assert!(rest.len() < bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_chunks_when_the_handler_says_so() {
    let bytes = pattern(2_500_000);
    let file = file_of(&bytes);
    let server = Running::start(
        Limits::default(),
        handler(move |_, _| {
            let body = Body::file(FileRange { file: Arc::clone(&file), offset: 0, len: 2_500_000 });
            async { Response::builder().header("transfer-encoding", "chunked").body(body).unwrap() }
        }),
        None,
    );
    let mut stream = server.connect().await;
    send(&mut stream, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    receive_head(&mut stream).await;
    let (rest, _) = receive_rest(&mut stream).await;
    assert!(dechunk(&rest) == bytes);
}

fn dechunk(mut wire: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let end = wire.windows(2).position(|part| part == b"\r\n").unwrap();
        let len = usize::from_str_radix(std::str::from_utf8(&wire[..end]).unwrap(), 16).unwrap();
        bytes.extend_from_slice(&wire[end + 2..end + 2 + len]);
        wire = &wire[end + 2 + len + 2..];
        if len == 0 {
            return bytes;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_in_the_page_cache_arrives_too() {
    let bytes = pattern(12 << 20);
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
    let file = Arc::new(file);
    let server = Running::start(Limits::default(), file_server(Arc::clone(&file)), None);
    let mut stream = server.connect().await;
    for (offset, len) in [(0, 12 << 20), (5000, 20_000), (3 << 20, 2 << 20), (12_000_000, 500_000)] {
        forget(&file);
        send(&mut stream, &format!("GET /{offset}/{len} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let (_, body) = receive(&mut stream).await;
        assert!(body == bytes[offset..offset + len], "bytes {offset}+{len} differ");
    }
}

/// Drops a file from the page cache, where its file system lets itself be told.
fn forget(file: &File) {
    // SAFETY: the call takes no pointer, and the descriptor is borrowed for its whole time.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_beyond_four_gibibytes_arrives() {
    let file = tempfile::tempfile().unwrap();
    let far = (5 << 30) + 12_345;
    let bytes = pattern(100_000);
    file.set_len(6 << 30).unwrap();
    file.write_all_at(&bytes, far).unwrap();
    let server = Running::start(Limits::default(), file_server(Arc::new(file)), None);
    let mut stream = server.connect().await;
    send(&mut stream, &format!("GET /{far}/100000 HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert!(receive(&mut stream).await.1 == bytes);
}
