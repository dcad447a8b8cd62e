//! A project that replaces another registry: what is not here yet is read there, for a while, and told of.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_kit::house::{House, PASSWORD, image, pull, push_blob, put_manifest, send};
use test_kit::http::{Client, Response};
use test_kit::image::{INDEX, MANIFEST};
use test_kit::{Between, Daemon, Fault, WharfServer, free_port, temp_dir, tools};

use crate::{EXE, Pushed, metrics, push};

/// A docker-registry, and a registry whose project `team` replaces what lies below `team-a` there.
struct Scene {
    house: House,
    old: Between,
    /// Past what counts.
    upstream: Client,
    // Before the folder, because fields are dropped in this order and the process must end first.
    _daemon: Daemon,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = temp_dir();
        let authority = format!("127.0.0.1:{}", free_port());
        let config = format!(
            "version: 0.1\nhttp: {{addr: \"{authority}\"}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n",
            dir.path().join("data").display(),
        );
        std::fs::write(dir.path().join("config.yml"), config).expect("a file can be written");
        let mut command = Command::new(tools::path("docker-registry"));
        command.arg("serve").arg(dir.path().join("config.yml"));
        let mut daemon = Daemon::start(&mut command, &dir.path().join("log"));
        daemon.wait_until("it listened", |_| std::net::TcpStream::connect(&authority).ok());
        let old = Between::new(&authority);
        let section = format!(
            "[[upstream]]\nkey = \"old\"\nregistry = \"{}\"\nabsent_for = \"0s\"\nfresh_for = \"0s\"\n\
             stale_for = \"0s\"\ntimeout = \"2s\"\n",
            old.authority()
        );
        let server = WharfServer::builder(EXE).arg("--auth").arg("on").config(&section).start();
        let admin = server.client().basic("admin", &server.first_password());
        let house = House { server, admin };
        house.project("team", json!({"create_on_push": true}));
        let upstream = Client::new(&format!("http://{authority}"));
        Self { house, old, upstream, _daemon: daemon, _dir: dir }
    }

    /// The same, in which it is replaced.
    fn replacing() -> Self {
        let scene = Self::new();
        scene.set(json!({"upstream": "old", "prefix": "team-a"})).expect(200);
        scene
    }

    fn set(&self, body: Value) -> Response {
        send(&self.house.admin, "PUT", "/projects/team/-/fallback", &body)
    }

    fn admin(&self) -> &Client {
        &self.house.admin
    }

    /// Pushes to the registry that is replaced.
    fn there(&self, repository: &str, tag: &str) -> Pushed {
        push(&self.upstream, repository, tag, format!("{repository}:{tag}, there").as_bytes())
    }

    /// Whether anybody asked there since the last time.
    fn was_asked(&self) -> bool {
        self.old.take_requests().iter().any(|request| request != "GET /v2/")
    }

    fn uses(&self, project: &str) -> Vec<Value> {
        let path = format!("/api/v1/projects/{project}/-/fallback/uses");
        let uses = self.admin().get(&path).expect(200).json()["items"].clone();
        uses.as_array().expect("a list").clone()
    }

    fn tags(&self, query: &str) -> Value {
        self.admin().get(&format!("/v2/team/app/tags/list?{query}")).expect(200).json()["tags"].clone()
    }
}

/// Waits until something is so.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: it is not");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a report says of who read a reference how often.
fn told(uses: &[Value]) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut told: Vec<_> = uses
        .iter()
        .map(|used| {
            (text(&used["actor"]), text(&used["reference"]), used["times"].as_u64().expect("a count"))
        })
        .collect();
    told.sort();
    told
}

#[track_caller]
fn pull_all(client: &Client, repository: &str, tag: &str, expect: &Pushed) -> Response {
    let manifest = pull(client, repository, tag).expect(200);
    assert_eq!(manifest.body, expect.manifest);
    let blob = client.get(&format!("/v2/{repository}/blobs/{}", expect.layer_digest)).expect(200);
    assert_eq!(blob.body, expect.layer);
    manifest
}

