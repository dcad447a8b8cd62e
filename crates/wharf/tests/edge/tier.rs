//! Another Wharf as edge: it pulls through from the region what addresses of the region name, and knows no user.

use std::sync::Barrier;
use std::time::Duration;

use serde_json::json;
use test_kit::certificate::Certificate;
use test_kit::curl::{Curl, Version};
use test_kit::house::{House, push_blob};
use test_kit::http::Client;
use test_kit::{Between, Fault, WharfServer, free_port, random, temp_dir};

use crate::{EXE, KEY, Keys, NEW, metrics, now, sent, sign, site, wait_for_site};

/// Clients of this address are sent to the edge.
const NEAR: &str = "192.0.2.7";

/// A region with users, and an edge that reaches it as a robot.
struct Tiers {
    region: House,
    edge: WharfServer,
    between: Between,
    /// May pull, and is near the edge.
    ann: Client,
    files: [Keys; 3],
}

impl Tiers {
    /// With the keys of the region and of the edge.
    fn new(region_keys: &[&str], edge_keys: &[&str], networks: &str) -> Self {
        let (region_keys, edge_keys) = (Keys::new(region_keys), Keys::new(edge_keys));
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let section =
            region_keys.section(&format!("min_bytes = 0\nlifetime = \"1d\"\n{}", site(&url, networks)));
        let server = WharfServer::builder(EXE).arg("--auth").arg("on").config(&section).start();
        let admin = server.client().basic("admin", &server.first_password());
        let region = House { server, admin };
        region.project("team", json!({}));
        let ann = region.member("ann", "guest", "team").with("X-Forwarded-For", NEAR);
        let robot = region.robot("team", "edge", &["pull"]);
        let password = Keys::new(&[&robot.secret]);
        let between = Between::new(&region.server.authority());
        let config = format!(
            "{}\n[[upstream]]\nkey = \"region\"\nregistry = \"{}\"\nusername = \"{}\"\npassword_file = \"{}\"\n",
            edge_keys.section("upstream = \"region\""),
            between.authority(),
            robot.name,
            password.path().display(),
        );
        let edge = WharfServer::builder(EXE).port(port).arg("--auth").arg("on").config(&config).start();
        Tiers { region, edge, between, ann, files: [region_keys, edge_keys, password] }
    }

    fn wait(&self, works: bool) {
        wait_for_site(&self.region.server.client(), &self.edge.url(), works);
    }

    fn push(&self, bytes: &[u8]) -> String {
        push_blob(&self.region.admin, "team/app", bytes)
    }

    /// Where somebody near the edge is sent.
    fn address(&self, digest: &str) -> String {
        sent(&self.ann.get(&format!("/v2/team/app/blobs/{digest}")), &self.edge.url())
    }

    /// The blobs that the edge has asked the region for.
    fn fetched(&self) -> usize {
        let requests = self.between.take_requests();
        requests.iter().filter(|request| request.starts_with("GET /v2/team/app/blobs/")).count()
    }
}

fn near() -> String {
    format!("networks = [\"{NEAR}\"]")
}

