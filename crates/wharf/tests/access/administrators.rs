//! Somebody who administers remains, whatever is changed, and by however many at once.

use crate::registry;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use test_kit::House;
use test_kit::house::send;
use test_kit::http::{Client, Response};

/// Sends a line such as `DELETE /users/ann`.
fn call(client: &Client, line: &str) -> Response {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let body = if method == "PATCH" { json!({"disabled": true}) } else { json!({}) };
    send(client, method, path, &body)
}

#[track_caller]
fn kept(client: &Client, line: &str) {
    let refused = call(client, line).expect(409);
    let message = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(message.contains("give somebody else") && message.contains("socket"), "{line}: {message}");
}

fn give(house: &House, principal: &str) {
    call(&house.admin, &format!("PUT /members/{principal}/system-admin")).expect(204);
}

#[test]
fn the_last_administrator_stays() {
    let house = registry();
    let admin = &house.admin;
    let own = ["DELETE /users/admin", "PATCH /users/admin", "DELETE /members/user:admin/system-admin"];
    own.iter().for_each(|line| kept(admin, line));

    // Others who do not count: they hold less, or not everywhere, cannot sign in, or are known elsewhere.
    house.project("team", json!({}));
    house.member("eve", "system-admin", "team");
    house.user("pat");
    house.give("pat", "project-admin", None);
    house.user("off");
    give(&house, "user:off");
    call(admin, "PATCH /users/off").expect(200);
    for (name, source) in [("lee", "ldap"), ("mia", "oidc"), ("sam", "local")] {
        send(admin, "POST", "/users", &json!({"name": name, "source": source})).expect(201);
        give(&house, &format!("user:{name}"));
    }
    own.iter().for_each(|line| kept(admin, line));
    // What they have goes, all the same.
    call(admin, "DELETE /members/user:off/system-admin").expect(204);
    call(admin, "DELETE /users/lee").expect(204);

    // By a group.
    let ann = house.user("ann");
    call(admin, "PUT /groups/operators").expect(200);
    give(&house, "group:operators");
    own.iter().for_each(|line| kept(admin, line));
    call(admin, "PUT /groups/operators/members/ann").expect(204);
    call(&ann, own[2]).expect(204);
    for line in [
        "DELETE /groups/operators",
        "DELETE /groups/operators/members/ann",
        "DELETE /members/group:operators/system-admin",
        "PATCH /users/ann",
        "DELETE /users/ann",
    ] {
        kept(&ann, line);
    }
    // What takes nothing away, is done.
    send(&ann, "PATCH", "/users/ann", &json!({"email": "ann@example.com"})).expect(200);
    call(&ann, "PUT /members/user:admin/system-admin").expect(204);
    call(&ann, "DELETE /groups/operators").expect(204);
    kept(admin, own[0]);
}

#[test]
fn the_socket_on_the_host_is_not_held_back() {
    let house = registry();
    let by_socket = |line: &str| {
        let mut stream = UnixStream::connect(house.server.data().join("wharf.sock")).unwrap();
        let (method, path) = line.split_once(' ').unwrap();
        let request = format!("{method} /api/v1{path} HTTP/1.1\r\nhost: wharf\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 204"), "{line}: {answer}");
    };
    let members = || house.admin.get("/api/v1/members");
    by_socket("DELETE /members/user:admin/system-admin");
    members().expect(403);
    by_socket("PUT /members/user:admin/system-admin");
    members().expect(200);
}

#[test]
fn of_two_who_take_it_from_each_other_one_remains() {
    let house = registry();
    let ann = house.user("ann");
    for round in 0..20 {
        give(&house, "user:ann");
        let barrier = Barrier::new(2);
        let take = |client: &Client, from: &str| {
            barrier.wait();
            call(client, &format!("DELETE /members/user:{from}/system-admin")).status
        };
        let outcomes = std::thread::scope(|scope| {
            let one = scope.spawn(|| take(&house.admin, "ann"));
            let other = scope.spawn(|| take(&ann, "admin"));
            [one.join().unwrap(), other.join().unwrap()]
        });
        let left = [&house.admin, &ann].map(|client| client.get("/api/v1/members").status);
        assert_eq!(left.iter().filter(|status| **status == 200).count(), 1, "{round}: {outcomes:?} {left:?}");
        if left[0] != 200 {
            let back: Value = json!({});
            send(&ann, "PUT", "/members/user:admin/system-admin", &back).expect(204);
        }
    }
}
