//! The verb itself.

use std::sync::Arc;

use oci::{Descriptor, Tag};
use tokio::task::JoinSet;

use crate::graph::{Walk, fetch};
use crate::{Naming, Options, Outcome, Progress, Source, Target, TransferError};

/// What a copy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Manifests that were sent.
    pub manifests: u64,
    /// Blobs that were sent.
    pub blobs: u64,
    /// Blobs that the target linked from elsewhere.
    pub mounted: u64,
    /// Blobs and manifests that were there.
    pub present: u64,
    /// Foreign layers and absent manifests that were left out.
    pub skipped: u64,
    /// The bytes of the blobs that were sent.
    pub bytes: u64,
}

impl Report {
    pub(crate) fn add(&mut self, descriptor: &Descriptor, outcome: Outcome, is_manifest: bool) {
        match outcome {
            Outcome::Copied if is_manifest => self.manifests += 1,
            Outcome::Copied => {
                self.blobs += 1;
                self.bytes += descriptor.size;
            }
            Outcome::Mounted => self.mounted += 1,
            Outcome::Present => self.present += 1,
            Outcome::Foreign | Outcome::Absent => self.skipped += 1,
        }
    }
}

/// Copies the graph below `root`. For one platform alone, `root` is what
/// [`select_platform`](crate::select_platform) finds.
///
/// Children go before parents, blobs before their manifest and tags last, so that whatever interrupts it, the
/// target never names what it has not got. What the target has is not sent again; bytes and digests stay.
pub async fn copy_graph(
    source: Arc<dyn Source>,
    target: Arc<dyn Target>,
    root: Descriptor,
    options: &Options,
    progress: Arc<dyn Progress>,
) -> Result<Report, TransferError> {
    let walk = Arc::new(Walk::new(source, target.clone(), root.digest, options.clone(), progress));
    let mut tags = options.tags.iter();
    // With referrers, the tag has to wait for them.
    let first = if options.referrers { None } else { tags.next() };
    walk.clone().manifest(root.clone(), first.cloned(), true, 0).await?;
    if options.referrers {
        referrers(&walk).await?;
    }
    tag(&walk, &root, tags).await?;
    target.finish().await?;
    Ok(walk.report())
}

/// Copies what refers to the manifests that were copied, then what refers to that, until there is no more.
async fn referrers(walk: &Arc<Walk>) -> Result<(), TransferError> {
    let mut asked = 0;
    loop {
        let subjects: Vec<Descriptor> = walk.manifests().split_off(asked);
        if subjects.is_empty() {
            return Ok(());
        }
        asked += subjects.len();
        // In turns: a graph of many manifests must not become as many requests at once.
        for group in subjects.chunks(walk.options.jobs.max(1)) {
            let mut tasks = JoinSet::new();
            for subject in group {
                tasks.spawn(referrers_of(walk.clone(), subject.clone()));
            }
            while let Some(outcome) = tasks.join_next().await {
                outcome.map_err(|error| TransferError::Task(error.to_string()))??;
            }
        }
    }
}

async fn referrers_of(walk: Arc<Walk>, subject: Descriptor) -> Result<(), TransferError> {
    for referrer in walk.source.referrers(&subject.digest).await? {
        walk.clone().referrer(subject.digest, referrer).await?;
    }
    Ok(())
}

async fn tag(
    walk: &Walk,
    root: &Descriptor,
    tags: impl ExactSizeIterator<Item = &Tag>,
) -> Result<(), TransferError> {
    if tags.len() == 0 {
        return Ok(());
    }
    let document = fetch(walk.source.as_ref(), root, &walk.options.limits.manifest).await?;
    for tag in tags {
        walk.target.push_manifest(&document, Naming::Tagged(tag)).await?;
    }
    Ok(())
}
