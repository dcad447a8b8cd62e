//! Reading blobs: ranges, conditions, HEAD, and repositories that see only what is theirs.

use crate::{push_blob, server};
use test_kit::http::{Client, Response};
use test_kit::{random, sha256};

/// HEAD must say what GET says, about errors too; only the date may differ.
pub fn head_equals_get(client: &Client, path: &str, headers: &[(&str, &str)]) {
    let ask = |method: &str| {
        let request = client.request(method, path);
        headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    let comparable = |response: &Response| {
        let mut headers = response.headers.clone();
        headers.retain(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
        headers.sort();
        (response.status, headers)
    };
    let (get, head) = (ask("GET"), ask("HEAD"));
    assert!(head.body.is_empty(), "a body came with HEAD {path}");
    assert_eq!(comparable(&head), comparable(&get), "HEAD and GET of {path} {headers:?} differ");
}

#[test]
fn ranges_give_the_bytes_they_name() {
    let server = server();
    let client = server.client();
    let bytes = random::bytes(1, 10_000);
    let path = format!("/v2/ranges/blobs/{}", push_blob(&client, "ranges", &bytes));
    let check = |range: &str, expect: Option<std::ops::Range<usize>>| {
        let got = client.request("GET", &path).header("Range", range).send();
        match expect {
            Some(part) => {
                let got = got.expect(206);
                assert!(got.body == bytes[part.clone()], "{range}: other bytes");
                let content_range = format!("bytes {}-{}/10000", part.start, part.end - 1);
                assert_eq!(got.require("content-range"), content_range);
                assert_eq!(got.require("content-length"), part.len().to_string());
            }
            None => {
                let got = got.expect_error_form(416);
                assert_eq!(got.require("content-range"), "bytes */10000");
            }
        }
    };
    check("bytes=0-0", Some(0..1));
    check("bytes=100-199", Some(100..200));
    check("bytes=9000-", Some(9000..10_000));
    check("bytes=9000-20000", Some(9000..10_000));
    check("bytes=-10", Some(9990..10_000));
    check("bytes=-20000", Some(0..10_000));
    check("bytes=0-", Some(0..10_000));
    check("bytes=10000-", None);
    check("bytes=20000-30000", None);
    check("bytes=-0", None);
    // Not a range of bytes, or more than one: the whole is a right answer to either.
    for range in
        ["lines=1-2", "bytes=x-y", "bytes=5-2", "bytes=0-1,5-6", "bytes=", "bytes=99999999999999999999-"]
    {
        let got = client.request("GET", &path).header("Range", range).send();
        assert!(matches!(got.status, 200 | 206 | 416), "{got}");
        assert!(got.status != 200 || got.body == bytes, "{range}: other bytes");
    }
}

#[test]
fn conditions_save_the_transfer() {
    let server = server();
    let client = server.client();
    let bytes = random::bytes(2, 5000);
    let path = format!("/v2/conditions/blobs/{}", push_blob(&client, "conditions", &bytes));
    let etag = client.get(&path).expect(200).require("etag").to_owned();
    let ask = |headers: &[(&str, &str)]| {
        let request = client.request("GET", &path);
        headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    let unchanged = ask(&[("If-None-Match", &etag)]).expect(304);
    assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
    ask(&[("If-None-Match", "*")]).expect(304);
    ask(&[("If-None-Match", &format!("\"other\", W/{etag}"))]).expect(304);
    ask(&[("If-None-Match", "\"other\"")]).expect(200);
    ask(&[("If-Match", &etag)]).expect(200);
    ask(&[("If-Match", "\"other\"")]).expect(412);
    ask(&[("Range", "bytes=0-9"), ("If-Range", &etag)]).expect(206);
    ask(&[("Range", "bytes=0-9"), ("If-Range", "\"other\"")]).expect(200);
}

#[test]
fn head_says_what_get_says() {
    let server = server();
    let client = server.client();
    let path = format!("/v2/head/blobs/{}", push_blob(&client, "head", &random::bytes(3, 5000)));
    let etag = client.get(&path).require("etag").to_owned();
    head_equals_get(&client, &path, &[]);
    for range in ["bytes=5-9", "bytes=9000-"] {
        let head = client.request("HEAD", &path).header("Range", range).send().expect(200);
        assert_eq!(head.require("content-length"), "5000");
        assert_eq!(head.header("content-range"), None, "a range is for GET alone");
    }
    head_equals_get(&client, &path, &[("If-None-Match", &etag)]);
    head_equals_get(&client, &format!("/v2/head/blobs/{}", sha256(b"absent")), &[]);
    head_equals_get(&client, "/v2/", &[]);
    head_equals_get(&client, "/v2/head/blobs/sha256:bad", &[]);
}

#[test]
fn a_blob_is_seen_only_in_its_repositories() {
    let server = server();
    let client = server.client();
    let digest = push_blob(&client, "first", b"private");
    client.get(&format!("/v2/second/blobs/{digest}")).expect_error(404, "BLOB_UNKNOWN");
    client.delete(&format!("/v2/second/blobs/{digest}")).expect_error(404, "BLOB_UNKNOWN");
    client.get(&format!("/v2/first/blobs/{digest}")).expect(200);
    client.delete(&format!("/v2/first/blobs/{digest}")).expect(202);
    client.get(&format!("/v2/first/blobs/{digest}")).expect_error(404, "BLOB_UNKNOWN");
    client.delete(&format!("/v2/first/blobs/{digest}")).expect_error(404, "BLOB_UNKNOWN");
    push_blob(&client, "first", b"private");
    client.get(&format!("/v2/first/blobs/{digest}")).expect(200);
}
