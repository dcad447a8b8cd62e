//! The journal, searched, exported and verified from the command line.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Person, assert_says, server};

/// Changes come into the journal shortly after they are made: runs a command until it says so.
fn when_it_says(person: &Person, line: &str, expect: &str) -> String {
    let started = Instant::now();
    loop {
        let (_, printed) = person.wharf(line).run_any();
        if printed.stdout.contains(expect) || started.elapsed() > Duration::from_secs(20) {
            assert_says(&printed.stdout, expect);
            return printed.stdout;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_pull_is_found_and_exported() {
    let server = server();
    let admin = Person::admin(&server);
    admin.says("project create HOST team");
    admin.push("team/app").run();
    admin.pull("team/app").run();
    when_it_says(&admin, "audit search HOST --action project.", "project.create");

    let table =
        admin.says("audit search HOST --project team --action pull --actor admin --from 1h --until 0s");
    assert!(table.starts_with("TIME "), "{table}");
    let pull = table.lines().find(|line| line.contains(" pull ")).expect("a manifest was pulled");
    for word in ["admin", "pull", "success", "team/app@sha256:", "127.0.0.1"] {
        assert_says(pull, word);
    }
    let search = |flags: &str| admin.wharf(&format!("audit search HOST --json {flags}")).run().json();
    let all = search("--oldest-first");
    let numbers: Vec<u64> = all.as_array().unwrap().iter().map(|one| one["seq"].as_u64().unwrap()).collect();
    assert!(numbers.len() > 3 && numbers.is_sorted(), "{numbers:?}");
    assert_eq!(search("--oldest-first --limit 2").as_array().unwrap(), &all.as_array().unwrap()[..2]);
    assert_eq!(search("--actor nobody"), Value::Array(Vec::new()));
    assert_eq!(search("--until 2020-01-31"), Value::Array(Vec::new()));

    let filters = "--action pull --repository team/app --oldest-first";
    let lines = admin.says(&format!("audit export HOST --format jsonl {filters}"));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(lines), search(filters));
    let syslog = admin.says(&format!("audit export HOST --format syslog {filters}"));
    assert!(syslog.lines().all(|line| line.starts_with('<') && line.contains("team/app")), "{syslog}");

    admin.says("user create HOST ann --no-password");
    let ann = Person::signed_in(&server, "ann", &admin.says("user reset-password HOST ann"));
    assert_says(&ann.refused("audit search HOST"), "audit.read");
    assert_says(&ann.refused("audit export HOST --format jsonl"), "audit.read");
}

#[test]
fn a_search_goes_over_several_pages() {
    let server = server();
    let admin = Person::admin(&server);
    admin.says("user create HOST ann --no-password");
    let password = admin.says("user reset-password HOST ann");
    let ann = server.client().basic("ann", password.trim());
    for _ in 0..1_100 {
        ann.get("/v2/team/app/manifests/v1").expect(403);
    }
    let count = |limit: usize| {
        let line = format!("audit search HOST --outcome denied --json --limit {limit}");
        admin.wharf(&line).run().json().as_array().unwrap().len()
    };
    assert_eq!(count(1_050), 1_050);
    assert!((1_100..5_000).contains(&count(5_000)));
}

#[test]
fn tampering_is_told_by_the_exit_code() {
    let server = server();
    let admin = Person::admin(&server);
    admin.says("project create HOST team");
    when_it_says(&admin, "audit search HOST --action project.", "project.create");
    let started = Instant::now();
    // Seals come each second.
    let sealed = || admin.wharf("audit verify HOST --json").run().json()["sealed_through"].as_u64().unwrap();
    let last = admin.wharf("audit search HOST --json --action project.").run().json()[0]["seq"].as_u64();
    while Some(sealed()) < last && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_says(&admin.says("audit verify HOST"), "the journal is sound");

    let files = std::fs::read_dir(server.data().join("audit")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).min().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"project.create\"", "\"project.delete\"")).unwrap();
    let (status, printed) = admin.wharf("audit verify HOST").run_any();
    assert_eq!(status.code(), Some(1));
    assert_says(&printed.stdout, "the journal is NOT sound");
    assert!(printed.stdout.lines().count() > 1, "the problems are printed: {}", printed.stdout);
}
