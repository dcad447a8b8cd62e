//! Who has some rights, and wants more.

use crate::registry;
use serde_json::json;
use test_kit::house::{ask_token, personal_token, pull, push, send, start_upload, text};

/// The names of the actions that somebody holds somewhere, as they see themselves.
fn held(client: &test_kit::http::Client) -> serde_json::Value {
    client.get("/api/v1/me").expect(200).json()["permissions"].clone()
}

#[test]
fn an_access_token_for_one_repository_does_not_open_another() {
    let house = registry();
    house.project("team", json!({}));
    let image = push(&house.admin, "team/a", "v1");
    push(&house.admin, "team/b", "v1");
    let client = house.bearer(&house.admin, &["repository:team/a:pull"]);
    pull(&client, "team/a", "v1").expect(200);
    pull(&client, "team/b", "v1").expect(401);
    client.get("/v2/team/b/tags/list").expect(401);
    client.get(&format!("/v2/team/b/blobs/{}", image.layer)).expect(401);
    client.post("/v2/team/a/blobs/uploads/").expect(401);
    client.delete("/v2/team/a/manifests/v1").expect(401);
    client.get("/v2/_catalog").expect(401);
    // The scope of a push does not reach into what the repository's name begins with, either.
    let client = house.bearer(&house.admin, &["repository:team/a:pull,push"]);
    for other in ["team/a/b", "team", "team/ab", "team/b"] {
        client.post(&format!("/v2/{other}/blobs/uploads/")).expect(401);
    }
    pull(&house.admin, "team/a", "v1").expect(200);
}

#[test]
fn an_access_token_administers_nothing() {
    let house = registry();
    house.project("team", json!({}));
    let personal = personal_token(&house.admin, "admin", None);
    let scopes = ["repository:team/app:*", "registry:catalog:*"];
    let client = house.bearer(&house.admin, &scopes);
    for path in ["/users", "/projects/team", "/members", "/robots", "/projects/team/-/robots", "/groups"] {
        client.get(&format!("/api/v1{path}")).expect(403);
    }
    for path in ["/gc", "/users/admin/reset-password", "/projects/team/-/robots", "/users"] {
        client.post(&format!("/api/v1{path}")).expect(403);
    }
    client.request("PUT", "/api/v1/members/user:admin/guest").send().expect(403);
    client.request("PUT", "/api/v1/projects/new").send().expect(403);
    // What is the user's own is not the token's, either.
    let tokens = house.admin.get("/api/v1/me/tokens").expect(200).json();
    let id = text(&tokens["items"][0]["id"]);
    client.get("/api/v1/me/tokens").expect(400);
    client.delete(&format!("/api/v1/me/tokens/{id}")).expect(400);
    send(&client, "POST", "/me/tokens", &json!({"label": "more"})).expect(400);
    house.with(&personal).get("/api/v1/me").expect(200);
    assert_eq!(client.get("/api/v1/projects").expect(200).json()["items"], json!([]));
}

#[test]
fn a_guest_gets_no_token_for_a_push() {
    let house = registry();
    house.project("team", json!({}));
    let guest = house.member("gast", "guest", "team");
    let issued = ask_token(&guest, &["repository:team/app:push,delete,*"], "").expect(200).json();
    assert_eq!(issued["scope"], "repository:team/app:pull");
    let client = house.anybody().bearer(&text(&issued["token"]));
    client.post("/v2/team/app/blobs/uploads/").expect(403);
    guest.post("/v2/team/app/blobs/uploads/").expect(403);
}

#[test]
fn a_personal_token_makes_no_other_and_ends_none() {
    let house = registry();
    house.project("team", json!({}));
    let ann = house.member("ann", "project-admin", "team");
    let other = house.with(&personal_token(&ann, "ann", None));
    let narrow = json!([{"project": "team", "actions": ["pull"]}]);
    let narrow = house.with(&personal_token(&ann, "ann", Some(narrow)));
    let tokens = ann.get("/api/v1/me/tokens").expect(200).json();
    for client in [&narrow, &other] {
        send(client, "POST", "/me/tokens", &json!({"label": "more"})).expect(400);
    }
    narrow.get("/api/v1/me/tokens").expect(400);
    for token in tokens["items"].as_array().expect("a list") {
        narrow.delete(&format!("/api/v1/me/tokens/{}", text(&token["id"]))).expect(400);
    }
    let robot = json!({"name": "ci", "permissions": [{"project": "team", "actions": ["push"]}]});
    send(&narrow, "POST", "/projects/team/-/robots", &robot).expect(403);
    assert_eq!(ann.get("/api/v1/me/tokens").expect(200).json()["items"].as_array().map(Vec::len), Some(2));
    other.get("/api/v1/me").expect(200);
}

