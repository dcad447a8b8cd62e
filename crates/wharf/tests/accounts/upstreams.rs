//! Upstreams over the network, by who is signed in.

use serde_json::Value;
use test_kit::WharfServer;

use crate::{Person, assert_says};

const CONFIG: &str =
    "[[upstream]]\nkey = \"hub\"\nregistry = \"127.0.0.1:1\"\nnamespaces = [\"docker.io\"]\n";

#[test]
fn administrators_list_upstreams_and_rehearse() {
    let server =
        WharfServer::builder(env!("CARGO_BIN_EXE_wharf")).arg("--auth").arg("on").config(CONFIG).start();
    let admin = Person::admin(&server);
    let table = admin.says("upstream list --host HOST");
    assert_says(&table, "KEY  NAMESPACES  REGISTRY     STATE");
    assert_says(&table, "hub  docker.io   127.0.0.1:1  ok");
    let told = admin.wharf("rehearse outage hub --host HOST --for 1s --json").run().json();
    assert_eq!((&told["upstream"], &told["noticed"]), (&"hub".into(), &Value::Bool(false)));

    let ann = Person::signed_in(&server, "ann", &{
        admin.says("user create HOST ann --no-password");
        admin.says("user reset-password HOST ann")
    });
    assert_says(&ann.refused("upstream list --host HOST"), "system.administer");
    assert_says(&ann.refused("rehearse outage hub --host HOST"), "system.administer");
    assert_says(&Person::new(&server).refused("upstream list --host HOST"), "wharf login");

    // With a second factor, one code is good for all requests of a rehearsal.
    admin.says("member add HOST user:ann system-admin");
    let (app, _) = crate::factors::enable(&ann);
    let code = crate::factors::code(&app, 1);
    assert_says(&ann.refused("rehearse outage hub --host HOST --for 1s"), "--otp CODE");
    ann.says(&format!("rehearse outage hub --host HOST --for 1s --otp {code}"));
}
