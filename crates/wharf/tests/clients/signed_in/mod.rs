//! Real clients that sign in: with a password, a personal access token and a robot's secret, each let in where it may
//! go and refused where it may not; and anonymous pulls of a public project.

mod jenkins;
mod tools;

use serde_json::json;
use std::process::ExitStatus;
use test_kit::command::Printed;
use test_kit::house::{Credential, PASSWORD, personal_token};
use test_kit::http::Client as Http;
use test_kit::image::{ImageSpec, Layout, MANIFEST};
use test_kit::{Cmd, House, temp_dir};

/// The tag of everything.
const TAG: &str = "1.0.0";

/// How a tool ended, and all that it printed.
struct Outcome {
    succeeded: bool,
    text: String,
}

impl Outcome {
    fn of(cmd: Cmd) -> Self {
        let (status, Printed { stdout, stderr }): (ExitStatus, _) = cmd.run_any();
        Outcome { succeeded: status.success(), text: stdout + &stderr }
    }

    #[track_caller]
    fn expect(self) {
        assert!(self.succeeded, "{}", self.text);
    }

    /// Panics unless the registry refused it: a tool that fails by itself proves nothing.
    #[track_caller]
    fn expect_refused(self) {
        let text = self.text.to_lowercase();
        let words = [
            "denied",
            "unauthorized",
            "authentication required",
            "forbidden",
            "invalid username/password",
            "401",
            "403",
        ];
        let refused = words.iter().any(|word| text.contains(word));
        assert!(!self.succeeded && refused, "succeeded: {}, and said: {}", self.succeeded, self.text);
    }
}

/// A tool that signs in at one registry.
trait Tool {
    /// Its name, also used as a repository name.
    fn name(&self) -> &'static str;

    /// Signs in; fails where the registry does not know the secret and the tool asks at once.
    fn sign_in(&self, account: &Credential) -> Outcome;

    /// Forgets the account.
    fn sign_out(&self);

    /// Pushes the tool's image or chart to `host:port/repository:tag`.
    fn push(&self, reference: &str) -> Outcome;

    /// Pulls it.
    fn pull(&self, reference: &str) -> Outcome;

    /// Whether wrong secrets show when it signs in, and not only when it does something.
    fn asks_at_once(&self) -> bool {
        true
    }
}

/// A registry, and the accounts that the tools sign in with.
struct Scene {
    house: House,
    admin: Credential,
    /// Somebody in each of the ways in which one can come, who may pull from and push to `team`.
    accounts: [Credential; 3],
    /// Somebody who may pull from `team` and from what is public, and push nowhere.
    guest: Credential,
}

impl Scene {
    fn new() -> Self {
        let house = House::start(env!("CARGO_BIN_EXE_wharf"));
        house.project("team", json!({}));
        house.project("other", json!({}));
        house.project("open", json!({"public": true}));
        house.project("empty", json!({"public": true}));
        let ann = house.member("ann", "developer", "team");
        house.member("gast", "guest", "team");
        let admin = Credential { name: "admin".into(), secret: house.server.first_password() };
        let of = |name: &str| Credential { name: name.into(), secret: PASSWORD.into() };
        let bounds = json!([{"project": "team", "actions": ["pull", "push"]}]);
        let token = personal_token(&ann, "ann", Some(bounds));
        let robot = house.robot("team", "ci", &["pull", "push"]);
        Scene { admin, accounts: [of("ann"), token, robot], guest: of("gast"), house }
    }

    fn reference(&self, project: &str, name: &str) -> String {
        format!("{}/{project}/{name}:{TAG}", self.house.server.authority())
    }

    /// The digest of what a tag of a project names, if it is there.
    fn digest(&self, project: &str, name: &str) -> Option<String> {
        let client: &Http = &self.house.admin;
        let path = format!("/v2/{project}/{name}/manifests/{TAG}");
        let accept = format!("{MANIFEST}, {}", test_kit::image::DOCKER_MANIFEST);
        let found = client.request("GET", &path).header("Accept", accept).send();
        found.header("docker-content-digest").map(str::to_owned)
    }
}

/// What every tool must get right.
fn check(tool: &dyn Tool, scene: &Scene) {
    let name = tool.name();
    // Some tools push nothing, and are content, where they see that it is there: hence the empty project.
    let [team, other, open, empty] =
        ["team", "other", "open", "empty"].map(|project| scene.reference(project, name));
    tool.sign_in(&scene.admin).expect();
    tool.push(&other).expect();
    tool.push(&open).expect();
    tool.sign_out();

    for account in &scene.accounts {
        tool.sign_in(account).expect();
        tool.push(&team).expect();
        assert!(scene.digest("team", name).is_some(), "{name} pushed nothing");
        tool.pull(&team).expect();
        tool.pull(&other).expect_refused();
        tool.push(&other).expect_refused();
        tool.sign_out();
        tool.pull(&team).expect_refused();
    }

    tool.sign_in(&scene.guest).expect();
    tool.pull(&team).expect();
    tool.push(&empty).expect_refused();
    tool.push(&other).expect_refused();
    tool.sign_out();

    // Nobody in particular.
    tool.pull(&open).expect();
    tool.push(&empty).expect_refused();
    tool.pull(&other).expect_refused();
    assert_eq!(scene.digest("empty", name), None, "{name} was refused, and pushed");

    let wrong = Credential { name: "gast".into(), secret: "not the password".into() };
    let outcome = tool.sign_in(&wrong);
    if tool.asks_at_once() {
        outcome.expect_refused();
    }
    tool.sign_out();
}

/// An image for the tools that move images, as a layout on disk.
fn layout(dir: &std::path::Path) -> Layout {
    let mut layout = Layout::create(dir);
    let image = layout.image(&ImageSpec { seed: 31, layer_size: 5_000, ..ImageSpec::default() });
    layout.tag(&image, TAG);
    layout
}

#[test]
fn skopeo_signs_in() {
    let (scene, dir) = (Scene::new(), temp_dir());
    check(&tools::Skopeo::new(&scene, dir.path()), &scene);
}

#[test]
fn podman_signs_in() {
    let (scene, dir) = (Scene::new(), temp_dir());
    check(&tools::Podman::new(&scene, dir.path()), &scene);
}

#[test]
fn crane_signs_in() {
    let (scene, dir) = (Scene::new(), temp_dir());
    check(&tools::Crane::new(&scene, dir.path()), &scene);
}

#[test]
fn oras_signs_in() {
    let (scene, dir) = (Scene::new(), temp_dir());
    check(&tools::Oras::new(&scene, dir.path()), &scene);
}

#[test]
fn helm_signs_in() {
    let (scene, dir) = (Scene::new(), temp_dir());
    check(&tools::Helm::new(&scene, dir.path()), &scene);
}

#[test]
fn containerd_signs_in() {
    let (scene, dir) = (Scene::new(), temp_dir());
    check(&tools::Ctr::new(&scene, dir.path()), &scene);
}

#[test]
fn docker_signs_in_and_does_what_jenkins_does() {
    let (scene, dir) = (Scene::new(), temp_dir());
    let docker = tools::Docker::new(&scene, dir.path());
    check(&docker, &scene);
    jenkins::check(&docker.daemon, &scene);
}