#[test]
fn a_token_of_somebody_else_is_not_theirs_to_end() {
    let house = registry();
    let (ann, bob) = (house.user("ann"), house.user("bob"));
    let personal = house.with(&personal_token(&ann, "ann", None));
    let id = text(&ann.get("/api/v1/me/tokens").json()["items"][0]["id"]);
    bob.delete(&format!("/api/v1/me/tokens/{id}")).expect(404);
    bob.delete(&format!("/api/v1/users/ann/tokens/{id}")).expect(403);
    bob.get("/api/v1/users/ann/tokens").expect(403);
    personal.get("/api/v1/me").expect(200);
    // The secret of a token opens nothing under another name.
    let secret = personal_token(&ann, "ann", None).secret;
    for name in ["bob", "admin", "robot$ann", "ANN"] {
        house.anybody().basic(name, &secret).get("/api/v1/me").expect(401);
    }
}

#[test]
fn who_manages_users_does_not_become_the_administrator() {
    let house = registry();
    let admin = &house.admin;
    send(admin, "PUT", "/roles/user-manager", &json!({"actions": ["user.manage"]})).expect(200);
    send(admin, "PUT", "/groups/ops", &json!({})).expect(200);
    admin.request("PUT", "/api/v1/members/group:ops/system-admin").send().expect(204);
    let eve = house.user("eve");
    house.give("eve", "user-manager", None);
    let before = held(&eve);

    eve.post("/api/v1/users/admin/reset-password").expect(403);
    send(&eve, "PATCH", "/users/admin", &json!({"password": "rowing upstream at dawn"})).expect(403);
    send(&eve, "PATCH", "/users/admin", &json!({"disabled": true})).expect(403);
    eve.delete("/api/v1/users/admin").expect(403);
    eve.request("PUT", "/api/v1/groups/ops/members/eve").send().expect(403);
    send(&eve, "PUT", "/groups/ops", &json!({"external": "everybody"})).expect(403);
    eve.delete("/api/v1/groups/ops").expect(403);
    send(&eve, "PUT", "/roles/more", &json!({"actions": ["user.manage", "push"]})).expect(403);
    eve.request("PUT", "/api/v1/members/user:eve/system-admin").send().expect(403);

    // What they manage, they may.
    send(&eve, "POST", "/users", &json!({"name": "new", "password": "rowing upstream at dawn"})).expect(201);
    eve.post("/api/v1/users/new/reset-password").expect(200);
    assert_eq!(held(&eve), before);
    admin.get("/api/v1/me").expect(200);
    assert_eq!(admin.get("/api/v1/groups/ops/members").json()["items"], json!([]));
}

#[test]
fn who_defines_roles_defines_none_beyond_their_own() {
    let house = registry();
    let roles = json!({"actions": ["role.manage", "member.manage", "pull", "project.read"]});
    send(&house.admin, "PUT", "/roles/role-manager", &roles).expect(200);
    send(&house.admin, "PUT", "/roles/strong", &json!({"actions": ["user.manage"]})).expect(200);
    let eve = house.user("eve");
    house.give("eve", "role-manager", None);
    let before = held(&eve);

    for actions in [json!(["push"]), json!(["pull", "system.administer"]), json!(["user.manage"])] {
        send(&eve, "PUT", "/roles/mine", &json!({"actions": actions})).expect(403);
        // A role that they have themselves is the shortest way up.
        send(&eve, "PUT", "/roles/role-manager", &json!({"actions": actions})).expect(403);
    }
    for role in ["system-admin", "developer", "strong", "auditor"] {
        eve.request("PUT", &format!("/api/v1/members/user:eve/{role}")).send().expect(403);
    }
    // Neither is what others have theirs to take.
    eve.delete("/api/v1/members/user:admin/system-admin").expect(403);
    for built_in in ["guest", "system-admin"] {
        send(&eve, "PUT", &format!("/roles/{built_in}"), &json!({"actions": ["pull"]})).expect(400);
        eve.delete(&format!("/api/v1/roles/{built_in}")).expect(400);
    }
    send(&eve, "PUT", "/roles/strong", &json!({"actions": ["pull"]})).expect(403);
    eve.delete("/api/v1/roles/strong").expect(403);
    send(&eve, "PUT", "/roles/weak", &json!({"actions": ["pull"]})).expect(200);
    eve.request("PUT", "/api/v1/members/user:eve/guest").send().expect(204);
    eve.delete("/api/v1/members/user:eve/guest").expect(204);
    assert_eq!(held(&eve), before);
}

