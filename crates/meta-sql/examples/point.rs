//! Measures point reads on a small and a large store, and commits of small blobs.
//!
//! `cargo run --release -p meta-sql --example point -- FOLDER` fills `FOLDER/small.db` (1,000 manifests) and
//! `FOLDER/large.db` (1,000,000 manifests in 100,000 repositories) where they are not there, then prints the
//! microseconds of a read with uniformly random keys, and the rate and processor time of commits. A second
//! argument `push` leaves the reads out.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blob::BlobId;
use bytes::Bytes;
use futures_util::future::join_all;
use meta::{
    Batch, Commit, NewBlob, NewManifest, Origin, ReadBlobs, ReadLists, ReadManifests, RefKind, SystemClock,
    Visible, Write,
};
use meta_sql::{Config, SqliteMeta};
use oci::{Digest, Reference, RepoName};

type Outcome<T> = Result<T, Box<dyn Error>>;

const READS: usize = 200_000;
const PUSHERS: usize = 16;
const PUSHING: Duration = Duration::from_secs(10);
/// What a manifest of a small image weighs.
const MANIFEST_BYTES: usize = 900;

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = std::env::args().nth(1).ok_or("name a folder for the databases")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    for (name, repositories) in [("small", 100), ("large", 100_000)] {
        let path = folder.join(format!("{name}.db"));
        let filled = path.exists();
        let start = Instant::now();
        let store = SqliteMeta::open(&path, Arc::new(SystemClock), Config::default())?;
        println!("{name}: opened in {:.1?}, {}", start.elapsed(), resident()?);
        let load = Load { store: Arc::new(store), repositories };
        if !filled {
            load.fill().await?;
        }
        if std::env::args().nth(2).as_deref() != Some("push") {
            load.measure(name).await?;
        }
        load.push(name).await?;
        println!("{name}: at the end {}", resident()?);
    }
    Ok(())
}

/// A store with ten manifests in each repository.
struct Load {
    store: Arc<SqliteMeta>,
    repositories: usize,
}

impl Load {
    async fn fill(&self) -> Outcome<()> {
        let start = Instant::now();
        let numbers: Vec<usize> = (0..self.repositories).collect();
        for chunk in numbers.chunks(256) {
            let commits =
                chunk.iter().map(|n| async { self.store.commit(image_batch(*n)?).await.map_err(Into::into) });
            join_all(commits).await.into_iter().collect::<Outcome<Vec<_>>>()?;
        }
        println!("filled {} repositories in {:.1?}", self.repositories, start.elapsed());
        Ok(())
    }

    async fn measure(&self, name: &str) -> Outcome<()> {
        let mut random = Random(7);
        let keys: Vec<(RepoName, Reference, Reference, Digest)> = (0..READS)
            .map(|_| {
                let (n, k) = (random.below(self.repositories), random.below(10));
                let digest = Reference::Digest(Digest::sha256(&content(n, k)));
                Ok((repository(n)?, tag(k)?, digest, layer(n)))
            })
            .collect::<Outcome<_>>()?;
        // Twice: what counts is the second, when everything has been read once.
        for round in ["cold", "warm"] {
            let watch = Watch::start()?;
            for (repository, tag, ..) in &keys {
                self.store.manifest(repository, tag).await?.ok_or("a manifest is missing")?;
            }
            watch.report(&format!("{name}: {round} manifest by tag"), READS)?;
            let watch = Watch::start()?;
            for (repository, _, digest, _) in &keys {
                self.store.manifest(repository, digest).await?.ok_or("a manifest is missing")?;
            }
            watch.report(&format!("{name}: {round} manifest by digest"), READS)?;
            let watch = Watch::start()?;
            for (repository, .., layer) in &keys {
                self.store.blob(repository, layer).await?.ok_or("a blob is missing")?;
            }
            watch.report(&format!("{name}: {round} blob"), READS)?;
        }
        let watch = Watch::start()?;
        for (repository, ..) in keys.iter().take(READS / 10) {
            self.store.repositories(&Visible::All, Some(repository.as_str()), 100).await?;
        }
        watch.report(&format!("{name}: catalog page of 100"), READS / 10)
    }

