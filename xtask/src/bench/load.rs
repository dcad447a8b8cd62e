//! The load generator: some keep-alive connections, each in a thread of its own, doing one operation
//! again and again; and what a server spent while they did.

use super::client::Connection;
use super::process;
use super::server::Server;
use super::stats;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One operation: does number N on a connection and returns the payload bytes that it moved.
pub type Operation<'a> = dyn Fn(&mut Connection, u64) -> Result<u64> + Sync + 'a;

/// How much load to make.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Connections, and so threads.
    pub connections: usize,
    /// When to end.
    pub stop: Stop<'a>,
    /// The number of the first operation, so that samples can be kept apart.
    pub first: u64,
}

/// When a load ends.
#[derive(Clone, Copy)]
pub enum Stop<'a> {
    /// Each connection ends the operation at hand after this time.
    After(Duration),
    /// After so many operations in all.
    Count(u64),
    /// Each connection ends the operation at hand once this is false.
    While(&'a AtomicBool),
}

/// What was done and what it took.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Operations done.
    pub operations: u64,
    /// Payload bytes moved.
    pub bytes: u64,
    /// Seconds on the clock.
    pub seconds: f64,
    /// CPU seconds of the process that is judged: the server and its workers.
    pub cpu_seconds: f64,
    /// CPU seconds of the load generator.
    pub client_cpu_seconds: f64,
    /// Median latency in seconds.
    pub p50: f64,
    /// 99th percentile of latency in seconds.
    pub p99: f64,
}

impl Sample {
    /// CPU seconds for each operation.
    pub fn cpu_per_operation(&self) -> f64 {
        self.cpu_seconds / self.operations as f64
    }

    /// Operations in a second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds
    }
}

/// What the connections saw.
pub struct Outcome {
    /// Payload bytes moved.
    pub bytes: u64,
    /// Nanoseconds of each operation, sorted.
    pub latencies: Vec<u64>,
    /// From the first operation's start to the last one's end.
    pub elapsed: Duration,
}

/// Work that a server does just after its last answer belongs to the answers.
const SETTLE: Duration = Duration::from_millis(30);

/// Puts load on a server and accounts for what it spent.
pub fn measure(server: &Server, plan: Plan, operation: &Operation) -> Result<Sample> {
    let connections: Vec<Connection> =
        (0..plan.connections).map(|_| server.connect()).collect::<Result<_>>()?;
    std::thread::sleep(SETTLE);
    let (server_before, client_before) = (server.cpu()?, process::own_cpu()?);
    let outcome = drive(connections, plan, operation).with_context(|| server.kind.name())?;
    std::thread::sleep(SETTLE);
    let (server_after, client_after) = (server.cpu()?, process::own_cpu()?);
    let nanoseconds = |share| stats::quantile(&outcome.latencies, share) as f64 / 1e9;
    Ok(Sample {
        operations: outcome.latencies.len() as u64,
        bytes: outcome.bytes,
        seconds: outcome.elapsed.as_secs_f64(),
        cpu_seconds: server_after.saturating_sub(server_before).as_secs_f64(),
        client_cpu_seconds: client_after.saturating_sub(client_before).as_secs_f64(),
        p50: nanoseconds(0.5),
        p99: nanoseconds(0.99),
    })
}

/// Runs the operation on all connections at once until the plan is done.
pub fn drive(connections: Vec<Connection>, plan: Plan, operation: &Operation) -> Result<Outcome> {
    let counter = AtomicU64::new(0);
    let started = Instant::now();
    let parts: Vec<Result<(u64, Vec<u64>)>> = std::thread::scope(|scope| {
        let worker = |connection| scope.spawn(|| work(connection, plan, &counter, started, operation));
        let handles: Vec<_> = connections.into_iter().map(worker).collect();
        handles.into_iter().map(|handle| handle.join().unwrap_or_else(|_| panicked())).collect()
    });
    let elapsed = started.elapsed();
    let mut outcome = Outcome { bytes: 0, latencies: Vec::new(), elapsed };
    for part in parts {
        let (bytes, latencies) = part?;
        outcome.bytes += bytes;
        outcome.latencies.extend(latencies);
    }
    outcome.latencies.sort_unstable();
    ensure!(!outcome.latencies.is_empty(), "no operation was done");
    Ok(outcome)
}

fn panicked<T>() -> Result<T> {
    Err(anyhow::anyhow!("a load thread panicked"))
}

fn work(
    mut connection: Connection,
    plan: Plan,
    counter: &AtomicU64,
    started: Instant,
    operation: &Operation,
) -> Result<(u64, Vec<u64>)> {
    let mut latencies = Vec::with_capacity(4096);
    let mut bytes = 0;
    loop {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        let done = match plan.stop {
            Stop::After(time) => started.elapsed() >= time,
            Stop::Count(count) => number >= count,
            Stop::While(running) => !running.load(Ordering::Relaxed),
        };
        if done {
            return Ok((bytes, latencies));
        }
        let begun = Instant::now();
        bytes += operation(&mut connection, plan.first + number)?;
        latencies.push(u64::try_from(begun.elapsed().as_nanos())?);
    }
}
