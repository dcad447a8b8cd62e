//! Names that are written so as to be taken for others.

use crate::registry;
use serde_json::json;
use test_kit::house::{PASSWORD, ask_token, push, send};

/// Other ways to write `secret/app`.
fn disguises() -> Vec<String> {
    let mut names: Vec<String> = [
        "Secret/app",
        "SECRET/APP",
        "secret//app",
        "/secret/app",
        "//secret/app",
        "./secret/app",
        "eve/../secret/app",
        "eve/..%2fsecret/app",
        "eve/%2e%2e/secret/app",
        "eve/.%2e/secret/app",
        "eve%2f..%2fsecret/app",
        "secret%2fapp",
        "secret%2Fapp",
        "%73ecret/app",
        "secret/%61pp",
        "secret/app/",
        "secret/app/.",
        "secret/app%00",
        "secret%00/app",
        "secret/app%20",
        "%20secret/app",
        "secret/app;x=y",
        "secret;x/app",
        "secret\\app",
        "eve\\..\\secret/app",
        "s%C3%A9cret/app",
        // A Cyrillic e, a full-width s, a zero-width space, a slash for fractions: to people they look the same.
        "s%D0%B5cret/app",
        "%EF%BD%93ecret/app",
        "secret%E2%80%8B/app",
        "secret%E2%81%84app",
        "secret%c0%afapp",
        "eve/%c0%ae%c0%ae/secret/app",
        "eve/%252e%252e/secret/app",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push(format!("{}secret/app", "a/".repeat(200)));
    names.push(format!("secret/app/{}", "a".repeat(1_000)));
    names
}

#[test]
fn no_disguise_opens_a_private_repository() {
    let house = registry();
    house.project("secret", json!({}));
    house.project("eve", json!({"public": true}));
    let image = push(&house.admin, "secret/app", "v1");
    push(&house.admin, "eve/app", "v1");
    let eve = house.member("eve", "project-admin", "eve");
    let token = house.bearer(&eve, &["repository:eve/app:pull,push", "repository:secret/app:pull"]);
    for client in [&eve, &token, &house.anybody()] {
        for name in disguises() {
            for (method, path) in [
                ("GET", format!("/v2/{name}/manifests/v1")),
                ("GET", format!("/v2/{name}/tags/list")),
                ("GET", format!("/v2/{name}/blobs/{}", image.layer)),
                ("PUT", format!("/v2/{name}/manifests/v2")),
                ("POST", format!("/v2/{name}/blobs/uploads/")),
                ("DELETE", format!("/v2/{name}/manifests/v1")),
            ] {
                let answer = client.request(method, &path).body("").send();
                assert!((400..500).contains(&answer.status), "{answer}");
                let body = String::from_utf8_lossy(&answer.body);
                assert!(!body.contains("schemaVersion") && !body.contains("\"v1\""), "{answer}");
            }
        }
    }
    assert_eq!(house.admin.get("/v2/secret/app/tags/list").json()["tags"], json!(["v1"]));
    let names = house.admin.get("/api/v1/projects").json();
    assert_eq!(names["items"].as_array().map(Vec::len), Some(2), "no project came into being: {names}");
}

#[test]
fn no_disguise_gets_a_token() {
    let house = registry();
    house.project("secret", json!({}));
    house.project("open", json!({"public": true}));
    push(&house.admin, "secret/app", "v1");
    let eve = house.user("eve");
    for name in disguises().into_iter().chain(["secret/app".to_owned(), "open/../secret/app".to_owned()]) {
        for client in [&eve, &house.anybody()] {
            let scope = format!("repository:{}:pull", name.replace('\\', "%5C").replace(';', "%3B"));
            let issued = ask_token(client, &[&scope], "");
            assert!(issued.status != 200 || issued.json()["scope"] == "", "{issued}");
        }
    }
}

#[test]
fn no_disguise_opens_the_administration() {
    let house = registry();
    house.project("secret", json!({}));
    house.project("eve", json!({}));
    let eve = house.member("eve", "project-admin", "eve");
    let inner = "/-/members/user:eve/project-admin";
    for name in disguises() {
        let name = name.trim_end_matches("/app");
        for client in [&eve, &house.anybody()] {
            for (method, path) in [
                ("GET", format!("/projects/{name}")),
                ("GET", format!("/projects/{name}/-/members")),
                ("PUT", format!("/projects/{name}{inner}")),
                ("PATCH", format!("/projects/{name}")),
                ("POST", format!("/projects/{name}/-/robots")),
                ("DELETE", format!("/projects/{name}")),
            ] {
                let answer = client.request(method, &format!("/api/v1{path}")).body("{}").send();
                assert!((400..500).contains(&answer.status), "{answer}");
                assert!(!String::from_utf8_lossy(&answer.body).contains("created"), "{answer}");
            }
        }
    }
    for path in [
        "/api/v1/users/",
        "/api/v1//users",
        "/api//v1/users",
        "/api/v1/me/../users",
        "/api/v1/./users",
        "/api/v1/%75sers",
        "/api/v1/me%2f..%2fusers",
        "/api/v1/USERS",
        "/api/V1/users",
        "/API/v1/users",
        "//api/v1/users",
        "/api/v1/users;a=b",
        "/v2/../api/v1/users",
        "/token/../api/v1/users",
        "/api/v1/projects/eve/-/../../../users",
        "/api/v1/projects/eve/-/members/../../secret",
        "/api/v1/projects/secret%2f-/members",
        "/api/v1/projects/eve/-%2f../secret",
    ] {
        for client in [&eve, &house.anybody()] {
            let answer = client.get(path);
            assert!((400..500).contains(&answer.status), "{answer}");
        }
    }
    let members = house.admin.get("/api/v1/projects/secret/-/members").expect(200).json();
    assert_eq!(members["items"], json!([]));
}

#[test]
fn nobody_takes_the_name_of_somebody_else() {
    let house = registry();
    house.user("ann");
    for name in [
        "Ann",
        "ANN",
        "ann ",
        " ann",
        "ann\u{200b}",
        "\u{430}nn",
        "ann\u{0}",
        "robot$ann",
        "ann:x",
        "ann/x",
        "",
    ] {
        let user = json!({"name": name, "password": "rowing upstream at dawn"});
        send(&house.admin, "POST", "/users", &user).expect(400);
        house.anybody().basic(name, PASSWORD).get("/v2/").expect(401);
    }
    send(&house.admin, "POST", "/users", &json!({"name": "ann"})).expect(409);
}
