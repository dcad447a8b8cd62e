//! How light the server is: time to be ready, memory at rest, memory under large transfers.

use super::client::{self, Connection};
use super::context::{Context, remove};
use super::load::{self, Plan, Stop};
use super::payload::{Payload, scramble};
use super::process;
use super::report::{Section, duration, mebibytes};
use super::server::Server;
use super::stats::estimate;
use super::store::Shape;
use anyhow::Result;
use std::time::Duration;

const MIB: usize = 1024 * 1024;
const REPOSITORY: &str = "bench/large";
const PARALLEL: usize = 8;

/// Runs the benchmark.
pub fn run(context: &Context) -> Result<Section> {
    let mut section = Section::new("footprint", "Readiness and memory");
    let shape = Shape { manifests: 100_000, repositories: 10_000, tags_in_one: 1_000 };
    let shape = context.scaled(shape, Shape { manifests: 1_000, repositories: 100, tags_in_one: 100 });
    let server = context.start(context.options.subject, "footprint")?;
    shape.seed(&server)?;
    server.stop()?;
    readiness(context, shape, &mut section)?;
    at_rest(context, shape, &mut section)?;
    remove(&context.folder("footprint"))?;
    under_transfers(context, &mut section)?;
    Ok(section)
}

fn restart(context: &Context) -> Result<Server> {
    Server::start(context.options.subject, &context.programs, &context.folder("footprint"))
}

fn readiness(context: &Context, shape: Shape, section: &mut Section) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..context.options.pairs {
        let server = restart(context)?;
        times.push(server.ready_after.as_secs_f64());
        server.stop()?;
    }
    let typical = estimate(times.iter().copied());
    let longest = times.iter().copied().fold(0.0, f64::max);
    section.goal(
        format!("from start to the first answer, {}", shape.describe()),
        format!(
            "{} ({}-{}), longest of {} {}",
            duration(typical.median),
            duration(typical.low),
            duration(typical.high),
            times.len(),
            duration(longest)
        ),
        "at most 50 ms",
        longest <= 0.050,
    );
    Ok(())
}

fn at_rest(context: &Context, shape: Shape, section: &mut Section) -> Result<()> {
    let server = restart(context)?;
    let rest = || {
        std::thread::sleep(Duration::from_secs(3));
        process::memory(server.pid())
    };
    let idle = rest()?.resident;
    section.goal("resident at rest after start", mebibytes(idle), "at most 25 MiB", idle <= 25 * MIB as u64);
    let pull = |connection: &mut Connection, number: u64| {
        let (repository, tag) = shape.place(scramble(number) % shape.manifests);
        connection.exchange(&client::manifest_request("GET", &repository, &tag), &[], 200)
    };
    let pulls = context.scaled(100_000, 2_000);
    load::measure(&server, Plan { connections: 8, stop: Stop::Count(pulls), first: 0 }, &pull)?;
    let memory = rest()?;
    section.fact(
        format!("resident at rest after {pulls} random manifest pulls"),
        format!("{}, own memory {}", mebibytes(memory.resident), mebibytes(memory.anonymous)),
    );
    server.stop()
}

/// Eight pushes and, at the same time, eight pulls.
fn under_transfers(context: &Context, section: &mut Section) -> Result<()> {
    let repeats = context.scaled(16, 1);
    let payload = Payload::repeated(64 * MIB, repeats, 1);
    let digests: Vec<String> = (0..=PARALLEL as u64).map(|number| payload.digest(number)).collect();
    let server = context.start(context.options.subject, "transfers")?;
    let push = |connection: &mut Connection, number: u64| {
        let tail = Payload::tail(number);
        let blob = payload.blob(digests[usize::try_from(number)?].clone(), &tail);
        client::push_blob(connection, REPOSITORY, &blob)?;
        Ok(blob.size() as u64)
    };
    push(&mut server.connect()?, 0)?;
    let get = client::request("GET", &client::blob_path(REPOSITORY, &digests[0]), "");
    let pull = |connection: &mut Connection, _| connection.exchange(&get, &[], 200);
    let connect = || (0..PARALLEL).map(|_| server.connect()).collect::<Result<Vec<_>>>();
    let plan = Plan { connections: PARALLEL, stop: Stop::Count(PARALLEL as u64), first: 1 };
    let (pushing, pulling) = (connect()?, connect()?);
    std::thread::scope(|scope| {
        let pushes = scope.spawn(|| load::drive(pushing, plan, &push));
        let pulled = load::drive(pulling, plan, &pull);
        pushes.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the pushing thread panicked")))?;
        pulled
    })?;
    let memory = process::memory(server.pid())?;
    section.goal(
        format!("highest resident under {PARALLEL} pushes and {PARALLEL} pulls of {} MiB", 64 * repeats),
        format!("{} (own memory after: {})", mebibytes(memory.peak), mebibytes(memory.anonymous)),
        "at most 100 MiB",
        memory.peak <= 100 * MIB as u64,
    );
    server.stop()?;
    remove(&context.folder("transfers"))
}
