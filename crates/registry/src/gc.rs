//! Garbage collection: online, in small steps, never stopping anybody.
//!
//! A blob that no manifest of a repository needs keeps its link for a grace time; then the link goes. A blob
//! without links is deletable, then condemned: from that commit on no push can revive it, a push of the same
//! content stores a new object. Only then is the object deleted, when nobody can be reading it any more, and at
//! last its row. A crash between any two steps leaves a state from which the next run goes on.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use access::{Action, Grant, Target};
use blob::{BlobError, BlobId, BlobKey, BlobStat};
use meta::{Batch, Effect, Garbage, StoredBlob, Timestamp, Write};
use oci::{Digest, RepoName};

use crate::{Registry, RegistryError, administering, origin};

/// How many rows one step takes: a push that comes meanwhile waits for no more than that.
pub(crate) const STEP: usize = 100;

/// How much a dry run asks for at once: each page costs a look at all that comes before it.
const PAGE: usize = 5_000;

/// After so many objects that cannot be deleted it is the storage that is at fault, and a run ends.
const STUCK: usize = 100;

/// How many objects are listed at once: each time the names of a whole folder are read anew.
const LISTED: usize = 20_000;

/// How many objects are looked up at once.
const LOOKED_UP: usize = 1_000;

/// By how much the clock that ids are made by may be wrong, or be set back: an object is not taken for one that
/// nothing can come before until it is this old.
const SKEW: Duration = Duration::from_secs(60);

/// The most condemned blobs that a dry run tells of: they are read at once, about 100 bytes each.
const FORETOLD: usize = 100_000;

/// Up to where all objects are known to have metadata.
const SWEPT: &str = "gc.swept";

/// How to collect.
#[derive(Clone, Copy, Debug, Default)]
pub struct GcOptions {
    /// Instead of the configured grace.
    pub grace: Option<Duration>,
    /// Only tell what would go.
    pub dry_run: bool,
}

/// One thing that went, or would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GcItem {
    /// A repository let go of a blob.
    Link {
        /// The repository.
        repository: RepoName,
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A blob that no repository holds was deleted.
    Blob {
        /// Its digest.
        digest: Digest,
        /// The object.
        id: BlobId,
        /// Its size in bytes.
        size: u64,
    },
    /// An object that no metadata knows was deleted: a crash left it.
    Orphan {
        /// The object.
        id: BlobId,
        /// Its size in bytes.
        size: u64,
    },
    /// Abandoned uploads were removed.
    Uploads {
        /// How many.
        count: usize,
    },
}

/// What a collection did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcSummary {
    /// Links that went.
    pub links: u64,
    /// Blobs that were deleted.
    pub blobs: u64,
    /// Bytes of deleted blobs and orphans.
    pub bytes: u64,
    /// Objects without metadata that were deleted.
    pub orphans: u64,
    /// Abandoned uploads that were removed.
    pub uploads: u64,
}

/// Is told of each thing as it goes. Where nobody listens any more the run goes on.
pub type Report<T> = tokio::sync::mpsc::Sender<T>;

/// One run: what it was asked, what it has done, and whom it tells.
struct Run<'a> {
    registry: &'a Registry,
    before: Timestamp,
    summary: GcSummary,
    report: &'a Report<GcItem>,
}

impl Registry {
    /// Collects garbage, or tells what would go. One run at a time.
    pub async fn collect(
        &self,
        grant: &Grant,
        options: GcOptions,
        report: &Report<GcItem>,
    ) -> Result<GcSummary, RegistryError> {
        administering(grant)?;
        let _one_at_a_time = self.collecting.try_lock().map_err(|_| RegistryError::Collecting)?;
        // Without metadata every object would be an orphan.
        if self.is_metadata_lost().await? {
            return Err(RegistryError::MetadataLost);
        }
        let before = self.meta.now().minus(options.grace.unwrap_or(self.lifetimes.grace));
        let mut run = Run { registry: self, before, summary: GcSummary::default(), report };
        let mut deleted = Ok(());
        if options.dry_run {
            run.foretell().await?;
        } else {
            run.expire_uploads().await?;
            run.expire_links(grant).await?;
            run.condemn(grant).await?;
            deleted = run.delete_condemned(grant).await;
        }
        run.sweep(grant, options.dry_run).await?;
        deleted.map(|()| run.summary)
    }
}

impl Registry {
    /// Deletes what is condemned and what nobody can be reading any more, also while a collection runs.
    pub async fn delete_condemned(&self) -> Result<(), RegistryError> {
        let grant = Grant::system("gc", Action::Administer, Target::System);
        let (report, _) = tokio::sync::mpsc::channel(1);
        let (before, summary) = (self.meta.now(), GcSummary::default());
        Run { registry: self, before, summary, report: &report }.delete_condemned(&grant).await
    }

