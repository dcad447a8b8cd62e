//! Checking: does storage hold what metadata says, and the other way round?

use access::Grant;
use blob::{BlobError, BlobId, BlobRead, BlobStat};
use futures_util::StreamExt;
use meta::{Batch, BlobRow, Effect, ManifestRow, Write};
use oci::{Digest, RepoName, Verifier};

use crate::gc::Report;
use crate::{Registry, RegistryError, administering, origin};

/// How many rows are looked at in one step.
const STEP: usize = 200;

/// How many missing blobs are asked for at once: each page costs a look at all references.
const MISSING: usize = 10_000;

/// How many objects are listed at once: each time their folders are read anew.
const LISTED: usize = 1_000;

/// How many repositories are named with a damaged blob.
const HOLDERS: usize = 5;

/// How to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// Read every blob and compute its digest, instead of only looking at its size.
    pub read: bool,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckItem {
    /// A blob's object is gone, or has another size or digest. It is not served until it is pushed again.
    DamagedBlob {
        /// The blob.
        digest: Digest,
        /// The object.
        id: BlobId,
        /// What is wrong with it.
        reason: String,
        /// Some of the repositories that hold it.
        repositories: Vec<RepoName>,
    },
    /// A blob that was thought damaged is sound again.
    SoundAgain {
        /// The blob.
        digest: Digest,
    },
    /// A manifest's bytes do not have its digest.
    DamagedManifest {
        /// The repository.
        repository: RepoName,
        /// The manifest.
        digest: Digest,
    },
    /// A manifest needs a blob that its repository does not hold.
    MissingBlob {
        /// The repository.
        repository: RepoName,
        /// The manifest.
        manifest: Digest,
        /// The blob.
        digest: Digest,
    },
    /// An object that no metadata knows. Garbage collection will remove it.
    Orphan {
        /// The object.
        id: BlobId,
        /// Its size in bytes.
        size: u64,
    },
    /// What the metadata store says of itself.
    Metadata {
        /// In its own words.
        message: String,
    },
}

impl CheckItem {
    /// Whether something is lost or broken, rather than merely untidy.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::DamagedBlob { .. }
            | Self::DamagedManifest { .. }
            | Self::MissingBlob { .. }
            | Self::Metadata { .. } => true,
            Self::SoundAgain { .. } | Self::Orphan { .. } => false,
        }
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckSummary {
    /// Blobs looked at.
    pub blobs: u64,
    /// Manifests looked at.
    pub manifests: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Findings that are damage.
    pub damaged: u64,
    /// Findings that are merely untidy.
    pub untidy: u64,
}

struct Run<'a> {
    registry: &'a Registry,
    grant: &'a Grant,
    summary: CheckSummary,
    report: &'a Report<CheckItem>,
}

impl Registry {
    /// Compares storage with metadata in both directions, while everything goes on.
    pub async fn check(
        &self,
        grant: &Grant,
        options: CheckOptions,
        report: &Report<CheckItem>,
    ) -> Result<CheckSummary, RegistryError> {
        administering(grant)?;
        let mut run = Run { registry: self, grant, summary: CheckSummary::default(), report };
        for message in self.meta.self_check().await? {
            run.tell(CheckItem::Metadata { message }).await;
        }
        run.blobs(options).await?;
        run.manifests().await?;
        run.missing().await?;
        run.orphans().await?;
        Ok(run.summary)
    }
}

