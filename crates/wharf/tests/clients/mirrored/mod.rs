//! Real clients through a mirror of real registries: what they have pulled once they pull again when the upstreams have
//! gone.

pub mod cri;
mod replaced;
mod signed_in;
mod tokens;
mod upstreams;

use crate::Client;
use crate::containerd::Containerd;
use crate::crane::Crane;
use crate::docker::Docker;
use crate::podman::Podman;
use crate::skopeo::{self, Skopeo};
use std::collections::HashSet;
use test_kit::image::{ImageSpec, Layout};
use test_kit::{Cmd, WharfServer, temp_dir};
use upstreams::{Auth, Upstream};

const EXE: &str = env!("CARGO_BIN_EXE_wharf");

/// A mirror, and all its upstreams.
struct Scene {
    mirror: WharfServer,
    upstreams: Vec<Upstream>,
    /// What was pushed to each, in their order.
    digests: Vec<String>,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let upstreams = vec![
            Upstream::hub(),
            Upstream::docker_registry("basic", &Auth::Basic),
            Upstream::docker_registry("token", &Auth::Token),
            Upstream::wharf(EXE),
            Upstream::region(EXE),
        ];
        let dir = temp_dir();
        let sections: String = upstreams.iter().map(|upstream| upstream.section(dir.path())).collect();
        let mirror = WharfServer::builder(EXE).config(&sections).start();
        let digests = upstreams.iter().zip(40..).map(|(upstream, seed)| push(upstream, seed)).collect();
        Scene { mirror, upstreams, digests, _dir: dir }
    }

    /// A hosts file that sends containerd to the mirror.
    fn hosts(&self) -> String {
        format!("[host.\"{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n", self.mirror.url())
    }

    /// What is pulled by its name at the mirror.
    fn by_prefix(&self, upstream: &Upstream) -> String {
        format!("{}/{}/{}", self.mirror.authority(), upstream.key, upstream.repository)
    }
}

/// Pushes an image, `v1`; its digest.
fn push(upstream: &Upstream, seed: u64) -> String {
    let dir = temp_dir();
    let mut layout = Layout::create(dir.path());
    let image = layout.image(&ImageSpec { seed, layers: 3, ..ImageSpec::default() });
    layout.tag(&image, "v1");
    upstream.push(&layout, "v1");
    image.digest
}

/// What a client calls a repository of an upstream.
fn by_namespace(upstream: &Upstream) -> String {
    format!("{}/{}", upstream.namespace, upstream.repository)
}

/// Pulls from all upstreams, stops them, and pulls again, by tag and by digest: the client keeps nothing in between.
fn check(client: &dyn Client, scene: &mut Scene, name: impl Fn(&Upstream) -> String) {
    for (upstream, digest) in scene.upstreams.iter().zip(&scene.digests) {
        let pulled = client.pull(&format!("{}:v1", name(upstream)));
        assert_eq!(&pulled, digest, "{} of {}", client.name(), upstream.key);
        let asked = upstream.asked();
        // A configuration and three layers; the manifest may be asked for again after a challenge.
        let blobs: Vec<_> = asked.iter().filter(|request| request.contains("/blobs/")).collect();
        let once: HashSet<_> = blobs.iter().collect();
        assert_eq!((blobs.len(), once.len()), (4, 4), "{} of {}: {asked:?}", client.name(), upstream.key);
    }
    scene.upstreams.iter_mut().for_each(Upstream::stop);
    for (upstream, digest) in scene.upstreams.iter().zip(&scene.digests) {
        for reference in [format!("{}:v1", name(upstream)), format!("{}@{digest}", name(upstream))] {
            assert_eq!(&client.pull(&reference), digest, "{reference}");
        }
        assert_eq!(upstream.asked(), [""; 0], "{} of {}", client.name(), upstream.key);
    }
}

