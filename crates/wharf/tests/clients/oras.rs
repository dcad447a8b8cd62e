//! oras: artifacts of any type, what is attached to them, and the graph that this makes.

use crate::skopeo::first_in_layout;
use crate::{Client, round_trip, server};
use std::fs;
use test_kit::image::Layout;
use test_kit::{Cmd, random, temp_dir};

/// oras, which keeps nothing.
pub struct Oras;

fn oras(words: &[&str]) -> Cmd {
    Cmd::new("oras").args(words)
}

impl Client for Oras {
    fn name(&self) -> &'static str {
        "oras"
    }

    fn push(&self, layout: &Layout, tag: &str, reference: &str) {
        let source = format!("{}:{tag}", layout.dir().display());
        oras(&["cp", "--no-tty", "--from-oci-layout", "--to-plain-http", &source, reference]).run();
    }

    fn pull(&self, reference: &str) -> String {
        let dir = temp_dir();
        let target = format!("{}:pulled", dir.path().display());
        oras(&["cp", "--no-tty", "--from-plain-http", "--to-oci-layout", reference, &target]).run();
        first_in_layout(dir.path())
    }
}

#[test]
fn oras_pushes_and_pulls() {
    round_trip(&Oras, &server());
}

#[test]
fn oras_attaches_and_discovers_artifacts() {
    let server = server();
    let dir = temp_dir();
    let content = random::bytes(4, 30_000);
    fs::write(dir.path().join("module.wasm"), &content).expect("a file can be written");
    fs::write(dir.path().join("sbom.json"), "{}").expect("a file can be written");
    fs::write(dir.path().join("signature"), "signed").expect("a file can be written");
    let reference = format!("{}/any/artifact:v1", server.authority());
    let here = |words: &[&str]| oras(words).current_dir(dir.path());

    here(&[
        "push",
        "--no-tty",
        "--plain-http",
        "--artifact-type=application/wasm",
        &reference,
        "module.wasm",
    ])
    .run();
    for (kind, file) in [("application/spdx+json", "sbom.json"), ("application/x-signature", "signature")] {
        here(&["attach", "--no-tty", "--plain-http", "--artifact-type", kind, &reference, file]).run();
    }
    let discover = ["discover", "--plain-http", "--format=json", &reference];
    let found = oras(&discover).run().json();
    let mut kinds: Vec<_> =
        found["referrers"].as_array().expect("referrers").iter().map(artifact_type).collect();
    kinds.sort();
    assert_eq!(kinds, ["application/spdx+json", "application/x-signature"]);
    let only = oras(&discover).arg("--artifact-type=application/x-signature").run().json();
    assert_eq!(only["referrers"].as_array().map(Vec::len), Some(1));

    let pulled = temp_dir();
    oras(&["pull", "--no-tty", "--plain-http", &reference, "--output"]).arg(pulled.path()).run();
    assert_eq!(fs::read(pulled.path().join("module.wasm")).expect("the file was pulled"), content);
    let copy = format!("{}/any/copy:v1", server.authority());
    oras(&["cp", "--no-tty", "-r", "--from-plain-http", "--to-plain-http", &reference, &copy]).run();
    let there = oras(&["discover", "--plain-http", "--format=json", &copy]).run().json();
    assert_eq!(there["referrers"].as_array().map(Vec::len), Some(2));
    assert_eq!(oras(&["repo", "tags", "--plain-http", &copy[..copy.len() - 3]]).run().text(), "v1");
}

fn artifact_type(referrer: &serde_json::Value) -> String {
    referrer["artifactType"].as_str().unwrap_or_default().to_owned()
}