#[test]
fn what_is_missing_is_read_there_until_it_is_here() {
    let scene = Scene::new();
    let (theirs, deep) = (scene.there("team-a/app", "v1"), scene.there("team-a/pay/app", "v1"));
    let ann = scene.house.member("ann", "developer", "team");
    pull(&ann, "team/app", "v1").expect_error(404, "MANIFEST_UNKNOWN");
    assert!(!scene.was_asked());
    scene.set(json!({"upstream": "old", "prefix": "team-a"})).expect(200);
    let answer = pull_all(&ann, "team/app", "v1", &theirs);
    let warning = answer.require("warning");
    assert!(warning.starts_with("299 - \"not here yet: from old, which"), "{warning}");
    pull_all(&ann, "team/pay/app", "v1", &deep);
    pull_all(&ann, "team/app", &theirs.digest, &theirs);
    // It is not here for all that, and was fetched once.
    let repositories = scene.admin().get("/v2/_catalog").expect(200).json()["repositories"].clone();
    assert_eq!(repositories, json!(["old/team-a/app", "old/team-a/pay/app"]));
    // What is pushed wins, and what it lacks is still read.
    scene.there("team-a/app", "v2");
    let ours = push(&ann, "team/app", "v1", b"ours");
    assert!(pull_all(&ann, "team/app", "v1", &ours).header("warning").is_none());
    pull(&ann, "team/app", "v2").expect(200);
    pull(&ann, "team/app", "v3").expect_error(404, "MANIFEST_UNKNOWN");
    pull(&ann, "team/none", "v1").expect_error(404, "MANIFEST_UNKNOWN");
    let text = metrics(&scene.house.server.client());
    assert!(text.contains("wharf_fallback_reads_total{upstream=\"old\"} 4\n"), "{text}");
}

#[test]
fn the_report_tells_who_depends_on_it_also_after_a_restart() {
    let mut scene = Scene::replacing();
    scene.there("team-a/app", "v1");
    scene.there("team-a/pay/app", "v2");
    let ann = scene.house.member("ann", "developer", "team");
    let robot = scene.house.robot("team", "ci", &["pull"]);
    for _ in 0..3 {
        pull(&ann, "team/app", "v1").expect(200);
    }
    pull(&scene.house.with(&robot), "team/pay/app", "v2").expect(200);
    let expect = [("ann".into(), "v1".into(), 3), (robot.name.clone(), "v2".to_owned(), 1)];
    assert_eq!(told(&scene.uses("team")), expect);
    pull(&ann, "team/app", "v1").expect(200);
    scene.house.server.terminate();
    scene.house.server.restart();
    assert_eq!(told(&scene.uses("team"))[0], ("ann".into(), "v1".into(), 4));
    // Each pull is in the journal, too.
    let path = "/api/v1/projects/team/-/audit?actor=ann&action=pull";
    let records = scene.admin().get(path).expect(200).json()["items"].clone();
    let details: Vec<_> =
        records.as_array().expect("records").iter().map(|record| record["detail"].clone()).collect();
    assert_eq!(details, ["fallback old"; 4], "{records}");
    // What is further in has its part of the report.
    scene.house.project("team/pay", json!({}));
    assert_eq!(told(&scene.uses("team/pay")), [(robot.name, "v2".to_owned(), 1)]);
}

#[test]
fn one_switch_ends_it_and_one_extends_it() {
    let scene = Scene::replacing();
    scene.there("team-a/app", "v1");
    let boss = scene.house.member("boss", "project-admin", "team");
    let path = "/api/v1/projects/team/-/fallback";
    let left = || scene.admin().get(path).expect(200).json()["days_left"].clone();
    let patch = |days: u64| send(&boss, "PATCH", "/projects/team/-/fallback", &json!({"days": days}));
    pull(&boss, "team/app", "v1").expect(200);
    assert_eq!(left(), 30);
    patch(10).expect(200);
    assert_eq!(left(), 40);
    boss.delete(path).expect(204);
    pull(&boss, "team/app", "v1").expect_error(404, "MANIFEST_UNKNOWN");
    let shown = scene.admin().get(path).expect(200).json();
    assert_eq!((&shown["active"], &shown["days_left"]), (&json!(false), &json!(0)));
    assert_eq!(scene.uses("team").len(), 1, "the report stays");
    patch(1).expect(200);
    pull(&boss, "team/app", "v1").expect(200);
    assert_eq!(left(), 1);
    let refused = patch(365).expect(400).json()["message"].to_string();
    assert!(refused.contains("who administers the registry can set it anew"), "{refused}");
}

