//! Garbage collection while pulls and pushes go on: how much slower a pull gets, whether everything that is
//! live stays, whether everything that is not goes.
//!
//! Each pair leaves unreferenced blobs until their grace is over, then measures pulls for the time of one
//! collection and for as long without; every second pair the other way round.

use super::client::{self, Connection};
use super::context::{Context, remove};
use super::load::{self, Outcome, Plan, Stop};
use super::payload::{Payload, scramble};
use super::report::{self, Section};
use super::server::{Kind, Server};
use super::stats::{estimate, quantile};
use super::store;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longer than any push takes from its first blob to its manifest.
const GRACE: Duration = Duration::from_secs(5);

/// Images that are there from the start and are pulled all the time.
const LIVE: u64 = 1_000;

const PULLING: usize = 4;
const PUSHING: usize = 2;

/// What a collection says of itself.
#[derive(Deserialize, Default)]
struct Summary {
    links: u64,
    blobs: u64,
    orphans: u64,
}

/// What one pair found.
struct Round {
    p99_without: f64,
    p99_with: f64,
    collection: Duration,
    first: Summary,
    second: Summary,
}

/// The server and all that was put into it.
struct Scene {
    server: Server,
    images: Payload,
    garbage: Payload,
    /// Images so far; image N is known by its number.
    pushed: AtomicU64,
    /// Unreferenced blobs of each pair.
    count: u64,
}

/// Runs the benchmark.
pub fn run(context: &Context) -> Result<Section> {
    ensure!(context.options.subject == Kind::Wharf, "only wharf collects garbage while it serves");
    let mut section = Section::new("gc-load", "Garbage collection under load");
    let scene = Scene {
        server: context.start(Kind::Wharf, "gc")?,
        images: Payload::new(64 * 1024, 6),
        garbage: Payload::new(4096, 7),
        pushed: AtomicU64::new(0),
        count: context.scaled(10_000, 500),
    };
    let push = |connection: &mut Connection, _| scene.push(connection);
    scene.drive(16, Stop::Count(LIVE), &push)?;
    let mut rounds: Vec<Round> = Vec::new();
    for round in 0..context.options.pairs as u64 {
        // As long as the last collection took, so that both windows see as many pulls; the first one guesses.
        let window = rounds.last().map_or(Duration::from_millis(scene.count / 5), |last| last.collection);
        rounds.push(scene.round(round, window)?);
    }
    summarise(&rounds, scene.count, &mut section);
    scene.verify(rounds.len() as u64, &mut section)?;
    scene.server.stop()?;
    remove(&context.folder("gc"))?;
    Ok(section)
}

impl Scene {
    fn round(&self, round: u64, window: Duration) -> Result<Round> {
        let spoil = |connection: &mut Connection, number: u64| {
            let number = round * self.count + number;
            let tail = Payload::tail(number);
            let blob = self.garbage.blob(self.garbage.digest(number), &tail);
            client::push_blob(connection, &garbage_repository(number), &blob)?;
            Ok(0)
        };
        self.drive(32, Stop::Count(self.count), &spoil)?;
        std::thread::sleep(GRACE + Duration::from_secs(1));
        let before = if round.is_multiple_of(2) { Some(self.undisturbed(window)?) } else { None };
        let (p99_with, first, collection) = self.disturbed()?;
        let p99_without = before.map_or_else(|| self.undisturbed(window), Ok)?;
        let second = self.collect()?;
        Ok(Round { p99_without, p99_with, collection, first, second })
    }

    /// The pulls' 99th percentile under pulls and pushes alone.
    fn undisturbed(&self, window: Duration) -> Result<f64> {
        self.load(Stop::After(window))
    }

