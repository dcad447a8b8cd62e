//! Pulling: manifests and blobs.

use access::{Action, Grant, Target};
use blob::{BlobError, BlobRead, BlobStat, ByteRange};
use meta::{Batch, BlobRecord, Effect, ManifestRecord, Write};
use oci::{Digest, Reference, RepoName};

use crate::{Registry, RegistryError, granted, origin};

impl Registry {
    /// The manifest under a tag or digest, with its bytes.
    pub async fn manifest(
        &self,
        grant: &Grant,
        reference: &Reference,
    ) -> Result<ManifestRecord, RegistryError> {
        let repository = granted(grant, Action::Pull)?;
        let found = self.meta.manifest(repository, reference).await?;
        let record = found.ok_or_else(|| RegistryError::ManifestUnknown {
            repository: repository.clone(),
            reference: reference.clone(),
        })?;
        self.usage.note(repository, &record, self.meta.now().day());
        Ok(record)
    }

    /// What is known of a blob. Whoever asks relies on the answer: an unreferenced blob's grace starts anew.
    pub async fn blob(&self, grant: &Grant, digest: &Digest) -> Result<BlobRecord, RegistryError> {
        let repository = granted(grant, Action::Pull)?;
        let record = self.known_blob(repository, digest).await?;
        if let Some(since) = record.unreferenced_since {
            // Not at each look: a note that is an eighth of the grace old is fresh enough.
            if since < self.meta.now().minus(self.lifetimes.grace / 8) {
                self.renew(grant, repository, digest).await?;
            }
        }
        Ok(record)
    }

    async fn renew(
        &self,
        grant: &Grant,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let write = Write::Renew { repository: repository.clone(), digest: *digest };
        match self.meta.commit(Batch::of(origin(grant), write)).await {
            // Its grace has ended meanwhile.
            Ok(committed) if committed.effects == [Effect::Absent] => {
                Err(RegistryError::BlobUnknown { repository: repository.clone(), digest: *digest })
            }
            Ok(_) => Ok(()),
            // Reading goes on where nothing can be written. No manifest can be pushed then that would need the blob.
            Err(error) => {
                tracing::warn!(%repository, %digest, %error, "the grace of an unused blob could not be renewed");
                Ok(())
            }
        }
    }

    /// The bytes of a blob, or a part that lies within its size.
    ///
    /// An object that is gone or has another size than it was stored with is never served: it is marked as
    /// damaged, and absent from then on, so that the next push of the same content heals it.
    pub async fn read_blob(
        &self,
        grant: &Grant,
        digest: &Digest,
        record: BlobRecord,
        range: Option<ByteRange>,
    ) -> Result<BlobRead, RegistryError> {
        let repository = granted(grant, Action::Pull)?;
        let mut record = record;
        // A second look: between the record and the read, the blob may have been collected or healed.
        for last in [false, true] {
            match self.blobs.read(record.id.into(), range).await {
                Ok(read) if range.is_some() || read_length(&read) == record.size => return Ok(read),
                Ok(_) => {
                    return Err(self
                        .damaged(repository, digest, record, "has another size than was stored")
                        .await);
                }
                Err(BlobError::NotFound) if !last => {
                    let now = self.known_blob(repository, digest).await?;
                    if now.id == record.id {
                        return Err(self.damaged(repository, digest, record, "is gone").await);
                    }
                    record = now;
                }
                Err(error) => return Err(self.unreadable(repository, digest, record, error).await),
            }
        }
        unreachable!("the second look ends the loop")
    }

    async fn known_blob(&self, repository: &RepoName, digest: &Digest) -> Result<BlobRecord, RegistryError> {
        let found = self.meta.blob(repository, digest).await?;
        found.ok_or_else(|| RegistryError::BlobUnknown { repository: repository.clone(), digest: *digest })
    }

    /// A read failed. Was it the object, which is shorter than it should be, or the disk?
    async fn unreadable(
        &self,
        repository: &RepoName,
        digest: &Digest,
        record: BlobRecord,
        error: BlobError,
    ) -> RegistryError {
        match self.blobs.stat(record.id.into()).await {
            Ok(BlobStat { size, .. }) if size != record.size => {
                self.damaged(repository, digest, record, "has another size than was stored").await
            }
            Ok(_) | Err(_) => RegistryError::Blobs(error),
        }
    }

    async fn damaged(
        &self,
        repository: &RepoName,
        digest: &Digest,
        record: BlobRecord,
        how: &str,
    ) -> RegistryError {
        tracing::error!(%repository, %digest, object = %record.id, "a stored blob {how}; it is not served until it is pushed again");
        let grant = Grant::system("pull", Action::Administer, Target::System);
        let batch = Batch::of(origin(&grant), Write::Damaged { id: record.id });
        match self.meta.commit(batch).await {
            Ok(_) => RegistryError::BlobUnknown { repository: repository.clone(), digest: *digest },
            Err(error) => error.into(),
        }
    }
}

fn read_length(read: &BlobRead) -> u64 {
    match read {
        BlobRead::File(file) => file.length,
        BlobRead::Stream { length, .. } => *length,
    }
}
