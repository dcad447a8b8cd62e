//! Blobs from nearer by: a CDN in front, another Wharf as edge, who is sent where, and what an address is good for.

mod addresses;
mod cdn;
mod networks;
mod rights;
mod settings;
mod tier;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use test_kit::http::{Client, Response};
use test_kit::{Between, Cdn, WharfServer, temp_dir};

const EXE: &str = env!("CARGO_BIN_EXE_wharf");

/// What the tests sign with.
const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";

/// Another key.
const NEW: &str = "0202020202020202020202020202020202020202020202020202020202020202";

/// A file with keys, one a line.
struct Keys {
    dir: TempDir,
}

impl Keys {
    fn new(keys: &[&str]) -> Self {
        let dir = temp_dir();
        std::fs::write(dir.path().join("keys"), keys.join("\n")).expect("a file can be written");
        Keys { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// The section of a server with these keys, with more lines.
    fn section(&self, more: &str) -> String {
        format!("[edge]\nkey_file = \"{}\"\nprobe_every = \"1s\"\n{more}\n", self.path().display())
    }
}

/// A site, as a configuration has it, with more lines.
fn site(url: &str, more: &str) -> String {
    format!("[[edge.site]]\nurl = \"{url}\"\n{more}\n")
}

/// A registry with a CDN in front of it, and what counts the requests of the CDN.
struct Scene {
    region: WharfServer,
    cdn: Cdn,
    origin: Between,
    _keys: Keys,
}

impl Scene {
    /// With more lines in the section. Blobs of seven bytes come from there.
    fn new(lines: &str) -> Self {
        let (keys, mut cdn) = (Keys::new(&[KEY]), Cdn::new());
        let section = keys.section(&format!("min_bytes = 7\n{lines}\n{}", site(&cdn.url(), "")));
        let region = WharfServer::builder(EXE).config(&section).start();
        let origin = Between::new(&region.authority());
        cdn.start(&origin.authority());
        wait_for_site(&region.client(), &cdn.url(), true);
        Scene { region, cdn, origin, _keys: keys }
    }

    /// The requests for blobs that the CDN has sent since the last time.
    fn fetched(&self) -> Vec<String> {
        let requests = self.origin.take_requests();
        requests.into_iter().filter(|request| request.contains("/edge/v1/sha")).collect()
    }

    /// The address that a client is sent to for a blob: its path and query.
    fn address(&self, path: &str) -> String {
        sent(&self.region.client().get(path), &self.cdn.url())
    }
}

fn metrics(client: &Client) -> String {
    String::from_utf8(client.get("/metrics").expect(200).body).expect("metrics are text")
}

/// Waits until a registry finds that a site works, or does not.
fn wait_for_site(client: &Client, url: &str, works: bool) {
    let line = format!("wharf_edge_site_available{{site=\"{url}\"}} {}\n", u8::from(works));
    let start = Instant::now();
    while !metrics(client).contains(&line) {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {line}{}", metrics(client));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where an answer sends its client: the path and query below a site.
#[track_caller]
fn sent(answer: &Response, site: &str) -> String {
    let answer = answer.clone().expect(307);
    assert_eq!(answer.require("cache-control"), "no-store", "{answer}");
    assert!(answer.body.is_empty() && answer.require("content-length") == "0", "{answer}");
    let path = answer.require("location").strip_prefix(site);
    path.unwrap_or_else(|| panic!("it is sent elsewhere than to {site}: {answer}")).to_owned()
}

/// The time until which an address is good.
fn until(address: &str) -> u64 {
    let (_, until) = address.split_once("&until=").expect("an address says until when it is good");
    until.parse().expect("a number")
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a time after 1970").as_secs()
}

/// The address as somebody with a key signs it.
fn sign(key: u8, digest: &str, repository: &str, until: u64) -> String {
    let keys = http_oci::UrlKeys::new(vec![http_oci::UrlKey::new(&[key; 32])]).expect("a key");
    keys.sign(&digest.parse().expect("a digest"), &repository.parse().expect("a name"), until)
}
