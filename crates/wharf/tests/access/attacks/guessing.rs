//! Guesses: nothing but the right password forgives them, and nobody else pays for them.

use serde_json::json;
use test_kit::House;
use test_kit::house::{self, PASSWORD, personal_token, send};

const EXE: &str = env!("CARGO_BIN_EXE_wharf");

#[test]
fn a_token_of_a_user_forgives_no_guess_at_their_password() {
    let house = House::start(EXE);
    let bob = house.user("bob");
    let token = house.with(&personal_token(&bob, "bob", None));
    let guess = || house.anybody().basic("bob", "not it, and long enough").get("/api/v1/me").status;
    let mut seen = Vec::new();
    for _ in 0..12 {
        seen.extend((0..2).map(|_| guess()));
        // With a code the answer is never one that was remembered.
        token.with("X-Wharf-OTP", "1").get("/api/v1/me").expect(200);
    }
    assert!(seen.contains(&429), "{seen:?}");
}

#[test]
fn a_job_with_an_old_secret_makes_no_other_wait() {
    let house = House::start(EXE);
    house.project("team", json!({}));
    house::push(&house.admin, "team/app", "v1");
    let old = house.robot("team", "ci", &["pull"]);
    let path = "/projects/team/-/robots/ci/rotate";
    let new =
        house::credential(&send(&house.admin, "POST", path, &json!({"overlap_seconds": 0})).expect(200));
    for _ in 0..30 {
        house.with(&old).get("/v2/team/app/manifests/v1").expect(401);
    }
    house.with(&new).get("/v2/team/app/manifests/v1").expect(200);
}

#[test]
fn who_manages_users_ends_no_token_of_somebody_above_them() {
    let house = House::start(EXE);
    send(&house.admin, "PUT", "/roles/clerk", &json!({"actions": ["user.manage"]})).expect(200);
    let clerk = house.user("carl");
    house.give("carl", "clerk", None);
    let token = personal_token(&house.admin, "admin", None);
    let listed = clerk.get("/api/v1/users/admin/tokens").expect(200).json();
    let id = listed["items"][0]["id"].as_str().unwrap().to_owned();
    clerk.delete(&format!("/api/v1/users/admin/tokens/{id}")).expect(403);
    house.with(&token).get("/api/v1/me").expect(200);
}

#[test]
fn who_is_guessed_at_in_a_body_is_named_in_the_journal() {
    let house = House::start(EXE);
    house.user("carl");
    let sign_in = |password: &str| {
        send(&house.anybody(), "POST", "/session", &json!({"user": "carl", "password": password}))
    };
    sign_in("wrong").expect(401);
    sign_in(PASSWORD).expect(201);
    let change = json!({"user": "carl", "current": "wrong", "new": "a new one, and a long one"});
    send(&house.anybody(), "PUT", "/password", &change).expect(401);
    send(
        &house.anybody(),
        "PUT",
        "/password",
        &json!({"user": "carl", "current": "x", "new": "y", "bogus": 1}),
    )
    .expect(400);
    let found = house.admin.get("/api/v1/audit?actor=carl&action=sign-in&order=oldest").expect(200).json();
    let outcomes: Vec<&str> =
        found["items"].as_array().unwrap().iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["denied", "success", "denied"]);
}
