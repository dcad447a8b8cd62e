//! People in a real LDAP directory: signing in, what their groups give, and what the directory takes away.

use serde_json::{Value, json};
use test_kit::Slapd;
use test_kit::slapd::{GROUPS, PEOPLE};

use crate::{World, basic, eventually};

/// A directory with these people, each with the password `NAME's secret`.
fn directory(names: &[&str]) -> Slapd {
    let slapd = Slapd::start();
    for name in names {
        slapd.add(&format!(
            "dn: uid={name},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: Dr {name}\nsn: {name}\n\
             mail: {name}@example.org\nuserPassword: {name}'s secret\n"
        ));
    }
    slapd
}

fn group(slapd: &Slapd, name: &str, member: &str) {
    slapd.add(&format!(
        "dn: cn={name},{GROUPS}\nobjectClass: groupOfNames\ncn: {name}\nmember: uid=nobody,{PEOPLE}\n\
         member: uid={member},{PEOPLE}\n"
    ));
}

fn membership(slapd: &Slapd, change: &str, name: &str, member: &str) {
    slapd.change(&format!(
        "dn: cn={name},{GROUPS}\nchangetype: modify\n{change}: member\nmember: uid={member},{PEOPLE}\n"
    ));
}

/// A server that asks this directory; the members of its `builders` push to `team`.
fn world(slapd: &Slapd, more: &str) -> World {
    let world = World::start(&format!(
        "[auth.ldap]\nurl = \"{}\"\nca = \"{}\"\nuser_base = \"{PEOPLE}\"\ngroup_base = \"{GROUPS}\"\n{more}",
        slapd.tls_url(),
        slapd.authority().display(),
    ));
    world.project("team");
    world.admin("PUT", "/groups/developers", json!({"external": "builders"})).expect(200);
    let path = "/projects/team/-/members/group:developers/developer";
    assert!(world.admin("PUT", path, Value::Null).status < 300);
    world
}

fn secret(name: &str) -> String {
    basic(name, &format!("{name}'s secret"))
}

/// A personal access token, as a header.
fn own_token(world: &World, who: &str, name: &str) -> String {
    let made = world.api(who, "POST", "/me/tokens", json!({"label": "ci"})).expect(201).json();
    basic(name, made["secret"].as_str().unwrap())
}

#[test]
fn the_first_sign_in_makes_a_user_with_the_roles_of_the_groups() {
    let slapd = directory(&["ann", "ben", "admin"]);
    group(&slapd, "builders", "ann");
    group(&slapd, "others", "ann");
    let world = world(&slapd, "");
    world.admin("GET", "/users/ann", Value::Null).expect(404);

    assert_eq!(world.push(&secret("ann"), "team/app"), 202);
    let user = world.admin("GET", "/users/ann", Value::Null).expect(200).json();
    for (field, expect) in [("source", "ldap"), ("email", "ann@example.org"), ("display_name", "Dr ann")] {
        assert_eq!(user[field], expect, "{user}");
    }
    let issued = world.token(&secret("ann"), "repository:team/app:pull,push,delete").expect(200).json();
    assert_eq!(issued["scope"], "repository:team/app:pull,push");
    assert!(issued["refresh_token"].is_null(), "it would outlive the password");
    assert_eq!(world.push(&crate::bearer(&issued), "team/app"), 202);
    assert_eq!(world.push(&own_token(&world, &secret("ann"), "ann"), "team/app"), 202);

    assert_eq!(world.name_of(&secret("ben")), Ok("ben".into()));
    assert_eq!(world.push(&secret("ben"), "team/app"), 403);
    assert_eq!(world.name_of(&basic("ANN", "ann's secret")), Ok("ann".into()));
    world.admin("POST", "/users/ann/reset-password", Value::Null).expect(400);
    world.admin("PATCH", "/users/ann", json!({"password": "correct horse battery"})).expect(400);
    assert!(world.server.log().contains("LDAP at ldaps://"), "the start says who lets people in");
}

#[test]
fn nobody_else_is_let_in() {
    let slapd = directory(&["ann", "admin"]);
    let world = world(&slapd, "");
    let check = |name: &str, password: &str| {
        assert_eq!(world.name_of(&basic(name, password)), Err(401), "{name}");
    };
    check("ann", "wrong");
    check("ann", "");
    check("eve", "eve's secret");
    check("*", "ann's secret");
    // The administrator here has the password of here, however the name is written.
    check("admin", "admin's secret");
    check("Admin", "admin's secret");
    let user = world.admin("GET", "/users/admin", Value::Null).expect(200).json();
    assert_eq!((&user["source"], &user["email"]), (&json!("local"), &json!("")));
    world.admin("GET", "/users/ann", Value::Null).expect(404);
}

