//! Uploads, mounts, and deleting blobs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use access::{Action, Grant, Listing, Target};
use blob::{BlobError, BlobId, Growing, Open, Stage, Staged, UploadId};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use meta::{Batch, Condition, Effect, MetaError, NewBlob, Visible, Write};
use oci::{Algorithm, Digest, RepoName};
use tokio::runtime::Handle;

use crate::error::staging;
use crate::tags::visible;
use crate::{FreeSpace, Registry, RegistryError, granted, hosted, origin};

/// The bytes of a request, as they arrive.
pub type BodyStream<'a> = Pin<&'a mut (dyn Stream<Item = io::Result<Bytes>> + Send)>;

/// Where a blob may be mounted from.
pub enum MountFrom<'a> {
    /// From a repository that the caller may pull from.
    Repository(&'a Grant),
    /// From any repository that the caller may see.
    Anywhere(&'a Listing),
}

/// An upload that this request has to itself. Dropping it leaves the upload to be resumed.
pub struct Upload {
    id: UploadId,
    repository: RepoName,
    stage: Box<dyn Stage>,
    largest: u64,
    space: Arc<dyn FreeSpace>,
    /// How long it was when the room was looked at.
    looked: Option<u64>,
}

/// After how many bytes of an upload the room is looked at again.
const LOOK: u64 = 4 << 20;

impl Registry {
    /// Starts an upload. The bytes are hashed with `algorithm` while they arrive; another digest at the end is
    /// verified by reading them once more.
    pub async fn start_upload(&self, grant: &Grant, algorithm: Algorithm) -> Result<Upload, RegistryError> {
        if self.space.is_scarce() {
            return Err(RegistryError::Full);
        }
        self.open_upload(grant, UploadId::random(), Open::New(algorithm)).await
    }

    /// Takes an upload up again: also where there is little room, since it can be ended, too.
    pub async fn resume_upload(&self, grant: &Grant, id: UploadId) -> Result<Upload, RegistryError> {
        self.open_upload(grant, id, Open::Resume).await
    }

    async fn open_upload(&self, grant: &Grant, id: UploadId, open: Open) -> Result<Upload, RegistryError> {
        let repository = granted(grant, Action::Push)?.clone();
        let stage = self.blobs.stage(id, repository.as_str(), open).await;
        let stage = stage.map_err(|error| staging(error, &repository))?;
        Ok(Upload {
            id,
            repository,
            stage,
            largest: self.limits.blob,
            space: Arc::clone(&self.space),
            looked: None,
        })
    }

    /// Ends an upload: its bytes are verified, durable, and a blob of the repository.
    pub async fn finish_upload(
        &self,
        grant: &Grant,
        upload: Upload,
        digest: Digest,
    ) -> Result<(), RegistryError> {
        let mine = hosted(granted(grant, Action::Push)?);
        self.finish(grant, upload, digest, mine).await.map(|_object| ())
    }

    /// The same under another condition. Gives the object that holds the blob now.
    pub(crate) async fn finish(
        &self,
        grant: &Grant,
        upload: Upload,
        digest: Digest,
        condition: Condition,
    ) -> Result<BlobId, RegistryError> {
        let repository = granted(grant, Action::Push)?;
        let staged = upload.stage.commit(digest).await.map_err(|error| staging(error, repository))?;
        let Staged { id, size } = staged;
        self.look_at_stored(&digest, size).await?;
        let write = Write::Blob { repository: repository.clone(), blob: NewBlob { digest, size, id } };
        // Where this fails the object is an orphan, which the next collection finds.
        let committed = self.meta.commit(Batch::of(origin(grant), write).when(condition)).await?;
        // Where the digest was stored before, that object stays.
        Ok(match committed.effects[..] {
            [Effect::Blob { id: kept }] => kept,
            _ => id,
        })
    }

    /// Where the digest has an object already, that one stays: unless it is broken, which this finds out, and then the
    /// new one takes its place.
    async fn look_at_stored(&self, digest: &Digest, size: u64) -> Result<(), RegistryError> {
        let Some(holder) = self.meta.holder(digest, &Visible::All).await? else { return Ok(()) };
        let Some(stored) = self.meta.blob(&holder, digest).await? else { return Ok(()) };
        match self.blobs.stat(stored.id.into()).await {
            Ok(stat) if stat.size == size => Ok(()),
            Ok(_) | Err(BlobError::NotFound) => {
                tracing::error!(%digest, object = %stored.id, "a stored blob is broken; a new push takes its place");
                let grant = Grant::system("push", Action::Administer, Target::System);
                self.meta.commit(Batch::of(origin(&grant), Write::Damaged { id: stored.id })).await?;
                Ok(())
            }
            Err(error) => Err(RegistryError::Blobs(error)),
        }
    }

    /// Stores a blob that comes in one body, with `length` bytes where that is known. Nobody learns of an upload that
    /// could be gone on with, so none is left where this fails, or where the caller stops waiting for it.
    pub async fn push_blob(
        &self,
        grant: &Grant,
        digest: Digest,
        length: Option<u64>,
        body: BodyStream<'_>,
    ) -> Result<(), RegistryError> {
        let mut unnamed = Unnamed(None);
        let upload = unnamed.0.insert(self.start_upload(grant, digest.algorithm()).await?);
        upload.receive(None, length, body).await?;
        match unnamed.0.take() {
            Some(upload) => self.finish_upload(grant, upload, digest).await,
            None => Err(staging(BlobError::NoUpload, granted(grant, Action::Push)?)),
        }
    }

    /// Makes a blob that is stored already a blob of the granted repository, too. `false` where the caller could
    /// not pull it from where it should come: that looks exactly as if it were not there.
    pub async fn mount(
        &self,
        grant: &Grant,
        digest: &Digest,
        from: MountFrom<'_>,
    ) -> Result<bool, RegistryError> {
        let repository = granted(grant, Action::Push)?;
        let source = match from {
            MountFrom::Repository(source) => Some(granted(source, Action::Pull)?.clone()),
            MountFrom::Anywhere(listing) => self.meta.holder(digest, &visible(listing)).await?,
        };
        let Some(source) = source else { return Ok(false) };
        if self.space.is_scarce() {
            return Err(RegistryError::Full);
        }
        let write = Write::Link { repository: repository.clone(), digest: *digest };
        let batch = Batch::of(origin(grant), write)
            .when(Condition::BlobsLinked { repository: source, digests: vec![*digest] })
            .when(hosted(repository));
        match self.meta.commit(batch).await {
            Ok(committed) => Ok(committed.effects != [Effect::Absent]),
            Err(MetaError::BlobsMissing(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a blob out of the repository. Refused while a manifest needs it.
    pub async fn delete_blob(&self, grant: &Grant, digest: &Digest) -> Result<(), RegistryError> {
        let repository = granted(grant, Action::DeleteArtifact)?;
        let batch =
            Batch::of(origin(grant), Write::Unlink { repository: repository.clone(), digest: *digest })
                .when(Condition::BlobUnreferenced { repository: repository.clone(), digest: *digest });
        match self.meta.commit(batch).await {
            Ok(committed) if committed.effects == [Effect::Absent] => {
                Err(RegistryError::BlobUnknown { repository: repository.clone(), digest: *digest })
            }
            Ok(_) => Ok(()),
            Err(MetaError::Conflict(_)) => {
                Err(RegistryError::BlobInUse { repository: repository.clone(), digest: *digest })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Upload {
    /// The id that its client knows it by.
    pub const fn id(&self) -> UploadId {
        self.id
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.stage.len()
    }

    /// Takes in a body. With `start`, the body must begin there; with `length`, it must have that many bytes.
    ///
    /// What arrived before a body broke off is kept, and can be gone on from.
    pub async fn receive(
        &mut self,
        start: Option<u64>,
        length: Option<u64>,
        mut body: BodyStream<'_>,
    ) -> Result<(), RegistryError> {
        let before = self.length();
        if let Some(given) = start.filter(|given| *given != before) {
            return Err(RegistryError::RangeInvalid { given, length: before });
        }
        if length.is_some_and(|length| before.saturating_add(length) > self.largest) {
            return Err(RegistryError::BlobTooLarge(self.largest));
        }
        let received = self.take_in(&mut body).await;
        self.stage.settle().await.map_err(|error| staging(error, &self.repository))?;
        received?;
        let actual = self.length() - before;
        match length.filter(|expected| *expected != actual) {
            Some(expected) => Err(RegistryError::SizeInvalid { expected, actual }),
            None => Ok(()),
        }
    }

    async fn take_in(&mut self, body: &mut BodyStream<'_>) -> Result<(), RegistryError> {
        // At the beginning of each body, too.
        self.looked = None;
        while let Some(bytes) = body.next().await {
            self.append(bytes.map_err(RegistryError::Body)?).await?;
        }
        Ok(())
    }

    /// Its bytes, for who reads them while more arrive.
    pub fn growing(&self) -> Arc<dyn Growing> {
        self.stage.growing()
    }

    /// Takes in the next bytes of what the registry itself fetches.
    pub async fn append(&mut self, bytes: Bytes) -> Result<(), RegistryError> {
        self.make_sure(bytes.len() as u64)?;
        self.stage.append(bytes).await.map_err(|error| staging(error, &self.repository))
    }

    /// That so many more bytes may come.
    fn make_sure(&mut self, more: u64) -> Result<(), RegistryError> {
        let length = self.length();
        if length.saturating_add(more) > self.largest {
            return Err(RegistryError::BlobTooLarge(self.largest));
        }
        if self.looked.is_none_or(|looked| length - looked >= LOOK) {
            if self.space.is_scarce() {
                return Err(RegistryError::Full);
            }
            self.looked = Some(length);
        }
        Ok(())
    }

    /// Compares what has arrived with its digest, before it is made durable. Where it differs, the upload is over.
    pub async fn verify(&mut self, expected: Digest) -> Result<(), RegistryError> {
        self.stage.verify(expected).await.map_err(|error| staging(error, &self.repository))
    }

    /// Makes sure that the upload can be taken up again. A storage that has no room for it says so here, and not
    /// when the bytes come.
    pub async fn settle(&mut self) -> Result<(), RegistryError> {
        self.stage.settle().await.map_err(|error| staging(error, &self.repository))
    }

    /// Ends the upload and removes its bytes.
    pub async fn cancel(self) -> Result<(), RegistryError> {
        self.stage.abort().await.map_err(|error| staging(error, &self.repository))
    }
}

/// An upload that nobody can go on with: dropping it removes it.
struct Unnamed(Option<Upload>);

impl Drop for Unnamed {
    fn drop(&mut self) {
        // Without a runtime the process is ending: the upload expires.
        if let (Some(upload), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = upload.cancel().await {
                    tracing::warn!(%error, "an upload that failed could not be removed; it expires");
                }
            });
        }
    }
}
