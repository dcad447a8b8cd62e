//! Upstreams that cannot be trusted any more, or trust the mirror no more: real certificates, users and passwords.

use std::fs;

use serde_json::json;
use test_kit::certificate::{Authority, Validity};
use test_kit::http::Client;
use test_kit::{House, WharfServer, house, temp_dir};

use crate::{EXE, Pushed, push};

/// So that each pull asks, and gives up soon.
const IMPATIENT: &str =
    "fresh_for = \"0s\"\nstale_for = \"0s\"\nabsent_for = \"0s\"\npatience = \"300ms\"\ntimeout = \"2s\"";

const PULLS: usize = 1_000;

fn section(upstream: &WharfServer, more: &str) -> String {
    let registry = upstream.authority();
    format!("[[upstream]]\nkey = \"hub\"\nregistry = \"{registry}\"\n{IMPATIENT}\n{more}\n")
}

fn mirror_of(upstream: &WharfServer, more: &str) -> WharfServer {
    WharfServer::builder(EXE).config(&section(upstream, more)).start()
}

fn blob_path(pushed: &Pushed) -> String {
    format!("/v2/hub/team/app/blobs/{}", pushed.layer_digest)
}

fn pulls_all(mirror: &Client, tag: &str, pushed: &Pushed) {
    assert_eq!(house::pull(mirror, "hub/team/app", tag).expect(200).body, pushed.manifest);
    assert!(mirror.get(&blob_path(pushed)).expect(200).body == pushed.layer);
}

/// What was seen is pulled again and again, and what was not is refused, in words.
fn check(mirror: &Client, seen: &Pushed, unseen: &Pushed, status: u16, words: &str) {
    for pull in 0..PULLS {
        match pull % 3 {
            0 => assert_eq!(house::pull(mirror, "hub/team/app", "seen").expect(200).body, seen.manifest),
            1 => {
                assert_eq!(house::pull(mirror, "hub/team/app", &seen.digest).expect(200).body, seen.manifest)
            }
            _ => assert!(mirror.get(&blob_path(seen)).expect(200).body == seen.layer),
        }
    }
    for answer in [house::pull(mirror, "hub/team/app", "unseen"), mirror.get(&blob_path(unseen))] {
        let answer = answer.expect_error_form(status);
        let message = answer.json()["errors"][0]["message"].to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn an_upstream_whose_certificate_has_expired() {
    let dir = temp_dir();
    let authority = Authority::create(dir.path(), "hub");
    let certificate = authority.sign(dir.path(), "hub", Validity::Good);
    let origin = WharfServer::start(EXE);
    let [seen, unseen] =
        ["seen", "unseen"].map(|tag| push(&origin.client(), "team/app", tag, tag.as_bytes()));
    let config = section(&origin, "plain_http = true");
    let mut upstream = WharfServer::builder(EXE).tls(&certificate).config(&config).start();
    let mirror = mirror_of(&upstream, &format!("prefix = \"hub\"\nca = \"{}\"", authority.cert.display()));
    pulls_all(&mirror.client(), "seen", &seen);

    authority.sign(dir.path(), "hub", Validity::Expired);
    upstream.restart();
    check(&mirror.client(), &seen, &unseen, 503, "hub");
    assert!(mirror.log().contains("expired"), "the administrator is told why");

    authority.sign(dir.path(), "hub", Validity::Good);
    upstream.restart();
    crate::until_well("the certificate", || {
        house::pull(&mirror.client(), "hub/team/app", "unseen").status == 200
    });
    pulls_all(&mirror.client(), "unseen", &unseen);
}

#[test]
fn an_upstream_that_has_revoked_the_mirrors_credentials() {
    let dir = temp_dir();
    let upstream = House::start(EXE);
    upstream.project("team", json!({}));
    let [seen, unseen] = ["seen", "unseen"].map(|tag| push(&upstream.admin, "team/app", tag, tag.as_bytes()));
    let robot = upstream.robot("team", "mirror", &["pull"]);
    let password = dir.path().join("password");
    fs::write(&password, &robot.secret).expect("the folder can be written to");
    let more =
        format!("plain_http = true\nusername = '{}'\npassword_file = \"{}\"", robot.name, password.display());
    let mirror = mirror_of(&upstream.server, &more);
    pulls_all(&mirror.client(), "seen", &seen);

    let rotate = "/projects/team/-/robots/mirror/rotate";
    let rotated = house::send(&upstream.admin, "POST", rotate, &json!({"overlap_seconds": 0})).expect(200);
    check(&mirror.client(), &seen, &unseen, 403, "hub");

    // The new secret needs no restart.
    fs::write(&password, house::credential(&rotated).secret).expect("the folder can be written to");
    crate::until_well("the password", || {
        house::pull(&mirror.client(), "hub/team/app", "unseen").status == 200
    });
    pulls_all(&mirror.client(), "unseen", &unseen);
}
