//! Signing in and out: what is stored where, and who else can use it.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use test_kit::WharfServer;

use crate::{PASSWORD, Person, assert_says, server};

fn stored(person: &Person) -> Value {
    serde_json::from_slice(&std::fs::read(person.credentials()).expect("there is a file"))
        .expect("it is JSON")
}

#[test]
fn a_credential_is_checked_and_stored_for_others_to_use() {
    let server = server();
    let admin = Person::new(&server);
    assert_says(&admin.refused("whoami HOST"), &format!("wharf login {}", admin.host));

    let error = admin.login("admin", "not-the-password").run_to_fail().stderr;
    assert_says(&error, "does not let admin in");
    assert!(!admin.credentials().exists(), "a wrong password is not stored");

    std::fs::create_dir(admin.home.path().join(".docker")).unwrap();
    std::fs::write(admin.credentials(), r#"{"auths":{"other":{"auth":"eDp5"}},"psFormat":"p"}"#).unwrap();
    let said = admin.login("admin", &server.first_password()).run();
    assert_says(&said.stdout, &format!("signed in to {} as admin", admin.host));
    let mode = admin.credentials().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let file = stored(&admin);
    assert_eq!((&file["auths"]["other"], &file["psFormat"]), (&json!({"auth": "eDp5"}), &json!("p")));

    assert_says(&admin.says("whoami HOST"), "admin (by password)");
    admin.says("project create HOST team");
    admin.push("team/app").run();
    admin.pull("team/app").run();
    let target = format!("docker://{}/team/app:v1", admin.host);
    let seen = admin.program("skopeo").args(["inspect", "--tls-verify=false", &target]).run().json();
    assert_eq!(seen["Name"], format!("{}/team/app", admin.host));

    admin.says("logout HOST");
    assert_eq!(stored(&admin), json!({"auths": {"other": {"auth": "eDp5"}}, "psFormat": "p"}));
    admin.pull("team/app").run_to_fail();
    assert_says(&admin.refused("logout HOST"), "there is no credential");
}

#[test]
fn the_file_is_the_one_that_is_named() {
    let server = server();
    let admin = Person::new(&server);
    let file = admin.home.path().join("auth.json");
    let password = server.first_password();
    admin.login("admin", &password).env("REGISTRY_AUTH_FILE", &file).run();
    assert!(file.exists() && !admin.credentials().exists());
    let name =
        admin.wharf("whoami HOST --json").env("REGISTRY_AUTH_FILE", &file).run().json()["name"].clone();
    assert_eq!(name, "admin");
}

#[test]
fn a_helper_keeps_the_credential_where_the_file_names_one() {
    let server = server();
    let admin = Person::new(&server);
    let home = admin.home.path();
    let script = "#!/bin/sh\nkept=\"$HOME/kept\"\ncase $1 in\nstore) cat >\"$kept\" ;;\n\
                  get) cat \"$kept\" ;;\nerase) rm \"$kept\" ;;\nesac\n";
    let helper = home.join("docker-credential-box");
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(home.join(".docker")).unwrap();
    std::fs::write(admin.credentials(), r#"{"credsStore":"box"}"#).unwrap();
    let path = format!("{}:{}", home.display(), std::env::var("PATH").unwrap());

    let said = admin.login("admin", &server.first_password()).env("PATH", &path).run().stdout;
    assert_says(&said, "docker-credential-box");
    assert_eq!(stored(&admin)["auths"], json!({(admin.host.as_str()): {}}), "the secret is not in the file");
    let kept = std::fs::read_to_string(home.join("kept")).unwrap();
    assert_says(&kept, "\"Username\":\"admin\"");
    assert_says(&admin.wharf("whoami HOST").env("PATH", &path).run().stdout, "admin");

    admin.wharf("logout HOST").env("PATH", &path).run();
    assert!(!home.join("kept").exists());
    assert_eq!(stored(&admin)["auths"], json!({}));
}

#[test]
fn a_first_password_must_be_changed() {
    let server = server();
    let admin = Person::admin(&server);
    admin.wharf("user create HOST ann --password-stdin").stdin(PASSWORD).run();

    let ann = Person::new(&server);
    let error = ann.login("ann", PASSWORD).run_to_fail().stderr;
    assert_says(&error, &format!("wharf password {} --user ann", ann.host));
    let own = "another-horse-battery-staple";
    let change = |current: &str| {
        ann.wharf("password HOST --user ann --password-stdin").stdin(format!("{current}\n{own}\n"))
    };
    assert_says(&change("wrong").run_to_fail().stderr, "is wrong");
    change(PASSWORD).run();
    ann.login("ann", own).run();
    assert_says(&ann.says("whoami HOST"), "ann (by password)");

    // What is stored follows the change, so that the next command works.
    ann.wharf("password HOST --password-stdin").stdin(format!("{own}\n{PASSWORD}\n")).run();
    assert_says(&ann.says("whoami HOST"), "ann (by password)");
}

#[test]
fn nobody_is_asked_where_there_is_no_terminal() {
    let server = server();
    let admin = Person::admin(&server);
    for (line, expect) in [
        ("login HOST", "--user"),
        ("login HOST --user ann", "--password-stdin"),
        ("user create HOST ann", "--no-password"),
        ("password HOST", "--password-stdin"),
    ] {
        assert_says(&admin.refused(line), expect);
    }
    assert_says(&admin.wharf("user create HOST ann --password-stdin").run_to_fail().stderr, "on one line");
}

#[test]
fn a_registry_without_users_says_so() {
    let server = WharfServer::start(env!("CARGO_BIN_EXE_wharf"));
    let person = Person::new(&server);
    assert_says(&person.login("ann", PASSWORD).run_to_fail().stderr, "asks nobody who they are");
    assert_says(&person.refused("user list HOST"), "has no users");
}