impl Run<'_> {
    async fn tell(&mut self, item: CheckItem) {
        if item.is_damage() {
            self.summary.damaged += 1;
        } else {
            self.summary.untidy += 1;
        }
        let _nobody_listens = self.report.send(item).await;
    }

    async fn blobs(&mut self, options: CheckOptions) -> Result<(), RegistryError> {
        let mut after = None;
        loop {
            let rows = self.registry.meta.blob_rows(after, STEP).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.id);
            for row in rows {
                self.blob(row, options).await?;
            }
        }
    }

    async fn blob(&mut self, row: BlobRow, options: CheckOptions) -> Result<(), RegistryError> {
        self.summary.blobs += 1;
        let fault = match self.registry.blobs.stat(row.id.into()).await {
            Ok(BlobStat { size, .. }) if size != row.size => {
                Some(format!("has {size} bytes instead of {}", row.size))
            }
            Ok(_) if options.read || row.damaged => self.read(row).await?,
            Ok(_) => None,
            Err(BlobError::NotFound) => Some("is gone".to_owned()),
            Err(error) => return Err(RegistryError::Blobs(error)),
        };
        match fault {
            Some(reason) => self.damaged(row, reason).await,
            None if row.damaged => {
                self.commit(Write::Sound { id: row.id }).await?;
                self.tell(CheckItem::SoundAgain { digest: row.digest }).await;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Reads a blob; tells what is wrong with it. `None` also where it was collected meanwhile.
    async fn read(&mut self, row: BlobRow) -> Result<Option<String>, RegistryError> {
        let read = match self.registry.blobs.read(row.id.into(), None).await {
            Ok(read) => read,
            Err(BlobError::NotFound) => return Ok(None),
            Err(error) => return Err(RegistryError::Blobs(error)),
        };
        let mut verifier = Verifier::new(row.digest, Some(row.size));
        let mut stream = match read {
            BlobRead::Stream { stream, .. } => stream,
            BlobRead::File(file) => file.stream(),
        };
        while let Some(bytes) = stream.next().await {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => return Ok(Some(format!("cannot be read: {error}"))),
            };
            self.summary.read_bytes += bytes.len() as u64;
            if let Err(error) = verifier.update(&bytes) {
                return Ok(Some(error.to_string()));
            }
        }
        Ok(verifier.finish().err().map(|error| error.to_string()))
    }

    async fn damaged(&mut self, row: BlobRow, reason: String) -> Result<(), RegistryError> {
        // Collected between the row and the look: then it is no damage.
        if !self.registry.meta.unknown(vec![row.id]).await?.is_empty() {
            return Ok(());
        }
        let repositories = self.registry.meta.holders(&row.digest, HOLDERS).await?;
        let marked = self.commit(Write::Damaged { id: row.id }).await?;
        // Condemned meanwhile, which is the end that it was to come to.
        if !row.damaged && marked == [Effect::Absent] {
            return Ok(());
        }
        tracing::error!(digest = %row.digest, object = %row.id, "a stored blob {reason}; it is not served until it is pushed again");
        self.tell(CheckItem::DamagedBlob { digest: row.digest, id: row.id, reason, repositories }).await;
        Ok(())
    }

    async fn manifests(&mut self) -> Result<(), RegistryError> {
        let mut after = 0;
        loop {
            let rows = self.registry.meta.manifest_rows(after, STEP).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.cursor;
            for ManifestRow { repository, record, .. } in rows {
                self.summary.manifests += 1;
                if Digest::of(record.digest.algorithm(), &record.bytes) != record.digest {
                    self.tell(CheckItem::DamagedManifest { repository, digest: record.digest }).await;
                }
            }
        }
    }

    async fn missing(&mut self) -> Result<(), RegistryError> {
        let mut skip = 0;
        loop {
            let page = self.registry.meta.missing_blobs(skip, MISSING).await?;
            skip += page.len();
            let last = page.len() < MISSING;
            for missing in page {
                self.tell(CheckItem::MissingBlob {
                    repository: missing.repository,
                    manifest: missing.manifest,
                    digest: missing.blob,
                })
                .await;
            }
            if last {
                return Ok(());
            }
        }
    }

    async fn orphans(&mut self) -> Result<(), RegistryError> {
        let mut after = None;
        loop {
            let page = self.registry.blobs.list(after, LISTED).await.map_err(RegistryError::Blobs)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            let unknown = self.registry.meta.unknown(page.iter().map(|(id, _)| *id).collect()).await?;
            for (id, stat) in page.into_iter().filter(|(id, _)| unknown.contains(id)) {
                self.tell(CheckItem::Orphan { id, size: stat.size }).await;
            }
        }
    }

    async fn commit(&self, write: Write) -> Result<Vec<Effect>, RegistryError> {
        Ok(self.registry.meta.commit(Batch::of(origin(self.grant), write)).await?.effects)
    }
}
