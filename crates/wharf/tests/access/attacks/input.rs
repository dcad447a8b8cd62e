//! Too much of something: guesses, bytes, depth.

use crate::registry;
use serde_json::{Value, json};
use test_kit::house::{PASSWORD, ask_token, post_form, send};
use test_kit::http::Client;

#[test]
fn who_guesses_waits_and_others_do_not() {
    let house = registry();
    house.user("ann");
    let from = |address: &str| house.anybody().with("X-Forwarded-For", address);
    let attacker = from("203.0.113.1");
    // One password on many names.
    let mut refused = None;
    for number in 0..30 {
        let answer = attacker.basic(&format!("user{number}"), PASSWORD).get("/v2/");
        match answer.status {
            401 => assert!(refused.is_none(), "let in again: {answer}"),
            429 => refused = Some(answer),
            _ => panic!("{answer}"),
        }
    }
    let refused = refused.expect("thirty guesses are too many").expect_error(429, "TOOMANYREQUESTS");
    let wait: u64 = refused.require("retry-after").parse().expect("whole seconds");
    assert!((1..=900).contains(&wait), "{refused}");
    // The right password does not help now, in whatever way it comes, and the answer does not tell that it is right.
    let ann = attacker.basic("ann", PASSWORD);
    for answer in [ann.get("/v2/"), ann.get("/api/v1/me"), ask_token(&ann, &[], "")] {
        assert!(answer.expect(429).header("retry-after").is_some());
    }
    let form = [("grant_type", "password"), ("username", "ann"), ("password", PASSWORD)];
    post_form(&attacker, &form).expect(429);
    let change = json!({"user": "ann", "current": PASSWORD, "new": "rowing downstream at dusk"});
    send(&attacker, "PUT", "/password", &change).expect(429);
    // Elsewhere all goes on.
    from("203.0.113.2").basic("ann", PASSWORD).get("/v2/").expect(200);
    attacker.get("/v2/").expect(401);
}

#[test]
fn who_guesses_at_one_name_locks_nobody_out() {
    let house = registry();
    house.user("ann");
    let from = |address: &str| house.anybody().with("X-Forwarded-For", address);
    let statuses: Vec<u16> = (0..10)
        .map(|number| from("203.0.113.1").basic("ann", &format!("guess {number}")).get("/v2/").status)
        .collect();
    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses[5..].iter().all(|status| *status == 429), "{statuses:?}");
    from("203.0.113.2").basic("ann", PASSWORD).get("/v2/").expect(200);
    // While she is signed in elsewhere, a right guess is told apart from a wrong one no more than before.
    from("203.0.113.1").basic("ann", PASSWORD).get("/v2/").expect(429);
    // The address that is spoken for is the proxy's word: what its client says it is counts for nothing.
    let lie = from("198.51.100.9, 203.0.113.1");
    lie.basic("ann", PASSWORD).get("/v2/").expect(429);
}

#[test]
fn who_guesses_secrets_of_tokens_and_robots_waits() {
    let house = registry();
    house.project("team", json!({}));
    let robot = house.robot("team", "ci", &["pull"]);
    let from = |address: &str| house.anybody().with("X-Forwarded-For", address);
    // In the form of a secret, and one with a mistake in it.
    let other = house.robot("team", "other", &["pull"]).secret;
    let mistaken = format!("{}-", robot.secret);
    let guess = |number: usize| if number % 2 == 0 { &other } else { &mistaken };
    let attempt = |number| from("203.0.113.1").basic(&robot.name, guess(number)).get("/v2/").status;
    let statuses: Vec<u16> = (0..12).map(attempt).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    from("203.0.113.2").basic(&robot.name, &robot.secret).get("/v2/").expect(200);
}

