//! What a push costs: processor time and rate of blobs, as default 4 KiB ones, 16 at once, each durable when it
//! counts.
//!
//! `cargo run --release -p blob-fs --example push_small -- FOLDER [BLOBS] [AT_ONCE] [BYTES]`
//!
//! Give it a new folder each time: ext4 searches the inodes that were deleted in the last minutes one by one, so
//! that a run right after the folder of an earlier one was removed measures little else.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use blob::contract::noise;
use blob::{BlobStore, Open, UploadId};
use blob_fs::{FsBlobs, Options};
use bytes::Bytes;
use oci::{Algorithm, Digest};

/// In what pieces the bytes arrive.
const PIECE: usize = 64 * 1024;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Clone, Copy)]
enum Way {
    /// The upload is opened by one request and filled by another, as most clients do it.
    TwoRequests,
    /// All in one request.
    OneRequest,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder? It must not be there yet")?;
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<usize>());
    let (blobs, at_once, size) = (number(20_000)?, number(16)?, number(4096)?);
    for (name, way) in [("two requests", Way::TwoRequests), ("one request", Way::OneRequest)] {
        let root = Path::new(&folder).join(name.replace(' ', "-"));
        let store: Arc<dyn BlobStore> = Arc::new(FsBlobs::open(&root, Options::default())?);
        let (cpu, begin) = (processor_time()?, Instant::now());
        run(&store, way, blobs, at_once, &noise(1, size)).await?;
        let (cpu, elapsed) = (processor_time()? - cpu, begin.elapsed());
        let each = cpu.as_secs_f64() * 1e6 / blobs as f64;
        println!("{name}: {each:.1} us each, {:.2} a second", blobs as f64 / elapsed.as_secs_f64());
    }
    Ok(())
}

async fn run(
    store: &Arc<dyn BlobStore>,
    way: Way,
    blobs: usize,
    at_once: usize,
    bytes: &Bytes,
) -> Outcome<()> {
    let digest = Digest::sha256(bytes);
    let taken = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (store, taken, bytes) = (store.clone(), taken.clone(), bytes.clone());
        workers.spawn(async move {
            while taken.fetch_add(1, Ordering::Relaxed) < blobs {
                push(&*store, way, &bytes, digest).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

async fn push(store: &dyn BlobStore, way: Way, bytes: &Bytes, digest: Digest) -> Outcome<()> {
    let upload = UploadId::random();
    let mut stage = store.stage(upload, "bench", Open::New(Algorithm::Sha256)).await?;
    if let Way::TwoRequests = way {
        stage.settle().await?;
        drop(stage);
        stage = store.stage(upload, "bench", Open::Resume).await?;
    }
    for at in (0..bytes.len()).step_by(PIECE) {
        stage.append(bytes.slice(at..bytes.len().min(at + PIECE))).await?;
    }
    stage.commit(digest).await?;
    Ok(())
}

/// What all threads of this process have used. They live on for seconds when idle, so none is missed.
fn processor_time() -> Outcome<Duration> {
    let mut total = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        total += stat.split(' ').next().ok_or("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}
