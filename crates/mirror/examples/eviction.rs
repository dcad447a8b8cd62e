//! How long requests wait while a cache of a million blobs evicts: `cargo run --release -p mirror --example eviction`.
//!
//! Metadata only: 1,000,000 blobs of 100 kB in 1,000 mirrored repositories, on the disk, without their files. Requests look
//! blobs up as a pull does, and some write, beside nothing first, then beside the reading of what is in the
//! cache, then beside the eviction of a tenth of it.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use access::{Action, Grant, Target};
use blob::BlobId;
use blob_fs::FsBlobs;
use meta::{Batch, CacheSize, CachedMeta, MetaStore, NewBlob, Origin, SystemClock, Write};
use meta_sql::SqliteMeta;
use mirror::{CacheLimits, Mirror};
use oci::{Digest, RepoName};
use registry::{Lifetimes, Limits, NodeId, Pull, Registry, Want};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const REPOSITORIES: u64 = 1_000;
const SIZE: u64 = 100_000;

fn repository(number: u64) -> Outcome<RepoName> {
    Ok(format!("hub/app{}", number % REPOSITORIES).parse()?)
}

fn digest(number: u64) -> Digest {
    Digest::sha256(&number.to_le_bytes())
}

fn open(folder: &Path) -> Outcome<Arc<Registry>> {
    let sqlite =
        SqliteMeta::open(&folder.join("meta.db"), Arc::new(SystemClock), meta_sql::Config::default())?;
    let meta: Arc<dyn MetaStore> = Arc::new(CachedMeta::new(Arc::new(sqlite), CacheSize::default()));
    let blobs = Arc::new(FsBlobs::open(folder, blob_fs::Options::default())?);
    Ok(Arc::new(Registry::new(meta, blobs, Limits::default(), Lifetimes::default())))
}

async fn fill(registry: &Registry, blobs: u64) -> Outcome<()> {
    let commit = async |writes| {
        let batch = Batch { origin: Origin::default(), conditions: Vec::new(), writes };
        registry.meta().commit(batch).await
    };
    for number in 0..REPOSITORIES {
        commit(vec![Write::Mirror { repository: repository(number)? }]).await?;
    }
    for first in (0..blobs).step_by(2_000) {
        let blob = |number| -> Outcome<Write> {
            let blob = NewBlob { digest: digest(number), size: SIZE, id: BlobId::random() };
            Ok(Write::Blob { repository: repository(number)?, blob })
        };
        let writes = (first..(first + 2_000).min(blobs)).map(blob).collect::<Outcome<_>>()?;
        commit(writes).await?;
    }
    Ok(())
}

/// Asks for one blob after another until it is over; how long each look-up took, and each write.
async fn ask(
    mirror: Arc<Mirror>,
    registry: Arc<Registry>,
    over: Arc<AtomicBool>,
    blobs: u64,
    seed: u64,
) -> Outcome<[Vec<Duration>; 2]> {
    let (mut times, mut state) = ([Vec::new(), Vec::new()], seed);
    while !over.load(Ordering::Relaxed) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = (state >> 33) % blobs;
        let started = Instant::now();
        let writes = state >> 40 & 127 == 0;
        if writes {
            let write = Write::Setting { name: format!("seed{seed}"), value: number.to_string() };
            registry.meta().commit(Batch::of(Origin::default(), write)).await?;
        } else {
            let grant = Grant::system("bench", Action::Pull, Target::Repository(repository(number)?));
            // Evicted or not.
            let _found = mirror.blob(&grant, &digest(number), Want::Bytes).await;
        }
        times[usize::from(writes)].push(started.elapsed());
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    Ok(times)
}

/// Asks by eight until something is so, and says how long that took and what the requests waited.
async fn measure(
    what: &str,
    mirror: &Arc<Mirror>,
    registry: &Arc<Registry>,
    blobs: u64,
    is_so: impl Fn() -> bool,
) -> Outcome<()> {
    let over = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let asking: Vec<_> = (0..8)
        .map(|seed| tokio::spawn(ask(mirror.clone(), registry.clone(), over.clone(), blobs, seed)))
        .collect();
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = start.elapsed();
    over.store(true, Ordering::Relaxed);
    let mut all = [Vec::new(), Vec::new()];
    for one in asking {
        let times = one.await??;
        all.iter_mut().zip(times).for_each(|(all, times)| all.extend(times));
    }
    println!("{what}: {took:.1?}");
    for (kind, mut times) in ["look-ups", "writes"].into_iter().zip(all) {
        times.sort_unstable();
        let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
        let longest = times.last().copied().unwrap_or_default();
        let (count, p50, p99, p999) = (times.len(), at(0.5), at(0.99), at(0.999));
        println!("  {count} {kind}: p50 {p50:.2?}, p99 {p99:.2?}, p99.9 {p999:.2?}, longest {longest:.2?}");
    }
    Ok(())
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let blobs: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    {
        let registry = open(folder.path())?;
        let start = Instant::now();
        fill(&registry, blobs).await?;
        println!("{blobs} blobs stored in {:.1?}", start.elapsed());
    }
    let registry = open(folder.path())?;
    let mirror = Mirror::new(registry.clone(), Vec::new(), Vec::new(), NodeId::new(1));
    let before = resident();
    let idle = Arc::new(mirror.clone());
    let start = Instant::now();
    measure("beside nothing", &idle, &registry, blobs, || start.elapsed() > Duration::from_secs(10)).await?;
    let limits = CacheLimits { max_bytes: blobs * SIZE, free_bytes: 0, pins: Vec::new() };
    let (mirror_of_all, evicting) = mirror.clone().bounded(limits.clone());
    let mirror_of_all = Arc::new(mirror_of_all);
    let task = tokio::spawn(evicting);
    let is_listed = || mirror_of_all.cache_stats().blobs == blobs;
    measure("beside the reading of all", &mirror_of_all, &registry, blobs, is_listed).await?;
    println!("own memory: {} KiB more than before", resident().saturating_sub(before));
    task.abort();
    let less = CacheLimits { max_bytes: blobs * SIZE / 10 * 9, ..limits };
    let (bounded, evicting) = mirror.bounded(less);
    let bounded = Arc::new(bounded);
    tokio::spawn(evicting);
    let is_evicted = || bounded.cache_stats().evicted_blobs >= blobs / 10;
    measure("beside the reading and the eviction of a tenth", &bounded, &registry, blobs, is_evicted).await?;
    Ok(())
}
