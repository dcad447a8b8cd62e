//! `wharf doctor`: what it finds on the way to a server, and on a machine.

use serde_json::Value;
use test_kit::certificate::Certificate;
use test_kit::{Between, Fault, WharfServer, temp_dir};

use crate::{Person, assert_says, server};

const EXE: &str = env!("CARGO_BIN_EXE_wharf");

/// What was found: the exit code, and `level what` of each line, with all that was said.
fn findings(person: &Person, line: &str) -> (Option<i32>, Vec<String>, String) {
    let nothing = person.home.path().join("nothing");
    let root = if line.contains("--root") { String::new() } else { format!(" --root {}", nothing.display()) };
    let (status, printed) = person.wharf(&format!("doctor {line} --json{root}")).run_any();
    let found: Value = serde_json::from_str(printed.text()).unwrap_or_else(|_| panic!("{}", printed.stderr));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let found = found.as_array().expect("a list").clone();
    let short = found.iter().map(|one| format!("{} {}", text(&one["level"]), text(&one["what"])));
    (status.code(), short.collect(), printed.stdout)
}

#[track_caller]
fn check(person: &Person, line: &str, code: i32, expect: &[&str]) -> String {
    let (status, found, all) = findings(person, line);
    assert_eq!((status, found), (Some(code), expect.iter().map(ToString::to_string).collect()), "{all}");
    all
}

#[test]
fn a_server_that_is_well_is_well() {
    let config = "[[upstream]]\nkey = \"hub\"\nregistry = \"127.0.0.1:1\"\n";
    let server = WharfServer::builder(EXE).arg("--auth").arg("on").config(config).start();
    let way = ["ok name", "ok connection", "ok answer", "ok clock", "ok token", "ok credential"];
    let nobody = Person::new(&server);
    assert_says(&check(&nobody, "HOST", 0, &way), "nobody is signed in");
    let admin = Person::admin(&server);
    admin.says("project create HOST team");
    admin.push("team/app").run();
    let image = format!("HOST --image {}/team/app:v1", admin.host);
    let more = |more: &[&'static str]| [&way[..], more].concat();
    assert_says(&check(&admin, &image, 0, &more(&["ok pull", "ok upstream"])), "is accepted");
    let absent = format!("HOST --image {}/team/app:v2", admin.host);
    check(&admin, &absent, 1, &more(&["fail pull", "ok upstream"]));
    admin.says("rehearse outage hub --host HOST --for 1s");
    check(&admin, "HOST", 0, &more(&["ok upstream"]));
    let lines = admin.wharf("doctor HOST").run().stdout;
    assert_says(&lines, "ok    answer       ");

    // A password that is none any more.
    admin.says("user create HOST ann --no-password");
    let ann = Person::signed_in(&server, "ann", &admin.says("user reset-password HOST ann"));
    admin.says("user reset-password HOST ann");
    let all = check(&ann, "HOST", 1, &[&way[..5], &["fail credential"]].concat());
    assert_says(&all, &format!("wharf login {}", ann.host));
}

#[test]
fn certificates_are_looked_at() {
    let folder = temp_dir();
    let path = |file: &std::path::Path| file.to_str().expect("a path in UTF-8").to_owned();
    let rest = ["ok connection", "ok answer", "ok clock"];

    let (ca, certificate) = Certificate::create_signed(folder.path(), "long");
    let server = WharfServer::builder(EXE).tls(&certificate).start();
    let person = Person::new(&server);
    let known = format!("HOST --ca {}", path(&ca));
    check(&person, &known, 0, &[&["ok name", "ok tls", "ok expiry"], &rest[..]].concat());
    let all = check(
        &person,
        "HOST --tls-verify",
        1,
        &["ok name", "fail tls", "ok expiry", "ok connection", "fail answer"],
    );
    assert_says(&all, "--ca FILE");
    // Spoken to without TLS, it answers nothing.
    check(&person, "HOST", 1, &["ok name", "ok connection", "fail answer"]);

    let certificate = Certificate::create(folder.path(), "short");
    let server = WharfServer::builder(EXE).tls(&certificate).start();
    let known = format!("HOST --ca {}", path(&certificate.cert));
    check(&Person::new(&server), &known, 0, &[&["ok name", "ok tls", "warn expiry"], &rest[..]].concat());
}

#[test]
fn what_stands_between_is_found() {
    let server = server();
    let between = Between::new(&server.authority());
    let mut person = Person::new(&server);
    person.host = between.authority();
    let answer = |status: u16, header: &str| between.fail(Fault::Status(status, header.to_owned()));
    let way = ["ok name", "ok connection"];
    let check = |more: &[&'static str], says: &str| {
        let all = check(&person, "HOST", 1, &[&way[..], more].concat());
        assert_says(&all, says);
    };
    // The token service is named by what the proxy calls the server.
    answer(401, "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:1/token\",service=\"wharf\"\r\n");
    check(&["ok answer", "fail token", "ok credential"], "Behind a proxy");
    answer(401, "WWW-Authenticate: Bearer realm=\"http://registry.internal/token\"\r\n");
    check(&["ok answer", "fail token", "ok credential"], "registry.internal");
    answer(401, "");
    check(&["fail answer"], "WWW-Authenticate");
    answer(404, "");
    check(&["fail answer"], "nothing at /v2/");
    answer(502, "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n");
    check(&["fail answer", "warn clock"], "the status 502");
    between.fail(Fault::Down);
    check(&["fail answer"], "cannot be reached");
    drop(between);
    person.host = format!("127.0.0.1:{}", test_kit::free_port());
    let (code, found, all) = findings(&person, "HOST");
    assert_eq!(
        (code, found),
        (Some(1), ["ok name", "fail connection", "fail answer"].map(String::from).to_vec()),
        "{all}"
    );
    person.host = "registry.invalid".to_owned();
    let (code, found, all) = findings(&person, "HOST");
    assert_eq!((code, found), (Some(1), vec!["fail name".to_owned()]), "{all}");
}

#[test]
fn a_machine_that_was_written_for_is_well() {
    let server = server();
    let person = Person::new(&server);
    let root = person.home.path().join("root");
    let root = root.to_str().expect("a path in UTF-8");
    for client in ["docker", "containerd", "podman --namespace docker.io=hub"] {
        person.says(&format!("client {client} --host HOST --write {root}"));
    }
    let way = ["ok name", "ok connection", "ok answer", "ok clock", "ok token", "ok credential"];
    // Only who writes config.toml can name the folder in it.
    let machine = ["ok docker", "ok containerd", "warn containerd", "ok podman"];
    check(&person, &format!("HOST --root {root}"), 0, &[&way[..], &machine].concat());
    check(&person, &format!("--root {root}"), 0, &machine);
    let refused = person.refused("doctor --root /nowhere");
    assert_says(&refused, "name one to look at");
}
