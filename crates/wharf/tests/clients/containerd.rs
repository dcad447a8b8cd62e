//! containerd through ctr, configured by a folder of hosts files as nodes of a cluster are.

use crate::{Client, round_trip, server};
use std::fs;
use std::process::Command;
use tempfile::TempDir;
use test_kit::image::{ImageSpec, Layout};
use test_kit::{Cmd, Daemon, WharfServer, temp_dir, tools};

/// A containerd of our own, and ctr for it.
pub struct Containerd {
    // Before the folder, because fields are dropped in this order and the daemon must end first.
    _daemon: Daemon,
    dir: TempDir,
}

impl Containerd {
    /// Starts containerd and tells it where the registry is.
    pub fn start(server: &WharfServer) -> Self {
        let url = server.url();
        let hosts = format!("[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\", \"push\"]\n");
        Self::with_hosts(&[(&server.authority(), &hosts), ("registry.example", &hosts)])
    }

    /// Starts containerd with these hosts files, each under the name of a registry, or for all others `_default`.
    pub fn with_hosts(hosts: &[(&str, &str)]) -> Self {
        let dir = temp_dir();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n[grpc]\naddress = \"{}\"\n[ttrpc]\naddress = \"{}\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"{}\"\n",
            path("root"),
            path("state"),
            path("sock"),
            path("ttrpc"),
            path("hosts"),
        );
        fs::write(path("config.toml"), config).expect("a file can be written");
        for (host, hosts) in hosts {
            let folder = dir.path().join("hosts").join(host);
            fs::create_dir_all(&folder).expect("a folder can be made");
            fs::write(folder.join("hosts.toml"), hosts).expect("a file can be written");
        }
        let mut command = Command::new(tools::path("containerd"));
        command.arg("--config").arg(path("config.toml"));
        let mut daemon = Daemon::start(&mut command, &dir.path().join("log"));
        let socket = dir.path().join("sock");
        daemon.wait_until("it listened", |_| std::os::unix::net::UnixStream::connect(&socket).ok());
        Containerd { _daemon: daemon, dir }
    }

    /// Where it listens, for those who speak CRI.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.dir.path().join("sock").display())
    }

    pub fn images(&self, verb: &str) -> Cmd {
        let cmd = Cmd::new("ctr").arg("--address").arg(self.dir.path().join("sock"));
        let cmd = cmd.args(["--namespace", "test", "images", verb]);
        match verb {
            "push" | "pull" => cmd.arg("--hosts-dir").arg(self.dir.path().join("hosts")),
            _ => cmd,
        }
    }

    fn digest_of(&self, reference: &str) -> String {
        let list = self.images("ls").arg(format!("name=={reference}")).run().stdout;
        let digest = list.split_whitespace().find(|word| word.starts_with("sha256:"));
        digest.unwrap_or_else(|| panic!("ctr does not list {reference}: {list}")).to_owned()
    }
}

impl Client for Containerd {
    fn name(&self) -> &'static str {
        "containerd"
    }

    fn push(&self, layout: &Layout, tag: &str, reference: &str) {
        let dir = temp_dir();
        let archive = dir.path().join("image.tar").display().to_string();
        let source = format!("oci:{}:{tag}", layout.dir().display());
        let target = format!("oci-archive:{archive}:{tag}");
        Cmd::new("skopeo").args(["copy", "--quiet", &source, &target]).run();
        let base = reference.strip_suffix(&format!(":{tag}")).expect("the reference ends with the tag");
        self.images("import").args(["--base-name", base, &archive]).run();
        self.images("push").arg(reference).run();
        self.images("rm").args(["--sync", reference]).run();
    }

    fn pull(&self, reference: &str) -> String {
        self.images("pull").args(["--snapshotter=native", reference]).run();
        let digest = self.digest_of(reference);
        self.images("rm").args(["--sync", reference]).run();
        digest
    }
}

#[test]
fn containerd_pushes_and_pulls_also_under_another_host_name() {
    let server = server();
    let containerd = Containerd::start(&server);
    round_trip(&containerd, &server);

    // The name of the registry is not its address: containerd then adds `?ns=registry.example`.
    let dir = temp_dir();
    let mut layout = Layout::create(&dir.path().join("layout"));
    let index = layout.index(&ImageSpec { seed: 21, ..ImageSpec::default() }, &["amd64", "arm64"]);
    layout.tag(&index, "all");
    let source = format!("oci:{}:all", layout.dir().display());
    let target = format!("docker://{}/named/containerd:all", server.authority());
    let copy = ["copy", "--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false"];
    Cmd::new("skopeo").args(copy).args([&source, &target]).run();
    assert_eq!(containerd.pull("registry.example/named/containerd:all"), index.digest);
}
