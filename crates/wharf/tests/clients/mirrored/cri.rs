//! crictl over containerd's socket: what a kubelet does when it pulls.

use crate::Client;
use crate::containerd::Containerd;
use test_kit::Cmd;
use test_kit::image::Layout;

/// A containerd that is spoken to as kubelets do.
pub struct Cri(pub Containerd);

impl Cri {
    pub fn cmd(&self, words: &[&str]) -> Cmd {
        let endpoint = self.0.endpoint();
        let cmd = Cmd::new("crictl").args(["--timeout=2m", "--runtime-endpoint", &endpoint]);
        cmd.args(["--image-endpoint", &endpoint]).args(words)
    }
}

impl Client for Cri {
    fn name(&self) -> &'static str {
        "crictl"
    }

    /// CRI has no push.
    fn push(&self, layout: &Layout, tag: &str, reference: &str) {
        self.0.push(layout, tag, reference);
    }

    fn pull(&self, reference: &str) -> String {
        self.cmd(&["pull", reference]).run();
        let shown = self.cmd(&["inspecti", "--output=json", reference]).run().json();
        self.cmd(&["rmi", reference]).run();
        let digest = shown["status"]["repoDigests"][0].as_str().and_then(|text| text.split_once('@'));
        digest.unwrap_or_else(|| panic!("no digest of {reference}: {shown}")).1.to_owned()
    }
}
