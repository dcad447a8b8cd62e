//! Every noun once from its making to its end.

use serde_json::{Value, json};

use crate::{PASSWORD, Person, assert_says, server};

#[test]
fn users_come_and_go() {
    let server = server();
    let admin = Person::admin(&server);
    let create = "user create HOST ann --email ann@example.com --display-name Ann --password-stdin";
    assert_eq!(admin.wharf(create).stdin(PASSWORD).run().text(), "made the user ann");
    admin.says("user create HOST bob --no-password");
    assert_eq!(admin.names("user list HOST"), ["admin", "ann", "bob"]);
    assert_says(&admin.refused("user create HOST ann --no-password"), "already");

    let shown = admin.says("user show HOST ann");
    assert_says(&shown, "email             ann@example.com");
    assert_says(&shown, "new password due  yes");
    admin.says("user update HOST ann --disable --email a@example.com");
    let ann = admin.wharf("user show HOST ann --json").run().json();
    assert_eq!((&ann["disabled"], &ann["email"]), (&json!(true), &json!("a@example.com")));

    // The password comes alone, and lets the user in at once.
    let password = admin.says("user reset-password HOST ann");
    let ann = Person::signed_in(&server, "ann", &password);
    assert_says(&ann.refused("user list HOST"), "user.manage");

    let id = ann.wharf("token create HOST --label laptop --json").run().json()["id"].clone();
    let id = id.as_str().unwrap();
    assert_eq!(admin.names("user token-list HOST ann"), [id]);
    admin.says(&format!("user token-revoke HOST ann {id}"));
    assert_eq!(admin.wharf("user token-list HOST ann --json").run().json(), json!([]));

    assert_eq!(admin.wharf("user delete HOST ann --json").run().json(), json!({}));
    assert_says(&admin.refused("user show HOST ann"), "there is no user `ann`");
    assert_says(&ann.refused("whoami HOST"), "wharf login");
}

#[test]
fn members_of_groups_have_their_roles() {
    let server = server();
    let admin = Person::admin(&server);
    admin.says("user create HOST ann --no-password");
    let ann = Person::signed_in(&server, "ann", &admin.says("user reset-password HOST ann"));
    admin.says("project create HOST team");
    admin.push("team/app").run();

    admin.says("role define HOST puller --action pull --action project.read --description Pulls");
    let roles = admin.wharf("role list HOST --json").run().json();
    let puller = roles.as_array().unwrap().iter().find(|role| role["name"] == "puller");
    assert_eq!(puller.map(|role| &role["actions"]), Some(&json!(["pull", "project.read"])));
    assert_says(&admin.refused("role define HOST puller --action fly"), "fly");

    let group = "cn=ops,dc=a/b";
    admin.says(&format!("group create HOST {group} --description Operators --external cn=ops"));
    assert_eq!(admin.names("group list HOST"), [group]);
    ann.pull("team/app").run_to_fail();
    admin.says(&format!("group add HOST {group} ann"));
    admin.says(&format!("member add HOST --project team group:{group} puller"));
    assert_eq!(admin.names(&format!("group members HOST {group}")), ["ann"]);
    assert_eq!(admin.names("member list HOST --project team"), [format!("group:{group}")]);
    ann.pull("team/app").run();
    ann.push("team/other").run_to_fail();
    assert_eq!(ann.names("project list HOST"), ["team"]);

    admin.says(&format!("group remove HOST {group} ann"));
    ann.pull("team/app").run_to_fail();
    admin.says("member add HOST user:ann puller");
    assert_says(&admin.says("member list HOST"), "user:ann    puller        *");
    ann.pull("team/app").run();
    admin.says("member remove HOST user:ann puller");
    admin.says(&format!("member remove HOST --project team group:{group} puller"));
    admin.says("role delete HOST puller");
    admin.says(&format!("group delete HOST {group}"));
    assert_eq!(admin.wharf("group list HOST --json").run().json(), json!([]));
}