    /// The same while garbage is collected, what was collected and how long that took.
    fn disturbed(&self) -> Result<(f64, Summary, Duration)> {
        let running = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| self.load(Stop::While(&running)));
            let started = Instant::now();
            let summary = self.collect();
            let elapsed = started.elapsed();
            running.store(false, Ordering::Relaxed);
            let p99 = load.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the load panicked")))?;
            Ok((p99, summary?, elapsed))
        })
    }

    fn load(&self, stop: Stop) -> Result<f64> {
        let push = |connection: &mut Connection, _| self.push(connection);
        let pull = |connection: &mut Connection, number: u64| {
            let image = scramble(number) % LIVE;
            let manifest = client::manifest_request("GET", &repository(image), &tag(image));
            let digest = self.images.digest(image);
            let blob = client::request("GET", &client::blob_path(&repository(image), &digest), "");
            connection.exchange(&manifest, &[], 200)?;
            connection.exchange(&blob, &[], 200)
        };
        std::thread::scope(|scope| {
            let pushes = scope.spawn(|| self.drive(PUSHING, stop, &push));
            let pulls = self.drive(PULLING, stop, &pull);
            pushes.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the pushes panicked")))?;
            Ok(quantile(&pulls?.latencies, 0.99) as f64 / 1e9)
        })
    }

    fn drive(&self, connections: usize, stop: Stop, operation: &load::Operation) -> Result<Outcome> {
        let plan = Plan { connections, stop, first: 0 };
        let connections = (0..connections).map(|_| self.server.connect()).collect::<Result<_>>()?;
        load::drive(connections, plan, operation)
    }

    fn push(&self, connection: &mut Connection) -> Result<u64> {
        let image = self.pushed.fetch_add(1, Ordering::Relaxed);
        store::push_image(connection, &repository(image), &tag(image), &self.images, image)?;
        Ok(0)
    }

    /// One collection by the administration API on the socket in the data folder.
    fn collect(&self) -> Result<Summary> {
        let socket = self.server.folder.join("data/wharf.sock");
        let mut stream = UnixStream::connect(&socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        let body = format!(r#"{{"grace_seconds":{}}}"#, GRACE.as_secs());
        // HTTP/1.0, so that the answer ends with the connection and comes without chunks.
        let length = body.len();
        write!(stream, "POST /api/v1/gc HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let summary = answer.lines().find(|line| line.contains(r#""type":"summary""#));
        let summary = summary.with_context(|| format!("the collection did not end well: {answer:.500}"))?;
        Ok(serde_json::from_str(summary)?)
    }

    /// Pulls every image that was ever acknowledged, and looks for every blob that was to go.
    fn verify(&self, rounds: u64, section: &mut Section) -> Result<()> {
        let images = self.pushed.load(Ordering::Relaxed);
        let check = |connection: &mut Connection, image: u64| {
            store::check_image(connection, &repository(image), &tag(image), &self.images, image)?;
            Ok(0)
        };
        self.drive(8, Stop::Count(images), &check)?;
        section.goal("live images lost", format!("0 of {images}, every byte compared"), "none", true);
        let left = AtomicU64::new(0);
        let look = |connection: &mut Connection, number: u64| {
            let digest = self.garbage.digest(number);
            let path = client::blob_path(&garbage_repository(number), &digest);
            let answer = connection.fetch(&client::request("HEAD", &path, ""), &[])?;
            left.fetch_add(u64::from(answer.status != 404), Ordering::Relaxed);
            Ok(0)
        };
        self.drive(8, Stop::Count(rounds * self.count), &look)?;
        let left = left.into_inner();
        let total = rounds * self.count;
        section.goal("deletable blobs left", format!("{left} of {total}"), "none", left == 0);
        Ok(())
    }
}

fn summarise(rounds: &[Round], count: u64, section: &mut Section) {
    let median = |value: fn(&Round) -> f64| estimate(rounds.iter().map(value));
    let without = median(|round| round.p99_without).median;
    let with = median(|round| round.p99_with).median;
    let ratio = median(|round| round.p99_with / round.p99_without);
    let more = median(|round| round.p99_with - round.p99_without);
    section.goal(
        format!("pull p99 while {count} blobs are collected, {} pairs", rounds.len()),
        format!(
            "{} instead of {}: {}x, {:+.2} ms ({:+.2}-{:+.2})",
            report::duration(with),
            report::duration(without),
            report::ratio(ratio),
            more.median * 1e3,
            more.low * 1e3,
            more.high * 1e3
        ),
        "at most 1.3x or 5 ms more",
        ratio.median <= 1.3 || more.median <= 0.005,
    );
    let took = median(|round| round.collection.as_secs_f64()).median;
    section.fact("one collection takes", report::duration(took));
    let collected: Vec<u64> = rounds.iter().map(|round| round.first.blobs).collect();
    let all = collected.iter().all(|blobs| *blobs == count);
    section.goal("blobs collected in each pair", format!("{collected:?}"), count.to_string(), all);
    let again: u64 =
        rounds.iter().map(|round| round.second.links + round.second.blobs + round.second.orphans).sum();
    section.goal("found by a second run", again.to_string(), "nothing", again == 0);
    section.note(format!(
        "{PULLING} connections pull images (manifest and 64 KiB blob), {PUSHING} push new ones, without pause."
    ));
}

fn repository(image: u64) -> String {
    format!("gc/live-{}", image % 50)
}

fn tag(image: u64) -> String {
    format!("v{image}")
}

fn garbage_repository(number: u64) -> String {
    format!("gc/garbage-{}", number % 50)
}
