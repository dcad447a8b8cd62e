//! Uploads in every shape: whole, in pieces, out of order, cancelled, cut off, and over a crash.

use crate::{finish, push_blob, server, start_upload};
use std::time::Duration;
use test_kit::http::Client;
use test_kit::{random, sha256, sha512};

fn expect_blob(client: &Client, repository: &str, digest: &str, bytes: &[u8]) {
    let got = client.get(&format!("/v2/{repository}/blobs/{digest}")).expect(200);
    assert!(got.body == bytes, "other bytes than were pushed");
    assert_eq!(got.require("docker-content-digest"), digest);
}

#[test]
fn a_single_post_stores_a_blob() {
    let server = server();
    let client = server.client();
    for (seed, digest_of) in [(1, sha256 as fn(&[u8]) -> String), (2, sha512)] {
        let bytes = random::bytes(seed, 100_000);
        let digest = digest_of(&bytes);
        let path = format!("/v2/single/blobs/uploads/?digest={digest}");
        let created = client.request("POST", &path).body(bytes.as_slice()).send().expect(201);
        assert_eq!(created.location(), format!("/v2/single/blobs/{digest}"));
        assert_eq!(created.require("docker-content-digest"), digest);
        expect_blob(&client, "single", &digest, &bytes);
    }
}

#[test]
fn a_single_post_of_other_bytes_stores_nothing() {
    let server = server();
    let client = server.client();
    let digest = sha256(b"what was promised");
    let path = format!("/v2/single/blobs/uploads/?digest={digest}");
    client.request("POST", &path).body("what came").send().expect_error(400, "DIGEST_INVALID");
    client.head(&format!("/v2/single/blobs/{digest}")).expect(404);
    client.head(&format!("/v2/single/blobs/{}", sha256(b"what came"))).expect(404);
}

#[test]
fn a_digest_may_be_percent_encoded() {
    let server = server();
    let client = server.client();
    let digest = sha256(b"encoded");
    let upload = start_upload(&client, "encoded");
    client.put(&finish(&upload, &digest.replace(':', "%3A"))).body("encoded").send().expect(201);
    client.get(&format!("/v2/encoded/blobs/{}", digest.replace(':', "%3A"))).expect(200);
}

#[test]
fn an_upload_takes_bodies_without_a_length() {
    let server = server();
    let client = server.client();
    let bytes = random::bytes(3, 300_000);
    let upload = start_upload(&client, "stream");
    let pieces = bytes.chunks(70_001).map(<[u8]>::to_vec);
    let patched = client.patch(&upload).chunked(pieces).send().expect(202);
    assert_eq!(patched.require("range"), "0-299999");
    client.put(&finish(&patched.location(), &sha256(&bytes))).body("").send().expect(201);
    expect_blob(&client, "stream", &sha256(&bytes), &bytes);

    let whole = random::bytes(4, 200_000);
    let upload = start_upload(&client, "stream");
    let put = client.put(&finish(&upload, &sha256(&whole)));
    put.chunked(whole.chunks(33_333).map(<[u8]>::to_vec)).send().expect(201);
    expect_blob(&client, "stream", &sha256(&whole), &whole);
}

#[test]
fn an_upload_goes_on_after_a_crash_and_after_a_restart() {
    let mut server = server();
    let bytes = random::bytes(5, 3_000_000);
    let upload = start_upload(&server.client(), "crash");
    let client = server.client();
    let first = client.patch(&upload).header("Content-Range", "0-999999").body(&bytes[..1_000_000]);
    let mut upload = first.send().expect(202).location();
    for (number, end) in [2_000_000, 3_000_000].into_iter().enumerate() {
        if number == 0 {
            server.kill();
        } else {
            assert!(server.terminate().success());
        }
        server.restart();
        let client = server.client();
        let status = client.get(&upload).expect(204);
        let range = status.require("range").to_owned();
        let stored = range.strip_prefix("0-").and_then(|last| last.parse::<usize>().ok());
        // What was acknowledged need not be durable before the end, but what is told must be there.
        let start = stored.map_or(0, |last| if last == 0 { 0 } else { last + 1 });
        assert!(start <= end, "{range}");
        let piece = &bytes[start..end];
        let chunk = client.patch(&status.location()).header("Content-Range", format!("{start}-{}", end - 1));
        let patched = chunk.body(piece).send().expect(202);
        assert_eq!(patched.require("range"), format!("0-{}", end - 1));
        upload = patched.location();
    }
    let client = server.client();
    client.put(&finish(&upload, &sha256(&bytes))).body("").send().expect(201);
    expect_blob(&client, "crash", &sha256(&bytes), &bytes);
}

