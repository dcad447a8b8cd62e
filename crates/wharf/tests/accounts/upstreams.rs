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

#[test]
fn a_project_replaces_a_registry_for_a_while() {
    let server =
        WharfServer::builder(env!("CARGO_BIN_EXE_wharf")).arg("--auth").arg("on").config(CONFIG).start();
    let admin = Person::admin(&server);
    admin.says("project create HOST team");
    assert_says(&admin.refused("project fallback HOST team"), "there is no registry that is replaced");
    assert_says(&admin.refused("project fallback HOST team --upstream new"), "wharf upstream list");
    assert_says(&admin.refused("project fallback HOST team --upstream hub --days 400"), "from 1 to 365");
    assert_says(&admin.refused("project fallback HOST team --upstream hub --off"), "cannot be used with");
    let set = admin.says("project fallback HOST team --upstream hub --prefix team-a --days 5 --keep");
    assert_says(&set, "path there  team-a");
    assert_says(&set, "kept        yes");
    assert_says(&set, "days left   5");
    let ann = Person::signed_in(&server, "ann", &{
        admin.says("user create HOST ann --no-password");
        admin.says("user reset-password HOST ann")
    });
    assert_says(&ann.refused("project fallback HOST team --extend 2"), "project.update");
    admin.says("member add HOST user:ann project-admin --project team");
    assert_says(&ann.refused("project fallback HOST team --upstream hub"), "system.administer");
    assert_says(&ann.says("project fallback HOST team --extend 2"), "days left   7");
    assert_says(&ann.says("project fallback HOST team --off"), "not read elsewhere any more");
    assert_says(&ann.says("project fallback HOST team"), "read now    no");
    assert_says(&ann.says("project fallback HOST team --report"), "WHO  REPOSITORY  REFERENCE");
    let shown = ann.wharf("project fallback HOST team --json").run().json();
    assert_eq!((&shown["upstream"], &shown["active"]), (&"hub".into(), &Value::Bool(false)));
}
