//! What is taken away is gone at the next request, however often the credential was used before.

use crate::registry;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use test_kit::house::{House, PASSWORD, credential, personal_token, pull, push, send, text, token};
use test_kit::http::Client;

const PULL: &str = "repository:team/app:pull,push";

/// A registry with an image in a private project.
fn house() -> House {
    let house = registry();
    house.project("team", json!({}));
    push(&house.admin, "team/app", "v1");
    house
}

/// The ways in which somebody pulls: with the credential itself and with an access token for it. Both have been used.
fn ways(house: &House, client: &Client) -> [Client; 2] {
    let ways = [client.clone(), house.bearer(client, &[PULL])];
    for way in &ways {
        pull(way, "team/app", "v1").expect(200);
        pull(way, "team/app", "v1").expect(200);
    }
    ways
}

#[track_caller]
fn expect_refused(ways: &[Client], status: u16) {
    for way in ways {
        pull(way, "team/app", "v1").expect(status);
    }
}

#[test]
fn a_revoked_token_stops() {
    let house = house();
    let ann = house.member("ann", "developer", "team");
    let personal = personal_token(&ann, "ann", None);
    let other = house.with(&personal_token(&ann, "ann", None));
    let ways = ways(&house, &house.with(&personal));
    let bare = house.anybody().bearer(&personal.secret);
    pull(&bare, "team/app", "v1").expect(200);
    let list = ann.get("/api/v1/me/tokens").expect(200).json();
    let id = list["items"].as_array().expect("a list").iter().map(|token| text(&token["id"]));
    let id = id.into_iter().find(|id| personal.secret.contains(id)).expect("the token is listed");
    ann.delete(&format!("/api/v1/me/tokens/{id}")).expect(204);
    expect_refused(&ways, 401);
    expect_refused(&[bare], 401);
    pull(&other, "team/app", "v1").expect(200);
}

#[test]
fn a_robot_that_is_deleted_or_disabled_stops() {
    let house = house();
    let (gone, off) = (house.robot("team", "gone", &["pull"]), house.robot("team", "off", &["pull"]));
    let (of_gone, of_off) = (ways(&house, &house.with(&gone)), ways(&house, &house.with(&off)));
    house.admin.delete("/api/v1/projects/team/-/robots/gone").expect(204);
    send(&house.admin, "PATCH", "/projects/team/-/robots/off", &json!({"disabled": true})).expect(200);
    expect_refused(&of_gone, 401);
    expect_refused(&of_off, 401);
    send(&house.admin, "PATCH", "/projects/team/-/robots/off", &json!({"disabled": false})).expect(200);
    expect_refused(&of_off, 200);
    // A robot of the same name is another one.
    house.robot("team", "gone", &["pull"]);
    expect_refused(&of_gone, 401);
}

#[test]
fn a_role_that_is_taken_away_stops() {
    let house = house();
    let ann = house.member("ann", "developer", "team");
    let personal = house.with(&personal_token(&ann, "ann", None));
    let ways = [ways(&house, &ann), ways(&house, &personal)].concat();
    house.take("ann", "developer", Some("team"));
    expect_refused(&ways, 403);
    house.give("ann", "guest", Some("team"));
    expect_refused(&ways, 200);
    for way in &ways {
        way.post("/v2/team/app/blobs/uploads/").expect(403);
    }
}

#[test]
fn a_role_or_group_that_is_changed_or_deleted_stops() {
    let house = house();
    let (admin, ann) = (&house.admin, house.user("ann"));
    send(admin, "PUT", "/roles/puller", &json!({"actions": ["pull"]})).expect(200);
    send(admin, "PUT", "/groups/crew", &json!({})).expect(200);
    admin.request("PUT", "/api/v1/groups/crew/members/ann").send().expect(204);
    admin.request("PUT", "/api/v1/projects/team/-/members/group:crew/puller").send().expect(204);
    let ways = ways(&house, &ann);
    send(admin, "PUT", "/roles/puller", &json!({"actions": ["push"]})).expect(200);
    expect_refused(&ways, 403);
    send(admin, "PUT", "/roles/puller", &json!({"actions": ["pull"]})).expect(200);
    expect_refused(&ways, 200);
    admin.delete("/api/v1/groups/crew/members/ann").expect(204);
    expect_refused(&ways, 403);
    admin.request("PUT", "/api/v1/groups/crew/members/ann").send().expect(204);
    expect_refused(&ways, 200);
    admin.delete("/api/v1/roles/puller").expect(204);
    expect_refused(&ways, 403);
    // A role, a group and a project of the same name are others: nobody has anything of them.
    send(admin, "PUT", "/roles/puller", &json!({"actions": ["pull"]})).expect(200);
    expect_refused(&ways, 403);
    admin.request("PUT", "/api/v1/projects/team/-/members/group:crew/puller").send().expect(204);
    expect_refused(&ways, 200);
    admin.delete("/api/v1/groups/crew").expect(204);
    send(admin, "PUT", "/groups/crew", &json!({})).expect(200);
    admin.request("PUT", "/api/v1/projects/team/-/members/group:crew/puller").send().expect(204);
    expect_refused(&ways, 403);
}