#[test]
fn a_chunk_out_of_order_is_refused_and_the_upload_goes_on() {
    let server = server();
    let client = server.client();
    let bytes = random::bytes(6, 3000);
    let upload = start_upload(&client, "order");
    let chunk = |path: &str, range: &str, bytes: &[u8]| {
        client.patch(path).header("Content-Range", range).body(bytes).send()
    };
    let upload = chunk(&upload, "0-999", &bytes[..1000]).expect(202).location();
    // A gap, a repetition and an overlap.
    for (start, end) in [(2000, 3000), (0, 1000), (500, 1500)] {
        let refused = chunk(&upload, &format!("{start}-{}", end - 1), &bytes[start..end]);
        refused.expect_error(416, "BLOB_UPLOAD_INVALID");
        let status = client.get(&upload).expect(204);
        assert_eq!(status.require("range"), "0-999");
        assert!(!status.location().is_empty());
    }
    for range in ["1000", "x-y", "2999-1000", "-1999", ""] {
        chunk(&upload, range, &bytes[1000..2000]).expect_error(400, "BLOB_UPLOAD_INVALID");
    }
    // The body is of another length than its range.
    let refused = chunk(&upload, "1000-1499", &bytes[1000..2000]);
    assert!(matches!(refused.status, 400 | 416), "{refused}");
    assert_eq!(client.get(&upload).expect(204).require("range"), "0-999");

    let upload = chunk(&upload, "1000-1999", &bytes[1000..2000]).expect(202).location();
    let last = client.put(&finish(&upload, &sha256(&bytes))).header("Content-Range", "2000-2999");
    last.body(&bytes[2000..]).send().expect(201);
    expect_blob(&client, "order", &sha256(&bytes), &bytes);
}

#[test]
fn an_upload_that_was_cut_off_keeps_what_came() {
    let server = server();
    let client = server.client();
    let bytes = random::bytes(7, 4_000_000);
    let upload = start_upload(&client, "cut");
    let cut = bytes[..2_500_000].to_vec();
    let mut stream = client.raw(
        format!("PATCH {upload} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", bytes.len()).as_bytes(),
    );
    std::io::Write::write_all(&mut stream, &cut).expect("the server reads");
    stream.shutdown(std::net::Shutdown::Both).expect("a connection can be closed");
    drop(stream);

    let upload = (0..1000).find_map(|_| {
        // While the server has not seen the end of the old connection, the upload is in use.
        std::thread::sleep(Duration::from_millis(10));
        let status = client.get(&upload);
        if status.status == 409 {
            return None;
        }
        let last: usize = status.expect(204).require("range")[2..].parse().expect("a range is 0-<last>");
        let start = if last == 0 { 0 } else { last + 1 };
        assert!(start <= cut.len(), "more than was sent");
        let rest = client.patch(&upload).header("Content-Range", format!("{start}-3999999"));
        let patched = rest.body(&bytes[start..]).send();
        assert!(matches!(patched.status, 202 | 409 | 416), "{patched}");
        (patched.status == 202).then(|| patched.location())
    });
    let upload = upload.expect("the upload is free again soon");
    client.put(&finish(&upload, &sha256(&bytes))).body("").send().expect(201);
    expect_blob(&client, "cut", &sha256(&bytes), &bytes);
}

