//! Manifests: kept byte for byte, read in ranges, tagged in one request, and never without their blobs.

use crate::blobs::head_equals_get;
use crate::{image, push_blob, push_image, put_bytes, put_manifest, server};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use test_kit::image::{Descriptor, INDEX, MANIFEST};
use test_kit::{sha256, sha512};

#[test]
fn bytes_are_kept_as_they_came() {
    let server = server();
    let client = server.client();
    let blob = push_blob(&client, "bytes", b"{}");
    let layer = push_blob(&client, "bytes", b"layer");
    // Odd spacing, an order of keys and unknown members that a rewrite would lose.
    let body = |media_type: &str| {
        format!(
            "{{ \"layers\":[{{\"size\":5,\"digest\":\"{layer}\",\"mediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\"}}],\n\t\
             \"x-own\": 1.0e1, \"config\": {{\"digest\":\"{blob}\",\"size\":2,\"mediaType\":\"application/vnd.docker.container.image.v1+json\"}},\n  \
             \"mediaType\": \"{media_type}\",   \"schemaVersion\":2}}\n\n"
        )
    };
    for (tag, media_type) in [("oci", MANIFEST), ("docker", test_kit::image::DOCKER_MANIFEST)] {
        let bytes = body(media_type);
        put_bytes(&client, "bytes", tag, Some(media_type), bytes.as_bytes()).expect(201);
        for reference in [tag, &sha256(bytes.as_bytes())] {
            // No Accept header and one that asks for something else: what was pushed is what there is.
            for accept in ["*/*", MANIFEST, "application/vnd.docker.distribution.manifest.list.v2+json"] {
                let path = format!("/v2/bytes/manifests/{reference}");
                let got = client.request("GET", &path).header("Accept", accept).send().expect(200);
                assert_eq!(String::from_utf8_lossy(&got.body), bytes);
                assert_eq!(got.require("content-type"), media_type);
                assert_eq!(got.require("docker-content-digest"), sha256(bytes.as_bytes()));
            }
        }
    }
}

#[test]
fn docker_lists_are_kept_too() {
    let server = server();
    let client = server.client();
    let child = push_image(&client, "lists", "child", "child");
    let size = client.get("/v2/lists/manifests/child").body.len();
    let media_type = "application/vnd.docker.distribution.manifest.list.v2+json";
    let list = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [{
        "mediaType": MANIFEST, "digest": child, "size": size,
        "platform": {"architecture": "amd64", "os": "linux"},
    }]});
    put_manifest(&client, "lists", "list", &list).expect(201);
    let got = client.get("/v2/lists/manifests/list").expect(200);
    assert_eq!(got.require("content-type"), media_type);
    assert_eq!(got.body, list.to_string().as_bytes());
}

#[test]
fn ranges_and_conditions_hold_for_manifests() {
    let server = server();
    let client = server.client();
    let digest = push_image(&client, "ranges", "v1", "ranges");
    for reference in ["v1", &digest] {
        let path = format!("/v2/ranges/manifests/{reference}");
        let whole = client.get(&path).expect(200);
        let length = whole.body.len();
        let open = client.request("GET", &path).header("Range", "bytes=10-").send().expect(206);
        assert_eq!(open.body, whole.body[10..]);
        assert_eq!(open.require("content-range"), format!("bytes 10-{}/{length}", length - 1));
        assert_eq!(open.require("content-type"), MANIFEST);
        let beyond = client.request("GET", &path).header("Range", format!("bytes={length}-")).send();
        beyond.expect_error_form(416);
        let etag = whole.require("etag");
        client.request("GET", &path).header("If-None-Match", etag).send().expect(304);
        client.request("HEAD", &path).header("If-None-Match", etag).send().expect(304);
        head_equals_get(&client, &path, &[]);
        let head = client.request("HEAD", &path).header("Range", "bytes=1-5").send().expect(200);
        assert_eq!(head.require("content-length"), length.to_string());
    }
    head_equals_get(&client, "/v2/ranges/manifests/absent", &[]);
    // A tag that moves has another entity tag at once.
    let before = client.get("/v2/ranges/manifests/v1").require("etag").to_owned();
    push_image(&client, "ranges", "v1", "moved");
    client.request("GET", "/v2/ranges/manifests/v1").header("If-None-Match", &before).send().expect(200);
}