#[test]
fn the_admin_of_a_project_stays_in_it() {
    let house = registry();
    for name in ["team", "team/inner", "other"] {
        house.project(name, json!({}));
    }
    house.project("team/sealed", json!({"inherit_roles": false}));
    push(&house.admin, "other/app", "v1");
    push(&house.admin, "team/sealed/app", "v1");
    let eve = house.member("eve", "project-admin", "team");
    let before = held(&eve);

    for project in ["other", "team/sealed"] {
        let at = |rest: &str| format!("/api/v1/projects/{project}{rest}");
        eve.request("PUT", &at("/-/members/user:eve/guest")).send().expect(403);
        eve.get(&at("/-/members")).expect(403);
        eve.get(&at("")).expect(403);
        eve.request("PATCH", &at(""))
            .body(json!({"public": true, "inherit_roles": true}).to_string())
            .send()
            .expect(403);
        eve.post(&at("/-/robots")).expect(403);
        eve.request("PUT", &at("/inner")).send().expect(403);
        pull(&eve, &format!("{project}/app"), "v1").expect(403);
    }
    for role in ["system-admin", "auditor"] {
        // They read no state of the registry, so they cannot give that.
        eve.request("PUT", &format!("/api/v1/projects/team/-/members/user:eve/{role}")).send().expect(403);
    }
    eve.request("PUT", "/api/v1/members/user:eve/guest").send().expect(403);
    eve.request("PUT", "/api/v1/projects/new").send().expect(403);
    for permission in [
        json!({"project": "other", "actions": ["pull"]}),
        json!({"project": "team", "actions": ["user.manage"]}),
        json!({"project": "team/sealed", "actions": ["pull"]}),
        json!({"actions": ["pull"]}),
    ] {
        let robot = json!({"name": "ci", "permissions": [permission]});
        let refused = send(&eve, "POST", "/projects/team/-/robots", &robot);
        assert!(matches!(refused.status, 400 | 403), "{refused}");
    }
    assert_eq!(eve.get("/api/v1/projects/team/-/robots").json()["items"], json!([]));
    let names = eve.get("/api/v1/projects").expect(200).json();
    let names: Vec<_> =
        names["items"].as_array().expect("a list").iter().map(|item| text(&item["name"])).collect();
    assert_eq!(names, ["team", "team/inner"]);
    assert_eq!(held(&eve), before);
}

#[test]
fn the_robot_of_a_project_is_not_taken_over_by_who_may_less() {
    let house = registry();
    house.project("team", json!({}));
    let strong = house.robot("team", "strong", &["pull", "push", "artifact.delete"]);
    let roles = json!({"actions": ["robot.manage", "pull", "project.read"]});
    send(&house.admin, "PUT", "/roles/robot-manager", &roles).expect(200);
    let eve = house.member("eve", "robot-manager", "team");
    let path = "/projects/team/-/robots/strong";
    send(&eve, "POST", &format!("{path}/rotate"), &json!({})).expect(403);
    let more = json!({"permissions": [{"project": "team", "actions": ["pull", "push"]}]});
    send(&eve, "PATCH", path, &more).expect(403);
    start_upload(&house.with(&strong), "team/app");
    assert_eq!(house.admin.get(&format!("/api/v1{path}")).json()["secrets"], 1);
}

#[test]
fn who_must_change_their_password_can_do_nothing_else() {
    let house = registry();
    house.project("team", json!({}));
    send(&house.admin, "POST", "/users", &json!({"name": "new", "password": "rowing upstream at dawn"}))
        .expect(201);
    house.give("new", "developer", Some("team"));
    let new = house.anybody().basic("new", "rowing upstream at dawn");
    new.get("/api/v1/me").expect(401);
    new.get("/v2/").expect(401);
    new.post("/v2/team/app/blobs/uploads/").expect(401);
    ask_token(&new, &["repository:team/app:push"], "&offline_token=true").expect(401);
    send(&new, "POST", "/me/tokens", &json!({"label": "mine"})).expect(401);
    let change = |new: &str| json!({"user": "new", "current": "rowing upstream at dawn", "new": new});
    let anybody = house.anybody();
    send(&anybody, "PUT", "/password", &change("rowing upstream at dawn")).expect(400);
    send(&anybody, "PUT", "/password", &change("short")).expect(400);
    send(&anybody, "PUT", "/password", &change("rowing downstream at dusk")).expect(204);
    house.anybody().basic("new", "rowing downstream at dusk").get("/v2/").expect(200);
}