#[test]
fn a_wrong_digest_at_the_end_stores_nothing() {
    let server = server();
    let client = server.client();
    let upload = start_upload(&client, "wrong");
    let other = sha256(b"other");
    client.put(&finish(&upload, &other)).body("these").send().expect_error(400, "DIGEST_INVALID");
    client.head(&format!("/v2/wrong/blobs/{other}")).expect(404);
    client.head(&format!("/v2/wrong/blobs/{}", sha256(b"these"))).expect(404);

    let upload = start_upload(&client, "wrong");
    client.put(&upload).body("these").send().expect_error(400, "DIGEST_INVALID");
    for digest in ["sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256", ""] {
        let upload = start_upload(&client, "wrong");
        client.put(&finish(&upload, digest)).body("these").send().expect_error(400, "DIGEST_INVALID");
    }
}

#[test]
fn the_algorithm_of_an_upload_can_be_named() {
    let server = server();
    let client = server.client();
    let bytes = random::bytes(8, 200_000);
    let start = client.post("/v2/algorithm/blobs/uploads/?digest-algorithm=sha512").expect(202);
    let upload = client.patch(&start.location()).body(bytes.as_slice()).send().expect(202).location();
    client.put(&finish(&upload, &sha512(&bytes))).body("").send().expect(201);
    expect_blob(&client, "algorithm", &sha512(&bytes), &bytes);
    client.post("/v2/algorithm/blobs/uploads/?digest-algorithm=md5").expect_error(400, "DIGEST_INVALID");
    // Two algorithms, two names: neither answers for the other.
    client.head(&format!("/v2/algorithm/blobs/{}", sha256(&bytes))).expect(404);
}

#[test]
fn a_cancelled_upload_is_gone() {
    let server = server();
    let client = server.client();
    let upload = start_upload(&client, "cancel");
    let upload = client.patch(&upload).body("some").send().expect(202).location();
    client.delete(&upload).expect(204);
    client.get(&upload).expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    client.patch(&upload).body("more").send().expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    let end = finish(&upload, &sha256(b"some"));
    client.put(&end).body("").send().expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    client.delete(&upload).expect_error(404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn an_upload_belongs_to_its_repository() {
    let server = server();
    let client = server.client();
    let upload = start_upload(&client, "mine");
    let elsewhere = upload.replace("/v2/mine/", "/v2/other/");
    client.get(&elsewhere).expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    client.patch(&elsewhere).body("some").send().expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    client.get(&upload).expect(204);
    for id in ["x", "00000000-0000-0000-0000-000000000000", "..", "%2e%2e", "a%2fb"] {
        let path = format!("/v2/mine/blobs/uploads/{id}");
        client.get(&path).expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[test]
fn a_mount_finds_what_is_there_and_else_starts_an_upload() {
    let server = server();
    let client = server.client();
    let digest = push_blob(&client, "from/here", b"shared");
    let absent = sha256(b"absent");
    let mount = |query: &str| client.post(&format!("/v2/to/there/blobs/uploads/?{query}"));

    for query in [format!("mount={absent}&from=from/here"), format!("mount={absent}")] {
        let started = mount(&query).expect(202);
        assert_eq!(client.get(&started.location()).expect(204).require("range"), "0-0");
    }
    mount(&format!("mount={digest}&from=no/such")).expect(202);
    client.head(&format!("/v2/to/there/blobs/{digest}")).expect(404);
    mount("mount=sha256:abc&from=from/here").expect_error(400, "DIGEST_INVALID");
    mount(&format!("mount={digest}&from=NOT/valid")).expect_error(400, "NAME_INVALID");

    let mounted = mount(&format!("mount={digest}&from=from/here")).expect(201);
    assert_eq!(mounted.location(), format!("/v2/to/there/blobs/{digest}"));
    expect_blob(&client, "to/there", &digest, b"shared");
    let anonymous = client.post(&format!("/v2/third/blobs/uploads/?mount={digest}")).expect(201);
    assert_eq!(anonymous.location(), format!("/v2/third/blobs/{digest}"));
    // What was mounted stays when the source goes.
    client.delete(&format!("/v2/from/here/blobs/{digest}")).expect(202);
    client.head(&format!("/v2/from/here/blobs/{digest}")).expect(404);
    expect_blob(&client, "third", &digest, b"shared");
}
