//! The walk: children before parents, blobs before their manifest, each thing once, all in parallel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use oci::{Child, Descriptor, Digest, Manifest, ManifestError, ManifestLimits, Role, Tag, Verifier, types};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

use crate::{
    Document, Event, Feed, Naming, Options, Outcome, Progress, Pushed, Report, Source, Target, TransferError,
};

/// How many small requests run at once for each blob that may move: they wait for the network, not for bytes.
const PROBES_PER_JOB: usize = 2;

/// Fetches a manifest, verified and read.
pub async fn fetch(
    source: &dyn Source,
    descriptor: &Descriptor,
    limits: &ManifestLimits,
) -> Result<Document, TransferError> {
    let digest = descriptor.digest;
    let unusable = |error| TransferError::Manifest { digest, place: source.place(), error };
    if descriptor.size > limits.size as u64 {
        return Err(unusable(ManifestError::TooLarge(limits.size)));
    }
    let bytes = source.manifest(descriptor).await?;
    let mut verifier = Verifier::new(digest, Some(descriptor.size));
    verifier.update(&bytes).and_then(|()| verifier.finish()).map_err(|error| TransferError::Corrupt {
        digest,
        place: source.place(),
        error,
    })?;
    let manifest = Manifest::parse(&bytes, Some(&descriptor.media_type), limits).map_err(unusable)?;
    Ok(Document { descriptor: descriptor.clone(), bytes, manifest })
}

/// What makes two pieces of content the same piece of work. A digest with another size is checked by itself, so
/// that a wrong descriptor does not hide behind a right one.
type Key = (Digest, u64, bool);

/// One copy that is going on.
pub(crate) struct Walk {
    pub source: Arc<dyn Source>,
    pub target: Arc<dyn Target>,
    pub progress: Arc<dyn Progress>,
    pub options: Options,
    root: Digest,
    transfers: Semaphore,
    probes: Semaphore,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    work: HashMap<Key, Arc<OnceCell<()>>>,
    manifests: Vec<Descriptor>,
    blobs: usize,
    report: Report,
}

impl Walk {
    pub fn new(
        source: Arc<dyn Source>,
        target: Arc<dyn Target>,
        root: Digest,
        options: Options,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let jobs = options.jobs.clamp(1, 64);
        Self {
            source,
            target,
            progress,
            options,
            root,
            transfers: Semaphore::new(jobs),
            probes: Semaphore::new(jobs * PROBES_PER_JOB),
            seen: Mutex::default(),
        }
    }

    /// The manifests that have been walked so far, in no special order.
    pub fn manifests(&self) -> Vec<Descriptor> {
        self.seen().manifests.clone()
    }

    /// What has been done so far.
    pub fn report(&self) -> Report {
        self.seen().report
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place where the work on some content is done once, and how its first visitor is counted.
    fn once(&self, descriptor: &Descriptor, is_manifest: bool) -> Result<Arc<OnceCell<()>>, TransferError> {
        let mut seen = self.seen();
        let key = (descriptor.digest, descriptor.size, is_manifest);
        if let Some(cell) = seen.work.get(&key) {
            return Ok(cell.clone());
        }
        let limits = &self.options.limits;
        if is_manifest {
            seen.manifests.push(descriptor.clone());
        } else {
            seen.blobs += 1;
        }
        let too_many = |what, most| Err(TransferError::Count { root: self.root, what, most });
        if seen.manifests.len() > limits.manifests {
            return too_many("manifests", limits.manifests);
        }
        if seen.blobs > limits.blobs {
            return too_many("blobs", limits.blobs);
        }
        Ok(seen.work.entry(key).or_default().clone())
    }

    fn done(&self, descriptor: &Descriptor, outcome: Outcome, is_manifest: bool) {
        let event =
            if is_manifest { Event::Manifest(descriptor, outcome) } else { Event::Blob(descriptor, outcome) };
        self.progress.event(event);
        self.seen().report.add(descriptor, outcome, is_manifest);
    }

    /// Copies a manifest with all below it, once.
    pub fn manifest(
        self: Arc<Self>,
        descriptor: Descriptor,
        tag: Option<Tag>,
        standing: bool,
        depth: usize,
    ) -> BoxFuture<'static, Result<(), TransferError>> {
        Box::pin(async move {
            let most = self.options.limits.depth;
            if depth > most {
                return Err(TransferError::Depth { root: self.root, most });
            }
            let cell = self.once(&descriptor, true)?;
            let naming = match &tag {
                Some(tag) => Naming::Tagged(tag),
                None if standing => Naming::Root,
                None => Naming::Part,
            };
            cell.get_or_try_init(|| self.copy_manifest(&descriptor, naming, depth)).await.copied()
        })
    }