#[test]
fn many_read_from_the_edge_and_the_region_is_asked_once() {
    let tiers = Tiers::new(&[KEY], &[KEY], &near());
    tiers.wait(true);
    let bytes = random::bytes(3, 3_000_000);
    let digest = tiers.push(&bytes);
    // The first request of all asks how to sign in.
    let first = tiers.push(b"a layer");
    tiers.edge.client().get(&tiers.address(&first)).expect(200);
    tiers.fetched();
    let barrier = Barrier::new(20);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let address = tiers.address(&digest);
                barrier.wait();
                let read = tiers.edge.client().get(&address).expect(200);
                assert!(read.body == bytes);
                let caching = read.require("cache-control");
                // What is on its way is not kept by a cache in front before it is known to be right.
                assert!(caching == "no-store" || caching.starts_with("public, max-age="), "{caching}");
            });
        }
    });
    assert_eq!(tiers.fetched(), 1);
    let edge = tiers.edge.client();
    let address = tiers.address(&digest);
    let part = edge.request("GET", &address).header("Range", "bytes=1000000-1999999").send().expect(206);
    assert!(part.body == bytes[1_000_000..2_000_000]);
    let head = edge.head(&address).expect(200);
    assert_eq!(head.require("content-length"), "3000000");
    assert!(head.require("cache-control").starts_with("public, max-age="), "{head}");
    // There it is a repository of the upstream like any other, which nobody may read who cannot sign in.
    edge.get(&format!("/v2/region/team/app/blobs/{digest}")).expect(401);
    assert_eq!(tiers.fetched(), 0);
    // Who is elsewhere gets the bytes from the region.
    let far = tiers.ann.with("X-Forwarded-For", "198.51.100.1");
    assert!(far.get(&format!("/v2/team/app/blobs/{digest}")).expect(200).body == bytes);
}

#[test]
fn what_the_edge_has_is_there_when_the_region_is_not() {
    let tiers = Tiers::new(&[KEY], &[KEY], &near());
    tiers.wait(true);
    let (first, second) = (tiers.push(b"a layer"), tiers.push(b"another layer"));
    let (kept, missing) = (tiers.address(&first), tiers.address(&second));
    let edge = tiers.edge.client();
    assert_eq!(edge.get(&kept).expect(200).body, b"a layer");
    while !metrics(&edge).contains("wharf_mirror_downloads 0\n") {
        std::thread::sleep(Duration::from_millis(5));
    }
    tiers.between.fail(Fault::Down);
    assert_eq!(edge.get(&kept).expect(200).body, b"a layer");
    // An edge that finds that it cannot ask says so, and nobody is sent there.
    let works = format!("wharf_edge_site_available{{site=\"{}\"}} 1\n", tiers.edge.url());
    while metrics(&tiers.region.anybody()).contains(&works) {
        let failed = edge.get(&missing).expect(503);
        assert_eq!(failed.require("cache-control"), "no-store");
        std::thread::sleep(Duration::from_millis(50));
    }
    let path = format!("/v2/team/app/blobs/{second}");
    assert_eq!(tiers.ann.get(&path).expect(200).body, b"another layer");
    assert_eq!(edge.get(&kept).expect(200).body, b"a layer");
    tiers.between.fail(Fault::None);
    tiers.wait(true);
    assert_eq!(edge.get(&tiers.address(&second)).expect(200).body, b"another layer");
}

#[test]
fn an_edge_that_is_gone_gets_nobody_until_it_is_back() {
    let mut tiers = Tiers::new(&[KEY], &[KEY], &near());
    tiers.wait(true);
    let digest = tiers.push(b"a layer");
    let path = format!("/v2/team/app/blobs/{digest}");
    tiers.address(&digest);
    tiers.edge.kill();
    tiers.wait(false);
    assert_eq!(tiers.ann.get(&path).expect(200).body, b"a layer");
    assert!(tiers.region.server.log().contains("a site does not work"));
    tiers.edge.restart();
    tiers.wait(true);
    assert_eq!(tiers.edge.client().get(&tiers.address(&digest)).expect(200).body, b"a layer");
}

