//! Real clients while a project replaces another registry: they pull by its name here what is only there, and push what
//! is there, though they ask first whether they must.

use serde_json::json;
use test_kit::house::{PASSWORD, send};
use test_kit::image::{DOCKER_MANIFEST, ImageSpec, Layout, MANIFEST};
use test_kit::{Cmd, House, WharfServer, temp_dir};

use super::EXE;
use super::upstreams::{Auth, Upstream};
use crate::docker::Docker;
use crate::skopeo::first_in_layout;
use crate::{Client, skopeo};

/// A registry whose project `team` replaces another, in which there is an image.
struct Scene {
    house: House,
    layout: Layout,
    digest: String,
    /// Where `wharf`, `skopeo` and `crane` find ann's credential.
    dir: tempfile::TempDir,
    _old: Upstream,
}

impl Scene {
    fn new() -> Self {
        let (old, dir) = (Upstream::docker_registry("old", &Auth::Basic), temp_dir());
        let section = old.section(dir.path());
        let server = WharfServer::builder(EXE).arg("--auth").arg("on").config(&section).start();
        let admin = server.client().basic("admin", &server.first_password());
        let house = House { server, admin };
        house.project("team", json!({"create_on_push": true}));
        house.member("ann", "developer", "team");
        send(&house.admin, "PUT", "/projects/team/-/fallback", &json!({"upstream": "old"})).expect(200);
        let mut layout = Layout::create(&dir.path().join("layout"));
        let image = layout.image(&ImageSpec { seed: 71, layers: 3, ..ImageSpec::default() });
        layout.tag(&image, "v1");
        old.push(&layout, "v1");
        let scene = Self { house, layout, digest: image.digest, dir, _old: old };
        let login = scene.cmd("crane").args(["auth", "login", "--username", "ann", "--password-stdin"]);
        login.arg(scene.house.server.authority()).stdin(PASSWORD).run();
        scene
    }

    fn reference(&self) -> String {
        format!("{}/team/app:v1", self.house.server.authority())
    }

    fn cmd(&self, program: &str) -> Cmd {
        let kept = self.dir.path().join("config");
        let cmd = Cmd::new(program).env("DOCKER_CONFIG", &kept).env("HOME", self.dir.path());
        cmd.env("REGISTRY_AUTH_FILE", kept.join("config.json")).env("XDG_RUNTIME_DIR", self.dir.path())
    }

    /// Whether the image is here, and not only there.
    fn is_here(&self) -> bool {
        let accept = format!("{MANIFEST}, {DOCKER_MANIFEST}");
        let asking = self.house.admin.request("GET", "/v2/team/app/manifests/v1").header("Accept", accept);
        asking.send().expect(200).header("warning").is_none()
    }

    /// Ends the fallback: all of the image is here.
    fn end(&self) {
        self.house.admin.delete("/api/v1/projects/team/-/fallback").expect(204);
        let reference = self.reference();
        self.cmd("crane").args(["validate", "--insecure", "--remote", &reference]).run();
    }
}

#[test]
fn docker_pulls_what_is_only_there_and_pushes_it() {
    let (scene, docker) = (Scene::new(), Docker::start());
    let authority = scene.house.server.authority();
    let login = docker.cmd().args(["login", "--username", "ann", "--password-stdin", &authority]);
    login.stdin(PASSWORD).run();
    assert_eq!(docker.pull(&scene.reference()), scene.digest);
    assert!(!scene.is_here());
    docker.push(&scene.layout, "v1", &scene.reference());
    assert!(scene.is_here());
    scene.end();
    docker.pull(&scene.reference());
}

#[test]
fn skopeo_pulls_what_is_only_there_and_pushes_it() {
    let scene = Scene::new();
    let (reference, back) = (format!("docker://{}", scene.reference()), scene.dir.path().join("back"));
    let copy = || scene.cmd("skopeo").args(["copy", "--quiet", "--preserve-digests"]);
    let target = format!("oci:{}:pulled", back.display());
    copy().args(["--src-tls-verify=false", &reference, &target]).run();
    assert_eq!(first_in_layout(&back), scene.digest);
    assert!(!scene.is_here());
    let source = format!("oci:{}:v1", scene.layout.dir().display());
    copy().args(["--dest-tls-verify=false", &source, &reference]).run();
    assert!(scene.is_here());
    scene.end();
}

#[test]
fn crane_pulls_what_is_only_there_and_pushes_it() {
    let scene = Scene::new();
    let (reference, back) = (scene.reference(), scene.dir.path().join("back"));
    scene.cmd("crane").args(["pull", "--insecure", "--format=oci", &reference]).arg(&back).run();
    assert_eq!(skopeo::first_in_layout(&back), scene.digest);
    assert!(!scene.is_here());
    scene.cmd("crane").args(["push", "--insecure"]).arg(&back).arg(&reference).run();
    assert!(scene.is_here(), "crane asks for the tag, and pushes nothing where that is what it would push");
    scene.end();
}

#[test]
fn wharf_copy_brings_over_what_is_only_there() {
    let scene = Scene::new();
    let source = format!("{}/old/team/app:v1", scene.house.server.authority());
    scene.house.give("ann", "guest", Some("old"));
    scene.cmd(EXE).args(["copy", "--plain-http", &source, &scene.reference()]).run();
    assert!(scene.is_here());
    scene.end();
}
