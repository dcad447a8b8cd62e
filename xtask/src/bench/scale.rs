//! Does a request cost the same on a thousand times as much metadata? Two servers of one kind, one with a
//! million manifests and one with a thousand, under the same requests with uniformly random keys.

use super::client::{self, Connection};
use super::context::{Context, remove};
use super::load::{self, Plan, Stop};
use super::pairs::{self, Contestant, Goal, Measure};
use super::payload::{self, Payload, scramble};
use super::report::{self, Section};
use super::server::Server;
use super::store::{self, Shape};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;

/// Tags and repositories on a page.
const PAGE: u64 = 50;

/// A kind of request.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Operations of a sample where each writes; reads run for a fixed time.
    writes: Option<u64>,
    /// Whether it asks for a manifest: then each is asked for once before anything is measured, as by a server that
    /// has been up for a while.
    warmed: bool,
    /// Gets a number that stands for what is asked for.
    operation: fn(&Shape, &mut Connection, u64) -> Result<u64>,
}

const CASES: &[Case] = &[
    Case { name: "GET manifest by tag", writes: None, warmed: true, operation: get_by_tag },
    Case { name: "GET manifest by digest", writes: None, warmed: true, operation: get_by_digest },
    Case { name: "HEAD manifest by tag", writes: None, warmed: true, operation: head_by_tag },
    Case { name: "tag list page of 50", writes: None, warmed: false, operation: tag_page },
    Case { name: "catalog page of 50", writes: None, warmed: false, operation: catalog_page },
    Case { name: "push of blob and manifest", writes: Some(400), warmed: false, operation: push },
];

/// A server with its contents.
struct Store {
    server: Server,
    shape: Shape,
}

/// Runs the benchmark.
pub fn run(context: &Context) -> Result<Section> {
    let mut section = Section::new("scale", "The same requests on a large and on a small store");
    let large = Shape { manifests: 1_000_000, repositories: 100_000, tags_in_one: 100_000 };
    let large = context.scaled(large, Shape { manifests: 5_000, repositories: 500, tags_in_one: 1_000 });
    let small = Shape { manifests: 1_000, repositories: 100, tags_in_one: 500 };
    let stores = [fill(context, "large", large)?, fill(context, "small", small)?];
    for case in CASES {
        if case.warmed {
            stores.iter().try_for_each(|store| store.warm(*case))?;
        }
        let contestants = stores.iter().map(|store| store.contestant(context, *case)).collect();
        let series = pairs::run(context.options.pairs, contestants)?;
        section.compare(pairs::compare(case.name, &series, &[Goal::AtMost(1.5)], Measure::Cpu));
    }
    section.note(format!(
        "Large: {}. Small: {}. 8 connections. Each manifest was asked for once before it was measured.",
        large.describe(),
        small.describe()
    ));
    let [large, small] = stores;
    small.server.stop()?;
    cold(context, large, &mut section)?;
    remove(&context.folder("large"))?;
    remove(&context.folder("small"))?;
    Ok(section)
}

/// Fills a server and starts it anew, so that both are measured as after a restart, with files in memory.
fn fill(context: &Context, name: &str, shape: Shape) -> Result<Store> {
    let server = context.start(context.options.subject, name)?;
    let started = std::time::Instant::now();
    shape.seed(&server).with_context(|| format!("filling the {name} store"))?;
    eprintln!("  filled {name} ({}) in {:.0?}", shape.describe(), started.elapsed());
    server.stop()?;
    read_all(&context.folder(name))?;
    let server = Server::start(context.options.subject, &context.programs, &context.folder(name))?;
    Ok(Store { server, shape })
}

impl Store {
    fn contestant<'a>(&'a self, context: &'a Context, case: Case) -> Contestant<'a> {
        Contestant {
            name: format!("{} manifests", self.shape.manifests),
            measure: Box::new(move |round| self.measure(context, case, round)),
        }
    }

    fn warm(&self, case: Case) -> Result<()> {
        let plan = Plan { connections: 8, stop: Stop::Count(self.shape.manifests), first: 0 };
        load::measure(&self.server, plan, &|connection, number| {
            (case.operation)(&self.shape, connection, number)
        })?;
        Ok(())
    }