#[test]
fn a_project_further_in_can_be_off_alone() {
    let scene = Scene::replacing();
    scene.there("team-a/app", "v1");
    scene.there("team-a/pay/app", "v1");
    scene.house.project("team/pay", json!({}));
    pull(scene.admin(), "team/pay/app", "v1").expect(200);
    scene.admin().delete("/api/v1/projects/team/pay/-/fallback").expect(204);
    pull(scene.admin(), "team/pay/app", "v1").expect_error(404, "MANIFEST_UNKNOWN");
    pull(scene.admin(), "team/app", "v1").expect(200);
    // Switched on again, it is what it was.
    send(scene.admin(), "PATCH", "/projects/team/pay/-/fallback", &json!({"days": 5})).expect(200);
    pull(scene.admin(), "team/pay/app", "v1").expect(200);
    let shown = scene.admin().get("/api/v1/projects/team/pay/-/fallback").expect(200).json();
    assert_eq!(shown["prefix"], "team-a/pay");
}

#[test]
fn who_may_not_pull_here_gets_nothing_from_there() {
    let scene = Scene::replacing();
    let theirs = scene.there("team-a/app", "v1");
    let stranger = scene.house.user("eve");
    for (client, status) in [(&stranger, 403), (&scene.house.anybody(), 401)] {
        pull(client, "team/app", "v1").expect(status);
        client.get(&format!("/v2/team/app/blobs/{}", theirs.layer_digest)).expect(status);
        client.get("/v2/team/app/tags/list").expect(status);
        client.get(&format!("/v2/team/app/referrers/{}", theirs.digest)).expect(status);
    }
    // And what lies elsewhere there is nobody's.
    scene.there("team-b/app", "v1");
    pull(scene.admin(), "other/app", "v1").expect(404);
    assert!(!scene.was_asked());
    // Who may pull in the project gets no other right by it.
    let ann = scene.house.member("ann", "developer", "team");
    pull(&ann, "old/team-a/app", "v1").expect(403);
}

#[test]
fn who_is_about_to_push_is_not_told_that_it_is_here() {
    let scene = Scene::replacing();
    let theirs = scene.there("team-a/app", "v1");
    let ann = scene.house.member("ann", "developer", "team");
    let pusher = scene.house.bearer(&ann, &["repository:team/app:pull,push"]);
    let puller = scene.house.bearer(&ann, &["repository:team/app:pull"]);
    for reference in ["v1", &theirs.digest] {
        let path = format!("/v2/team/app/manifests/{reference}");
        pusher.head(&path).expect(404);
        assert_eq!(puller.head(&path).expect(200).require("docker-content-digest"), theirs.digest);
        assert_eq!(ann.head(&path).expect(200).require("docker-content-digest"), theirs.digest);
    }
    for client in [&pusher, &puller, &ann] {
        client.head(&format!("/v2/team/app/blobs/{}", theirs.layer_digest)).expect(404);
    }
    // So what is there can be pushed as anything else.
    push_blob(&ann, "team/app", b"{}");
    push_blob(&ann, "team/app", &theirs.layer);
    let manifest: Value = serde_json::from_slice(&theirs.manifest).expect("JSON");
    put_manifest(&ann, "team/app", "v1", &manifest).expect(201);
    scene.admin().delete("/api/v1/projects/team/-/fallback").expect(204);
    pull_all(&ann, "team/app", "v1", &theirs);
}

#[test]
fn lists_have_what_is_here_and_what_is_there() {
    let scene = Scene::replacing();
    for tag in ["b", "c", "e", "g"] {
        scene.there("team-a/app", tag);
    }
    assert_eq!(scene.tags(""), json!(["b", "c", "e", "g"]));
    for tag in ["a", "c", "f", "h"] {
        push(scene.admin(), "team/app", tag, tag.as_bytes());
    }
    assert_eq!(scene.tags(""), json!(["a", "b", "c", "e", "f", "g", "h"]));
    let mut path = Some("/v2/team/app/tags/list?n=2".to_owned());
    let mut all = Vec::new();
    while let Some(next) = path {
        let page = scene.admin().get(&next).expect(200);
        all.extend(page.json()["tags"].as_array().expect("a list").clone());
        let link = page.header("link").and_then(|link| link.strip_prefix('<')?.split('>').next());
        path = link.map(str::to_owned);
    }
    assert_eq!(json!(all), json!(["a", "b", "c", "e", "f", "g", "h"]));
    scene.admin().get("/v2/team/none/tags/list").expect_error(404, "NAME_UNKNOWN");
}