#[test]
fn one_request_sets_many_tags() {
    let server = server();
    let client = server.client();
    let manifest = image(json!({"annotations": {"for": "tags"}}));
    let digest = sha256(manifest.to_string().as_bytes());
    let names: Vec<String> = (0..12).map(|number| format!("tag-{number}")).collect();
    let query: Vec<String> = names.iter().map(|name| format!("tag={name}")).collect();
    let reference = format!("{digest}?{}", query.join("&"));
    let created = put_manifest(&client, "tags", &reference, &manifest).expect(201);
    let mut answered: Vec<_> = created.headers.iter().filter(|(name, _)| name == "oci-tag").collect();
    answered.sort();
    assert_eq!(answered.len(), 12, "{created}");
    for name in &names {
        let got = client.get(&format!("/v2/tags/manifests/{name}")).expect(200);
        assert_eq!(got.require("docker-content-digest"), digest);
    }
    let bad = format!("{digest}?tag=fine&tag=.not");
    assert_eq!(put_manifest(&client, "tags", &bad, &manifest).expect_error_form(400).status, 400);
    client.head("/v2/tags/manifests/fine").expect(404);
    let many: Vec<String> = (0..5000).map(|number| format!("tag=t{number}")).collect();
    put_manifest(&client, "tags", &format!("{digest}?{}", many.join("&")), &manifest).expect_error_form(414);
    client.head("/v2/tags/manifests/t0").expect(404);
}

#[test]
fn a_digest_in_the_path_must_be_that_of_the_bytes() {
    let server = server();
    let client = server.client();
    let manifest = image(json!({}));
    let bytes = manifest.to_string();
    put_manifest(&client, "named", &sha256(b"other"), &manifest).expect_error(400, "DIGEST_INVALID");
    put_manifest(&client, "named", "sha256:bad", &manifest).expect_error(400, "DIGEST_INVALID");
    let long = sha512(bytes.as_bytes());
    let created = put_manifest(&client, "named", &long, &manifest).expect(201);
    assert_eq!(created.require("docker-content-digest"), long);
    let got = client.get(&format!("/v2/named/manifests/{long}")).expect(200);
    assert_eq!(got.require("docker-content-digest"), long);
}

#[test]
fn a_manifest_needs_its_blobs_in_the_same_repository() {
    let server = server();
    let client = server.client();
    let layer = push_blob(&client, "elsewhere", b"layer");
    let descriptor = Descriptor { media_type: "application/x".to_owned(), digest: layer.clone(), size: 5 };
    let manifest = image(json!({"layers": [descriptor.json()]}));
    let refused = put_manifest(&client, "here", "v1", &manifest).expect_error(404, "MANIFEST_BLOB_UNKNOWN");
    assert!(String::from_utf8_lossy(&refused.body).contains(&layer), "the message must name it: {refused}");
    client.head("/v2/here/manifests/v1").expect(404);
    push_blob(&client, "here", b"layer");
    put_manifest(&client, "here", "v1", &manifest).expect(201);
    // A blob in use stays while a manifest needs it.
    let deleted = client.delete(&format!("/v2/here/blobs/{layer}"));
    if deleted.status != 202 {
        deleted.expect_error(405, "UNSUPPORTED");
        client.get(&format!("/v2/here/blobs/{layer}")).expect(200);
    }
}

