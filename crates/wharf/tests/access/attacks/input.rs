//! Too much of something: guesses, bytes, depth.

use crate::registry;
use serde_json::{Value, json};
use test_kit::house::{PASSWORD, ask_token, post_form, send};
use test_kit::http::{Client, Response};

/// How often it is tried to catch somebody while they must wait. A wait is over after a second at first, so that a test
/// that was held up for as long comes too late; each time it is twice as long.
const ROUNDS: usize = 4;

/// A way for the user of a name to sign in.
type Attempt<'a> = &'a dyn Fn(&str) -> Response;

/// Guesses until one must wait.
#[track_caller]
fn guess(attempt: impl Fn(usize) -> Response) -> Response {
    let mut answers = (0..60).map(attempt).inspect(|answer| {
        assert!(matches!(answer.status, 401 | 429), "{answer}");
    });
    answers.find(|answer| answer.status == 429).expect("sixty guesses are too many")
}

#[test]
fn who_tries_one_password_on_many_names_waits_and_others_do_not() {
    let house = registry();
    let from = |address: &str| house.anybody().with("X-Forwarded-For", address);
    let attacker = from("203.0.113.1");
    let spray = || guess(|number| attacker.basic(&format!("nobody{number}"), PASSWORD).get("/v2/"));
    let refused = spray().expect_error(429, "TOOMANYREQUESTS");
    let wait: u64 = refused.require("retry-after").parse().expect("whole seconds");
    assert!((1..=900).contains(&wait), "{refused}");

    // The right password does not help then, in whatever way it comes, and the answer does not tell that it is right.
    let right: [(&str, Attempt<'_>); 5] = [
        ("registry", &|name| attacker.basic(name, PASSWORD).get("/v2/")),
        ("api", &|name| attacker.basic(name, PASSWORD).get("/api/v1/me")),
        ("token", &|name| ask_token(&attacker.basic(name, PASSWORD), &[], "")),
        ("form", &|name| {
            post_form(&attacker, &[("grant_type", "password"), ("username", name), ("password", PASSWORD)])
        }),
        ("password", &|name| {
            let change = json!({"user": name, "current": PASSWORD, "new": "rowing downstream at dusk"});
            send(&attacker, "PUT", "/password", &change)
        }),
    ];
    for (way, attempt) in right {
        let waits = (0..ROUNDS).any(|round| {
            let name = format!("{way}{round}");
            house.user(&name);
            spray();
            let answer = attempt(&name);
            answer.status == 429 && answer.header("retry-after").is_some()
        });
        assert!(waits, "the right password helps: {way}");
    }
    // Elsewhere all goes on, and who does not sign in is not held up.
    house.user("ann");
    from("203.0.113.2").basic("ann", PASSWORD).get("/v2/").expect(200);
    attacker.get("/v2/").expect(401);
}

#[test]
fn who_guesses_at_one_name_learns_nothing_and_locks_nobody_out() {
    let house = registry();
    let from = |address: &str| house.anybody().with("X-Forwarded-For", address);
    let waits = (0..ROUNDS).any(|round| {
        let name = format!("ann{round}");
        house.user(&name);
        let attacker = format!("203.0.113.{}", 10 + round);
        // She is signed in elsewhere, and what is remembered of her must not answer for the registry.
        from("203.0.113.2").basic(&name, PASSWORD).get("/v2/").expect(200);
        let attempt = |number| from(&attacker).basic(&name, &format!("guess {number}")).get("/v2/");
        for number in 0..5 {
            attempt(number).expect(401);
        }
        guess(attempt);
        // The address that counts is the proxy's word: what its client says it is counts for nothing.
        let addresses = [attacker.clone(), format!("198.51.100.9, {attacker}")];
        let held =
            addresses.iter().all(|address| from(address).basic(&name, PASSWORD).get("/v2/").status == 429);
        from("203.0.113.2").basic(&name, PASSWORD).get("/v2/").expect(200);
        held
    });
    assert!(waits, "a right guess is let in while wrong ones must wait");
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
    let guess = |number: usize| if number.is_multiple_of(2) { &other } else { &mistaken };
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
