//! buildah: images of several platforms under one index, and builds that keep their cache in the registry.

use crate::{Client, manifest, round_trip, server};
use std::fs;
use tempfile::TempDir;
use test_kit::image::{ImageSpec, Layout};
use test_kit::{Cmd, WharfServer, random, temp_dir};

/// buildah with a storage of its own.
pub struct Buildah {
    root: TempDir,
}

impl Buildah {
    pub fn new() -> Self {
        Buildah { root: temp_dir() }
    }

    fn cmd(&self) -> Cmd {
        let path = |name: &str| self.root.path().join(name);
        let cmd = Cmd::new("buildah").arg("--root").arg(path("root")).arg("--runroot").arg(path("run"));
        cmd.arg("--storage-driver=vfs")
    }
}

impl Client for Buildah {
    fn name(&self) -> &'static str {
        "buildah"
    }

    fn push(&self, layout: &Layout, tag: &str, reference: &str) {
        let source = format!("oci:{}:{tag}", layout.dir().display());
        let id = self.cmd().args(["pull", "--quiet", &source]).run();
        let target = format!("docker://{reference}");
        self.cmd().args(["push", "--quiet", "--tls-verify=false", id.text(), &target]).run();
        self.cmd().args(["rmi", "--all", "--force"]).run();
    }

    fn pull(&self, reference: &str) -> String {
        let id = self.cmd().args(["pull", "--quiet", "--tls-verify=false", reference]).run();
        let format = "--format={{.FromImageDigest}}";
        let digest = self.cmd().args(["inspect", "--type=image", format, id.text()]).run();
        self.cmd().args(["rmi", "--all", "--force"]).run();
        digest.text().to_owned()
    }
}

#[test]
fn buildah_pushes_and_pulls() {
    round_trip(&Buildah::new(), &server());
}

#[test]
fn buildah_pushes_an_index_of_several_platforms() {
    let server = server();
    let buildah = Buildah::new();
    let dir = temp_dir();
    let mut layout = Layout::create(&dir.path().join("layout"));
    buildah.cmd().args(["manifest", "create", "list"]).run();
    for (seed, architecture) in [(1, "amd64"), (2, "arm64")] {
        let image = layout.image(&ImageSpec { seed, architecture, ..ImageSpec::default() });
        layout.tag(&image, architecture);
        let source = format!("oci:{}:{architecture}", layout.dir().display());
        buildah.cmd().args(["manifest", "add", "list", &source]).run();
    }
    let target = format!("docker://{}/multi/buildah:all", server.authority());
    let push = ["manifest", "push", "--all", "--tls-verify=false", "--format=oci", "list", &target];
    buildah.cmd().args(push).run();

    let (_, index) = manifest(&server, "multi/buildah", "all");
    let platforms = index["manifests"].as_array().expect("an index lists manifests");
    let mut names: Vec<_> = platforms.iter().map(|entry| entry["platform"]["architecture"].clone()).collect();
    names.sort_by_key(|name| name.to_string());
    assert_eq!(names, ["amd64", "arm64"]);
    let arm = format!("{}/multi/buildah:all", server.authority());
    let pulled = Buildah::new();
    let id = pulled.cmd().args(["pull", "--quiet", "--tls-verify=false", "--arch=arm64", &arm]).run();
    let seen = pulled.cmd().args(["inspect", "--type=image", "--format={{.OCIv1.Architecture}}", id.text()]);
    assert_eq!(seen.run().text(), "arm64");
}

#[test]
fn buildah_keeps_its_build_cache_in_the_registry() {
    let server = server();
    let context = temp_dir();
    fs::write(context.path().join("one"), random::bytes(1, 10_000)).expect("a file can be written");
    fs::write(context.path().join("two"), random::bytes(2, 10_000)).expect("a file can be written");
    let recipe = "FROM scratch\nCOPY one /one\nCOPY two /two\n";
    fs::write(context.path().join("Containerfile"), recipe).expect("a file can be written");

    let first = build(&Buildah::new(), &server, context.path());
    assert!(first.contains("Pushing cache"), "nothing was pushed: {first}");
    // A new store: what it does not build it can only have from the registry.
    let second = build(&Buildah::new(), &server, context.path());
    assert!(second.contains("Cache pulled from remote"), "the cache was not used: {second}");
}

fn build(buildah: &Buildah, server: &WharfServer, context: &std::path::Path) -> String {
    let cache = format!("{}/cache/buildah", server.authority());
    let build = buildah.cmd().args(["build", "--layers", "--isolation=chroot", "--tls-verify=false"]);
    let build = build.args(["--cache-to", &cache, "--cache-from", &cache, "--tag", "built"]);
    let printed = build.arg(context).run();
    printed.stdout + &printed.stderr
}
