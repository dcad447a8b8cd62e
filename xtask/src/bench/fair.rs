//! Fair use over a shaped link: two network namespaces, 200 Mbit/s between them, a client with many connections beside
//! one with few, each with an address of its own.
//!
//! The hidden command that loads from within a namespace is `cargo xtask bench __fair-client SERVER PATH SOURCE
//! CONNECTIONS WARM MEASURE`; it prints how many bytes of bodies came in the time that was measured.

use super::client::{self, Blob};
use super::context::{self, Context};
use super::payload;
use super::report::Section;
use super::server::Kind;
use crate::tools;
use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The name of the hidden command.
pub const COMMAND: &str = "__fair-client";

const REPOSITORY: &str = "bench/fair";
const SERVER_NS: &str = "wharf-fair-server";
const CLIENT_NS: &str = "wharf-fair-client";
const SERVER: &str = "10.77.0.1";
const CLIENTS: [&str; 2] = ["10.77.0.2", "10.77.0.3"];
const PORT: u16 = 5000;
const MIB: usize = 1 << 20;

/// 200 Mbit/s in bytes.
const LINK: u64 = 25_000_000;

/// What one address may take where a limit is to hold, in bytes a second.
const LIMIT: u64 = 5_000_000;

/// The network of the benchmark; it goes when this is dropped.
struct Link;

impl Link {
    fn make() -> Result<Link> {
        let _gone = run_all(&[&format!("netns delete {SERVER_NS}"), &format!("netns delete {CLIENT_NS}")]);
        let link = Link;
        run_all(&[
            &format!("netns add {SERVER_NS}"),
            &format!("netns add {CLIENT_NS}"),
            &format!("link add wfs netns {SERVER_NS} type veth peer name wfc netns {CLIENT_NS}"),
            &format!("-n {SERVER_NS} addr add {SERVER}/24 dev wfs"),
            &format!("-n {CLIENT_NS} addr add {}/24 dev wfc", CLIENTS[0]),
            &format!("-n {CLIENT_NS} addr add {}/24 dev wfc", CLIENTS[1]),
            &format!("-n {SERVER_NS} link set lo up"),
            &format!("-n {SERVER_NS} link set wfs up"),
            &format!("-n {CLIENT_NS} link set wfc up"),
        ])?;
        let shape = "qdisc add dev wfs root tbf rate 200mbit burst 256kb latency 100ms";
        tools::run(Command::new("tc").args(["-n", SERVER_NS]).args(shape.split(' ')))?;
        Ok(link)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Err(error) =
            run_all(&[&format!("netns delete {SERVER_NS}"), &format!("netns delete {CLIENT_NS}")])
        {
            eprintln!("xtask bench: a network namespace stays: {error:#}");
        }
    }
}

fn run_all(lines: &[&str]) -> Result<()> {
    lines.iter().try_for_each(|line| tools::run(Command::new("ip").args(line.split(' '))))
}

/// Shares of a link, and a limit that holds.
pub fn run(context: &Context) -> Result<Section> {
    let mut section = Section::new("fair", "Fair use over a link of 200 Mbit/s between network namespaces");
    let seconds = context.scaled((3, 15), (1, 4));
    let folder = fill(context)?;
    let link = Link::make()?;
    let egress = (LINK * 9 / 10).to_string();
    let bytes =
        loads(context, &folder, &[("WHARF_FAIR_EGRESS_BYTES", &egress)], &[(0, 200), (1, 2)], seconds)?;
    let all: u64 = bytes.iter().sum();
    let share = bytes[1] as f64 / all as f64;
    section.goal(
        "200 connections of one address beside 2 of another: share of the second",
        format!("{:.1} %", share * 100.0),
        ">= 40 %",
        share >= 0.4,
    );
    rate(&mut section, "egress limit of 22.5 MB/s", all, seconds.1, LINK * 9 / 10);
    let limit = LIMIT.to_string();
    let settings = [("WHARF_FAIR_ADDRESS_BYTES", limit.as_str())];
    let bytes = loads(context, &folder, &settings, &[(0, 8)], seconds)?;
    rate(&mut section, "limit of 5 MB/s for an address with 8 connections", bytes[0], seconds.1, LIMIT);
    let bytes = loads(context, &folder, &[], &[(0, 200), (1, 2)], seconds)?;
    let share = bytes[1] as f64 / bytes.iter().sum::<u64>() as f64;
    section
        .fact("the same 200 beside 2 without limits: share of the second", format!("{:.1} %", share * 100.0));
    drop(link);
    context::remove(&folder)?;
    Ok(section)
}

