//! skopeo: copies of images and of whole indexes, inspection, listing, deletion.

use crate::{Client, manifest, round_trip, server};
use std::path::Path;
use test_kit::image::{ImageSpec, Layout};
use test_kit::{Cmd, temp_dir};

/// skopeo, which keeps nothing: it pulls into a layout of its own.
pub struct Skopeo;

impl Client for Skopeo {
    fn name(&self) -> &'static str {
        "skopeo"
    }

    fn push(&self, layout: &Layout, tag: &str, reference: &str) {
        let source = format!("oci:{}:{tag}", layout.dir().display());
        copy().args(["--dest-tls-verify=false", &source, &format!("docker://{reference}")]).run();
    }

    fn pull(&self, reference: &str) -> String {
        let dir = temp_dir();
        let target = format!("oci:{}:pulled", dir.path().display());
        copy().args(["--src-tls-verify=false", &format!("docker://{reference}"), &target]).run();
        first_in_layout(dir.path())
    }
}

fn copy() -> Cmd {
    Cmd::new("skopeo").args(["copy", "--quiet", "--preserve-digests"])
}

/// The digest of the first entry of a layout on disk.
pub fn first_in_layout(dir: &Path) -> String {
    let index = std::fs::read(dir.join("index.json")).expect("a layout has an index");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("the index is JSON");
    index["manifests"][0]["digest"].as_str().expect("an entry has a digest").to_owned()
}

#[test]
fn skopeo_pushes_and_pulls() {
    round_trip(&Skopeo, &server());
}

#[test]
fn skopeo_copies_every_platform_and_keeps_the_index() {
    let server = server();
    let dir = temp_dir();
    let mut layout = Layout::create(&dir.path().join("layout"));
    let index = layout.index(&ImageSpec::default(), &["amd64", "arm64", "riscv64"]);
    layout.tag(&index, "all");
    let source = format!("oci:{}:all", layout.dir().display());
    let target = format!("docker://{}/multi/skopeo:all", server.authority());
    copy().args(["--all", "--dest-tls-verify=false", &source, &target]).run();
    assert_eq!(manifest(&server, "multi/skopeo", "all").0, index.digest);

    let back = format!("oci:{}:all", dir.path().join("back").display());
    copy().args(["--all", "--src-tls-verify=false", &target, &back]).run();
    assert_eq!(first_in_layout(&dir.path().join("back")), index.digest);
}

#[test]
fn skopeo_copies_to_docker_schema_2_and_across_repositories() {
    let server = server();
    let dir = temp_dir();
    let mut layout = Layout::create(&dir.path().join("layout"));
    let image = layout.image(&ImageSpec { seed: 5, ..ImageSpec::default() });
    layout.tag(&image, "v1");
    let first = format!("docker://{}/schema/first:v1", server.authority());
    let second = format!("docker://{}/schema/second:v1", server.authority());
    let source = format!("oci:{}:v1", layout.dir().display());
    let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    Cmd::new("skopeo").args(["copy", "--quiet", "--format=v2s2"]).args(tls).args([&source, &first]).run();
    copy().args(tls).args([&first, &second]).run();
    let (digest, content) = manifest(&server, "schema/first", "v1");
    assert_eq!(content["mediaType"], test_kit::image::DOCKER_MANIFEST);
    assert_eq!(manifest(&server, "schema/second", "v1").0, digest);
}

#[test]
fn skopeo_inspects_lists_and_deletes() {
    let server = server();
    let dir = temp_dir();
    let mut layout = Layout::create(&dir.path().join("layout"));
    let image = layout.image(&ImageSpec { seed: 9, ..ImageSpec::default() });
    layout.tag(&image, "v1");
    Skopeo.push(&layout, "v1", &format!("{}/look/at:v1", server.authority()));
    let target = format!("docker://{}/look/at", server.authority());
    let skopeo = |verb: &str| Cmd::new("skopeo").args([verb, "--tls-verify=false"]);

    let seen = skopeo("inspect").arg(format!("{target}:v1")).run().json();
    assert_eq!(seen["Digest"], image.digest);
    assert_eq!(seen["Labels"]["seed"], "9");
    let tags = skopeo("list-tags").arg(&target).run().json();
    assert_eq!(tags["Tags"], serde_json::json!(["v1"]));
    skopeo("delete").arg(format!("{target}:v1")).run();
    server.client().get("/v2/look/at/manifests/v1").expect_error(404, "MANIFEST_UNKNOWN");
}