    async fn copy_manifest(
        self: &Arc<Self>,
        descriptor: &Descriptor,
        naming: Naming<'_>,
        depth: usize,
    ) -> Result<(), TransferError> {
        // The target vouches for the blobs of an image that it has, but an index may be sparse.
        let is_index = matches!(descriptor.media_type.as_str(), types::OCI_INDEX | types::DOCKER_LIST);
        let present = !is_index && !self.options.foreign && self.probe(descriptor).await?;
        if present && naming == Naming::Part {
            self.done(descriptor, Outcome::Present, true);
            return Ok(());
        }
        let document = {
            let _permit = self.probes.acquire().await;
            fetch(self.source.as_ref(), descriptor, &self.options.limits.manifest).await?
        };
        if !present {
            self.children(&document, depth).await?;
        }
        self.target.push_manifest(&document, naming).await?;
        self.done(descriptor, if present { Outcome::Present } else { Outcome::Copied }, true);
        Ok(())
    }

    async fn probe(&self, descriptor: &Descriptor) -> Result<bool, TransferError> {
        let _permit = self.probes.acquire().await;
        self.target.has(descriptor).await
    }

    /// All that a manifest needs, each child in a task of its own. The first error ends the others: dropping
    /// the set aborts them.
    async fn children(self: &Arc<Self>, document: &Document, depth: usize) -> Result<(), TransferError> {
        let mut children: Vec<Child> = document.manifest.children.clone();
        // The largest first: a big blob that begins last would move alone at the end.
        children.sort_by_key(|child| std::cmp::Reverse(child.descriptor.size));
        let mut tasks = JoinSet::new();
        for child in children {
            if child.role == Role::Foreign && !self.options.foreign {
                self.done(&child.descriptor, Outcome::Foreign, false);
            } else if child.role == Role::Manifest && child.descriptor.media_type.is_manifest() {
                tasks.spawn(self.clone().part(document.descriptor.digest, child.descriptor, depth + 1));
            } else {
                // Indexes may hold plain blobs, too: build caches are stored like that.
                tasks.spawn(self.clone().blob(child.descriptor));
            }
        }
        while let Some(outcome) = tasks.join_next().await {
            outcome.map_err(|error| TransferError::Task(error.to_string()))??;
        }
        Ok(())
    }

    /// A manifest in an index, which may be absent from a sparse one.
    async fn part(
        self: Arc<Self>,
        parent: Digest,
        descriptor: Descriptor,
        depth: usize,
    ) -> Result<(), TransferError> {
        match self.clone().manifest(descriptor.clone(), None, false, depth).await {
            Err(error) if error.is_not_found() && !self.options.sparse => {
                Err(TransferError::Sparse { child: descriptor.digest, parent, place: self.source.place() })
            }
            Err(error) if error.is_not_found() => {
                self.done(&descriptor, Outcome::Absent, true);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// A manifest that refers to `subject`. The list may be older than what it names: fallback tags are.
    pub async fn referrer(
        self: Arc<Self>,
        subject: Digest,
        descriptor: Descriptor,
    ) -> Result<(), TransferError> {
        match self.clone().manifest(descriptor.clone(), None, true, 0).await {
            Err(error) if error.is_not_found() && !self.options.sparse => Err(TransferError::StaleReferrer {
                referrer: descriptor.digest,
                subject,
                place: self.source.place(),
            }),
            Err(error) if error.is_not_found() => {
                self.done(&descriptor, Outcome::Absent, true);
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn blob(self: Arc<Self>, descriptor: Descriptor) -> Result<(), TransferError> {
        let cell = self.once(&descriptor, false)?;
        cell.get_or_try_init(|| self.copy_blob(&descriptor)).await.copied()
    }

    async fn copy_blob(&self, descriptor: &Descriptor) -> Result<(), TransferError> {
        if self.probe(descriptor).await? {
            self.done(descriptor, Outcome::Present, false);
            return Ok(());
        }
        let _permit = self.transfers.acquire().await;
        self.progress.event(Event::Started(descriptor));
        let (retry, progress) = (self.options.retry, self.progress.clone());
        let feed = Feed::new(self.source.clone(), descriptor.clone(), retry, progress);
        let outcome = match self.target.push_blob(&feed).await? {
            Pushed::Copied => Outcome::Copied,
            Pushed::Mounted => Outcome::Mounted,
        };
        self.done(descriptor, outcome, false);
        Ok(())
    }
}
