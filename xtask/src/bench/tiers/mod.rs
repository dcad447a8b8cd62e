//! The headline: forty nodes in four clusters pull over one link to the world, directly and through the tiers.

pub mod herd;
mod network;
pub mod node;
pub mod relay;
mod workload;

use super::client::{self, Connection};
use super::context::{self, Context};
use super::payload;
use super::process;
use super::report::Section;
use anyhow::{Context as _, Result, ensure};
use network::{CLUSTERS, DELAY, Network, RATE, REGION, UPSTREAM, WORLD, cluster, region_for, within};
use node::Done;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use workload::{Image, Workload};

const REPOSITORY: &str = "library/app";

/// Nodes in each cluster, and the images that each pulls.
const NODES: usize = 10;
const PULLS: usize = 16;

/// The port of a cluster's mirror, for its nodes.
const MIRROR: &str = "127.0.0.1:5000";

/// Of what goes over the link, the part that is a segment's payload.
const EFFICIENCY: f64 = 1448.0 / 1514.0;

/// A process that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Err(error) = process::end(&mut self.0) {
            eprintln!("xtask bench: cannot stop a server: {error:#}");
        }
    }
}

/// What one way to pull came to.
struct Came {
    seconds: f64,
    upstream: u64,
    pulled: u64,
    requests: u64,
}

pub fn run(context: &Context) -> Result<Section> {
    let title = "Forty nodes in four clusters over one link of 100 Mbit/s and 40 ms to their upstream";
    let mut section = Section::new("tiers", title);
    let workload = Workload::new(context.scaled(250_000_000, 12_000_000), 11);
    let plans: Vec<Vec<Image>> = (0..CLUSTERS * NODES).map(|node| workload.plan(node, PULLS)).collect();
    let unique = workload.unique_bytes(&plans);
    let folder = context.folder("tiers");
    context::remove(&folder)?;
    fs::create_dir_all(&folder)?;
    let network = Network::make()?;
    let upstream = serve(context, WORLD, UPSTREAM, &folder.join("world"), "")?;
    fill(&folder, &workload)?;
    let through = {
        let region = region(context, &folder)?;
        let mirrors: Vec<Ended> =
            (0..CLUSTERS).map(|number| mirror(context, &folder, number)).collect::<Result<_>>()?;
        let came = pull(&network, &folder, &plans, MIRROR, "hub/library/app")?;
        drop((mirrors, region));
        came
    };
    let direct = pull(&network, &folder, &plans, UPSTREAM, REPOSITORY)?;
    drop(upstream);
    tell(&mut section, unique, &direct, &through);
    drop(network);
    context::remove(&folder)?;
    Ok(section)
}

fn tell(section: &mut Section, unique: u64, direct: &Came, through: &Came) {
    let bound = unique as f64 * 8.0 / EFFICIENCY / RATE as f64;
    let speedup = direct.seconds / through.seconds;
    let saved = 1.0 - through.upstream as f64 / direct.upstream as f64;
    let (upstream_ratio, time_ratio) = (through.upstream as f64 / unique as f64, through.seconds / bound);
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    section.fact("unique bytes", megabytes(unique));
    section.fact(
        "pulled by all nodes",
        format!("{} in {} requests for layers", megabytes(direct.pulled), direct.requests),
    );
    section.fact(
        "directly",
        format!("{:.1} s, {} from the upstream", direct.seconds, megabytes(direct.upstream)),
    );
    section.fact(
        "through the tiers",
        format!("{:.1} s, {} from the upstream", through.seconds, megabytes(through.upstream)),
    );
    section.fact("the link cannot do it in less than", format!("{bound:.1} s"));
    section.goal("faster", format!("{speedup:.1} x"), ">= 10 x", speedup >= 10.0);
    section.goal("less from the upstream", format!("{:.1} %", saved * 100.0), ">= 95 %", saved >= 0.95);
    section.goal(
        "upstream bytes to unique bytes",
        format!("{upstream_ratio:.3}"),
        "<= 1.02",
        upstream_ratio <= 1.02,
    );
    section.goal("time to what the link imposes", format!("{time_ratio:.2}"), "<= 1.15", time_ratio <= 1.15);
    section.note(format!(
        "The link: tbf of {} Mbit/s in both directions, and a relay that holds each frame {} ms each way. \
         Bytes from the upstream are TCP's payload on it, HTTP's heads included.",
        RATE / 1_000_000,
        DELAY / 1_000
    ));
    section.headline(serde_json::json!({
        "speedup": speedup, "saved": saved, "upstream_ratio": upstream_ratio, "time_ratio": time_ratio,
    }));
}

