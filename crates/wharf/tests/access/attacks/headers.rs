//! What a request says in its headers, and what of it comes back or gets into the log.

use crate::registry;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::io::Read;
use test_kit::house::{PASSWORD, push, send};
use test_kit::http::{Client, Response};

/// What the server answers to a request with these lines, however broken: the head as it came, or nothing.
fn raw(client: &Client, request: &str) -> String {
    let Some(mut stream) = client.try_raw(request.as_bytes()) else { return String::new() };
    let mut answer = Vec::new();
    // What came before the connection was cut is what counts.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[track_caller]
fn expect_clean(answer: &Response) {
    for (name, value) in &answer.headers {
        assert!(name != "x-injected" && !value.contains("evil"), "{answer}");
    }
}

#[test]
fn a_host_gets_into_no_header_where_it_could_say_more() {
    let house = registry();
    house.project("team", json!({}));
    let anybody = house.anybody();
    let evil = [
        "evil\",scope=\"repository:other:pull",
        "evil.example/path",
        "evil.example?x",
        "evil.example#x",
        "user@evil.example",
        "evil example",
        "evil\\example",
        "\"evil\"",
        "evil;x",
        "http://evil",
        "",
    ];
    for host in evil {
        let client = anybody.with("X-Forwarded-Host", host);
        expect_clean(&client.get("/v2/"));
        expect_clean(&client.get("/v2/team/app/manifests/v1").expect(401));
        let signed_in = house.admin.with("X-Forwarded-Host", host);
        expect_clean(&signed_in.post("/v2/team/app/blobs/uploads/").expect(202));
        let answer =
            raw(&anybody, &format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        assert!(!answer.contains("evil"), "{answer}");
    }
    for (name, value) in [
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-Proto", "https\",evil=\""),
        ("X-Forwarded-Prefix", "//evil.example"),
        ("X-Forwarded-Prefix", "/\",evil=\""),
        ("X-Forwarded-Prefix", "/../evil"),
    ] {
        let client = house.admin.with(name, value);
        let upload = client.post("/v2/team/app/blobs/uploads/").expect(202);
        expect_clean(&upload);
        expect_clean(&anybody.with(name, value).get("/v2/").expect(401));
    }
}

#[test]
fn a_name_gets_into_no_header() {
    let house = registry();
    for name in ["eve\"evil", "eve\",evil=\"x", "eve\r\nx-injected: evil", "evil%0d%0ax-injected:%20evil"] {
        let client = house.anybody().basic(name, PASSWORD);
        expect_clean(&client.get("/v2/").expect(401));
        expect_clean(&client.get("/api/v1/me").expect(401));
        expect_clean(&client.get("/token").expect(401));
    }
    for name in ["evil%0d%0ax-injected:%20evil", "evil%22,evil=%22", "evil\"x", "evil,x"] {
        for path in [format!("/v2/{name}/manifests/v1"), format!("/v2/team/{name}/tags/list")] {
            let answer = house.anybody().get(&path);
            assert!((400..500).contains(&answer.status), "{answer}");
            expect_clean(&answer);
        }
    }
}

#[test]
fn a_line_of_the_log_stays_one_line() {
    let house = registry();
    let admin = &house.admin;
    let lines = house.server.log().lines().count();
    let evil = "%0d%0a2026-01-01T00:00:00.000000Z%20%20INFO%20forged%1b%5b31m%c2%85%e2%80%a8";
    let text = "\r\n2026-01-01T00:00:00.000000Z  INFO forged\u{1b}[31m\u{85}\u{2028}";
    for path in
        ["/api/v1/me/tokens/", "/api/v1/users/", "/api/v1/groups/", "/api/v1/roles/", "/api/v1/robots/"]
    {
        admin.delete(&format!("{path}{evil}"));
    }
    admin.request("PUT", &format!("/api/v1/members/user:admin/{evil}")).send().expect(404);
    admin.request("PUT", &format!("/api/v1/members/{evil}/guest")).send().expect(400);
    send(admin, "PUT", "/roles/forged", &json!({"actions": [text]})).expect(400);
    send(admin, "PUT", "/roles/forged", &json!({text: 1})).expect(400);
    send(admin, "POST", "/users", &json!({"name": text})).expect(400);
    send(admin, "PUT", "/groups/forged", &json!({"external": text})).expect(400);
    house.anybody().basic(text, PASSWORD).get("/api/v1/me").expect(401);
    house.anybody().basic("ann", text).get("/v2/").expect(401);
    house.anybody().get(&format!("/v2/{evil}/tags/list"));
    admin.with("X-Request-Id", "forged\u{7f}").get("/api/v1/nothing");
    let escape =
        "GET /api/v1/me HTTP/1.1\r\nHost: x\r\nUser-Agent: forged\u{1b}[31m\r\nConnection: close\r\n\r\n";
    raw(&house.anybody(), escape);
    admin.with("User-Agent", "forged \\n \"x\"").get("/api/v1/nothing").expect(404);

    let log = house.server.log();
    let written: Vec<_> = log.lines().skip(lines).collect();
    assert!(written.len() >= 8, "what was refused is in the log: {log}");
    for line in written {
        let is_forged = line.starts_with("2026-01-01") || !line.starts_with("20");
        let is_plain = !line.chars().any(|c| c.is_control() || c == '\u{2028}');
        assert!(!is_forged && is_plain, "{line:?}");
    }
}

#[test]
fn two_credentials_in_one_request_are_none() {
    let house = registry();
    house.project("team", json!({}));
    push(&house.admin, "team/app", "v1");
    let eve = house.user("eve");
    for both in [
        house.admin.basic("eve", PASSWORD),
        eve.basic("admin", &house.server.first_password()),
        house.admin.with("Authorization", ""),
        house.admin.bearer(&test_kit::house::token(&house.admin, &[])),
    ] {
        both.get("/v2/team/app/manifests/v1").expect(401);
        both.get("/api/v1/me").expect(401);
        both.get("/token").expect(401);
        both.get("/v2/").expect(401);
    }
}

#[test]
fn a_credential_that_cannot_be_read_is_none() {
    let house = registry();
    let basic = |text: &[u8]| format!("Basic {}", STANDARD.encode(text));
    let long = "x".repeat(21 << 10);
    for header in [
        format!("Basic {long}"),
        format!("Bearer {long}"),
        basic(format!("admin:{}", "x".repeat(12 << 10)).as_bytes()),
        basic(format!("{}:x", "x".repeat(600)).as_bytes()),
        basic(b"admin"),
        basic(b":"),
        basic(b"admin\xff:x"),
        basic(b"admin\0:x"),
        "Basic".into(),
        "Basic ====".into(),
        "Basic \"".into(),
        "Bearer".into(),
        "Negotiate abc".into(),
        "admin".into(),
        ", Basic".into(),
    ] {
        let client = house.anybody().with("Authorization", &header);
        client.get("/v2/").expect(401);
        client.get("/api/v1/me").expect(401);
        client.get("/token").expect(401);
        client.get("/v2/_catalog").expect(401);
    }
    // Longer than all headers may be together: the connection is refused before anything is looked at.
    let client = house.anybody();
    let huge =
        format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {}\r\n\r\n", "x".repeat(2 << 20));
    let answer = raw(&client, &huge);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    house.admin.get("/v2/").expect(200);
}
