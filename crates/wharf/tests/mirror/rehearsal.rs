//! A rehearsed outage, from the command line: over the server's socket, as on a machine without users.

use std::process::Command;

use serde_json::Value;
use test_kit::house::pull;
use test_kit::{Cmd, Daemon, temp_dir};

use crate::{EXE, Scene};

/// `wharf` on the machine of the mirror.
fn wharf(scene: &Scene, words: &str) -> Cmd {
    Cmd::new(EXE).args(words.split(' ')).arg("--data").arg(scene.mirror.data())
}

fn closed(scene: &Scene) -> Value {
    wharf(scene, "upstream list --json").run().json()[0]["registries"][0]["closed"].clone()
}

/// Rehearses an outage while something is done; the command's exit code and all that it printed.
fn rehearse(scene: &Scene, meanwhile: impl FnOnce()) -> (Option<i32>, String) {
    let folder = temp_dir();
    let mut command = Command::new(EXE);
    command.args(["rehearse", "outage", "hub", "--for", "1h", "--data"]).arg(scene.mirror.data());
    let mut rehearsal = Daemon::start(&mut command, &folder.path().join("log"));
    rehearsal.wait_until("it began", |rehearsal| rehearsal.log().contains("is cut off").then_some(()));
    assert_eq!(closed(scene)["reason"], "it is cut off for a rehearsal");
    scene.between.take_requests();
    meanwhile();
    assert_eq!(scene.asked(), [""; 0], "it is cut off");
    rehearsal.signal(libc::SIGINT);
    let status = rehearsal.wait();
    assert_eq!(closed(scene), Value::Null, "it is over");
    (status.code(), rehearsal.log())
}

#[track_caller]
fn check(said: &(Option<i32>, String), code: i32, expect: &[&str]) {
    let (found, printed) = said;
    assert_eq!(*found, Some(code), "{printed}");
    for text in expect {
        assert!(printed.contains(text), "`{text}` is not in\n{printed}");
    }
}

#[test]
fn a_rehearsal_tells_whether_anybody_noticed() {
    let scene = Scene::new("stale_for = \"0s\"");
    let mirror = scene.mirror();
    let pushed = scene.push("library/app", "v1");
    let layer = format!("/v2/hub/app/blobs/{}", pushed.layer_digest);
    pull(&mirror, "hub/app", "v1").expect(200);
    mirror.get(&layer).expect(200);
    scene.settle();
    check(&rehearse(&scene, || {}), 0, &["from what is here: 0; failed: 0.", "Nobody asked"]);
    let seen = || {
        for _ in 0..3 {
            pull(&mirror, "hub/app", "v1").expect(200);
            mirror.get(&layer).expect(200);
        }
    };
    check(&rehearse(&scene, seen), 0, &["from what is here: 6; failed: 0.", "Nobody noticed."]);
    let unseen = || {
        pull(&mirror, "hub/app", "v1").expect(200);
        pull(&mirror, "hub/app", "v2").expect(503);
    };
    check(&rehearse(&scene, unseen), 1, &["from what is here: 1; failed: 1.", "Somebody noticed: 1 request"]);
    scene.push("library/app", "v2");
    pull(&mirror, "hub/app", "v2").expect(200);
}

#[test]
fn who_is_served_what_may_be_old_is_counted() {
    let scene = Scene::new("fresh_for = \"0s\"\nstale_for = \"0s\"");
    let mirror = scene.mirror();
    scene.push("library/app", "v1");
    pull(&mirror, "hub/app", "v1").expect(200);
    let stale = || {
        pull(&mirror, "hub/app", "v1").expect(200).require("warning");
    };
    check(&rehearse(&scene, stale), 0, &["here: 1 (1 with a warning", "but who reads warnings"]);
}

#[test]
fn a_rehearsal_ends_by_itself_and_by_hand() {
    let scene = Scene::new("");
    let told = wharf(&scene, "rehearse outage hub --for 1s --json").run().json();
    assert_eq!(told["noticed"], false, "{told}");
    assert_eq!(closed(&scene), Value::Null);
    let folder = temp_dir();
    let mut command = Command::new(EXE);
    command.args(["rehearse", "outage", "hub", "--data"]).arg(scene.mirror.data());
    let mut killed = Daemon::start(&mut command, &folder.path().join("log"));
    killed.wait_until("it began", |killed| killed.log().contains("is cut off").then_some(()));
    killed.kill();
    assert_ne!(closed(&scene), Value::Null, "nobody has ended it");
    wharf(&scene, "rehearse outage hub --end").run();
    assert_eq!(closed(&scene), Value::Null);

    let refused = wharf(&scene, "rehearse outage none").run_to_fail().stderr;
    assert!(refused.contains("there is no upstream `none`"), "{refused}");
    let refused = wharf(&scene, "rehearse outage hub --for 25h").run_to_fail().stderr;
    assert!(refused.contains("from 1 to 86400"), "{refused}");
}

#[test]
fn a_folder_without_a_server_has_nothing_to_rehearse() {
    let mut scene = Scene::new("");
    scene.mirror.terminate();
    let refused = wharf(&scene, "upstream list").run_to_fail().stderr;
    assert!(refused.contains("no server runs"), "{refused}");
}

#[test]
fn skopeo_pulls_through_what_is_printed_for_podman() {
    let scene = Scene::new("");
    let pushed = scene.push("library/app", "v1");
    let home = temp_dir();
    let host = scene.mirror.authority();
    let files = wharf(&scene, &format!("client podman --host {host}")).run().stdout;
    let folder = home.path().join(".config/containers/registries.conf.d");
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    std::fs::write(folder.join("50-wharf.conf"), files).expect("a file can be written");
    let inspect = Cmd::new("skopeo").env("HOME", home.path()).args(["inspect", "--raw"]);
    let raw = inspect.arg("docker://docker.io/app:v1").run().stdout;
    assert_eq!(raw.trim_end().as_bytes(), pushed.manifest);
}

#[test]
fn files_are_written_where_there_are_none() {
    let scene = Scene::new("");
    let folder = temp_dir();
    let root = folder.path().to_str().expect("a path in UTF-8");
    let write = |client: &str| wharf_alone(&format!("client {client} --host r.example:5000 --write {root}"));
    write("containerd").run();
    write("docker").run();
    write("docker").run();
    write("podman --namespace docker.io=hub").run();
    let daemon = folder.path().join("etc/docker/daemon.json");
    let mirrors: Value = serde_json::from_slice(&std::fs::read(&daemon).unwrap()).unwrap();
    assert_eq!(mirrors["registry-mirrors"], serde_json::json!(["https://r.example:5000"]));
    assert!(folder.path().join("etc/containerd/certs.d/_default/hosts.toml").exists());
    std::fs::write(&daemon, "{\"debug\": true}").unwrap();
    let refused = write("jenkins").run_to_fail().stderr;
    assert!(refused.contains("daemon.json is there already"), "{refused}");
    assert!(!folder.path().join("var").exists(), "all or nothing");
    drop(scene);
}

fn wharf_alone(words: &str) -> Cmd {
    Cmd::new(EXE).args(words.split(' '))
}
