//! What is at a signed address, and what is not when anything of it is changed.

use test_kit::house::push_blob;
use test_kit::http::Response;

use crate::{Scene, now, sign, until};

/// A refusal that nobody keeps, with a word of why.
#[track_caller]
fn refused(answer: Response, word: &str) {
    let answer = answer.expect_error(403, "DENIED");
    assert_eq!(answer.require("cache-control"), "no-store", "{answer}");
    assert!(String::from_utf8_lossy(&answer.body).contains(word), "{word}: {answer}");
}

#[test]
fn what_was_changed_is_refused_and_not_kept() {
    let scene = Scene::new("");
    let (client, cdn) = (scene.region.client(), scene.cdn.client());
    let digest = push_blob(&client, "team/app", b"a layer");
    let other = push_blob(&client, "team/other", b"another layer");
    let address = scene.address(&format!("/v2/team/app/blobs/{digest}"));
    let (start, signature) = address.split_once("&signature=").expect("a signature");
    let (signature, end) = signature.split_once('&').expect("the rest");
    let turned: String = signature.chars().rev().collect();
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let changed = [
        (address.replace(&hex(&digest), &hex(&other)), "does not fit"),
        (address.replace("team/app", "team/other"), "does not fit"),
        (address.replace("team/app", "team/other").replace(&hex(&digest), &hex(&other)), "does not fit"),
        (address.replace(&format!("until={}", until(&address)), "until=9999999999"), "does not fit"),
        (address.replace("key=72cd6e84", "key=72cd6e85"), "key that is not known"),
        (format!("{start}&signature={turned}&{end}"), "does not fit"),
        (format!("{start}&signature={}&{end}", &signature[..62]), "does not fit"),
        (format!("{start}&signature={}&{end}", signature.to_uppercase()), "not written"),
        (format!("{start}&{end}"), "not written"),
        (format!("{address}&x=1"), "not written"),
        (address.replace("team/app", "team%2Fapp"), "not written"),
        (sign(2, &digest, "team/app", now() + 60), "key that is not known"),
    ];
    for (changed, word) in &changed {
        assert_ne!(*changed, address);
        scene.fetched();
        for _ in 0..2 {
            refused(cdn.get(changed), word);
            refused(client.get(changed), word);
        }
        assert_eq!(scene.fetched().len(), 2, "a refusal was kept: {changed}");
    }
    assert_eq!(cdn.get(&address).expect(200).body, b"a layer");

    let text = crate::metrics(&client);
    // By the CDN and past it, each twice.
    assert!(text.contains(&format!("wharf_edge_refused_total {}\n", 4 * changed.len())), "{text}");
    assert!(text.contains("wharf_edge_served_total 1\n"), "{text}");
}

#[test]
fn an_address_is_for_reading_only() {
    let scene = Scene::new("");
    let client = scene.region.client();
    let digest = push_blob(&client, "team/app", b"a layer");
    let address = scene.address(&format!("/v2/team/app/blobs/{digest}"));
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = client.request(method, &address).body("x").send().expect(405);
        assert_eq!(answer.require("allow"), "GET, HEAD", "{method}");
        assert_eq!(answer.require("cache-control"), "no-store", "{method}");
    }
    // Whatever else comes with it is not looked at.
    let answer = client.with("Authorization", "Basic ?").get(&address).expect(200);
    assert_eq!(answer.body, b"a layer");
    for path in ["/edge", "/edge/", "/edge/v1", "/edge/v1/sha256/00", "/edge/v2/", "/edgeways"] {
        client.get(path).expect(404);
    }
    let state = client.get("/edge/v1/").expect(200);
    assert_eq!(
        (state.json(), state.require("cache-control")),
        (serde_json::json!({"keys": ["72cd6e84"]}), "no-store")
    );
    assert_eq!(client.head("/edge/v1/").expect(200).body, b"");
}

#[test]
fn what_needs_no_redirect_gets_none() {
    let scene = Scene::new("lifetime = \"1d\"");
    let (client, site) = (scene.region.client(), scene.cdn.url());
    let digest = push_blob(&client, "team/app", b"a layer");
    let small = push_blob(&client, "team/app", b"little");
    let path = format!("/v2/team/app/blobs/{digest}");
    let get = |name: &str, value: &str| client.request("GET", &path).header(name, value).send();
    assert_eq!(client.get(&format!("/v2/team/app/blobs/{small}")).expect(200).body, b"little");
    assert_eq!(client.head(&path).expect(200).require("content-length"), "7");
    get("If-None-Match", &format!("\"{digest}\"")).expect(304);
    get("If-Match", "\"another\"").expect(412);
    get("Range", "bytes=7-").expect(416);
    client.get(&format!("/v2/team/app/blobs/{}", test_kit::sha256(b"none"))).expect(404);
    // What asks for others could be the very site.
    assert_eq!(get("Via", "1.1 wharf-0123456789abcdef").expect(200).body, b"a layer");
    let redirects = |count: u32| format!("wharf_edge_redirects_total{{site=\"{site}\"}} {count}\n");
    assert!(crate::metrics(&client).contains(&redirects(0)));
    crate::sent(&get("Via", "1.1 proxy (wharf)"), &site);
    crate::sent(&get("Range", "bytes=1-2"), &site);
    let text = crate::metrics(&client);
    assert!(text.contains(&redirects(2)), "{text}");
}
