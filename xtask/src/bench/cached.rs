//! What it costs to serve from the cache of an upstream, beside what is hosted; and how light a local mirror is.

use super::client;
use super::context::{self, Context};
use super::load::{self, Plan, Stop};
use super::pairs::{self, Contestant, Goal, Measure};
use super::payload::{self, Part, Payload};
use super::process;
use super::report::{Section, duration, mebibytes};
use super::server::{Kind, Server};
use super::stats::estimate;
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;

const MIB: usize = 1024 * 1024;
const REPOSITORY: &str = "bench/image";

/// The layers of the image: what is small is served from memory in one piece, what is not by the kernel.
const LAYERS: [usize; 2] = [4 * 1024, MIB];

/// A server, and what the image is called there.
struct Place {
    name: &'static str,
    server: Server,
    repository: String,
}

/// Something that is asked for.
struct Case {
    what: &'static str,
    path: fn(&str, &str) -> String,
    reference: String,
    size: usize,
    connections: usize,
}

/// Runs the benchmark.
pub fn run(context: &Context) -> Result<Section> {
    let mut section = Section::new("cached", "What is cached of an upstream beside what is hosted");
    let layers: Vec<Payload> = LAYERS.iter().zip(1..).map(|(size, seed)| Payload::new(*size, seed)).collect();
    let part = |(layer, size): (&Payload, &usize)| Part { digest: layer.digest(0), size: *size };
    let parts: Vec<Part> = layers.iter().zip(&LAYERS).map(part).collect();
    let manifest = payload::manifest(&parts[0], &parts[1..]);
    let upstream = context.start(Kind::Wharf, "cached-upstream")?;
    fill(&upstream, &layers, &manifest)?;
    let hosted = context.start(Kind::Wharf, "cached-hosted")?;
    fill(&hosted, &layers, &manifest)?;
    let folder = context.folder("cached-mirror");
    context::remove(&folder)?;
    configure(&folder, &upstream)?;
    let mirror = Server::start(Kind::Wharf, &context.programs, &folder)?;
    let places = [
        Place { name: "cached", server: mirror, repository: format!("hub/{REPOSITORY}") },
        Place { name: "hosted", server: hosted, repository: REPOSITORY.to_owned() },
    ];
    let manifest_case = |what, reference: &str| Case {
        what,
        path: client::manifest_path,
        reference: reference.to_owned(),
        size: manifest.len(),
        connections: 8,
    };
    let blob_case = |what, part: &Part, connections| Case {
        what,
        path: client::blob_path,
        reference: part.digest.clone(),
        size: part.size,
        connections,
    };
    let cases = [
        manifest_case("GET manifest by tag", "latest"),
        manifest_case("GET manifest by digest", &payload::digest_of(&manifest)),
        blob_case("GET blob of 4 KiB", &parts[0], 8),
        blob_case("GET blob of 1 MiB", &parts[1], 4),
    ];
    for case in &cases {
        let contestants = places.iter().map(|place| place.contestant(context, case)).collect();
        let series = pairs::run(context.options.pairs, contestants)?;
        let name = format!("{}, {} connections", case.what, case.connections);
        section.compare(pairs::compare(&name, &series, &[Goal::AtMost(1.1)], Measure::Cpu));
    }
    let [cached, hosted] = places;
    for server in [cached.server, hosted.server] {
        server.stop()?;
    }
    at_rest(context, &folder, &mut section)?;
    upstream.stop()?;
    for name in ["cached-upstream", "cached-hosted", "cached-mirror"] {
        context::remove(&context.folder(name))?;
    }
    Ok(section)
}

fn configure(folder: &Path, upstream: &Server) -> Result<()> {
    fs::create_dir_all(folder)?;
    let registry = upstream.address;
    let text = format!("[[upstream]]\nkey = \"hub\"\nregistry = \"{registry}\"\nplain_http = true\n");
    Ok(fs::write(folder.join("wharf.toml"), text)?)
}

fn fill(server: &Server, layers: &[Payload], manifest: &[u8]) -> Result<()> {
    let tail = Payload::tail(0);
    for layer in layers {
        server.store_blob(REPOSITORY, &layer.blob(layer.digest(0), &tail))?;
    }
    server.store_manifest(REPOSITORY, "latest", manifest)
}

impl Place {
    fn contestant<'a>(&'a self, context: &'a Context, case: &'a Case) -> Contestant<'a> {
        let head = format!("accept: {}\r\n", client::MANIFEST_TYPE);
        let request = client::request("GET", &(case.path)(&self.repository, &case.reference), &head);
        let plan = Plan { connections: case.connections, stop: Stop::After(context.sample_time()), first: 0 };
        Contestant {
            name: self.name.to_owned(),
            measure: Box::new(move |_| {
                load::measure(&self.server, plan, &|connection, _| {
                    let length = connection.exchange(&request, &[], 200)?;
                    ensure!(length == case.size as u64, "{length} bytes instead of {}", case.size);
                    Ok(length)
                })
            }),
        }
    }
}

/// A local mirror with a few thousand cached images: when it is ready, and what it takes while nobody asks.
fn at_rest(context: &Context, folder: &Path, section: &mut Section) -> Result<()> {
    let images = context.scaled(5_000, 50);
    let family = Payload::new(4 * 1024, 9);
    let upstream = context.start(Kind::Wharf, "cached-upstream")?;
    context::remove(folder)?;
    configure(folder, &upstream)?;
    let mirror = Server::start(Kind::Wharf, &context.programs, folder)?;
    let mut there = upstream.connect()?;
    let mut here = mirror.connect()?;
    for number in 0..images {
        let (repository, tag) = (format!("bench/r{}", number % 100), format!("t{number}"));
        super::store::push_image(&mut there, &repository, &tag, &family, number)?;
        super::store::check_image(&mut here, &format!("hub/{repository}"), &tag, &family, number)?;
    }
    drop((there, here));
    mirror.stop()?;
    let mut times = Vec::new();
    for _ in 0..context.options.pairs {
        let server = Server::start(Kind::Wharf, &context.programs, folder)?;
        times.push(server.ready_after.as_secs_f64());
        server.stop()?;
    }
    let (typical, longest) = (estimate(times.iter().copied()), times.iter().copied().fold(0.0, f64::max));
    section.goal(
        format!("a mirror of {images} images, from start to the first answer"),
        format!("{}, longest of {} {}", duration(typical.median), times.len(), duration(longest)),
        "at most 50 ms",
        longest <= 0.050,
    );
    let server = Server::start(Kind::Wharf, &context.programs, folder)?;
    // The walk over what is cached, which begins with the start, is over by then.
    std::thread::sleep(Duration::from_secs(5));
    let memory = process::memory(server.pid())?;
    section.goal(
        "resident at rest after start",
        format!("{}, own memory {}", mebibytes(memory.resident), mebibytes(memory.anonymous)),
        "at most 20 MiB",
        memory.resident <= 20 * MIB as u64,
    );
    server.stop()?;
    upstream.stop()
}