#[test]
fn a_project_that_is_made_again_is_open_to_nobody_who_knew_the_old_one() {
    let house = registry();
    house.project("team", json!({}));
    let ann = house.member("ann", "developer", "team");
    let robot = house.with(&house.robot("team", "ci", &["pull"]));
    for client in [&ann, &robot] {
        client.get("/v2/team/app/tags/list").expect(404);
    }
    house.admin.delete("/api/v1/projects/team").expect(204);
    house.project("team", json!({}));
    push(&house.admin, "team/app", "v1");
    pull(&ann, "team/app", "v1").expect(403);
    pull(&robot, "team/app", "v1").expect(401);
}

#[test]
fn a_user_who_is_kept_out_stops_with_all_their_tokens() {
    let house = house();
    let ann = house.member("ann", "developer", "team");
    let personal = house.with(&personal_token(&ann, "ann", None));
    let offline = test_kit::house::ask_token(&ann, &[PULL], "&offline_token=true").expect(200).json();
    let refresh = || {
        let token = text(&offline["refresh_token"]);
        let fields = [("grant_type", "refresh_token"), ("refresh_token", &*token), ("scope", PULL)];
        test_kit::house::post_form(&house.anybody(), &fields)
    };
    refresh().expect(200);
    let ways = [ways(&house, &ann), ways(&house, &personal)].concat();
    send(&house.admin, "PATCH", "/users/ann", &json!({"disabled": true})).expect(200);
    expect_refused(&ways, 401);
    refresh().expect(401);
    send(&house.admin, "PATCH", "/users/ann", &json!({"disabled": false})).expect(200);
    // What came of the password before stays ended. The password and personal access tokens go on.
    let [password, ended, personal @ ..] = &ways[..] else { panic!("two ways, and more") };
    expect_refused(std::slice::from_ref(ended), 401);
    refresh().expect(401);
    expect_refused(std::slice::from_ref(password), 200);
    expect_refused(personal, 200);
    house.admin.delete("/api/v1/users/ann").expect(204);
    expect_refused(&ways, 401);
    refresh().expect(401);
    // Somebody else of that name has nothing of it.
    let ann = house.user("ann");
    expect_refused(&ways[1..], 401);
    pull(&ann, "team/app", "v1").expect(403);
}

#[test]
fn a_project_that_is_closed_again_is_closed_to_tokens() {
    let house = house();
    send(&house.admin, "PATCH", "/projects/team", &json!({"public": true})).expect(200);
    let anonymous = house.bearer(&house.anybody(), &[PULL]);
    pull(&anonymous, "team/app", "v1").expect(200);
    send(&house.admin, "PATCH", "/projects/team", &json!({"public": false})).expect(200);
    pull(&anonymous, "team/app", "v1").expect(401);
}

#[test]
fn who_pulls_while_a_robot_gets_a_new_secret_never_fails() {
    let house = house();
    let old = house.robot("team", "ci", &["pull"]);
    let rotate = |overlap: u64| {
        let path = "/projects/team/-/robots/ci/rotate";
        credential(&send(&house.admin, "POST", path, &json!({"overlap_seconds": overlap})).expect(200))
    };
    let rotated = AtomicBool::new(false);
    let (client, bearer) = (house.with(&old), house.bearer(&house.with(&old), &[PULL]));
    let new = std::thread::scope(|scope| {
        for client in [&client, &bearer] {
            let rotated = &rotated;
            scope.spawn(move || {
                let mut after = 0;
                while after < 50 {
                    let seen = rotated.load(Ordering::SeqCst);
                    pull(client, "team/app", "v1").expect(200);
                    after += usize::from(seen);
                }
            });
        }
        let new = rotate(3_600);
        rotated.store(true, Ordering::SeqCst);
        new
    });
    assert_ne!(new.secret, old.secret);
    let of_new = ways(&house, &house.with(&new));
    pull(&client, "team/app", "v1").expect(200);

    // Without an overlap the one before stops at once, with the tokens that were given out for it.
    let newest = rotate(0);
    expect_refused(&of_new, 401);
    expect_refused(&[client, bearer], 401);
    pull(&house.with(&newest), "team/app", "v1").expect(200);
    assert!(!token(&house.with(&newest), &[PULL]).is_empty());
}

#[test]
fn who_goes_back_to_an_earlier_password_gets_in() {
    let house = house();
    let ann = house.member("ann", "developer", "team");
    pull(&ann, "team/app", "v1").expect(200);
    let change = |current: &str, new: &str| {
        let change = json!({"user": "ann", "current": current, "new": new});
        send(&house.anybody(), "PUT", "/password", &change).expect(204);
    };
    change(PASSWORD, "rowing downstream at dusk");
    pull(&house.anybody().basic("ann", "rowing downstream at dusk"), "team/app", "v1").expect(200);
    change("rowing downstream at dusk", PASSWORD);
    pull(&ann, "team/app", "v1").expect(200);
    pull(&house.anybody().basic("ann", "rowing downstream at dusk"), "team/app", "v1").expect(401);
}