#[test]
fn a_document_that_is_too_large_or_too_deep() {
    let house = registry();
    let before = house.admin.get("/api/v1/users").expect(200).json();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(4_000), close.repeat(4_000));
    let name = "x".repeat(70 << 10);
    let documents = [
        (json!({"name": "big", "email": name}).to_string(), 413),
        (deep("[", "]"), 400),
        (deep("{\"name\":", "}"), 400),
        (format!("{{\"name\":{}}}", deep("[", "]")), 400),
        ("[".repeat(60 << 10), 400),
        ("{\"name\": \"big\", \"name\": \"bigger\"}".into(), 400),
        ("{\"name\": \"big\", \"unknown\": 1}".into(), 400),
        ("{\"name\": 1e999}".into(), 400),
        ("null".into(), 400),
        ("\u{feff}{\"name\": \"big\"}".into(), 400),
    ];
    for (document, status) in documents {
        for (method, path) in [("POST", "/users"), ("PUT", "/password"), ("POST", "/me/tokens")] {
            let path = format!("/api/v1{path}");
            let answer = house.admin.request(method, &path).body(document.clone()).send();
            assert_eq!(answer.status, status, "{} {answer}", &document[..document.len().min(80)]);
        }
    }
    // The same where its length is not announced.
    let chunks = vec!["x".repeat(1 << 10); 70];
    house.admin.request("POST", "/api/v1/users").chunked(chunks).send().expect(413);
    assert_eq!(house.admin.get("/api/v1/users").expect(200).json(), before);
}

#[test]
fn nothing_that_is_compressed_is_unpacked() {
    let house = registry();
    house.project("team", json!({}));
    // gzip of `{"name":"zip"}`, which is short, as a bomb would be.
    let zipped: &[u8] = &[
        0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0x03, 0xab, 0x56, 0xca, 0x4b, 0xcc, 0x4d, 0x55, 0xb2, 0x52, 0xaa,
        0xca, 0x2c, 0x50, 0xaa, 0x05, 0x00, 0x4b, 0x9a, 0x07, 0x4c, 0x0e, 0x00, 0x00, 0x00,
    ];
    for coding in ["gzip", "deflate", "br", "zstd", "gzip, gzip"] {
        let client = house.admin.with("Content-Encoding", coding);
        client.request("POST", "/api/v1/users").body(zipped).send().expect(415);
        let form = client.with("Content-Type", "application/x-www-form-urlencoded");
        form.request("POST", "/token").body(zipped).send().expect(400);
        let manifest = client.with("Content-Type", test_kit::image::MANIFEST);
        let answer = manifest.put("/v2/team/app/manifests/v1").body(zipped).send();
        assert!(matches!(answer.status, 400 | 415), "{answer}");
    }
    house.admin.get("/api/v1/users/zip").expect(404);
}

#[test]
fn an_anonymous_flood_of_large_bodies_is_refused_before_it_is_read() {
    let house = registry();
    house.project("team", json!({}));
    let refuse = |client: &Client, method: &str, path: &str| {
        // Sixty-four times what may be sent: nobody reads it.
        let answer = client.request(method, path).streamed(4 << 20, std::io::repeat(b'x')).send();
        assert!(matches!(answer.status, 401 | 403), "{answer}");
    };
    let eve = house.user("eve");
    for client in [&house.anybody(), &eve] {
        refuse(client, "POST", "/api/v1/users");
        refuse(client, "PUT", "/v2/team/app/manifests/v1");
        refuse(client, "POST", "/v2/team/app/blobs/uploads/");
    }
}

#[test]
fn an_answer_with_a_secret_is_kept_by_nobody_in_between() {
    let house = registry();
    house.project("team", json!({}));
    house.user("ann");
    let answers = [
        send(&house.admin, "POST", "/me/tokens", &json!({"label": "x"})).expect(201),
        send(&house.admin, "POST", "/projects/team/-/robots", &json!({"name": "ci"})).expect(201),
        send(&house.admin, "POST", "/projects/team/-/robots/ci/rotate", &json!({})).expect(200),
        send(&house.admin, "POST", "/users/ann/reset-password", &json!({})).expect(200),
        ask_token(&house.admin, &[], "&offline_token=true").expect(200),
    ];
    for answer in &answers {
        assert_eq!(answer.require("cache-control"), "no-store", "{answer}");
    }
    // And none of it is in the log, nor in a list.
    let log = house.server.log();
    let lists = ["/me/tokens", "/projects/team/-/robots", "/users", "/users/ann"];
    let lists: String = lists
        .iter()
        .map(|path| {
            String::from_utf8_lossy(&house.admin.get(&format!("/api/v1{path}")).expect(200).body).into_owned()
        })
        .collect();
    for answer in &answers {
        let shown: Value = answer.json();
        for member in ["secret", "password", "token", "refresh_token"] {
            if let Some(secret) = shown[member].as_str() {
                assert!(!log.contains(secret) && !lists.contains(secret), "{member} is told elsewhere");
            }
        }
    }
    assert!(!lists.contains("argon2") && !lists.contains("hash"), "{lists}");
}
