//! How each tool signs in, and pushes and pulls thereafter. Each keeps what it knows of its account in a folder of its
//! own.

use super::{Outcome, Scene, TAG, Tool, layout};
use crate::{containerd, docker, helm, podman};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use test_kit::Cmd;
use test_kit::house::Credential;

/// What a tool needs to sign in: where, and the file or folder that remembers it.
struct Place {
    authority: String,
    kept: PathBuf,
    layout: PathBuf,
    dir: PathBuf,
}

impl Place {
    fn new(scene: &Scene, dir: &Path) -> Self {
        let layout = layout(&dir.join("layout")).dir().to_owned();
        Place {
            authority: scene.house.server.authority(),
            kept: dir.join("auth.json"),
            layout,
            dir: dir.to_owned(),
        }
    }

    fn source(&self) -> String {
        format!("oci:{}:{TAG}", self.layout.display())
    }

    /// A folder that is not there yet, to pull into.
    fn fresh(&self) -> PathBuf {
        let folder = self.dir.join("pulled");
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("the folder can be removed");
        }
        folder
    }
}

/// Signs in with the secret on standard input.
fn login(cmd: Cmd, account: &Credential) -> Outcome {
    Outcome::of(cmd.args(["--username", &account.name, "--password-stdin"]).stdin(account.secret.as_str()))
}

/// skopeo.
pub struct Skopeo(Place);

impl Skopeo {
    pub fn new(scene: &Scene, dir: &Path) -> Self {
        Skopeo(Place::new(scene, dir))
    }

    fn copy(&self) -> Cmd {
        let cmd = Cmd::new("skopeo").args(["copy", "--quiet", "--preserve-digests"]);
        // Without the file there is no account, and the tool would look for others.
        if self.0.kept.exists() {
            cmd.arg("--authfile").arg(&self.0.kept)
        } else {
            cmd.env("HOME", &self.0.dir)
        }
    }
}

impl Tool for Skopeo {
    fn name(&self) -> &'static str {
        "skopeo"
    }

    fn sign_in(&self, account: &Credential) -> Outcome {
        let cmd = Cmd::new("skopeo").args(["login", "--tls-verify=false", "--authfile"]).arg(&self.0.kept);
        login(cmd.arg(&self.0.authority), account)
    }

    fn sign_out(&self) {
        Cmd::new("skopeo").args(["logout", "--all", "--authfile"]).arg(&self.0.kept).run_any();
    }

    fn push(&self, reference: &str) -> Outcome {
        let target = format!("docker://{reference}");
        Outcome::of(self.copy().args(["--dest-tls-verify=false", &self.0.source(), &target]))
    }

    fn pull(&self, reference: &str) -> Outcome {
        let (source, target) =
            (format!("docker://{reference}"), format!("oci:{}:x", self.0.fresh().display()));
        Outcome::of(self.copy().args(["--src-tls-verify=false", &source, &target]))
    }
}

/// podman.
pub struct Podman {
    place: Place,
    podman: podman::Podman,
    image: String,
}

impl Podman {
    pub fn new(scene: &Scene, dir: &Path) -> Self {
        let (place, podman) = (Place::new(scene, dir), podman::Podman::new());
        let image = podman.cmd().args(["pull", "--quiet", &place.source()]).run().text().to_owned();
        Podman { place, podman, image }
    }

    fn cmd(&self, verb: &str) -> Cmd {
        let cmd = self.podman.cmd().arg(verb).arg("--authfile").arg(&self.place.kept);
        if verb == "logout" { cmd } else { cmd.arg("--tls-verify=false") }
    }
}

impl Tool for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn sign_in(&self, account: &Credential) -> Outcome {
        login(self.cmd("login").arg(&self.place.authority), account)
    }

    /// An empty file stays: without one podman would say that there is none.
    fn sign_out(&self) {
        fs::write(&self.place.kept, "{}").expect("a file can be written");
    }

    fn push(&self, reference: &str) -> Outcome {
        Outcome::of(self.cmd("push").args(["--quiet", &self.image, &format!("docker://{reference}")]))
    }

    fn pull(&self, reference: &str) -> Outcome {
        Outcome::of(self.cmd("pull").args(["--quiet", reference]))
    }
}