#[test]
fn nobody_is_sent_to_an_edge_that_does_not_know_the_key() {
    let mut tiers = Tiers::new(&[NEW, KEY], &[KEY], &near());
    let digest = tiers.push(b"a layer");
    let path = format!("/v2/team/app/blobs/{digest}");
    while !tiers.region.server.log().contains("does not know the key 75877bb4") {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(tiers.ann.get(&path).expect(200).body, b"a layer");
    // The edge learns it as one of two.
    let edge_keys = tiers.files[1].path();
    std::fs::write(edge_keys, format!("{KEY}\n{NEW}")).expect("a file can be written");
    tiers.edge.restart();
    tiers.wait(true);
    let edge = tiers.edge.client();
    let address = tiers.address(&digest);
    assert!(address.contains("key=75877bb4"), "{address}");
    assert_eq!(edge.get(&address).expect(200).body, b"a layer");
    // What was signed with the key before it is good until it expires, there and at the region.
    let old = sign(1, &digest, "team/app", now() + 600);
    assert_eq!(edge.get(&old).expect(200).body, b"a layer");
    assert_eq!(tiers.region.anybody().get(&old).expect(200).body, b"a layer");
}

#[test]
fn a_site_with_tls_is_asked_by_the_certificate_that_is_trusted() {
    let (dir, port) = (temp_dir(), free_port());
    let certificate = Certificate::create(dir.path(), "edge");
    let url = format!("https://127.0.0.1:{port}");
    let keys = Keys::new(&[KEY]);
    let start = |more: &str| {
        let section = keys.section(&format!("min_bytes = 0\nlifetime = \"1d\"\n{}", site(&url, more)));
        WharfServer::builder(EXE).config(&section).start()
    };
    let strange = start("");
    let region = start(&format!("ca = \"{}\"", certificate.cert.display()));
    let upstream = format!(
        "upstream = \"region\"\n[[upstream]]\nkey = \"region\"\nregistry = \"{}\"\n",
        region.authority()
    );
    let edge =
        WharfServer::builder(EXE).port(port).tls(&certificate).config(&keys.section(&upstream)).start();
    wait_for_site(&region.client(), &url, true);
    let digest = push_blob(&region.client(), "team/app", b"a layer");
    let path = format!("/v2/team/app/blobs/{digest}");
    let address = sent(&region.client().get(&path), &edge.url());
    assert!(address.contains("&repository=team/app&"), "{address}");
    let get = Curl::tls(Version::Http2, &certificate).send("GET", &format!("{url}{address}"), &[], None);
    assert_eq!(get.expect(200).body, b"a layer", "the edge is not sent to itself");
    while !strange.log().contains("a site does not work") {
        std::thread::sleep(Duration::from_millis(20));
    }
    push_blob(&strange.client(), "team/app", b"a layer");
    assert_eq!(strange.client().get(&path).expect(200).body, b"a layer");
}

#[test]
fn what_a_region_mirrors_is_at_its_edges() {
    let keys = Keys::new(&[KEY]);
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let world = WharfServer::start(EXE);
    let digest = push_blob(&world.client(), "team/app", b"a layer");
    let upstream = |key: &str, server: &str| {
        format!("[[upstream]]\nkey = \"{key}\"\nregistry = \"{server}\"\nnamespaces = [\"{key}.example\"]\n")
    };
    let sites = format!("min_bytes = 0\nlifetime = \"1d\"\n{}", site(&url, &near()));
    let config = format!("{}{}", keys.section(&sites), upstream("world", &world.authority()));
    let region = WharfServer::builder(EXE).config(&config).start();
    let config =
        format!("{}{}", keys.section("upstream = \"region\""), upstream("region", &region.authority()));
    let edge = WharfServer::builder(EXE).port(port).config(&config).start();
    wait_for_site(&region.client(), &url, true);
    let client = region.client().with("X-Forwarded-For", NEAR);
    // While it is on its way to the region it comes from there.
    let path = format!("/v2/world/team/app/blobs/{digest}");
    assert_eq!(client.get(&path).expect(200).body, b"a layer");
    while !metrics(&client).contains("wharf_mirror_downloads 0\n") {
        std::thread::sleep(Duration::from_millis(5));
    }
    let address = sent(&client.get(&path), &url);
    assert!(address.contains("&repository=world/team/app&"), "{address}");
    let by_namespace = client.get(&format!("/v2/team/app/blobs/{digest}?ns=world.example"));
    assert_eq!(sent(&by_namespace, &url), address, "whatever a client calls it");
    assert_eq!(edge.client().get(&address).expect(200).body, b"a layer");
}
