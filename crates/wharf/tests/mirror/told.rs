//! What an operator is told of upstreams: metrics, alerts, and the administration API.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use test_kit::house::{House, pull, send};
use test_kit::http::Client;
use test_kit::{Fault, WharfServer};

use crate::{EXE, Scene, metrics};

const RULES: &str = include_str!("../../../../deploy/prometheus/wharf.rules.yml");

/// An answer in which an upstream says what it allows.
fn limited(limit: u64, remaining: u64) -> Fault {
    let headers = format!("ratelimit-limit: {limit};w=21600\r\nratelimit-remaining: {remaining};w=21600\r\n");
    Fault::Status(404, headers)
}

/// A scene in which each of the counts is another.
fn busy() -> Scene {
    // With a site, whose metrics alerts are about, too.
    let dir = test_kit::temp_dir();
    let keys = dir.path().join("keys");
    std::fs::write(&keys, "01".repeat(32)).expect("a file can be written");
    let edge =
        format!("[edge]\nkey_file = \"{}\"\n[[edge.site]]\nurl = \"https://cdn.example\"", keys.display());
    let scene = Scene::new(&format!(
        "fresh_for = \"0s\"\nstale_for = \"0s\"\nabsent_for = \"0s\"\n{edge}\nprobe = false"
    ));
    let mirror = scene.mirror();
    let pushed = scene.push("library/app", "v1");
    pull(&mirror, "hub/app", "v1").expect(200);
    for _ in 0..3 {
        mirror.get(&format!("/v2/hub/app/blobs/{}", pushed.layer_digest)).expect(200);
        scene.settle();
    }
    scene.between.fail(limited(100, 7));
    pull(&mirror, "hub/app", "none").expect(404);
    pull(&mirror, "hub/app", "v1").expect(200);
    let fetched = pushed.manifest.len() + pushed.layer.len();
    let text = metrics(&mirror);
    assert!(
        text.contains(&format!("wharf_mirror_fetched_bytes_total{{upstream=\"hub\"}} {fetched}")),
        "{text}"
    );
    scene
}