/// crane.
pub struct Crane(Place);

impl Crane {
    pub fn new(scene: &Scene, dir: &Path) -> Self {
        Crane(Place::new(scene, dir))
    }

    fn cmd(&self, words: &[&str]) -> Cmd {
        Cmd::new("crane").env("DOCKER_CONFIG", self.0.dir.join("config")).args(words)
    }
}

impl Tool for Crane {
    fn name(&self) -> &'static str {
        "crane"
    }

    fn sign_in(&self, account: &Credential) -> Outcome {
        login(self.cmd(&["auth", "login", &self.0.authority]), account)
    }

    fn sign_out(&self) {
        self.cmd(&["auth", "logout", &self.0.authority]).run();
    }

    fn push(&self, reference: &str) -> Outcome {
        Outcome::of(self.cmd(&["push", "--insecure"]).arg(&self.0.layout).arg(reference))
    }

    fn pull(&self, reference: &str) -> Outcome {
        Outcome::of(self.cmd(&["pull", "--insecure", "--format=oci", reference]).arg(self.0.fresh()))
    }

    /// It writes the secret down and asks nobody.
    fn asks_at_once(&self) -> bool {
        false
    }
}

/// oras.
pub struct Oras(Place);

impl Oras {
    pub fn new(scene: &Scene, dir: &Path) -> Self {
        Oras(Place::new(scene, dir))
    }
}

impl Tool for Oras {
    fn name(&self) -> &'static str {
        "oras"
    }

    fn sign_in(&self, account: &Credential) -> Outcome {
        let cmd = Cmd::new("oras").args(["login", "--plain-http", "--registry-config"]).arg(&self.0.kept);
        login(cmd.arg(&self.0.authority), account)
    }

    fn sign_out(&self) {
        Cmd::new("oras").args(["logout", "--registry-config"]).arg(&self.0.kept).arg(&self.0.authority).run();
    }

    fn push(&self, reference: &str) -> Outcome {
        let cmd = Cmd::new("oras").args(["cp", "--no-tty", "--from-oci-layout", "--to-plain-http"]);
        let source = format!("{}:{TAG}", self.0.layout.display());
        Outcome::of(cmd.arg("--to-registry-config").arg(&self.0.kept).args([&source, reference]))
    }

    fn pull(&self, reference: &str) -> Outcome {
        let cmd = Cmd::new("oras").args(["cp", "--no-tty", "--from-plain-http", "--to-oci-layout"]);
        let target = format!("{}:x", self.0.fresh().display());
        Outcome::of(cmd.arg("--from-registry-config").arg(&self.0.kept).args([reference, &target]))
    }
}

/// helm, which has a chart where the others have an image.
pub struct Helm(Place);

impl Helm {
    pub fn new(scene: &Scene, dir: &Path) -> Self {
        let helm = Helm(Place::new(scene, dir));
        helm::write_chart(&dir.join("helm"), "helm", TAG);
        helm.cmd(&["package", "helm"]).run();
        helm
    }

    fn cmd(&self, words: &[&str]) -> Cmd {
        let cmd = Cmd::new("helm").env("HOME", &self.0.dir).current_dir(&self.0.dir);
        let cmd = cmd.env("HELM_CACHE_HOME", self.0.dir.join("cache"));
        cmd.env("HELM_REGISTRY_CONFIG", &self.0.kept).args(words)
    }
}