#[test]
fn bad_manifests_are_refused() {
    let server = server();
    let client = server.client();
    push_blob(&client, "bad", b"{}");
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let lists = format!("{{\"schemaVersion\":2,\"manifests\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let size = json!({"mediaType": "x/y", "digest": sha256(b"{}"), "size": -1});
    let digest = json!({"mediaType": "x/y", "digest": "sha256:../../etc/passwd", "size": 2});
    let cases: [(&str, Vec<u8>); 12] = [
        ("nothing", Vec::new()),
        ("no JSON", b"hello".to_vec()),
        ("half of it", b"{\"schemaVersion\":2,".to_vec()),
        ("a list", b"[]".to_vec()),
        ("a number", b"7".to_vec()),
        ("not UTF-8", b"{\"schemaVersion\":2,\"config\":\"\xff\xfe\"}".to_vec()),
        ("nested objects", deep.into_bytes()),
        ("nested lists", lists.into_bytes()),
        ("a negative size", image(json!({"config": size})).to_string().into_bytes()),
        ("a digest that is a path", image(json!({"layers": [digest]})).to_string().into_bytes()),
        ("layers that are no list", image(json!({"layers": {}})).to_string().into_bytes()),
        ("text after the end", [image(json!({})).to_string().as_bytes(), b" {}"].concat()),
    ];
    for (what, bytes) in cases {
        let answer = put_bytes(&client, "bad", "v1", Some(MANIFEST), &bytes);
        assert_eq!(answer.status, 400, "{what}: {answer}");
        answer.expect_error_form(400);
        client.head("/v2/bad/manifests/v1").expect(404);
    }
    // The header says something else than the manifest.
    let manifest = image(json!({})).to_string();
    put_bytes(&client, "bad", "v1", Some(INDEX), manifest.as_bytes()).expect_error(400, "MANIFEST_INVALID");
    put_bytes(&client, "bad", "v1", Some("a b c"), manifest.as_bytes()).expect_error(400, "MANIFEST_INVALID");
}

#[test]
fn a_manifest_has_a_largest_size() {
    let server = server();
    let client = server.client();
    let padded = |size: usize| {
        let base = image(json!({"annotations": {"pad": ""}})).to_string().len();
        image(json!({"annotations": {"pad": "x".repeat(size - base)}}))
    };
    put_manifest(&client, "large", "fits", &padded(4 << 20)).expect(201);
    assert_eq!(client.get("/v2/large/manifests/fits").expect(200).body.len(), 4 << 20);
    put_manifest(&client, "large", "more", &padded((4 << 20) + 1)).expect_error(413, "SIZE_INVALID");
    // Refused by its announced length, and by its bytes where no length was announced.
    let endless = vec![vec![b' '; 1 << 20]; 6];
    let chunked = client.put("/v2/large/manifests/more").header("Content-Type", MANIFEST).chunked(endless);
    chunked.send().expect_error(413, "SIZE_INVALID");
}

#[test]
fn deleting_by_digest_takes_the_tags_along_and_by_tag_only_the_tag() {
    let server = server();
    let client = server.client();
    let digest = push_image(&client, "gone", "one", "same");
    push_image(&client, "gone", "two", "same");
    client.delete("/v2/gone/manifests/one").expect(202);
    client.get("/v2/gone/manifests/one").expect_error(404, "MANIFEST_UNKNOWN");
    client.get("/v2/gone/manifests/two").expect(200);
    client.get(&format!("/v2/gone/manifests/{digest}")).expect(200);
    client.delete(&format!("/v2/gone/manifests/{digest}")).expect(202);
    for reference in ["two", &digest] {
        client.get(&format!("/v2/gone/manifests/{reference}")).expect_error(404, "MANIFEST_UNKNOWN");
        client.delete(&format!("/v2/gone/manifests/{reference}")).expect_error(404, "MANIFEST_UNKNOWN");
    }
    let tags = client.get("/v2/gone/tags/list").expect(200).json();
    assert!(tags["tags"].as_array().is_some_and(Vec::is_empty), "{tags}");
}

#[test]
fn an_index_may_name_what_is_not_there() {
    let server = server();
    let client = server.client();
    let absent = json!({"mediaType": MANIFEST, "digest": sha256(b"absent"), "size": 6});
    let index: Value = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [absent]});
    put_manifest(&client, "sparse", "v1", &index).expect(201);
    let foreign = json!({
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": sha256(b"foreign"), "size": 7, "urls": ["https://example.com/layer"],
    });
    put_manifest(&client, "sparse", "v2", &image(json!({"layers": [foreign]}))).expect(201);
}

#[test]
fn manifests_that_do_not_end_take_a_bounded_room() {
    let server = server();
    let client = server.client();
    push_image(&client, "room", "v1", "before");
    // All but the last byte of the largest manifest, again and again, until there is no room for another.
    let head = "PUT /v2/room/manifests/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n";
    let unfinished = [head.as_bytes(), &vec![b' '; (4 << 20) - 1]].concat();
    let text = "x".repeat(1 << 20);
    let push = || put_manifest(&client, "room", "v2", &image(json!({"annotations": {"text": text}})));
    let mut held: Vec<_> = (0..15).filter_map(|_| client.try_raw(&unfinished)).collect();
    let started = Instant::now();
    let refused = loop {
        held.extend(client.try_raw(&unfinished));
        let answer = push();
        if answer.status == 429 {
            break answer;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{answer}");
    };
    assert!(!refused.require("retry-after").is_empty());
    refused.expect_error(429, "TOOMANYREQUESTS");
    client.get("/v2/room/manifests/v1").expect(200);
    held.clear();
    while push().status != 201 {
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