fn rate(section: &mut Section, what: &str, bytes: u64, seconds: u64, limit: u64) {
    let rate = bytes as f64 / seconds as f64;
    let ratio = rate / limit as f64;
    let measured = format!("{:.2} MB/s, {:.1} % of it", rate / 1e6, ratio * 100.0);
    section.goal(what, measured, "within 5 %", (0.95..=1.05).contains(&ratio));
}

/// Stores one large blob.
fn fill(context: &Context) -> Result<std::path::PathBuf> {
    let server = context.start(Kind::Wharf, "fair")?;
    let bytes = payload::random_bytes(context.scaled(512, 256) * MIB, 77);
    server.store_blob(REPOSITORY, &Blob { digest: payload::digest_of(&bytes), parts: vec![&bytes] })?;
    let folder = server.folder.clone();
    server.stop()?;
    std::fs::write(folder.join("digest"), payload::digest_of(&bytes))?;
    Ok(folder)
}

/// Runs a server with some settings and clients with so many connections; gives the bytes that each got.
fn loads(
    context: &Context,
    folder: &Path,
    settings: &[(&str, &str)],
    clients: &[(usize, usize)],
    (warm, measure): (u64, u64),
) -> Result<Vec<u64>> {
    let digest = std::fs::read_to_string(folder.join("digest"))?;
    let mut server = within(SERVER_NS, &context.programs.wharf.display().to_string());
    server.args([
        "serve",
        "--allow-unauthenticated-network",
        "--listen",
        &format!("{SERVER}:{PORT}"),
        "--data",
    ]);
    server.arg(folder.join("data")).envs(settings.iter().copied()).stderr(Stdio::null());
    let server = Ended(server.spawn().context("cannot start wharf in a namespace")?);
    std::thread::sleep(Duration::from_secs(1));
    let program = std::env::current_exe()?.display().to_string();
    let start = |(client, connections): &(usize, usize)| {
        let mut command = within(CLIENT_NS, &program);
        command.args([
            "bench",
            COMMAND,
            &format!("{SERVER}:{PORT}"),
            &client::blob_path(REPOSITORY, &digest),
        ]);
        command.args([CLIENTS[*client], &connections.to_string(), &warm.to_string(), &measure.to_string()]);
        command.stdout(Stdio::piped()).spawn().context("cannot start a client in a namespace")
    };
    let running: Vec<Child> = clients.iter().map(start).collect::<Result<_>>()?;
    let bytes = running.into_iter().map(|child| {
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "a client ended with {}", output.status);
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    });
    let bytes = bytes.collect();
    drop(server);
    bytes
}

fn within(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]).stdin(Stdio::null());
    command
}

/// A process that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Err(error) = super::process::end(&mut self.0) {
            eprintln!("xtask bench: cannot stop the server: {error:#}");
        }
    }
}

/// Loads from within the namespace that it was started in.
pub fn load(args: &[String]) -> Result<()> {
    let [server, path, source, connections, warm, measure] = args else {
        anyhow::bail!("usage: {COMMAND} SERVER PATH SOURCE CONNECTIONS WARM MEASURE")
    };
    let (server, source): (SocketAddr, IpAddr) = (server.parse()?, source.parse()?);
    let (bytes, going) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
    let request: Arc<[u8]> = client::request("GET", path, "").into();
    for _ in 0..connections.parse::<usize>()? {
        let (bytes, going, request) = (Arc::clone(&bytes), Arc::clone(&going), Arc::clone(&request));
        std::thread::spawn(move || {
            while going.load(Ordering::Relaxed) {
                if let Err(error) = pull(server, source, &request, &bytes) {
                    eprintln!("a connection failed: {error:#}");
                }
            }
        });
    }
    std::thread::sleep(Duration::from_secs(warm.parse()?));
    let (before, started) = (bytes.load(Ordering::Relaxed), Instant::now());
    std::thread::sleep(Duration::from_secs(measure.parse()?));
    let got = bytes.load(Ordering::Relaxed) - before;
    let overslept = started.elapsed().as_secs_f64() / measure.parse::<f64>()?;
    println!("{}", (got as f64 / overslept).round());
    going.store(false, Ordering::Relaxed);
    Ok(())
}

/// One connection, one blob, counted as it comes.
fn pull(server: SocketAddr, source: IpAddr, request: &[u8], bytes: &AtomicU64) -> Result<()> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    socket.connect(&server.into())?;
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            got => bytes.fetch_add(got as u64, Ordering::Relaxed),
        };
    }
}