impl Tool for Helm {
    fn name(&self) -> &'static str {
        "helm"
    }

    fn sign_in(&self, account: &Credential) -> Outcome {
        login(self.cmd(&["registry", "login", "--plain-http", &self.0.authority]), account)
    }

    fn sign_out(&self) {
        self.cmd(&["registry", "logout", &self.0.authority]).run_any();
    }

    fn push(&self, reference: &str) -> Outcome {
        let (repository, _) = reference.rsplit_once('/').expect("a chart lies in something");
        let package = format!("helm-{TAG}.tgz");
        Outcome::of(self.cmd(&["push", "--plain-http", &package, &format!("oci://{repository}")]))
    }

    fn pull(&self, reference: &str) -> Outcome {
        let (chart, version) = reference.rsplit_once(':').expect("a reference has a tag");
        let folder = self.0.fresh();
        fs::create_dir(&folder).expect("a folder can be made");
        let cmd = self.cmd(&["pull", "--plain-http", &format!("oci://{chart}"), "--version", version]);
        Outcome::of(cmd.arg("--destination").arg(folder))
    }
}

/// ctr with a containerd of its own, which is told the account with each command.
pub struct Ctr {
    containerd: containerd::Containerd,
    account: RefCell<Option<String>>,
}

impl Ctr {
    pub fn new(scene: &Scene, dir: &Path) -> Self {
        let (place, archive) = (Place::new(scene, dir), dir.join("image.tar"));
        let target = format!("oci-archive:{}:{TAG}", archive.display());
        Cmd::new("skopeo").args(["copy", "--quiet", &place.source(), &target]).run();
        let containerd = containerd::Containerd::start(&scene.house.server);
        containerd.images("import").args(["--base-name", "local/image"]).arg(archive).run();
        Ctr { containerd, account: RefCell::default() }
    }

    fn cmd(&self, verb: &str) -> Cmd {
        let cmd = self.containerd.images(verb);
        match &*self.account.borrow() {
            Some(account) => cmd.args(["--user", account]),
            None => cmd,
        }
    }
}

impl Tool for Ctr {
    fn name(&self) -> &'static str {
        "containerd"
    }

    fn sign_in(&self, account: &Credential) -> Outcome {
        self.account.replace(Some(format!("{}:{}", account.name, account.secret)));
        Outcome { succeeded: true, text: String::new() }
    }

    fn sign_out(&self) {
        self.account.replace(None);
    }

    fn push(&self, reference: &str) -> Outcome {
        self.containerd.images("tag").args(["--force", &format!("local/image:{TAG}"), reference]).run();
        let outcome = Outcome::of(self.cmd("push").arg(reference));
        self.containerd.images("rm").args(["--sync", reference]).run();
        outcome
    }

    fn pull(&self, reference: &str) -> Outcome {
        Outcome::of(self.cmd("pull").args(["--snapshotter=native", reference]))
    }

    fn asks_at_once(&self) -> bool {
        false
    }
}

/// docker with a daemon of its own.
pub struct Docker {
    pub daemon: docker::Docker,
    place: Place,
}

impl Docker {
    pub fn new(scene: &Scene, dir: &Path) -> Self {
        let (place, archive) = (Place::new(scene, dir), dir.join("image.tar"));
        let target = format!("docker-archive:{}:local/image:{TAG}", archive.display());
        Cmd::new("skopeo").args(["copy", "--quiet", &place.source(), &target]).run();
        let docker = Docker { daemon: docker::Docker::start(), place };
        docker.cmd(&["load", "--input"]).arg(archive).run();
        docker
    }

    fn cmd(&self, words: &[&str]) -> Cmd {
        self.daemon.cmd().env("DOCKER_CONFIG", self.place.dir.join("config")).args(words)
    }
}

impl Tool for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn sign_in(&self, account: &Credential) -> Outcome {
        login(self.cmd(&["login", &self.place.authority]), account)
    }

    fn sign_out(&self) {
        self.cmd(&["logout", &self.place.authority]).run();
    }

    fn push(&self, reference: &str) -> Outcome {
        self.cmd(&["tag", &format!("local/image:{TAG}"), reference]).run();
        Outcome::of(self.cmd(&["push", reference]))
    }

    fn pull(&self, reference: &str) -> Outcome {
        self.cmd(&["rmi", "--force", reference]).run_any();
        Outcome::of(self.cmd(&["pull", reference]))
    }
}