#[test]
fn guesses_are_held_up() {
    let slapd = directory(&["ann"]);
    let world = world(&slapd, "");
    let status = |name: &str, password: &str| world.name_of(&basic(name, password));
    for name in ["ann", "ANN", "Ann", " ann", "aNN"] {
        assert_eq!(status(name, "wrong"), Err(401), "{name}");
    }
    assert_eq!(status("ann", "ann's secret"), Err(429), "five were wrong");
}

#[test]
fn what_the_directory_takes_away_is_gone() {
    let slapd = directory(&["ann"]);
    group(&slapd, "builders", "ann");
    let world = world(&slapd, "recheck = \"1s\"\n");
    let ann = secret("ann");
    let token = own_token(&world, &ann, "ann");
    let both = |expect: u16| {
        let answers = |who: &str| world.push(who, "team/app") == expect;
        eventually(&format!("{expect} for the password"), || answers(&ann));
        eventually(&format!("{expect} for the token"), || answers(&token));
    };
    both(202);
    membership(&slapd, "delete", "builders", "ann");
    both(403);
    membership(&slapd, "add", "builders", "ann");
    both(202);
    slapd.change(&format!("dn: uid=ann,{PEOPLE}\nchangetype: delete\n"));
    both(401);
}

#[test]
fn while_the_directory_is_down_who_was_verified_goes_on() {
    let mut slapd = directory(&["ann", "ben"]);
    group(&slapd, "builders", "ann");
    let mut world = world(&slapd, "recheck = \"1s\"\n");
    let ann = secret("ann");
    let token = own_token(&world, &ann, "ann");
    slapd.stop();
    eventually("the directory is asked in vain", || {
        assert_eq!(world.push(&ann, "team/app"), 202);
        assert_eq!(world.push(&token, "team/app"), 202);
        world.server.log().contains("who was verified within the last hour goes on")
    });
    let refused = world.api(&secret("ben"), "GET", "/me", Value::Null).expect(503);
    assert!(refused.json()["message"].as_str().unwrap().contains("cannot be looked up now"));
    assert_eq!(world.token(&secret("ben"), "").status, 503);
    assert_eq!(world.name_of(&world.admin), Ok("admin".into()));

    // A server that starts now has verified nobody.
    world.server.restart();
    assert_eq!(world.name_of(&world.admin), Ok("admin".into()));
    for who in [&ann, &token] {
        assert_eq!(world.name_of(who), Err(503));
    }
    slapd.start_again();
    assert_eq!(world.name_of(&secret("ben")), Ok("ben".into()));
    eventually("ann comes in again", || world.name_of(&ann).is_ok() && world.name_of(&token).is_ok());
}

#[test]
fn who_is_disabled_here_stays_out() {
    let slapd = directory(&["ann"]);
    let world = world(&slapd, "");
    let ann = secret("ann");
    let token = own_token(&world, &ann, "ann");
    let access = world.bearer(&ann, "registry:catalog:*");
    let of_v2 = |who: &str| world.server.client().request("GET", "/v2/").header("Authorization", who).send();
    let check = |who: &str, expect: u16| assert_eq!(of_v2(who).status, expect, "{who}");
    [&ann, &token, &access].iter().for_each(|who| check(who, 200));
    world.admin("PATCH", "/users/ann", json!({"disabled": true})).expect(200);
    [&ann, &token, &access].iter().for_each(|who| check(who, 401));
    assert_eq!(world.name_of(&basic("Ann", "ann's secret")), Err(401));
    world.admin("PATCH", "/users/ann", json!({"disabled": false})).expect(200);
    [&ann, &token].iter().for_each(|who| check(who, 200));
    check(&access, 401);
    // Deleted: the tokens are gone, and the next sign-in is a first one.
    assert!(world.admin("DELETE", "/users/ann", Value::Null).status < 300);
    assert_eq!(of_v2(&token).status, 401);
    eventually("a first sign-in", || of_v2(&ann).status == 200);
}

#[test]
fn without_create_users_they_are_made_beforehand() {
    let slapd = directory(&["ann"]);
    let world = world(&slapd, "create_users = false\n");
    assert_eq!(world.name_of(&secret("ann")), Err(401));
    let with_password = json!({"name": "ann", "source": "ldap", "password": "correct horse battery"});
    world.admin("POST", "/users", with_password).expect(400);
    world.admin("POST", "/users", json!({"name": "ann", "source": "ldap"})).expect(201);
    assert_eq!(world.name_of(&secret("ann")), Ok("ann".into()));
    let user = world.admin("GET", "/users/ann", Value::Null).expect(200).json();
    assert_eq!(user["email"], "ann@example.org");
}
