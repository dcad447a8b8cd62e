//! Who is sent where: by the address of the client, as a proxy that is trusted tells it.

use test_kit::WharfServer;
use test_kit::house::push_blob;

use crate::{EXE, KEY, Keys, sent, site};

const INNER: &str = "http://127.0.0.1:1";
const BRANCH: &str = "https://branch.example/registry";

fn registry(keys: &Keys, before: &str) -> WharfServer {
    let sites = [
        site(INNER, "probe = false\nnetworks = [\"10.0.0.0/8\", \"fd00::/8\"]"),
        site(BRANCH, "probe = false\nnetworks = [\"192.0.2.0/24\", \"10.9.0.0/16\"]"),
    ];
    let section = keys.section(&format!("min_bytes = 0\n{}", sites.concat()));
    WharfServer::builder(EXE).config(&format!("{before}\n{section}")).start()
}

#[test]
fn the_network_of_a_client_decides() {
    let keys = Keys::new(&[KEY]);
    let server = registry(&keys, "");
    let client = server.client();
    let digest = push_blob(&client, "team/app", b"a layer");
    let path = format!("/v2/team/app/blobs/{digest}");
    let check = |forwarded: &str, expect: Option<&str>| {
        let client =
            if forwarded.is_empty() { client.clone() } else { client.with("X-Forwarded-For", forwarded) };
        match expect {
            Some(site) => {
                assert!(sent(&client.get(&path), site).starts_with("/edge/v1/sha256/"), "{forwarded}")
            }
            None => assert_eq!(client.get(&path).expect(200).body, b"a layer", "{forwarded}"),
        }
    };
    check("10.1.2.3", Some(INNER));
    check("fd00::7", Some(INNER));
    // The first that fits.
    check("10.9.2.3", Some(INNER));
    check("192.0.2.9", Some(BRANCH));
    check("192.0.3.9", None);
    check("", None);
    // What a client says of itself is not believed: its proxy's word is the last.
    check("10.1.2.3, 198.51.100.1", None);
    check("nonsense", None);
}

#[test]
fn who_is_no_proxy_cannot_say_where_it_is() {
    let keys = Keys::new(&[KEY]);
    let server = registry(&keys, "[http]\ntrusted_proxies = []");
    let client = server.client();
    let digest = push_blob(&client, "team/app", b"a layer");
    let path = format!("/v2/team/app/blobs/{digest}");
    for (name, value) in [("X-Forwarded-For", "10.1.2.3"), ("Forwarded", "for=10.1.2.3")] {
        assert_eq!(client.with(name, value).get(&path).expect(200).body, b"a layer");
    }
}
