//! podman: push from and pull into its own storage.

use crate::{Client, round_trip, server};
use std::path::PathBuf;
use tempfile::TempDir;
use test_kit::image::Layout;
use test_kit::{Cmd, temp_dir};

/// podman with a storage of its own.
pub struct Podman {
    root: TempDir,
    registries: Option<PathBuf>,
}

impl Podman {
    pub fn new() -> Self {
        Podman { root: temp_dir(), registries: None }
    }

    /// One that knows of registries and their mirrors by a registries.conf, which CRI-O reads in the same way.
    pub fn with_registries(text: &str) -> Self {
        let podman = Podman::new();
        let file = podman.root.path().join("registries.conf");
        std::fs::write(&file, text).expect("a file can be written");
        Podman { registries: Some(file), ..podman }
    }

    pub fn cmd(&self) -> Cmd {
        let path = |name: &str| self.root.path().join(name);
        let cmd = match &self.registries {
            Some(file) => Cmd::new("podman").env("CONTAINERS_REGISTRIES_CONF", file),
            None => Cmd::new("podman"),
        };
        cmd.arg("--root")
            .arg(path("root"))
            .arg("--runroot")
            .arg(path("run"))
            // vfs needs no mounts, so nothing is left mounted when the folder is removed.
            .args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"])
    }
}

impl Client for Podman {
    fn name(&self) -> &'static str {
        "podman"
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
        let digest = self.cmd().args(["image", "inspect", "--format={{.Digest}}", id.text()]).run();
        self.cmd().args(["rmi", "--all", "--force"]).run();
        digest.text().to_owned()
    }
}

#[test]
fn podman_pushes_and_pulls() {
    round_trip(&Podman::new(), &server());
}
