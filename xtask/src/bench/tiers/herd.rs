//! The herd: two hundred clients ask at once for an image that nobody has yet, and one of them leaves half-way.
//!
//! The hidden commands run in the namespace of the clients. `__herd SERVER REPOSITORY PLAN` reads an image from a file, says
//! `ready`, begins with the first line of its standard input, and prints a JSON object when all are done.
//! `__first-byte SERVER REPOSITORY PLAN` prints, for each layer, the seconds until its first byte.

use super::super::client::{self, Connection};
use super::super::context::{self, Context};
use super::super::payload;
use super::super::report::Section;
use super::super::stats::estimate;
use super::network::{DELAY, Network, RATE, REGION, UPSTREAM, WORLD, region_for, within};
use super::node::Done;
use super::workload::{Image, Workload};
use super::{REPOSITORY, fill, read_line, region, serve};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The names of the hidden commands.
pub const COMMAND: &str = "__herd";
pub const FIRST_BYTE: &str = "__first-byte";

const CLIENTS: usize = 200;

/// How many layers the image has.
const LAYERS: usize = 4;

/// What the region calls the image's repository.
const HERE: &str = "hub/library/app";

/// What goes over the link besides the layers: heads, the manifest, what TCP sends twice.
const MARGIN: f64 = 1.005;

/// What the clients are to do.
#[derive(serde::Serialize, serde::Deserialize)]
struct Plan {
    image: Image,
    /// The bytes after which the first client goes away; 0 where it does not.
    leaves_after: u64,
}

/// Runs the benchmark.
pub fn run(context: &Context) -> Result<Section> {
    let mut section =
        Section::new("herd", "200 clients, one image of 500 MB that nobody has, a link of 40 ms");
    let total = context.scaled(500_000_000, 20_000_000);
    let folder = context.folder("herd");
    context::remove(&folder)?;
    fs::create_dir_all(&folder)?;
    let network = Network::make()?;
    let upstream = serve(context, WORLD, UPSTREAM, &folder.join("world"), "")?;
    let image = |tag: &str, first: u64, count: usize, size: usize| {
        let layers: Vec<Vec<u8>> =
            (first..).take(count).map(|seed| payload::random_bytes(size, seed)).collect();
        let digests = layers.iter().map(|layer| payload::digest_of(layer)).collect();
        (Image { tag: tag.to_owned(), layers: digests }, layers)
    };
    let (herd, layers) = image("herd", 1, LAYERS, total / LAYERS);
    fill(&folder, &Workload { layers, images: vec![herd.clone()] })?;
    let probes = context.options.pairs;
    let (small, layers) = image("small", 1_000, probes, 100_000);
    fill(&folder, &Workload { layers, images: vec![small.clone()] })?;
    for (what, leaves_after) in
        [("all stay", 0), ("the first leaves half-way", total as u64 / LAYERS as u64 / 2)]
    {
        let region = region(context, &folder)?;
        let (done, bytes) = pull(&network, &folder, &Plan { image: herd.clone(), leaves_after })?;
        tell(&mut section, what, total, &done, bytes);
        drop(region);
        context::remove(&folder.join("region"))?;
    }
    let region = region(context, &folder)?;
    first_byte(&folder, &small, &mut section)?;
    drop((region, upstream, network));
    section.note(format!(
        "The link: {} Mbit/s, {} ms each way. Clients pull the layers one after the other, each over its one connection. \
         Bytes from the upstream are TCP's payload on the link, HTTP's heads and what is sent twice included.",
        RATE / 1_000_000,
        DELAY / 1_000
    ));
    context::remove(&folder)?;
    Ok(section)
}

fn tell(section: &mut Section, what: &str, total: usize, done: &Done, bytes: u64) {
    let ratio = bytes as f64 / total as f64;
    section.fact(
        format!("{what}: to the clients"),
        format!("{:.1} GB in {:.1} s, {} requests", done.bytes as f64 / 1e9, done.seconds, done.requests),
    );
    let goal = format!("{what}: upstream egress to the image's size");
    section.goal(goal, format!("{ratio:.4}"), "1.00", ratio <= MARGIN);
}

fn pull(network: &Network, folder: &Path, plan: &Plan) -> Result<(Done, u64)> {
    let file = folder.join("plan.json");
    fs::write(&file, serde_json::to_vec(plan)?)?;
    let program = std::env::current_exe()?.display().to_string();
    let mut command = within(REGION, &program);
    command.args(["bench", COMMAND, &region_for(0), HERE]).arg(&file);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(child.stdout.take().context("clients have an output")?);
    read_line(&mut output, "ready")?;
    let before = network.sent_by_upstream()?;
    child.stdin.take().context("clients have an input")?.write_all(b"go\n")?;
    let mut line = String::new();
    output.read_line(&mut line)?;
    ensure!(child.wait()?.success(), "some client failed");
    let done = serde_json::from_str(&line).context("the clients failed")?;
    Ok((done, network.sent_by_upstream()? - before))
}