    async fn push(&self, name: &str) -> Outcome<()> {
        let (start, watch) = (Instant::now(), Watch::start()?);
        let pushers = (0..PUSHERS).map(|pusher| {
            let (store, repositories) = (Arc::clone(&self.store), self.repositories);
            tokio::spawn(async move {
                let mut random = Random(pusher as u64 + start.elapsed().as_nanos() as u64);
                let mut done = 0_u64;
                while start.elapsed() < PUSHING {
                    let digest = Digest::sha256(BlobId::random().as_bytes());
                    let blob = NewBlob { digest, size: 4096, id: BlobId::random() };
                    let Ok(repository) = repository(random.below(repositories)) else { continue };
                    let batch = Batch::of(Origin::default(), Write::Blob { repository, blob });
                    done += u64::from(store.commit(batch).await.is_ok());
                }
                done
            })
        });
        let done: u64 = join_all(pushers).await.into_iter().collect::<Result<Vec<_>, _>>()?.iter().sum();
        println!("{name}: {PUSHERS} pushers: {:.0} commits/s", done as f64 / start.elapsed().as_secs_f64());
        watch.report(&format!("{name}: push of a blob"), usize::try_from(done)?)?;
        Ok(())
    }
}

/// What passed since some moment: on the clock, and of processor time.
struct Watch(Instant, Duration);

impl Watch {
    fn start() -> Outcome<Self> {
        Ok(Self(Instant::now(), processor_time()?))
    }

    fn report(&self, what: &str, times: usize) -> Outcome<()> {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / times as f64;
        let (clock, processor) = (self.0.elapsed(), processor_time()?.saturating_sub(self.1));
        println!("{what}: {:.2} us, {:.2} us of processor", each(clock), each(processor));
        Ok(())
    }
}

fn repository(n: usize) -> Outcome<RepoName> {
    Ok(format!("project{}/app{n}", n % 100).parse()?)
}

fn tag(k: usize) -> Outcome<Reference> {
    Ok(format!("v1.{k}").parse()?)
}

fn layer(n: usize) -> Digest {
    Digest::sha256(format!("layer {n}").as_bytes())
}

fn content(n: usize, k: usize) -> Vec<u8> {
    format!("{{\"image\": \"{n} {k}\"}}{}", " ".repeat(MANIFEST_BYTES)).into_bytes()
}

fn image_batch(n: usize) -> Outcome<Batch> {
    let repository = repository(n)?;
    let blob = NewBlob { digest: layer(n), size: 4096, id: BlobId::random() };
    let mut batch = Batch::of(Origin::default(), Write::Blob { repository: repository.clone(), blob });
    for k in 0..10 {
        let bytes = Bytes::from(content(n, k));
        let manifest = NewManifest {
            digest: Digest::sha256(&bytes),
            media_type: oci::types::OCI_MANIFEST.parse()?,
            bytes,
            artifact_type: None,
            subject: None,
            annotations: None,
            references: vec![(blob.digest, RefKind::Blob)],
        };
        let Reference::Tag(tag) = tag(k)? else { return Err("a tag is a tag".into()) };
        let digest = manifest.digest;
        batch = batch.then(Write::Manifest { repository: repository.clone(), manifest }).then(Write::Tag {
            repository: repository.clone(),
            tag,
            digest,
        });
    }
    Ok(batch)
}

/// The resident memory of this process: its own, and the pages of files that it has mapped.
fn resident() -> Outcome<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let lines = status.lines().filter(|line| line.starts_with("RssAnon") || line.starts_with("RssFile"));
    Ok(lines.collect::<Vec<_>>().join(" ").replace('\t', " "))
}

/// User and system time of this process, in steps of 10 ms.
fn processor_time() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(10 * ticks))
}

/// Xorshift: the same keys in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}
