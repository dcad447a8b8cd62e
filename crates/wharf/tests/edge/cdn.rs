//! A CDN in front: what it keeps, gives out in parts, and does not give out any more.

use std::time::Duration;

use test_kit::cdn::{BEHIND, SLICE};
use test_kit::house::push_blob;
use test_kit::{Cdn, WharfServer, random};

use crate::{EXE, KEY, Keys, Scene, now, sent, site, until, wait_for_site};

const SIZE: usize = 2 * SLICE + SLICE / 2;

#[test]
fn each_part_is_fetched_once_however_many_read() {
    let scene = Scene::new("lifetime = \"1d\"");
    let bytes = random::bytes(1, SIZE);
    let digest = push_blob(&scene.region.client(), "team/app", &bytes);
    let address = scene.address(&format!("/v2/team/app/blobs/{digest}"));
    let client = scene.cdn.client();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| assert!(client.get(&address).expect(200).body == bytes));
        }
    });
    assert_eq!(scene.fetched(), vec![format!("GET {address}"); 3]);

    let whole = client.get(&address).expect(200);
    assert!(whole.body == bytes);
    assert_eq!((whole.require("x-cache"), whole.require("docker-content-digest")), ("HIT", &*digest));
    let caching = whole.require("cache-control");
    let kept = caching
        .strip_prefix("public, max-age=")
        .and_then(|rest| rest.strip_suffix(", immutable, no-transform"));
    let kept: u64 = kept.and_then(|kept| kept.parse().ok()).unwrap_or_else(|| panic!("{caching}"));
    assert!((86_400..=2 * 86_400).contains(&kept) && kept <= until(&address) - now() + 60, "{kept}");

    // HEAD by the address of GET.
    let head = client.head(&address).expect(200);
    assert_eq!((head.require("content-length"), head.require("x-cache")), (&*SIZE.to_string(), "HIT"));
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-1048700", 100, 1_048_701),
        ("bytes=2000000-", 2_000_000, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
    ] {
        let part = client.request("GET", &address).header("Range", range).send().expect(206);
        assert!(part.body == bytes[from..to], "{range}");
        assert_eq!(part.require("content-range"), format!("bytes {from}-{}/{SIZE}", to - 1));
        assert_eq!(part.require("x-cache"), "HIT", "{range}");
    }
    let etag = whole.require("etag");
    client.request("GET", &address).header("If-None-Match", etag).send().expect(304);
    let part = client.request("GET", &address).header("Range", "bytes=5-9").header("If-Range", etag).send();
    assert!(part.expect(206).body == bytes[5..10]);
    let other =
        client.request("GET", &address).header("Range", "bytes=5-9").header("If-Range", "\"x\"").send();
    assert!(other.expect(200).body == bytes);
    assert_eq!(scene.fetched(), Vec::<String>::new(), "all of it was kept");
    client.request("GET", &address).header("Range", "bytes=99999999-").send().expect(416);
}

#[test]
fn a_range_alone_fetches_no_more_than_its_part() {
    let scene = Scene::new("lifetime = \"1d\"");
    let bytes = random::bytes(2, SIZE);
    let digest = push_blob(&scene.region.client(), "team/app", &bytes);
    let path = format!("/v2/team/app/blobs/{digest}");
    let asked = scene.region.client().request("GET", &path).header("Range", "bytes=1048580-1048600").send();
    let address = sent(&asked, &scene.cdn.url());
    assert_eq!(address, scene.address(&path), "the address is the same for all parts");
    let part = scene.cdn.client().request("GET", &address).header("Range", "bytes=1048580-1048600").send();
    assert!(part.expect(206).body == bytes[1_048_580..=1_048_600]);
    assert_eq!(scene.fetched().len(), 1);
    assert!(scene.origin.body_bytes() < 2 * SLICE as u64);
}

#[test]
fn an_address_that_has_expired_is_refused_by_the_cdn_too() {
    let scene = Scene::new("lifetime = \"2s\"");
    let digest = push_blob(&scene.region.client(), "team/app", b"a layer");
    let path = format!("/v2/team/app/blobs/{digest}");
    let (cdn, region) = (scene.cdn.client(), scene.region.client());
    let address = loop {
        let address = scene.address(&path);
        assert_eq!(cdn.get(&address).expect(200).body, b"a layer");
        // The second look must come before the end of the address.
        let again = cdn.get(&address);
        if now() < until(&address) {
            assert_eq!(again.expect(200).require("x-cache"), "HIT");
            break address;
        }
    };
    // A cache gives something out as long as it is not older than it may be, to the second.
    while now() <= until(&address) + 1 {
        std::thread::sleep(Duration::from_millis(50));
    }
    for client in [&cdn, &region] {
        for method in ["GET", "HEAD"] {
            let refused = client.request(method, &address).send().expect(403);
            assert_eq!(refused.require("cache-control"), "no-store");
            let says = String::from_utf8_lossy(&refused.body);
            assert!(method == "HEAD" || says.contains("pull again from the registry"), "{refused}");
        }
    }
    let fresh = scene.address(&path);
    assert_ne!(fresh, address);
    assert_eq!(cdn.get(&fresh).expect(200).body, b"a layer");
}

#[test]
fn a_cdn_may_have_it_all_below_a_path() {
    let (keys, mut cdn) = (Keys::new(&[KEY]), Cdn::new());
    let url = format!("{}{BEHIND}", cdn.url());
    let section = keys.section(&format!("min_bytes = 0\nlifetime = \"1d\"\n{}", site(&url, "")));
    let region = WharfServer::builder(EXE).config(&section).start();
    cdn.start(&region.authority());
    wait_for_site(&region.client(), &url, true);
    let digest = push_blob(&region.client(), "team/app", b"a layer");
    let address = sent(&region.client().get(&format!("/v2/team/app/blobs/{digest}")), &url);
    for cache in ["MISS", "HIT"] {
        let read = cdn.client().get(&format!("{BEHIND}{address}")).expect(200);
        assert_eq!((read.body.as_slice(), read.require("x-cache")), (&b"a layer"[..], cache));
    }
}

#[test]
fn what_is_not_here_any_more_is_not_kept_as_missing() {
    let scene = Scene::new("");
    let client = scene.region.client();
    let digest = push_blob(&client, "team/app", b"a layer");
    let path = format!("/v2/team/app/blobs/{digest}");
    let address = scene.address(&path);
    client.delete(&path).expect(202);
    let missing = scene.cdn.client().get(&address).expect_error(404, "BLOB_UNKNOWN");
    assert_eq!(missing.require("cache-control"), "no-store");
    push_blob(&client, "team/app", b"a layer");
    assert_eq!(scene.cdn.client().get(&address).expect(200).body, b"a layer");
}