/// How long the first byte takes of what nobody has, beside asking the upstream itself over the same link.
fn first_byte(folder: &Path, image: &Image, section: &mut Section) -> Result<()> {
    let file = folder.join("plan.json");
    fs::write(&file, serde_json::to_vec(&Plan { image: image.clone(), leaves_after: 0 })?)?;
    let program = std::env::current_exe()?.display().to_string();
    let ask = |server: &str, repository: &str| -> Result<Vec<f64>> {
        let mut command = within(REGION, &program);
        let output = command.args(["bench", FIRST_BYTE, server, repository]).arg(&file).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("seconds")
    };
    let direct = ask(UPSTREAM, REPOSITORY)?;
    let through = ask(&region_for(0), HERE)?;
    let more = estimate(through.iter().zip(&direct).map(|(through, direct)| (through - direct) * 1e3));
    let typical = |times: &[f64]| estimate(times.iter().map(|time| time * 1e3)).median;
    section.fact("first byte, directly", format!("{:.1} ms", typical(&direct)));
    section.fact("first byte, through the region", format!("{:.1} ms", typical(&through)));
    let most = 2.0 * DELAY as f64 / 1e3 + 10.0;
    section.goal(
        "what the region adds to a first byte",
        format!("{:.1} ms ({:.1}-{:.1})", more.median, more.low, more.high),
        format!("at most {most:.0} ms"),
        more.median <= most,
    );
    Ok(())
}

fn arguments(args: &[String]) -> Result<(SocketAddr, &str, Plan)> {
    let [server, repository, plan] = args else { bail!("usage: COMMAND SERVER REPOSITORY PLAN") };
    Ok((server.parse()?, repository, serde_json::from_slice(&fs::read(plan)?)?))
}

/// The clients.
pub fn clients(args: &[String]) -> Result<()> {
    let (server, repository, plan) = arguments(args)?;
    let connections: Vec<Connection> =
        (0..CLIENTS).map(|_| Connection::open(server)).collect::<Result<_>>()?;
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let started = Instant::now();
    let begin = Barrier::new(CLIENTS);
    let bytes = std::thread::scope(|scope| {
        let client = |(number, connection)| {
            let (plan, begin) = (&plan, &begin);
            scope.spawn(move || {
                begin.wait();
                if number > 0 && plan.leaves_after > 0 {
                    // The one who leaves is the first who asks.
                    std::thread::sleep(Duration::from_millis(300));
                } else if plan.leaves_after > 0 {
                    return leave(connection, repository, plan);
                }
                one(connection, repository, &plan.image)
            })
        };
        let clients: Vec<_> = connections.into_iter().enumerate().map(client).collect();
        let joined = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?);
        joined.sum::<Result<u64>>()
    })?;
    let requests = (CLIENTS * (1 + plan.image.layers.len())) as u64;
    let done = Done { bytes, requests, seconds: started.elapsed().as_secs_f64() };
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

fn one(mut connection: Connection, repository: &str, image: &Image) -> Result<u64> {
    let mut bytes =
        connection.exchange(&client::manifest_request("GET", repository, &image.tag), &[], 200)?;
    for layer in &image.layers {
        bytes += connection.exchange(
            &client::request("GET", &client::blob_path(repository, layer), ""),
            &[],
            200,
        )?;
    }
    Ok(bytes)
}

/// Takes a part of the first layer, and is gone.
fn leave(mut connection: Connection, repository: &str, plan: &Plan) -> Result<u64> {
    let layer = plan.image.layers.first().context("an image with layers")?;
    let request = client::request("GET", &client::blob_path(repository, layer), "");
    connection.begin(&request, plan.leaves_after)?;
    Ok(plan.leaves_after)
}

/// One client who asks for one layer after the other, and how long each took to begin.
pub fn first_bytes(args: &[String]) -> Result<()> {
    let (server, repository, plan) = arguments(args)?;
    let mut connection = Connection::open(server)?;
    // The first answer of a connection is not the one that is measured.
    connection.exchange(&client::request("GET", "/v2/", ""), &[], 200)?;
    let mut times = Vec::new();
    for layer in &plan.image.layers {
        let request = client::request("GET", &client::blob_path(repository, layer), "");
        let started = Instant::now();
        let left = connection.begin(&request, 1)?;
        times.push(started.elapsed().as_secs_f64());
        connection.finish(left)?;
    }
    println!("{}", serde_json::to_string(&times)?);
    Ok(())
}
