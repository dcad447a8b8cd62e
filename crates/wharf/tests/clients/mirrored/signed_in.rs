//! Mirrors with users: what an upstream has is public, or for those who may pull from its project.

use super::upstreams::{Auth, Upstream};
use super::{EXE, by_namespace, push};
use crate::containerd::Containerd;
use crate::docker::Docker;
use crate::{Client, skopeo};
use serde_json::json;
use test_kit::house::{Credential, PASSWORD};
use test_kit::{Cmd, House, WharfServer, temp_dir};

/// A mirror with users, an upstream that is public there, and one that is not.
struct Scene {
    house: House,
    hub: (Upstream, String),
    vault: (Upstream, String),
    /// Those who may pull from `vault`: somebody, and a robot.
    members: [Credential; 2],
    /// Somebody who may not.
    stranger: Credential,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let (hub, vault) = (Upstream::hub(), Upstream::docker_registry("vault", &Auth::Basic));
        let dir = temp_dir();
        let config = format!("{}public = true\n{}", hub.section(dir.path()), vault.section(dir.path()));
        let server = WharfServer::builder(EXE).arg("--auth").arg("on").config(&config).start();
        let admin = server.client().basic("admin", &server.first_password());
        let house = House { server, admin };
        house.member("ann", "guest", "vault");
        house.user("eve");
        let of = |name: &str| Credential { name: name.into(), secret: PASSWORD.into() };
        let robot = house.robot("vault", "ci", &["pull"]);
        let (hub, vault) = ((push(&hub, 51), hub), (push(&vault, 52), vault));
        let swap = |(digest, upstream)| (upstream, digest);
        Scene {
            house,
            hub: swap(hub),
            vault: swap(vault),
            members: [of("ann"), robot],
            stranger: of("eve"),
            dir,
        }
    }

    fn at_mirror(&self, repository: &str) -> String {
        format!("{}/{repository}", self.house.server.authority())
    }
}

#[test]
fn docker_pulls_anonymously_what_is_public_and_signs_in_for_what_is_not() {
    let scene = Scene::new();
    let docker = Docker::with_mirrors(&[scene.house.server.url()]);
    let (hub, vault) = (&scene.hub.1, &scene.vault.1);
    assert_eq!(&docker.pull("app:v1"), hub);
    assert_eq!(&docker.pull(&scene.at_mirror("hub/library/app:v1")), hub);
    assert_eq!(&docker.pull(&scene.at_mirror("hub/app:v1")), hub);

    let private = scene.at_mirror("vault/team/app:v1");
    let refused = docker.cmd().args(["pull", &private]).run_to_fail();
    assert!(
        refused.stderr.contains("denied") || refused.stderr.contains("unauthorized"),
        "{}",
        refused.stderr
    );
    let authority = scene.house.server.authority();
    let sign_in = |account: &Credential| {
        let cmd = docker.cmd().args(["login", "--username", &account.name, "--password-stdin", &authority]);
        cmd.stdin(account.secret.as_str()).run();
    };
    for account in &scene.members {
        sign_in(account);
        assert_eq!(&docker.pull(&private), vault);
        // Whoever signs in has what everybody has.
        assert_eq!(&docker.pull(&scene.at_mirror("hub/app:v1")), hub);
    }
    sign_in(&scene.stranger);
    let refused = docker.cmd().args(["pull", &private]).run_to_fail();
    assert!(refused.stderr.contains("denied"), "{}", refused.stderr);
    // The mirror is asked without credentials all the same.
    assert_eq!(&docker.pull("app:v1"), hub);
}

