//! `cargo xtask bench hit-ratio`: how often the cache of a mirror has what is asked for, beside other policies and beside
//! what is possible, on traces that are the same each time.

mod policies;
pub mod trace;

use anyhow::{Result, ensure};
use policies::{Belady, Cache, Ours, Queue, TinyLfu};
use trace::{KINDS, Kind, Request};

/// Its name on the command line.
pub const COMMAND: &str = "hit-ratio";

/// In percent of the bytes of all blobs that are asked for.
const SIZES: [u64; 4] = [1, 5, 10, 25];

/// The part of a trace that fills the cache, and is not counted.
const WARM: usize = 5;

const NAMES: [&str; 5] = ["LRU", "FIFO", "W-TinyLFU", "S3-FIFO, as here", "Belady"];

/// Hits, of requests and of bytes.
#[derive(Clone, Copy, Default, Debug)]
struct Ratio {
    requests: f64,
    bytes: f64,
}

/// Prints the tables.
pub fn run(args: &[String]) -> Result<()> {
    ensure!(args.iter().all(|arg| arg == "--quick"), "{COMMAND} takes no option but --quick");
    let (blobs, count) = if args.is_empty() { (50_000, 1_000_000) } else { (5_000, 100_000) };
    println!("Hits in percent of requests / of bytes. {blobs} blobs, {count} requests, and scans on top.\n");
    println!("| trace | cache, of unique bytes | {} | no cache can exceed |", NAMES.join(" | "));
    println!("|---|---|{}", "---|".repeat(NAMES.len() + 1));
    for kind in KINDS {
        let trace = trace::generate(kind, blobs, count, 1);
        let unique = trace::unique_bytes(&trace);
        for percent in SIZES {
            let capacity = unique / 100 * percent;
            let bound = Ratio {
                requests: policies::bound(capacity, &trace, trace.len() / WARM, |_| 1),
                bytes: policies::bound(capacity, &trace, trace.len() / WARM, |request| request.size),
            };
            let ratios = all(capacity, &trace).into_iter().chain([bound]);
            let cells =
                ratios.map(|ratio| format!("{:.1} / {:.1}", ratio.requests * 100.0, ratio.bytes * 100.0));
            let Kind { name, .. } = kind;
            println!("| {name} | {percent} % | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
    Ok(())
}

/// Each policy on a trace, in the order of their names.
fn all(capacity: u64, trace: &[Request]) -> [Ratio; 5] {
    [
        ratio(&mut Queue::lru(capacity), trace),
        ratio(&mut Queue::fifo(capacity), trace),
        ratio(&mut TinyLfu::new(capacity), trace),
        ratio(&mut Ours::new(capacity), trace),
        ratio(&mut Belady::new(capacity, trace), trace),
    ]
}

fn counted(trace: &[Request]) -> &[Request] {
    &trace[trace.len() / WARM..]
}

fn ratio(cache: &mut dyn Cache, trace: &[Request]) -> Ratio {
    let (mut hits, mut bytes, mut hit_bytes) = (0, 0, 0);
    for (at, request) in trace.iter().enumerate() {
        let hit = cache.request(*request);
        if at >= trace.len() / WARM {
            bytes += request.size;
            hits += u64::from(hit);
            hit_bytes += if hit { request.size } else { 0 };
        }
    }
    Ratio { requests: hits as f64 / counted(trace).len() as f64, bytes: hit_bytes as f64 / bytes as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_better_than_lru_and_none_better_than_possible() {
        for kind in KINDS {
            let trace = trace::generate(kind, 2_000, 40_000, 2);
            for percent in [5, 10, 25] {
                let capacity = trace::unique_bytes(&trace) / 100 * percent;
                let [lru, _, _, ours, _] = all(capacity, &trace);
                let name = format!("{} at {percent} %: {ours:?} and {lru:?}", kind.name);
                assert!(ours.requests >= lru.requests && ours.bytes >= lru.bytes, "{name}");
            }
        }
    }

    /// The traces are what they are said to be.
    #[test]
    fn sizes_and_popularity_are_as_published() {
        let sizes: Vec<u64> = (0..100_000).map(trace::size_of).collect();
        let part = |most: u64| sizes.iter().filter(|size| **size < most).count() as f64 / sizes.len() as f64;
        let large: u64 = sizes.iter().filter(|size| **size >= 10_000_000).sum();
        let bytes = large as f64 / sizes.iter().sum::<u64>() as f64;
        for (found, expect) in [(part(1_000_000), 0.66), (part(10_000_000), 0.80), (bytes, 0.95)] {
            assert!((found - expect).abs() < 0.01, "{found} and not {expect}");
        }
        let trace = trace::generate(KINDS[0], 10_000, 200_000, 3);
        let mut counts = vec![0; 10_000];
        trace.iter().for_each(|request| counts[request.blob as usize] += 1);
        counts.sort_unstable();
        let top: i32 = counts[9_000..].iter().sum();
        assert!((f64::from(top) / 200_000.0 - 0.5).abs() < 0.03, "{top}");
    }
}
