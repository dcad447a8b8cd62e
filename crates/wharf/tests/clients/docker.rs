//! dockerd with the docker client: push, pull, and BuildKit with its cache in the registry.

use crate::{Client, manifest, round_trip, server};
use std::fs;
use std::process::Command;
use tempfile::TempDir;
use test_kit::image::Layout;
use test_kit::{Cmd, Daemon, random, temp_dir, tools};

/// A docker daemon of our own, and its client.
pub struct Docker {
    // Before the folder, because fields are dropped in this order and the daemon must end first.
    _daemon: Daemon,
    dir: TempDir,
    host: String,
}

impl Docker {
    pub fn start() -> Self {
        Self::with_mirrors(&[])
    }

    /// One that asks these registries before Docker Hub.
    pub fn with_mirrors(mirrors: &[String]) -> Self {
        let dir = temp_dir();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let host = format!("unix://{}", path("docker.sock"));
        let settings = serde_json::json!({
            "data-root": path("data"), "exec-root": path("exec"), "pidfile": path("pid"), "hosts": [host],
            "storage-driver": "vfs", "bridge": "none", "iptables": false, "ip6tables": false,
            "insecure-registries": ["127.0.0.0/8"], "registry-mirrors": mirrors,
        });
        fs::write(path("daemon.json"), settings.to_string()).expect("a file can be written");
        let mut command = Command::new(tools::path("dockerd"));
        command.arg("--config-file").arg(path("daemon.json"));
        // Its own containerd looks for plugins and sockets in the folders of a system-wide one otherwise.
        command.env("XDG_RUNTIME_DIR", dir.path());
        let mut daemon = Daemon::start(&mut command, &dir.path().join("log"));
        let socket = dir.path().join("docker.sock");
        daemon.wait_until("it listened", |_| std::os::unix::net::UnixStream::connect(&socket).ok());
        Docker { _daemon: daemon, dir, host }
    }

    pub fn cmd(&self) -> Cmd {
        // By its path: another docker client of another age may be earlier on PATH.
        let cmd = Cmd::new("/usr/bin/docker").env("HOME", self.dir.path()).env("DOCKER_BUILDKIT", "1");
        cmd.args(["--host", &self.host])
    }

    fn forget_all(&self) {
        self.cmd().args(["image", "prune", "--all", "--force"]).run();
        self.cmd().args(["builder", "prune", "--all", "--force"]).run();
    }
}

impl Client for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn push(&self, layout: &Layout, tag: &str, reference: &str) {
        let dir = temp_dir();
        let archive = dir.path().join("image.tar").display().to_string();
        let source = format!("oci:{}:{tag}", layout.dir().display());
        let target = format!("docker-archive:{archive}:{reference}");
        Cmd::new("skopeo").args(["copy", "--quiet", &source, &target]).run();
        self.cmd().args(["load", "--input", &archive]).run();
        self.cmd().args(["push", reference]).run();
        self.forget_all();
    }

    fn pull(&self, reference: &str) -> String {
        let printed = self.cmd().args(["pull", reference]).run();
        self.forget_all();
        let line = printed.stdout.lines().find_map(|line| line.strip_prefix("Digest: "));
        line.unwrap_or_else(|| panic!("docker told no digest: {}", printed.stdout)).to_owned()
    }
}

#[test]
fn docker_pushes_pulls_and_builds_from_a_registry_cache() {
    let server = server();
    let docker = Docker::start();
    round_trip(&docker, &server);

    let context = temp_dir();
    fs::write(context.path().join("one"), random::bytes(1, 10_000)).expect("a file can be written");
    fs::write(context.path().join("Dockerfile"), "FROM scratch\nCOPY one /one\n")
        .expect("a file can be written");
    let reference = format!("{}/built/docker:v1", server.authority());
    let build = |docker: &Docker| {
        let build = docker.cmd().args(["build", "--progress=plain", "--tag", &reference]);
        let build = build.args(["--build-arg", "BUILDKIT_INLINE_CACHE=1", "--cache-from", &reference]);
        let printed = build.arg(context.path()).run();
        printed.stdout + &printed.stderr
    };
    build(&docker);
    docker.cmd().args(["push", &reference]).run();
    let (_, pushed) = manifest(&server, "built/docker", "v1");
    docker.forget_all();
    let again = build(&docker);
    assert!(again.contains("CACHED"), "the cache in the registry was not used: {again}");
    docker.cmd().args(["push", &reference]).run();
    let (_, repeated) = manifest(&server, "built/docker", "v1");
    assert_eq!(repeated["layers"], pushed["layers"]);
}