#[test]
fn containerd_gets_tokens_for_what_names_mean_here() {
    let scene = Scene::new();
    let hosts = format!("[host.\"{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n", scene.house.server.url());
    let containerd = Containerd::with_hosts(&[("_default", &hosts)]);
    let ((hub, public), (vault, private)) = (&scene.hub, &scene.vault);
    assert_eq!(&containerd.pull(&format!("{}:v1", by_namespace(hub))), public);
    let reference = format!("{}:v1", by_namespace(vault));
    let pull = |account: Option<&Credential>| {
        let cmd = containerd.images("pull").arg("--snapshotter=native");
        let cmd = match account {
            Some(account) => cmd.args(["--user", &format!("{}:{}", account.name, account.secret)]),
            None => cmd,
        };
        cmd.arg(&reference)
    };
    pull(None).run_to_fail();
    pull(Some(&scene.stranger)).run_to_fail();
    assert_eq!(vault.asked(), [""; 0], "the upstream is asked only for those who may pull");
    for account in &scene.members {
        pull(Some(account)).run();
        let list = containerd.images("ls").arg(format!("name=={reference}")).run().stdout;
        assert!(list.contains(private.as_str()), "{list}");
        containerd.images("rm").args(["--sync", &reference]).run();
    }
}

#[test]
fn skopeo_and_crane_sign_in_at_a_mirror() {
    let scene = Scene::new();
    let (hub, vault) = (&scene.hub.1, &scene.vault.1);
    let short = scene.at_mirror("hub/app:v1");
    for client in [&skopeo::Skopeo as &dyn Client, &crate::crane::Crane] {
        assert_eq!(&client.pull(&short), hub, "{}", client.name());
    }
    let reference = scene.at_mirror("vault/team/app:v1");
    let inspect = |account: Option<&Credential>| {
        let cmd = Cmd::new("skopeo").env("HOME", scene.dir.path()).args(["inspect", "--tls-verify=false"]);
        let cmd = match account {
            Some(account) => cmd.args(["--creds", &format!("{}:{}", account.name, account.secret)]),
            None => cmd,
        };
        cmd.arg(format!("docker://{reference}"))
    };
    let digest = |account: Option<&Credential>| {
        let config = temp_dir();
        if let Some(account) = account {
            let cmd = Cmd::new("crane").env("DOCKER_CONFIG", config.path()).args(["auth", "login"]);
            let cmd = cmd.args([&scene.house.server.authority(), "-u", &account.name, "--password-stdin"]);
            cmd.stdin(account.secret.as_str()).run();
        }
        Cmd::new("crane")
            .env("DOCKER_CONFIG", config.path())
            .args(["digest", "--insecure", &reference])
            .run_any()
    };
    inspect(None).run_to_fail();
    inspect(Some(&scene.stranger)).run_to_fail();
    assert!(!digest(None).0.success() && !digest(Some(&scene.stranger)).0.success());
    for account in &scene.members {
        assert_eq!(&test_kit::house::text(&inspect(Some(account)).run().json()["Digest"]), vault);
        assert_eq!(digest(Some(account)).1.text(), vault);
    }
}

#[test]
fn a_challenge_names_what_a_name_means_and_a_project_stays_as_it_was_set() {
    let mut scene = Scene::new();
    let anybody = scene.house.anybody();
    let challenge = |path: &str| anybody.get(path).expect(401).require("www-authenticate").to_owned();
    let of_vault = challenge("/v2/team/app/manifests/v1?ns=vault.example");
    assert!(of_vault.contains("scope=\"repository:vault/team/app:pull\""), "{of_vault}");
    let of_hub = challenge("/v2/");
    assert!(of_hub.starts_with("Bearer "), "{of_hub}");
    anybody.get("/v2/app/manifests/v1").expect(200);

    // Nobody may push into what is mirrored, and a token for it says so.
    let token = test_kit::house::ask_token(&scene.house.admin, &["repository:library/app:pull,push"], "");
    let scope = test_kit::house::text(&token.expect(200).json()["scope"]);
    assert_eq!(scope, "repository:library/app:pull,push repository:hub/library/app:pull");

    let settings = json!({"public": false});
    test_kit::house::send(&scene.house.admin, "PATCH", "/projects/hub", &settings).expect(200);
    scene.house.server.restart();
    challenge("/v2/app/manifests/v1");
}