#[test]
fn what_refers_to_something_is_told_wherever_it_is() {
    let scene = Scene::replacing();
    let theirs = scene.there("team-a/app", "v1");
    let signed = |client: &Client, repository: &str, seed: &str| {
        let (mut signature, bytes) = image(seed);
        push_blob(client, repository, b"{}");
        push_blob(client, repository, &bytes);
        signature["subject"] = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": theirs.digest, "size": theirs.manifest.len(),
        });
        put_manifest(client, repository, seed, &signature)
            .expect(201)
            .require("docker-content-digest")
            .to_owned()
    };
    let ours = signed(scene.admin(), "team/app", "ours");
    let path = format!("/v2/team/app/referrers/{}", theirs.digest);
    let digests = || {
        let manifests = scene.admin().get(&path).expect(200).json()["manifests"].clone();
        let digests = manifests.as_array().expect("a list").iter().map(|one| one["digest"].clone());
        digests.collect::<Vec<_>>()
    };
    assert_eq!(digests(), [ours.as_str()]);
    scene.old.fail(Fault::Down);
    assert_eq!(digests(), [ours.as_str()]);
    // That there is none cannot be said where nobody could be asked.
    let other = format!("/v2/team/app/referrers/{}", test_kit::sha256(b"another"));
    scene.admin().get(&other).expect(503);
}