    fn measure(&self, context: &Context, case: Case, round: usize) -> Result<load::Sample> {
        let stop = case.writes.map_or(Stop::After(context.sample_time()), Stop::Count);
        let plan = Plan { connections: 8, stop, first: round as u64 * 1_000_000 };
        load::measure(&self.server, plan, &|connection, number| {
            (case.operation)(&self.shape, connection, scramble(number))
        })
    }
}

/// Each request once more after the page cache is gone.
fn cold(context: &Context, store: Store, section: &mut Section) -> Result<()> {
    let shape = store.shape;
    store.server.stop()?;
    for case in CASES {
        if let Err(error) = drop_page_cache() {
            section.note(format!("The page cache could not be dropped: {error:#}."));
            return Ok(());
        }
        let server = Server::start(context.options.subject, &context.programs, &context.folder("large"))?;
        let ready = server.ready_after;
        let plan = Plan { connections: 8, stop: Stop::Count(case.writes.unwrap_or(2_000)), first: 1 << 40 };
        let sample = load::measure(&server, plan, &|connection, number| {
            (case.operation)(&shape, connection, scramble(number))
        })?;
        section.fact(
            format!("{}, {} manifests, page cache dropped", case.name, shape.manifests),
            format!(
                "{:.0}/s, p50 {}, p99 {}; ready after {}",
                sample.rate(),
                report::duration(sample.p50),
                report::duration(sample.p99),
                report::duration(ready.as_secs_f64())
            ),
        );
        server.stop()?;
    }
    Ok(())
}

fn drop_page_cache() -> Result<()> {
    // SAFETY: sync(2) takes nothing and cannot fail.
    unsafe { libc::sync() };
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot write /proc/sys/vm/drop_caches")
}

/// Reads every file below a folder, so that it lies in the page cache.
fn read_all(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            read_all(&entry.path())?;
        } else if entry.file_type()?.is_file() {
            std::io::copy(&mut fs::File::open(entry.path())?, &mut std::io::sink())?;
        }
    }
    Ok(())
}

fn get_by_tag(shape: &Shape, connection: &mut Connection, number: u64) -> Result<u64> {
    let (repository, tag) = shape.place(number % shape.manifests);
    connection.exchange(&client::manifest_request("GET", &repository, &tag), &[], 200)
}

fn get_by_digest(shape: &Shape, connection: &mut Connection, number: u64) -> Result<u64> {
    let index = number % shape.manifests;
    let (repository, _) = shape.place(index);
    let digest = payload::digest_of(&store::manifest(index));
    connection.exchange(&client::manifest_request("GET", &repository, &digest), &[], 200)
}

fn head_by_tag(shape: &Shape, connection: &mut Connection, number: u64) -> Result<u64> {
    let (repository, tag) = shape.place(number % shape.manifests);
    connection.exchange(&client::manifest_request("HEAD", &repository, &tag), &[], 200)
}

fn tag_page(shape: &Shape, connection: &mut Connection, number: u64) -> Result<u64> {
    let last = store::tag_name(number % (shape.tags_in_one - PAGE));
    let path = format!("/v2/{}/tags/list?n={PAGE}&last={last}", store::repository_name(0));
    list_page(connection, &path)
}

fn catalog_page(shape: &Shape, connection: &mut Connection, number: u64) -> Result<u64> {
    let last = store::repository_name(number % (shape.repositories - PAGE));
    list_page(connection, &format!("/v2/_catalog?n={PAGE}&last={last}"))
}

/// A page must be full, or the two stores would not do the same work.
fn list_page(connection: &mut Connection, path: &str) -> Result<u64> {
    let length = connection.exchange(&client::request("GET", path, ""), &[], 200)?;
    ensure!(length >= PAGE * 8, "{path}: a page of {length} bytes cannot hold {PAGE} names");
    Ok(length)
}

fn push(shape: &Shape, connection: &mut Connection, number: u64) -> Result<u64> {
    thread_local! {
        static FAMILY: Payload = Payload::new(4096, 4);
    }
    let repository = store::repository_name(number % shape.repositories);
    FAMILY.with(|family| {
        store::push_image(connection, &repository, &format!("pushed-{number}"), family, number)?;
        Ok(4096)
    })
}
