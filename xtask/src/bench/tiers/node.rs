//! The nodes of a cluster: each pulls its images one after the other, three layers at once, and nothing twice.
//!
//! The hidden command is `cargo xtask bench __nodes SERVER PREFIX PLANS`: a file with a list of images for each node. It says
//! `ready`, begins with the first line of its standard input, and prints a JSON object when all are done.

use super::super::client::{self, Connection};
use super::workload::Image;
use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Instant;

/// The name of the hidden command.
pub const COMMAND: &str = "__nodes";

/// How many layers a node pulls at once, as docker and containerd do.
const AT_ONCE: usize = 3;

/// What the nodes of a cluster did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    /// Bytes of layers and manifests.
    pub bytes: u64,
    /// Requests for layers.
    pub requests: u64,
    /// From the beginning until the last node was done.
    pub seconds: f64,
}

/// Pulls as the plans say.
pub fn run(args: &[String]) -> Result<()> {
    let [server, repository, plans] = args else { bail!("usage: {COMMAND} SERVER REPOSITORY PLANS") };
    let server: SocketAddr = server.parse()?;
    let plans: Vec<Vec<Image>> = serde_json::from_slice(&std::fs::read(plans)?)?;
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let started = Instant::now();
    let pulled = std::thread::scope(|scope| {
        let nodes: Vec<_> =
            plans.iter().map(|plan| scope.spawn(move || node(server, repository, plan))).collect();
        nodes
            .into_iter()
            .map(|node| node.join().map_err(|_| anyhow::anyhow!("a node panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let (bytes, requests) = pulled.iter().fold((0, 0), |(b, r), (bytes, requests)| (b + bytes, r + requests));
    let done = Done { bytes, requests, seconds: started.elapsed().as_secs_f64() };
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

/// One node: bytes and requests.
fn node(server: SocketAddr, repository: &str, plan: &[Image]) -> Result<(u64, u64)> {
    let mut connections: Vec<Connection> =
        (0..AT_ONCE).map(|_| Connection::open(server)).collect::<Result<_>>()?;
    let mut have: HashSet<&str> = HashSet::new();
    let (mut bytes, mut requests) = (0, 0);
    for image in plan {
        if !have.insert(&image.tag) {
            continue;
        }
        let path = client::manifest_path(repository, &image.tag);
        connections[0].revive()?;
        let answer = connections[0].fetch(&client::request("GET", &path, ""), &[])?;
        ensure!(answer.status == 200, "{path}: {}", answer.status);
        bytes += answer.body.len() as u64;
        let missing: Vec<&str> =
            image.layers.iter().map(String::as_str).filter(|layer| have.insert(*layer)).collect();
        requests += missing.len() as u64;
        let left = Mutex::new(missing.into_iter());
        let got = std::thread::scope(|scope| {
            let workers: Vec<_> = connections
                .iter_mut()
                .map(|connection| scope.spawn(|| layers(connection, repository, &left)))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_| anyhow::anyhow!("a pull panicked"))?)
                .sum::<Result<u64>>()
        })?;
        bytes += got;
    }
    Ok((bytes, requests))
}

fn layers<'a>(
    connection: &mut Connection,
    repository: &str,
    left: &Mutex<impl Iterator<Item = &'a str>>,
) -> Result<u64> {
    let mut bytes = 0;
    loop {
        let next = left.lock().map_err(|_| anyhow::anyhow!("a pull panicked"))?.next();
        let Some(digest) = next else { return Ok(bytes) };
        let path = client::blob_path(repository, digest);
        let request = client::request("GET", &path, "");
        connection.revive()?;
        bytes += connection.exchange(&request, &[], 200).with_context(|| path.clone())?;
    }
}
