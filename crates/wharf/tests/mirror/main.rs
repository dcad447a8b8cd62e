//! A registry that has what others have: three ways in, one fetch, and upstreams that fail in every way.

mod bounded;
mod fallback;
mod formats;
mod fresh;
mod herd;
mod loops;
mod outage;
mod peers;
mod rehearsal;
mod told;
mod trust;
mod ways;

use std::time::{Duration, Instant};

use test_kit::house::{image, push_blob, put_manifest};
use test_kit::http::Client;
use test_kit::{Between, WharfServer};

const EXE: &str = env!("CARGO_BIN_EXE_wharf");

/// An upstream registry, what stands between, and a mirror of it whose key is `hub`.
struct Scene {
    upstream: WharfServer,
    between: Between,
    mirror: WharfServer,
}

/// What was pushed to an upstream.
struct Pushed {
    manifest: Vec<u8>,
    digest: String,
    layer: Vec<u8>,
    layer_digest: String,
}

impl Scene {
    /// A mirror with more lines in the section of its upstream.
    fn new(more: &str) -> Self {
        let upstream = WharfServer::start(EXE);
        let between = Between::new(&upstream.authority());
        let config = format!(
            "[[upstream]]\nkey = \"hub\"\nregistry = \"{}\"\nnamespaces = [\"docker.io\"]\nlibrary = \"library\"\n\
             pathless = true\n{more}\n",
            between.authority()
        );
        let mirror = WharfServer::builder(EXE).config(&config).start();
        Self { upstream, between, mirror }
    }

    fn push(&self, repository: &str, tag: &str) -> Pushed {
        push(&self.upstream.client(), repository, tag, format!("{repository} {tag}").as_bytes())
    }

    /// Pushes an image whose layer has a size.
    fn push_of_size(&self, repository: &str, tag: &str, size: usize) -> Pushed {
        push(&self.upstream.client(), repository, tag, &test_kit::random::bytes(size as u64, size))
    }

    /// The requests that came to the upstream since the last time, without those that ask who asks.
    fn asked(&self) -> Vec<String> {
        let requests = self.between.take_requests();
        requests.into_iter().filter(|request| request != "GET /v2/").collect()
    }

    fn mirror(&self) -> Client {
        self.mirror.client()
    }

    /// Waits until what is on its way to the mirror is stored there.
    fn settle(&self) {
        let start = Instant::now();
        while !metrics(&self.mirror()).contains("wharf_mirror_downloads 0\n") {
            assert!(start.elapsed() < Duration::from_secs(60), "a download does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn metrics(client: &Client) -> String {
    String::from_utf8(client.get("/metrics").expect(200).body).expect("metrics are text")
}

/// Pulls until it works: an upstream that has failed is left alone for a moment.
fn until_well(what: &str, mut pull: impl FnMut() -> bool) {
    let start = Instant::now();
    while !pull() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: it did not get well");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Pushes an image of one layer.
fn push(client: &Client, repository: &str, tag: &str, layer: &[u8]) -> Pushed {
    let (mut manifest, _) = image(tag);
    push_blob(client, repository, b"{}");
    let layer_digest = push_blob(client, repository, layer);
    manifest["layers"][0]["digest"] = layer_digest.clone().into();
    manifest["layers"][0]["size"] = layer.len().into();
    let bytes = manifest.to_string().into_bytes();
    let digest = put_manifest(client, repository, tag, &manifest)
        .expect(201)
        .require("docker-content-digest")
        .to_owned();
    Pushed { manifest: bytes, digest, layer: layer.to_vec(), layer_digest }
}