#[test]
fn projects_have_settings() {
    let server = server();
    let admin = Person::admin(&server);
    let nobody = Person::new(&server);
    admin.says("project create HOST team --public=true --description Team");
    admin.says("project create HOST team/app --inherit-roles=false --create-on-push=true");
    admin.push("team/app/x").run();
    nobody.pull("team/app/x").run();
    assert_says(&admin.says("project show HOST team/app"), "public           yes (inherited)");

    admin.says("project update HOST team/app --public=false");
    nobody.pull("team/app/x").run_to_fail();
    admin.says("project update HOST team/app --public=inherit --create-on-push=inherit --inherit-roles=true");
    let project = admin.wharf("project show HOST team/app --json").run().json();
    let expect = json!({"public": null, "create_on_push": null, "inherit_roles": true, "is_public": true});
    for (name, value) in expect.as_object().unwrap() {
        assert_eq!(&project[name], value, "{name}");
    }
    assert_eq!(admin.names("project list HOST"), ["team", "team/app"]);
    assert_says(&admin.refused("project delete HOST team"), "not empty");
    admin.says("project create HOST brief");
    admin.says("project delete HOST brief");
    assert_says(&admin.refused("project show HOST brief"), "brief");
}

#[test]
fn a_robot_changes_its_secret_while_it_works() {
    let server = server();
    let admin = Person::admin(&server);
    admin.says("project create HOST team");
    admin.push("team/app").run();
    let old = admin.says("robot create HOST ci --project team --allow team=pull,push --expires 90d");
    let robot = Person::signed_in(&server, "robot$team+ci", &old);
    robot.push("team/built").run();
    assert_says(&robot.says("whoami HOST"), "(by robot)");

    let new = admin.says("robot rotate HOST ci --project team --overlap 24h");
    assert_ne!(old, new);
    robot.pull("team/app").run();
    let robot = Person::signed_in(&server, "robot$team+ci", &new);
    assert_says(&admin.says("robot show HOST ci --project team"), "secrets      2");
    let newest = admin.says("robot rotate HOST ci --project team --overlap 0s");
    robot.pull("team/app").run_to_fail();
    robot.login("robot$team+ci", &newest).run();

    admin.says("robot update HOST ci --project team --allow team=pull --description CI");
    robot.push("team/built").run_to_fail();
    admin.says("robot update HOST ci --project team --disable");
    robot.pull("team/app").run_to_fail();
    admin.says("robot update HOST ci --project team --enable");
    robot.pull("team/app").run();
    let robots = admin.wharf("robot list HOST --project team --json").run().json();
    assert_eq!(robots[0]["name"], "robot$team+ci");
    assert!(robots[0]["expires"].is_string(), "{robots}");

    admin.says("robot create HOST backup");
    assert_says(&admin.says("robot list HOST"), "robot$backup  *=pull");
    admin.says("robot delete HOST backup");
    admin.says("robot delete HOST ci --project team");
    robot.pull("team/app").run_to_fail();
}

#[test]
fn a_token_is_good_for_what_it_says() {
    let server = server();
    let admin = Person::admin(&server);
    admin.says("project create HOST team");
    admin.push("team/app").run();
    let create = "token create HOST --label laptop --allow team=pull --expires 1d --json";
    let token: Value = admin.wharf(create).run().json();
    assert_eq!(token["permissions"], json!([{"project": "team", "actions": ["pull"]}]));
    let laptop = Person::signed_in(&server, "admin", token["secret"].as_str().unwrap());
    laptop.pull("team/app").run();
    laptop.push("team/other").run_to_fail();
    assert_says(&laptop.refused("user list HOST"), "user.manage");

    let listed = admin.says("token list HOST");
    assert_says(&listed, "laptop");
    assert_says(&listed, "team=pull");
    assert!(!listed.contains(token["secret"].as_str().unwrap()));
    admin.says(&format!("token revoke HOST {}", token["id"].as_str().unwrap()));
    laptop.pull("team/app").run_to_fail();
    assert_eq!(admin.wharf("token list HOST --json").run().json(), json!([]));
}