#[test]
fn metrics_tell_how_upstreams_do() {
    let scene = busy();
    let text = metrics(&scene.mirror());
    let registry = format!("upstream=\"hub\",registry=\"{}\"", scene.between.authority());
    for line in [
        "wharf_mirror_hits_total{upstream=\"hub\"} 3".to_owned(),
        "wharf_mirror_misses_total{upstream=\"hub\"} 3".to_owned(),
        "wharf_mirror_stale_total{upstream=\"hub\"} 1".to_owned(),
        "wharf_mirror_failures_total{upstream=\"hub\"} 1".to_owned(),
        "wharf_mirror_downloads 0".to_owned(),
        format!("wharf_upstream_available{{{registry}}} 1"),
        format!("wharf_upstream_limit{{{registry}}} 100"),
        format!("wharf_upstream_remaining{{{registry}}} 7"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    scene.between.fail(Fault::Down);
    for number in 0..10 {
        pull(&scene.mirror(), "hub/app", &format!("none{number}"));
    }
    let line = format!("wharf_upstream_available{{{registry}}} 0");
    assert!(metrics(&scene.mirror()).contains(&line));
}

#[test]
fn a_registry_without_upstreams_tells_nothing_of_them() {
    let text = metrics(&WharfServer::start(EXE).client());
    assert!(!text.contains("upstream") && !text.contains("mirror"), "{text}");
}

#[test]
fn alerts_are_about_metrics_that_there_are() {
    let scene = busy();
    let text = metrics(&scene.mirror());
    let names: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let mut alerts = 0;
    let mut lines = RULES.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        let Some(alert) = line.strip_prefix("- alert: ") else { continue };
        let expression = lines.next().and_then(|line| line.strip_prefix("expr: "));
        let expression = expression.unwrap_or_else(|| panic!("{alert} begins with no expr"));
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let used: Vec<_> = words.filter(|word| word.starts_with("wharf_")).collect();
        assert!(!used.is_empty(), "{alert}");
        for name in used {
            assert!(names.contains(name), "{alert}: there is no {name} among {names:?}");
        }
        alerts += 1;
    }
    assert_eq!(alerts, RULES.matches("alert:").count());
}

/// A registry with users and two upstreams, of which one has two registries.
fn house() -> House {
    let config = "[[upstream]]\nkey = \"hub\"\nregistry = \"127.0.0.1:1\"\nnamespaces = [\"docker.io\"]\npathless = true\n\
                  [[upstream.also]]\nregistry = \"127.0.0.2:1\"\n\
                  [[upstream]]\nkey = \"quay\"\nregistry = \"quay.example\"\n";
    let server = WharfServer::builder(EXE).arg("--auth").arg("on").config(config).start();
    let admin = server.client().basic("admin", &server.first_password());
    House { server, admin }
}

fn registries(house: &House, upstream: usize) -> Value {
    house.admin.get("/api/v1/upstreams").expect(200).json()["items"][upstream]["registries"].clone()
}

#[test]
fn upstreams_are_listed_and_cut_off_by_administrators() {
    let house = house();
    let listed = house.admin.get("/api/v1/upstreams").expect(200).json();
    let idle = |host: &str| json!({"host": host, "available": true, "closed": null, "failures": 0, "limit": null, "remaining": null});
    let stats = json!({
        "hits": 0, "misses": 0, "stale": 0, "fetched_bytes": 0, "peer_bytes": 0, "failures": 0, "fallbacks": 0
    });
    let now = json!({"downloads": 16, "bandwidth": 0});
    let expect = json!({"items": [
        {"key": "hub", "namespaces": ["docker.io"], "pathless": true, "now": now, "stats": stats,
         "registries": [idle("127.0.0.1:1"), idle("127.0.0.2:1")]},
        {"key": "quay", "namespaces": ["quay.example"], "pathless": false, "now": now, "stats": stats,
         "registries": [idle("quay.example")]},
    ]});
    assert_eq!(listed, expect);

    let cut = |client: &Client, upstream: &str, seconds: Value| {
        send(client, "PUT", &format!("/upstreams/{upstream}/outage"), &json!({"seconds": seconds}))
    };
    cut(&house.admin, "hub", json!(86_400)).expect(204);
    for registry in registries(&house, 0).as_array().expect("a list") {
        assert_eq!(registry["closed"]["reason"], "it is cut off for a rehearsal");
        assert!(registry["closed"]["wait_seconds"].as_u64().is_some_and(|wait| wait > 86_000), "{registry}");
    }
    assert_eq!(registries(&house, 1), json!([idle("quay.example")]), "only the one");
    house.admin.delete("/api/v1/upstreams/hub/outage").expect(204);
    assert_eq!(registries(&house, 0)[0]["closed"], Value::Null);

    for wrong in [json!(0), json!(86_401), json!(-1), json!("10m"), Value::Null] {
        cut(&house.admin, "hub", wrong).expect(400);
    }
    cut(&house.admin, "none", json!(1)).expect(404);
    house.admin.delete("/api/v1/upstreams/none/outage").expect(404);
    let ann = house.user("ann");
    cut(&ann, "hub", json!(1)).expect(403);
    assert_eq!(registries(&house, 0)[0]["closed"], Value::Null);

    // Who cut it off is in the journal; that somebody looked is not.
    let records = house.admin.get("/api/v1/audit?text=v1/upstreams&order=oldest").expect(200).json();
    let told = |record: &Value| ["actor", "action", "outcome", "detail"].map(|name| record[name].clone());
    let records: Vec<_> = records["items"].as_array().expect("a list").iter().map(told).collect();
    let path = "/api/v1/upstreams/hub/outage";
    assert_eq!(records[0], ["admin", "begin_outage", "success", path]);
    assert_eq!(records[1], ["admin", "end_outage", "success", path]);
    assert!(records.iter().any(|record| *record == ["ann", "begin_outage", "denied", path]), "{records:?}");
    assert!(records.iter().all(|record| record[1] != "upstreams"), "{records:?}");
}
