//! The official OCI conformance suite, at the released version of the specification and at the coming one.
//!
//! No test of it may fail. One may be skipped only where the specification makes a thing optional and Wharf
//! chose otherwise; each such choice is named here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use test_kit::{Cmd, WharfServer, temp_dir};

/// What the suite may skip: at which version, a part of the test's name, and why that is right.
const MAY_SKIP: &[(&str, &str, &str)] =
    &[("1.1", "/blob-post-cancel", "cancelling an upload is newer than 1.1; the run at `dev` tests it")];

/// The suite's own default too: the specification lets a registry refuse such images.
const SPARSE: &str = "an image whose layers were never pushed could not be pulled, so its push is refused";

/// What the suite may leave off: at which version, the name in its results, and why that is right.
const MAY_BE_OFF: &[(&str, &str, &str)] = &[
    ("1.1", "Sparse Manifests", SPARSE),
    ("dev", "Sparse Manifests", SPARSE),
    ("1.1", "Blob upload cancel", "newer than 1.1; the run at `dev` tests it"),
    ("1.1", "Manifest put with tag params", "newer than 1.1; the run at `dev` tests it"),
    ("1.1", "Tag Param", "newer than 1.1; the run at `dev` tests it"),
    ("1.1", "Tag Param sha512", "newer than 1.1; the run at `dev` tests it"),
];

/// One test of the suite.
struct Outcome {
    name: String,
    status: String,
    message: String,
}

#[test]
fn the_released_specification_is_met() {
    conform("1.1");
}

#[test]
fn the_coming_specification_is_met() {
    conform("dev");
}

fn conform(version: &str) {
    let server = WharfServer::start(env!("CARGO_BIN_EXE_wharf"));
    let dir = temp_dir();
    let (_, printed) = Cmd::new("conformance")
        .current_dir(dir.path())
        .env("OCI_REGISTRY", server.authority())
        .env("OCI_TLS", "disabled")
        .env("OCI_REPO1", "conformance/one")
        .env("OCI_REPO2", "conformance/two")
        .env("OCI_VERSION", version)
        .env("OCI_DATA_SHA512", "true")
        .env("OCI_RESULTS_DIR", dir.path())
        .run_any();
    let outcomes = read_junit(&dir.path().join("junit.xml"));
    assert!(outcomes.len() > 500, "the suite ran {} tests only:\n{}", outcomes.len(), printed.stderr);

    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = String::new();
    for Outcome { name, status, message } in &outcomes {
        *counts.entry(status).or_default() += 1;
        let allowed =
            status == "skipped" && MAY_SKIP.iter().any(|(at, part, _)| *at == version && name.contains(part));
        if status != "passed" && !allowed {
            wrong += &format!("{status}: {name}: {message}\n");
        }
    }
    println!("conformance {version}: {counts:?}");
    assert!(wrong.is_empty(), "{counts:?}\n{wrong}");
    let results = fs::read_to_string(dir.path().join("results.yaml")).expect("the suite wrote its results");
    check_nothing_is_off(version, &results);
}

/// An API or a set of data that is switched off would hide what it tests.
fn check_nothing_is_off(version: &str, results: &str) {
    let (_, scores) = results.split_once("\napis:\n").expect("the results list the APIs");
    let scores: Vec<_> =
        scores.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(": ")).collect();
    assert!(scores.len() > 40, "the results have another form than expected: {results}");
    for (name, score) in scores {
        let off = MAY_BE_OFF.iter().any(|(at, what, _)| *at == version && *what == name);
        assert!(score == "Pass" || off, "{name}: {score}");
    }
}

/// Reads the suite's JUnit report, which has one element a line.
fn read_junit(file: &Path) -> Vec<Outcome> {
    let text = fs::read_to_string(file).expect("the suite wrote its report");
    let mut outcomes = Vec::<Outcome>::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("<testcase ") {
            let value = |key| attribute(line, key).expect("a test case has a name and a status").to_owned();
            outcomes.push(Outcome { name: value("name"), status: value("status"), message: String::new() });
        } else if let Some(message) = line.strip_prefix("<system-out>")
            && let Some(last) = outcomes.last_mut()
        {
            last.message = message.trim_end_matches("</system-out>").to_owned();
        }
    }
    outcomes
}

fn attribute<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(" {key}=\""))?;
    Some(rest.split_once('"')?.0)
}
