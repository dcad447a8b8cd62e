//! Bad requests: each gets an answer in the specification's form, and none reaches what it should not.

use crate::{push_blob, push_image, server};
use std::io::Read;
use test_kit::sha256;

#[test]
fn malformed_names_are_refused() {
    let server = server();
    let client = server.client();
    let digest = sha256(b"x");
    let long = "a".repeat(300);
    for name in
        ["UPPER", "a//b", "/a", "a/", "-a", "a-", "a..b", ".a", "a___b", "a@b", "a%20b", "%C3%A4", &long]
    {
        client.get(&format!("/v2/{name}/tags/list")).expect_error(400, "NAME_INVALID");
        client.get(&format!("/v2/{name}/manifests/v1")).expect_error(400, "NAME_INVALID");
        client.get(&format!("/v2/{name}/blobs/{digest}")).expect_error(400, "NAME_INVALID");
        client.get(&format!("/v2/{name}/referrers/{digest}")).expect_error(400, "NAME_INVALID");
        client.post(&format!("/v2/{name}/blobs/uploads/")).expect_error(400, "NAME_INVALID");
        client.put(&format!("/v2/{name}/manifests/v1")).body("{}").send().expect_error(400, "NAME_INVALID");
        client.delete(&format!("/v2/{name}/manifests/v1")).expect_error(400, "NAME_INVALID");
    }
}

#[test]
fn malformed_tags_and_digests_are_refused() {
    let server = server();
    let client = server.client();
    push_image(&client, "refs", "v1", "refs");
    let long = "t".repeat(129);
    for tag in ["-a", ".a", "a%20b", "a+b", "%C3%A4", &long] {
        let path = format!("/v2/refs/manifests/{tag}");
        client.put(&path).body("{}").send().expect_error_form(400);
        let got = client.get(&path);
        let status = if got.status == 404 { 404 } else { 400 };
        got.expect_error_form(status);
    }
    let upper = sha256(b"x").to_uppercase().replace("SHA", "sha");
    let odd = format!("{}0", sha256(b"x"));
    for digest in ["sha256:", "sha256:xyz", ":", "sha256:../../../etc/passwd", "md5:abc", &upper, &odd] {
        for path in [format!("/v2/refs/blobs/{digest}"), format!("/v2/refs/referrers/{digest}")] {
            let got = client.get(&path);
            let status = if got.status == 404 { 404 } else { 400 };
            got.expect_error_form(status);
        }
    }
}

#[test]
fn no_path_leads_out_of_the_store() {
    let server = server();
    let client = server.client();
    push_image(&client, "inside", "v1", "inside");
    let digest = push_blob(&client, "inside", b"inside");
    let tricks = [
        "/v2/../../../../etc/passwd".to_owned(),
        "/v2/inside/../../../etc/passwd".to_owned(),
        "/v2/inside/blobs/../../../etc/passwd".to_owned(),
        "/v2/..%2f..%2fetc/manifests/passwd".to_owned(),
        "/v2/inside/manifests/..%2f..%2f..%2fetc%2fpasswd".to_owned(),
        "/v2/inside%2f..%2finside/manifests/v1".to_owned(),
        "/v2/inside/./manifests/v1".to_owned(),
        "/v2/./inside/manifests/v1".to_owned(),
        "/v2/inside/manifests/%00".to_owned(),
        "/v2/inside/manifests/v1%00".to_owned(),
        "/v2/inside/manifests/%ff%fe".to_owned(),
        "/v2/inside/manifests/%zz".to_owned(),
        "/v2/inside/manifests//v1".to_owned(),
        "//v2/inside/manifests/v1".to_owned(),
        format!("/v2/other/../inside/blobs/{digest}"),
        format!("/v2/inside/blobs/uploads/../{digest}"),
        format!("/v2/inside/blobs/{digest}/.."),
        format!("/v2/inside/blobs/{digest}%2f.."),
    ];
    for path in tricks {
        for method in ["GET", "PUT", "DELETE", "PATCH", "POST"] {
            let answer = client.request(method, &path).body("").send();
            assert!((400..500).contains(&answer.status), "{path}: {answer}");
            assert!(!String::from_utf8_lossy(&answer.body).contains("root:"), "{path}: {answer}");
        }
    }
    client.get("/v2/inside/manifests/v1").expect(200);
    client.get(&format!("/v2/inside/blobs/{digest}")).expect(200);
}

#[test]
fn unknown_things_have_their_own_codes() {
    let server = server();
    let client = server.client();
    push_image(&client, "here", "v1", "here");
    let digest = sha256(b"absent");
    client.get(&format!("/v2/here/blobs/{digest}")).expect_error(404, "BLOB_UNKNOWN");
    client.get("/v2/here/manifests/absent").expect_error(404, "MANIFEST_UNKNOWN");
    client.get(&format!("/v2/here/manifests/{digest}")).expect_error(404, "MANIFEST_UNKNOWN");
    client.delete(&format!("/v2/here/manifests/{digest}")).expect_error(404, "MANIFEST_UNKNOWN");
    client.get(&format!("/v2/here/blobs/uploads/{digest}")).expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    for path in ["/v2/here", "/v2/here/unknown/v1", "/v2/here/tags", "/v2/here/tags/list/more/and/more"] {
        client.get(path).expect_error_form(404);
    }
}

#[test]
fn methods_that_a_path_does_not_know_are_refused() {
    let server = server();
    let client = server.client();
    push_image(&client, "methods", "v1", "methods");
    let digest = sha256(b"{}");
    for (method, path) in [
        ("POST", "/v2/".to_owned()),
        ("DELETE", "/v2/_catalog".to_owned()),
        ("PUT", "/v2/methods/tags/list".to_owned()),
        ("PATCH", "/v2/methods/manifests/v1".to_owned()),
        ("PUT", format!("/v2/methods/blobs/{digest}")),
        ("GET", "/v2/methods/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/methods/referrers/{digest}")),
    ] {
        let refused = client.request(method, &path).body("").send().expect_error(405, "UNSUPPORTED");
        assert!(!refused.require("allow").contains(method), "{refused}");
    }
}

#[test]
fn bytes_that_are_no_http_do_no_harm() {
    let server = server();
    let client = server.client();
    let header = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(2_000_000));
    let line = format!("GET /v2/{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(50_000));
    let wrong: [&[u8]; 6] = [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v2/ HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        header.as_bytes(),
        line.as_bytes(),
        many.as_bytes(),
    ];
    for bytes in wrong {
        // The server may close before it has taken everything: then there is no answer, and that is fine.
        let Some(mut stream) = client.try_raw(bytes) else { continue };
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        if stream.read_to_end(&mut answer).is_ok() && !answer.is_empty() {
            let head = String::from_utf8_lossy(&answer);
            assert!(head.starts_with("HTTP/1.1 4"), "{head}");
        }
    }
    client.get("/v2/").expect(200);
}