/// Starts a registry in a namespace, and waits until it answers there.
fn serve(context: &Context, namespace: &str, listen: &str, folder: &Path, config: &str) -> Result<Ended> {
    fs::create_dir_all(folder)?;
    let file = folder.join("wharf.toml");
    fs::write(&file, config)?;
    let log = fs::File::create(folder.join("log"))?;
    let mut command = within(namespace, &context.programs.wharf.display().to_string());
    command.args(["serve", "--allow-unauthenticated-network", "--auth", "off", "--config"]).arg(&file);
    for address in listen.split(',') {
        command.args(["--listen", address]);
    }
    command.arg("--data").arg(folder.join("data")).stdout(Stdio::null()).stderr(log);
    let server = Ended(command.spawn().with_context(|| format!("cannot start wharf in {namespace}"))?);
    for _ in 0..200 {
        if fs::read_to_string(folder.join("log")).is_ok_and(|log| log.contains("listening on")) {
            return Ok(server);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("wharf in {namespace} did not start: {}", fs::read_to_string(folder.join("log"))?)
}

fn region(context: &Context, folder: &Path) -> Result<Ended> {
    let config = format!(
        "[[upstream]]\nkey = \"hub\"\nregistry = \"{UPSTREAM}\"\nplain_http = true\ndownloads = 32\n"
    );
    let listen: Vec<String> = (0..CLUSTERS).map(region_for).collect();
    serve(context, REGION, &listen.join(","), &folder.join("region"), &config)
}

fn mirror(context: &Context, folder: &Path, number: usize) -> Result<Ended> {
    let config = format!(
        "[[upstream]]\nkey = \"hub\"\nregistry = \"{}\"\nprefix = \"hub\"\nplain_http = true\ndownloads = 32\n",
        region_for(number)
    );
    serve(context, &cluster(number), MIRROR, &folder.join(cluster(number)), &config)
}

/// Pushes all images to the upstream, from beside it.
fn fill(folder: &Path, workload: &Workload) -> Result<()> {
    let place = folder.join("push");
    fs::create_dir_all(&place)?;
    let digests: Vec<String> = workload.layers.iter().map(|layer| payload::digest_of(layer)).collect();
    for (layer, digest) in workload.layers.iter().zip(&digests) {
        fs::write(place.join(digest.trim_start_matches("sha256:")), layer)?;
    }
    fs::write(place.join("images.json"), serde_json::to_vec(&workload.images)?)?;
    let mut command = within(WORLD, &std::env::current_exe()?.display().to_string());
    let status = command.args(["bench", PUSH]).arg(&place).status()?;
    ensure!(status.success(), "the images could not be pushed");
    context::remove(&place)
}

/// The hidden command that pushes a folder of layers from within a namespace.
pub const PUSH: &str = "__push-tiers";

/// Pushes the layers and images of a folder.
pub fn push(args: &[String]) -> Result<()> {
    let place = PathBuf::from(args.first().context("usage: __push-tiers FOLDER")?);
    let images: Vec<Image> = serde_json::from_slice(&fs::read(place.join("images.json"))?)?;
    let mut connection = Connection::open(UPSTREAM.parse::<SocketAddr>()?)?;
    let mut sizes = std::collections::HashMap::new();
    let mut store = |bytes: &[u8]| -> Result<(String, usize)> {
        let digest = payload::digest_of(bytes);
        client::push_blob(
            &mut connection,
            REPOSITORY,
            &client::Blob { digest: digest.clone(), parts: vec![bytes] },
        )?;
        Ok((digest, bytes.len()))
    };
    let (config, _) = store(b"{}")?;
    for entry in fs::read_dir(&place)? {
        let path = entry?.path();
        if path.extension().is_none() {
            let (digest, size) = store(&fs::read(&path)?)?;
            sizes.insert(digest, size);
        }
    }
    for image in images {
        let layer = |digest: &String| {
            serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": sizes.get(digest),
            })
        };
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": client::MANIFEST_TYPE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": image.layers.iter().map(layer).collect::<Vec<_>>(),
        });
        client::push_manifest(&mut connection, REPOSITORY, &image.tag, manifest.to_string().as_bytes())?;
    }
    Ok(())
}

/// Lets the nodes of all clusters pull at once.
fn pull(
    network: &Network,
    folder: &Path,
    plans: &[Vec<Image>],
    server: &str,
    repository: &str,
) -> Result<Came> {
    let program = std::env::current_exe()?.display().to_string();
    let mut clusters: Vec<Child> = Vec::new();
    for (number, plans) in plans.chunks(NODES).enumerate() {
        let file = folder.join(format!("plans-{number}.json"));
        fs::write(&file, serde_json::to_vec(plans)?)?;
        let mut command: Command = within(&cluster(number), &program);
        command.args(["bench", node::COMMAND, server, repository]).arg(&file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        clusters.push(command.spawn().context("cannot start the nodes of a cluster")?);
    }
    let mut outputs = Vec::new();
    for child in &mut clusters {
        let mut output = BufReader::new(child.stdout.take().context("nodes have an output")?);
        read_line(&mut output, "ready")?;
        outputs.push(output);
    }
    let before = network.sent_by_upstream()?;
    for child in &mut clusters {
        child.stdin.take().context("nodes have an input")?.write_all(b"go\n")?;
    }
    let mut came = Came { seconds: 0.0, upstream: 0, pulled: 0, requests: 0 };
    for (child, output) in clusters.iter_mut().zip(&mut outputs) {
        let mut line = String::new();
        output.read_line(&mut line)?;
        let done: Done = serde_json::from_str(&line).context("the nodes of a cluster failed")?;
        came.seconds = came.seconds.max(done.seconds);
        came.pulled += done.bytes;
        came.requests += done.requests;
        child.wait()?;
    }
    came.upstream = network.sent_by_upstream()? - before;
    Ok(came)
}

fn read_line(output: &mut impl BufRead, expect: &str) -> Result<()> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    ensure!(line.trim() == expect, "nodes said {line:?} in place of {expect:?}");
    Ok(())
}
