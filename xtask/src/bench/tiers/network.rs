//! The network: the world, a region and four clusters, each a namespace.
//!
//! ```text
//! wt-world   10.78.0.1 --- 100 Mbit/s, 20 ms each way --- 10.78.0.2   wt-region   10.79.K.1 --- 1 Gbit/s --- 10.79.K.2   wt-cK
//! ```

use super::super::process;
use super::relay;
use crate::tools;
use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The namespace of the upstream.
pub const WORLD: &str = "wt-world";
/// The namespace of the region.
pub const REGION: &str = "wt-region";
/// How many clusters there are.
pub const CLUSTERS: usize = 4;
/// Where the upstream listens.
pub const UPSTREAM: &str = "10.78.0.1:5000";
/// The upstream link in bits a second.
pub const RATE: u64 = 100_000_000;
/// Its delay each way, in microseconds.
pub const DELAY: u64 = 20_000;

/// The namespace of a cluster.
pub fn cluster(number: usize) -> String {
    format!("wt-c{number}")
}

/// Where the region's registry listens for a cluster.
pub fn region_for(number: usize) -> String {
    format!("10.79.{number}.1:5000")
}

/// All of it; it goes when this is dropped.
pub struct Network {
    relay: Child,
}

impl Network {
    pub fn make() -> Result<Network> {
        remove();
        for namespace in namespaces() {
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        let delay = DELAY.to_string();
        let mut relay = Command::new(std::env::current_exe()?)
            .args(["bench", relay::COMMAND, &delay, WORLD, REGION, "10.78.0.1", "10.78.0.2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the relay")?;
        let mut line = String::new();
        let output = relay.stdout.take().context("the relay has an output")?;
        BufReader::new(output).read_line(&mut line)?;
        let network = Network { relay };
        ensure!(line.trim() == "ready", "the relay did not start");
        for (namespace, device) in [WORLD, REGION].iter().zip(relay::DEVICES) {
            shape(namespace, device, RATE)?;
        }
        for number in 0..CLUSTERS {
            let namespace = cluster(number);
            let (here, there) = (format!("wtr{number}"), "wtu");
            ip(&format!("link add {here} netns {REGION} type veth peer name {there} netns {namespace}"))?;
            ip(&format!("-n {REGION} addr add 10.79.{number}.1/24 dev {here}"))?;
            ip(&format!("-n {namespace} addr add 10.79.{number}.2/24 dev {there}"))?;
            ip(&format!("-n {REGION} link set {here} up"))?;
            ip(&format!("-n {namespace} link set {there} up"))?;
            ip(&format!("-n {namespace} route add default via 10.79.{number}.1"))?;
            shape(REGION, &here, 1_000_000_000)?;
            shape(&namespace, there, 1_000_000_000)?;
        }
        // Who pulls without tiers goes through the region as through a router.
        ip(&format!("-n {WORLD} route add default via 10.78.0.2"))?;
        let forward = ["netns", "exec", REGION, "sysctl", "-qw", "net.ipv4.ip_forward=1"];
        tools::run(Command::new("ip").args(forward))?;
        Ok(network)
    }

    /// Bytes that TCP has carried from the upstream into the region, headers and what was sent twice included as far as
    /// they are TCP's payload.
    pub fn sent_by_upstream(&self) -> Result<u64> {
        // Ethernet, IP and TCP with time stamps.
        const HEADERS: u64 = 14 + 20 + 32;
        let read = |what: &str| -> Result<u64> {
            let path = format!("/sys/class/net/{}/statistics/{what}", relay::DEVICES[0]);
            let output = Command::new("ip").args(["netns", "exec", WORLD, "cat", &path]).output()?;
            let text = String::from_utf8(output.stdout)?;
            text.trim().parse().with_context(|| format!("no number in {path}"))
        };
        Ok(read("tx_bytes")?.saturating_sub(HEADERS * read("tx_packets")?))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It ends with its input; and with this, if it does not.
        drop(self.relay.stdin.take());
        if let Err(error) = process::end(&mut self.relay) {
            eprintln!("xtask bench: cannot stop the relay: {error}");
        }
        remove();
    }
}

fn namespaces() -> Vec<String> {
    [WORLD, REGION].map(str::to_owned).into_iter().chain((0..CLUSTERS).map(cluster)).collect()
}

fn remove() {
    for namespace in namespaces() {
        let mut command = Command::new("ip");
        // It may not be there.
        let _gone = command.args(["netns", "delete", &namespace]).stderr(Stdio::null()).status();
    }
}

fn ip(line: &str) -> Result<()> {
    tools::run(Command::new("ip").args(line.split(' ')))
}

fn shape(namespace: &str, device: &str, rate: u64) -> Result<()> {
    let burst = (rate / 8 / 250).max(16_000);
    let line =
        format!("-n {namespace} qdisc add dev {device} root tbf rate {rate}bit burst {burst}b limit 4mb");
    tools::run(Command::new("tc").args(line.split(' ')))
}

/// A program within a namespace.
pub fn within(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]).stdin(Stdio::null());
    command
}
