//! Long transfers survive what an operator does meanwhile: a new certificate, and the end of the server.
//!
//! No clock decides here: a download is stopped in the middle by not reading it, and goes on when the
//! change has been seen to take effect.

use crate::nginx::Nginx;
use std::fs;
use std::io::Read;
use test_kit::certificate::Certificate;
use test_kit::curl::{Curl, Download, Version};
use test_kit::http::with_query;
use test_kit::{WharfServer, random, temp_dir};

const MIB: usize = 1024 * 1024;

/// A blob far larger than memory should ever hold: one block of random bytes over and over.
struct Large {
    block: Vec<u8>,
    blocks: usize,
}

impl Large {
    fn new(blocks: usize) -> Self {
        Large { block: random::bytes(blocks as u64, MIB), blocks }
    }

    fn reader(&self) -> impl Read + 'static {
        let (block, blocks) = (self.block.clone(), self.blocks);
        Repeated { block, left: blocks, at: 0 }
    }

    fn digest(&self) -> String {
        test_kit::sha256_of(self.reader())
    }
}

struct Repeated {
    block: Vec<u8>,
    left: usize,
    at: usize,
}

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        if self.at == self.block.len() {
            (self.at, self.left) = (0, self.left - 1);
        }
        Ok(count)
    }
}

/// Reads the rest of a download of which the first block has been read.
fn finish(mut download: Download, large: &Large) {
    for _ in 1..large.blocks {
        download.expect(&large.block);
    }
    download.expect_end();
}

/// Waits until the server takes no new connections: the signal has taken effect.
fn wait_until_it_refuses(server: &mut WharfServer) {
    let port = server.port();
    let refused = |_: &_| std::net::TcpStream::connect(("127.0.0.1", port)).err();
    server.process().wait_until("it took no new connections", refused);
}

fn push(server: &WharfServer, large: &Large) -> String {
    let client = server.client();
    let upload = client.post("/v2/large/blobs/uploads/").expect(202).location();
    let digest = large.digest();
    let length = (large.blocks * MIB) as u64;
    let put = client.put(&with_query(&upload, &format!("digest={digest}")));
    put.streamed(length, large.reader()).send().expect(201);
    format!("/v2/large/blobs/{digest}")
}

#[test]
fn pulls_of_a_gibibyte_end_well_after_sigterm() {
    let mut server = WharfServer::start(env!("CARGO_BIN_EXE_wharf"));
    let large = Large::new(1024);
    let path = push(&server, &large);
    let nginx = Nginx::start(&server);
    let direct = Curl::plain().download(&format!("{}{path}", server.url()));
    let mut downloads = [direct, nginx.curl().download(&nginx.url(&path))];
    for download in &mut downloads {
        download.expect(&large.block);
    }

    server.process().signal(libc::SIGTERM);
    wait_until_it_refuses(&mut server);
    for download in downloads {
        finish(download, &large);
    }
    let status = server.process().wait();
    assert!(status.success(), "the server ended with {status}: {}", server.log());
}

#[test]
fn transfers_go_on_over_a_new_certificate_and_over_the_end() {
    let dir = temp_dir();
    let served = Certificate::create(dir.path(), "served");
    let old = Certificate { cert: dir.path().join("old.crt"), key: served.key.clone() };
    fs::copy(&served.cert, &old.cert).expect("a file can be copied");
    let mut server = WharfServer::builder(env!("CARGO_BIN_EXE_wharf")).tls(&served).start();
    let large = Large::new(64);
    let url = push_by_curl(&server, &large, &old);
    let versions = [Version::Http1, Version::Http2];
    let mut downloads = versions.map(|version| Curl::tls(version, &old).download(&url));
    for download in &mut downloads {
        download.expect(&large.block);
    }

    // The key first: a server that looks in between sees a pair that does not fit, and must keep the old one.
    let new = Certificate::create(dir.path(), "new");
    fs::rename(&new.key, &served.key).expect("a file can be replaced");
    fs::copy(&new.cert, dir.path().join("ready.crt")).expect("a file can be copied");
    fs::rename(dir.path().join("ready.crt"), &served.cert).expect("a file can be replaced");
    let ping = format!("{}/v2/", server.url());
    let fresh = Curl::tls(Version::Http2, &new);
    server.process().wait_until("it showed the new certificate", |_| fresh.try_send("GET", &ping, &[], None));
    assert!(Curl::tls(Version::Http2, &old).try_send("GET", &ping, &[], None).is_none());
    let mut later = fresh.download(&url);
    later.expect(&large.block);

    server.process().signal(libc::SIGTERM);
    wait_until_it_refuses(&mut server);
    for download in downloads.into_iter().chain([later]) {
        finish(download, &large);
    }
    let status = server.process().wait();
    assert!(status.success(), "the server ended with {status}: {}", server.log());
}

fn push_by_curl(server: &WharfServer, large: &Large, trusted: &Certificate) -> String {
    let curl = Curl::tls(Version::Http2, trusted);
    let repository = format!("{}/v2/large/blobs", server.url());
    let started = curl.send("POST", &format!("{repository}/uploads/"), &[], Some(b"")).expect(202);
    let upload = format!("{}{}", server.url(), started.location());
    let digest = large.digest();
    let mut bytes = Vec::new();
    large.reader().read_to_end(&mut bytes).expect("memory can be read");
    curl.send("PUT", &with_query(&upload, &format!("digest={digest}")), &[], Some(&bytes)).expect(201);
    format!("{repository}/{digest}")
}