#[test]
fn what_was_deleted_here_stays_deleted() {
    let scene = Scene::replacing();
    let theirs = scene.there("team-a/app", "v1");
    scene.there("team-a/app", "v2");
    let manifest: Value = serde_json::from_slice(&theirs.manifest).expect("JSON");
    push_blob(scene.admin(), "team/app", b"{}");
    push_blob(scene.admin(), "team/app", &theirs.layer);
    put_manifest(scene.admin(), "team/app", "v1", &manifest).expect(201);
    scene.admin().delete(&format!("/v2/team/app/manifests/{}", theirs.digest)).expect(202);
    for reference in ["v1", &theirs.digest] {
        pull(scene.admin(), "team/app", reference).expect_error(404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(scene.tags(""), json!(["v2"]));
    assert_eq!(scene.tags("n=1"), json!(["v2"]), "also where a page would have nothing else");
    pull(scene.admin(), "team/app", "v2").expect(200);
}

#[test]
fn when_it_fails_what_is_here_is_not_touched() {
    let scene = Scene::replacing();
    scene.there("team-a/app", "v2");
    let ours = push(scene.admin(), "team/app", "v1", b"ours");
    scene.old.fail(Fault::Down);
    let answer = pull(scene.admin(), "team/app", "v2").expect_error_form(503);
    answer.require("retry-after");
    let message = answer.json()["errors"][0]["message"].to_string();
    assert!(message.contains("`team/app` has no manifest `v2` yet"), "{message}");
    pull_all(scene.admin(), "team/app", "v1", &ours);
    assert_eq!(scene.tags(""), json!(["v1"]));
    push(scene.admin(), "team/app", "v3", b"ours, too");
    scene.admin().get("/v2/team/none/tags/list").expect(503);
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let scene = Scene::new();
    for (body, reason) in [
        (json!({"upstream": "new"}), "there is no upstream of this key"),
        (json!({"upstream": "https://old.example"}), "there is no upstream of this key"),
        (json!({"upstream": "old", "days": 0}), "`days` is a number from 1 to 365"),
        (json!({"upstream": "old", "days": 366}), "`days` is a number from 1 to 365"),
        (json!({"upstream": "old", "days": u64::MAX}), "`days` is a number from 1 to 365"),
        (json!({"upstream": "old", "days": -1}), "cannot be read"),
        (json!({"upstream": "old", "prefix": "../x"}), "`prefix` is a path"),
        (json!({"upstream": "old", "prefix": "A B"}), "`prefix` is a path"),
        (json!({"upstream": "old", "prefix": "a".repeat(10_000)}), "`prefix` is a path"),
        (json!({"upstream": "old", "until": "2030-01-01T00:00:00Z"}), "cannot be read"),
        (json!({}), "cannot be read"),
    ] {
        let message = scene.set(body.clone()).expect(400).json()["message"].to_string();
        assert!(message.contains(reason), "{body}: {message}");
    }
    let of = |method: &str, project: &str, body: Value| {
        send(scene.admin(), method, &format!("/projects/{project}/-/fallback"), &body)
    };
    let itself = of("PUT", "old", json!({"upstream": "old"})).expect(400).json()["message"].to_string();
    assert!(itself.contains("`old` is what an upstream has"), "{itself}");
    of("PUT", "nobodys", json!({"upstream": "old"})).expect(404);
    // Nothing was set by all that.
    of("GET", "team", Value::Null).expect(404);
    of("PATCH", "team", json!({"days": 3})).expect(404);
    of("DELETE", "team", Value::Null).expect(404);
    scene.admin().get("/api/v1/projects/team/-/fallback/uses").expect(404);
}

#[test]
fn who_runs_a_project_says_how_long_and_who_runs_the_registry_says_what() {
    let scene = Scene::new();
    let boss = scene.house.member("boss", "project-admin", "team");
    let set = json!({"upstream": "old"});
    send(&boss, "PUT", "/projects/team/-/fallback", &set).expect(403);
    scene.set(set).expect(200);
    send(&boss, "PATCH", "/projects/team/-/fallback", &json!({"days": 3})).expect(200);
    boss.get("/api/v1/projects/team/-/fallback/uses").expect(200);
    scene.house.user("eve");
    let eve = scene.house.anybody().basic("eve", PASSWORD);
    for path in ["", "/uses"] {
        eve.get(&format!("/api/v1/projects/team/-/fallback{path}")).expect(403);
    }
}

/// An index of two platforms at the registry that is replaced.
fn push_index(scene: &Scene) -> (String, Vec<Pushed>) {
    let children: Vec<_> = ["one", "two"].map(|tag| scene.there("team-a/multi", tag)).into();
    let manifests: Vec<_> = children
        .iter()
        .zip(["amd64", "arm64"])
        .map(|(child, architecture)| {
            json!({
                "mediaType": MANIFEST, "digest": child.digest, "size": child.manifest.len(),
                "platform": {"os": "linux", "architecture": architecture},
            })
        })
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    let put = scene.upstream.put("/v2/team-a/multi/manifests/all").header("Content-Type", INDEX);
    let digest = put.body(index).send().expect(201).require("docker-content-digest").to_owned();
    (digest, children)
}

#[test]
fn what_is_kept_is_here_when_the_other_registry_is_gone() {
    let scene = Scene::new();
    scene.set(json!({"upstream": "old", "prefix": "team-a", "keep": true})).expect(200);
    let (theirs, other) = (scene.there("team-a/app", "v1"), scene.there("team-a/app", "v2"));
    let (index, children) = push_index(&scene);
    let ann = scene.house.member("ann", "guest", "team");
    std::thread::scope(|threads| {
        for _ in 0..10 {
            threads.spawn(|| pull(&ann, "team/app", "v1").expect(200));
        }
    });
    // As docker does, which asks for the tag by HEAD and gets all else by digest.
    ann.head("/v2/team/multi/manifests/all").expect(200);
    ann.request("GET", &format!("/v2/team/multi/manifests/{index}"))
        .header("Accept", INDEX)
        .send()
        .expect(200);
    let is_here = |repository: &str, tag: &str| {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let found = ann.request("GET", &path).header("Accept", format!("{MANIFEST}, {INDEX}")).send();
        found.expect(200).header("warning").is_none()
    };
    until("the image is kept", || is_here("team/app", "v1"));
    until("the index is kept", || is_here("team/multi", "all"));
    // What nobody has pulled is not here, and what somebody pushed meanwhile is theirs.
    let ours = push(scene.admin(), "team/app", "v2", b"ours");
    scene.old.fail(Fault::Down);
    scene.admin().delete("/api/v1/projects/team/-/fallback").expect(204);
    pull_all(&ann, "team/app", "v1", &theirs);
    pull_all(&ann, "team/app", "v2", &ours);
    assert_ne!(ours.digest, other.digest);
    for child in &children {
        pull_all(&ann, "team/multi", &child.digest, child);
    }
    pull(&ann, "team/multi", "one").expect(404);
    // It was pushed once, by the registry itself.
    let path = "/api/v1/projects/team/-/audit?repository=team/app&actor=job:fallback&action=tag.set";
    until("the journal has it", || {
        let records = scene.admin().get(path).expect(200).json()["items"].clone();
        records.as_array().expect("records").len() == 1
    });
    let check = send(scene.admin(), "POST", "/check", &json!({})).expect(200);
    let text = String::from_utf8(check.body).expect("lines");
    assert!(text.contains("\"damaged\":0") && !text.contains("missing"), "{text}");
    send(scene.admin(), "POST", "/gc", &json!({})).expect(200);
    pull_all(&ann, "team/app", "v1", &theirs);
}