    /// Removes abandoned uploads, which is cheap and done more often than a collection. Says how many.
    pub async fn expire_uploads(&self) -> Result<usize, RegistryError> {
        let times = &self.lifetimes;
        let expired = self.blobs.expire(times.upload_idle, times.upload_age, false).await;
        expired.map_err(RegistryError::Blobs)
    }
}

impl Run<'_> {
    async fn tell(&mut self, item: GcItem) {
        match &item {
            GcItem::Link { .. } => self.summary.links += 1,
            GcItem::Blob { size, .. } => {
                self.summary.blobs += 1;
                self.summary.bytes += size;
            }
            GcItem::Orphan { size, .. } => {
                self.summary.orphans += 1;
                self.summary.bytes += size;
            }
            GcItem::Uploads { count } => self.summary.uploads += *count as u64,
        }
        let _nobody_listens = self.report.send(item).await;
    }

    async fn foretell(&mut self) -> Result<(), RegistryError> {
        let mut skip = 0;
        loop {
            let page = self.registry.meta.garbage(self.before, skip, PAGE).await?;
            let count = page.len();
            for garbage in page {
                let item = match garbage {
                    Garbage::Link { repository, digest, size, .. } => {
                        GcItem::Link { repository, digest, size }
                    }
                    Garbage::Blob { digest, id, size } => GcItem::Blob { digest, id, size },
                };
                self.tell(item).await;
            }
            if count < PAGE {
                break;
            }
            skip += count;
        }
        self.foretell_condemned().await?;
        self.tell_uploads(true).await
    }

    /// What is condemned already: a second upload of what was there, or what a run left that was cut short.
    async fn foretell_condemned(&mut self) -> Result<(), RegistryError> {
        let page = self.registry.meta.condemned(self.drained(), FORETOLD).await?;
        if page.len() == FORETOLD {
            tracing::warn!(limit = FORETOLD, "more blobs are condemned than a dry run tells of");
        }
        for StoredBlob { id, digest, size } in page {
            self.tell(GcItem::Blob { digest, id, size }).await;
        }
        Ok(())
    }

    /// Whoever could still read what was condemned before this has ended.
    fn drained(&self) -> Timestamp {
        self.registry.meta.now().minus(self.registry.blobs.drain())
    }

    async fn expire_uploads(&mut self) -> Result<(), RegistryError> {
        self.tell_uploads(false).await
    }

    async fn tell_uploads(&mut self, dry_run: bool) -> Result<(), RegistryError> {
        let times = &self.registry.lifetimes;
        let expired = self.registry.blobs.expire(times.upload_idle, times.upload_age, dry_run).await;
        let count = expired.map_err(RegistryError::Blobs)?;
        if count > 0 {
            self.tell(GcItem::Uploads { count }).await;
        }
        Ok(())
    }

    async fn expire_links(&mut self, grant: &Grant) -> Result<(), RegistryError> {
        loop {
            let started = Instant::now();
            let write = Write::ExpireLinks { before: self.before, limit: STEP };
            let committed = self.registry.meta.commit(Batch::of(origin(grant), write)).await?;
            let Some(Effect::Expired { links }) = committed.effects.into_iter().next() else { return Ok(()) };
            if links.is_empty() {
                return Ok(());
            }
            for (repository, digest, size) in links {
                self.tell(GcItem::Link { repository, digest, size }).await;
            }
            rest(started).await;
        }
    }

    async fn condemn(&mut self, grant: &Grant) -> Result<(), RegistryError> {
        loop {
            let started = Instant::now();
            let write = Write::Condemn { before: self.before, limit: STEP };
            let committed = self.registry.meta.commit(Batch::of(origin(grant), write)).await?;
            let Some(Effect::Condemned { blobs }) = committed.effects.into_iter().next() else {
                return Ok(());
            };
            if blobs.is_empty() {
                return Ok(());
            }
            rest(started).await;
        }
    }

    async fn delete_condemned(&mut self, grant: &Grant) -> Result<(), RegistryError> {
        let registry = self.registry;
        // Objects that cannot be deleted, and why the last one could not: they must not keep the others.
        let (mut stuck, mut fault) = (HashSet::new(), None);
        while stuck.len() < STUCK {
            let started = Instant::now();
            let mut page = registry.meta.condemned(self.drained(), STEP + stuck.len()).await?;
            page.retain(|blob| !stuck.contains(&blob.id));
            if page.is_empty() {
                break;
            }
            let keys = page.iter().map(|blob| blob.id.into()).collect();
            if registry.blobs.delete(keys).await.is_err() {
                for blob in &page {
                    if let Err(error) = registry.blobs.delete(vec![blob.id.into()]).await {
                        tracing::error!(object = %blob.id, %error, "garbage cannot be deleted");
                        stuck.insert(blob.id);
                        fault = Some(error);
                    }
                }
                page.retain(|blob| !stuck.contains(&blob.id));
            }
            let ids: Vec<BlobId> = page.iter().map(|blob| blob.id).collect();
            registry.meta.commit(Batch::of(origin(grant), Write::Forget { ids })).await?;
            for StoredBlob { id, digest, size } in page {
                self.tell(GcItem::Blob { digest, id, size }).await;
            }
            rest(started).await;
        }
        fault.map_or(Ok(()), |error| Err(RegistryError::Blobs(error)))
    }

    /// Looks for objects that no metadata knows among those that came since the last sweep.
    ///
    /// An id is as old as its upload, so an object may still appear before others that were seen: but not before
    /// all uploads that are open. Up to there what is known stays known, and is not looked at again.
    async fn sweep(&mut self, grant: &Grant, dry_run: bool) -> Result<(), RegistryError> {
        let registry = self.registry;
        let now = registry.meta.now();
        // Asked for before the list: an upload that ends in between is in both, and never in neither.
        let mut unsettled = registry.blobs.lowest_upload().await.map_err(RegistryError::Blobs)?;
        let recent = now.minus(SKEW);
        let mut after = registry.meta.setting(SWEPT).await?.and_then(|text| text.parse::<BlobId>().ok());
        let mut swept = after;
        loop {
            let listed = registry.blobs.list(after, LISTED).await.map_err(RegistryError::Blobs)?;
            let Some((last, _)) = listed.last() else { break };
            after = Some(*last);
            for page in listed.chunks(LOOKED_UP) {
                let waiting = self.delete_orphans(page, now, dry_run).await?;
                unsettled = unsettled.into_iter().chain(waiting).min();
                let is_settled = |id: &BlobId| {
                    unsettled.is_none_or(|first| *id < first)
                        && i64::try_from(id.unix_millis()).is_ok_and(|ms| ms * 1_000 < recent.micros())
                };
                swept = page.iter().map(|(id, _)| *id).rfind(is_settled).or(swept);
            }
        }
        if let Some(swept) = swept.filter(|_| !dry_run) {
            let write = Write::Setting { name: SWEPT.into(), value: swept.to_string() };
            registry.meta.commit(Batch::of(origin(grant), write)).await?;
        }
        Ok(())
    }

    /// Says which is the first object that has no metadata and is too young to be deleted: its commit may be under way.
    async fn delete_orphans(
        &mut self,
        page: &[(BlobId, BlobStat)],
        now: Timestamp,
        dry_run: bool,
    ) -> Result<Option<BlobId>, RegistryError> {
        let started = Instant::now();
        let registry = self.registry;
        let unknown = registry.meta.unknown(page.iter().map(|(id, _)| *id).collect()).await?;
        let unknown: HashSet<BlobId> = unknown.into_iter().collect();
        let young = now.minus(registry.lifetimes.orphan);
        let (mut orphans, waiting): (Vec<_>, Vec<_>) = page
            .iter()
            .copied()
            .filter(|(id, _)| unknown.contains(id))
            .partition(|(_, stat)| Timestamp::from(stat.modified) < young);
        self.leave_out_gone(&mut orphans).await;
        if !dry_run && !orphans.is_empty() {
            let keys = orphans.iter().map(|(id, _)| BlobKey::Blob(*id)).collect();
            registry.blobs.delete(keys).await.map_err(RegistryError::Blobs)?;
        }
        for (id, BlobStat { size, .. }) in orphans {
            tracing::warn!(object = %id, size, dry_run, "a stored object has no metadata: a crash left it");
            self.tell(GcItem::Orphan { id, size }).await;
        }
        rest(started).await;
        Ok(waiting.first().map(|(id, _)| *id))
    }
}

impl Run<'_> {
    /// What was evicted since it was listed has no metadata any more, and no object either: no crash has left it.
    async fn leave_out_gone(&self, orphans: &mut Vec<(BlobId, BlobStat)>) {
        let mut gone = HashSet::new();
        for (id, _) in orphans.iter() {
            if matches!(self.registry.blobs.stat((*id).into()).await, Err(BlobError::NotFound)) {
                gone.insert(*id);
            }
        }
        orphans.retain(|(id, _)| !gone.contains(id));
    }
}

/// Leaves as much time to others as a step took.
pub(crate) async fn rest(started: Instant) {
    tokio::time::sleep(started.elapsed().min(Duration::from_millis(100))).await;
}