#[test]
fn docker_pulls_by_registry_mirrors_and_by_prefix() {
    let mut scene = Scene::new();
    let docker = Docker::with_mirrors(&[scene.mirror.url()]);
    let prefixes: Vec<_> = scene.upstreams.iter().map(|upstream| scene.by_prefix(upstream)).collect();
    check(&docker, &mut scene, |upstream| match upstream.key {
        // The name alone: docker.io/library/app.
        "hub" => "app".to_owned(),
        key => prefixes.iter().find(|name| name.contains(&format!("/{key}/"))).expect("its name").clone(),
    });
}

#[test]
fn containerd_pulls_from_all_upstreams_by_one_hosts_file() {
    let mut scene = Scene::new();
    let containerd = Containerd::with_hosts(&[("_default", &scene.hosts())]);
    check(&containerd, &mut scene, by_namespace);
}

#[test]
fn cri_pulls_over_the_socket_of_containerd() {
    let mut scene = Scene::new();
    let cri = cri::Cri(Containerd::with_hosts(&[("_default", &scene.hosts())]));
    check(&cri, &mut scene, by_namespace);
}

#[test]
fn podman_pulls_by_mirrors_of_registries_conf() {
    let mut scene = Scene::new();
    let section = |upstream: &Upstream| {
        format!(
            "[[registry]]\nprefix = \"{name}\"\nlocation = \"{name}\"\n\
             [[registry.mirror]]\nlocation = \"{}/{}\"\ninsecure = true\n",
            scene.mirror.authority(),
            upstream.key,
            name = upstream.namespace,
        )
    };
    let podman = Podman::with_registries(&scene.upstreams.iter().map(section).collect::<String>());
    check(&podman, &mut scene, by_namespace);
}

#[test]
fn skopeo_pulls_by_prefix() {
    let mut scene = Scene::new();
    let authority = scene.mirror.authority();
    check(&Skopeo, &mut scene, |upstream| format!("{authority}/{}/{}", upstream.key, upstream.repository));
}

#[test]
fn crane_pulls_by_prefix() {
    let mut scene = Scene::new();
    let authority = scene.mirror.authority();
    check(&Crane, &mut scene, |upstream| format!("{authority}/{}/{}", upstream.key, upstream.repository));
}

#[test]
fn of_an_index_only_those_parts_come_that_are_asked_for() {
    let mut scene = Scene::new();
    let dir = temp_dir();
    let mut layout = Layout::create(dir.path());
    let index = layout.index(&ImageSpec { seed: 71, ..ImageSpec::default() }, &["amd64", "arm64", "riscv64"]);
    layout.tag(&index, "all");
    scene.upstreams.iter().for_each(|upstream| upstream.push(&layout, "all"));
    let containerd = Containerd::with_hosts(&[("_default", &scene.hosts())]);
    for (number, upstream) in scene.upstreams.iter().enumerate() {
        assert_eq!(containerd.pull(&format!("{}:all", by_namespace(upstream))), index.digest);
        // The index, one image of it, a configuration, and two layers, which the others do not have to send again.
        let expect = if number == 0 { 5 } else { 2 };
        let asked = upstream.asked();
        assert_eq!(asked.iter().filter(|request| request.starts_with("GET ")).count(), expect, "{asked:?}");
    }
    // Whoever wants all gets all, and the very bytes of the index.
    let copy = |key: &str, target: &str| {
        let upstream = scene.upstreams.iter().find(|upstream| upstream.key == key).expect("its key");
        let source = format!("docker://{}:all", scene.by_prefix(upstream));
        let cmd = Cmd::new("skopeo").args(["copy", "--quiet", "--all", "--preserve-digests"]);
        cmd.args(["--src-tls-verify=false", &source, &format!("oci:{target}:all")]).run();
        assert_eq!(skopeo::first_in_layout(target.as_ref()), index.digest);
    };
    let path = |name: &str| dir.path().join(name).display().to_string();
    for key in ["hub", "region"] {
        copy(key, &path(key));
    }
    scene.upstreams.iter_mut().for_each(Upstream::stop);
    let key = "region";
    let upstream = scene.upstreams.iter().find(|upstream| upstream.key == key).expect("its key");
    assert_eq!(containerd.pull(&format!("{}:all", by_namespace(upstream))), index.digest);
}
