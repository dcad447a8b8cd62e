//! Keeping what an upstream has: manifests before their blobs, tags that were seen elsewhere, blobs that arrive.

use access::{Action, Grant, Target};
use blob::BlobId;
use bytes::Bytes;
use meta::{Batch, Condition, Effect, EntryKind, MetaError, RepositoryKind, Timestamp, Visible, Write};
use oci::{Algorithm, Digest, Manifest, MediaType, RepoName, Tag};

use crate::push::{push_batch, stored};
use crate::{Registry, RegistryError, Upload, granted, origin};

/// What fetches, as events remember it.
const MIRROR: &str = "mirror";

/// A manifest as an upstream gave it: its digest is verified.
#[derive(Clone, Debug)]
pub struct Mirrored {
    /// Its digest.
    pub digest: Digest,
    /// The media type that it was sent with.
    pub media_type: MediaType,
    /// Its bytes.
    pub bytes: Bytes,
}

fn grant(repository: &RepoName) -> Grant {
    Grant::system(MIRROR, Action::Push, Target::Repository(repository.clone()))
}

impl Registry {
    /// Whether a repository is here, and whose it is.
    pub async fn repository_kind(&self, name: &RepoName) -> Result<Option<RepositoryKind>, RegistryError> {
        Ok(self.meta.repository_kind(name).await?)
    }

    /// Keeps a manifest of an upstream, with tags that were seen to name it there. Its blobs, which it gives, may come later.
    ///
    /// Fails with [`RegistryError::Conflict`] where somebody has made the repository their own meanwhile.
    pub async fn keep_manifest(
        &self,
        repository: &RepoName,
        mirrored: Mirrored,
        tags: &[Tag],
    ) -> Result<Vec<Digest>, RegistryError> {
        let Mirrored { digest, media_type, bytes } = mirrored;
        let manifest = Manifest::parse(&bytes, Some(&media_type), &self.limits.manifest)?;
        if self.space.is_scarce() {
            return Err(RegistryError::Full);
        }
        let blobs = manifest.required_blobs();
        let manifest = stored(digest, manifest, bytes);
        let write = Write::Manifest { repository: repository.clone(), manifest };
        let batch = self.mirror_batch(repository).then(write);
        let batch = tags.iter().fold(batch, |batch, tag| tagged(batch, repository, tag, digest));
        self.meta.commit(batch).await?;
        Ok(blobs)
    }

    /// Keeps a manifest of elsewhere as the repository's own: its blobs must be there. Fails with
    /// [`RegistryError::Conflict`] where the tag names something meanwhile, which is somebody's push.
    pub async fn keep_own(
        &self,
        grant: &Grant,
        digest: Digest,
        media_type: &MediaType,
        bytes: Bytes,
        tag: Option<&Tag>,
    ) -> Result<(), RegistryError> {
        let repository = granted(grant, Action::Push)?;
        let manifest = Manifest::parse(&bytes, Some(media_type), &self.limits.manifest)?;
        if self.space.is_scarce() {
            return Err(RegistryError::Full);
        }
        let mut batch =
            push_batch(grant, repository, digest, manifest, bytes, tag.map_or(&[], std::slice::from_ref));
        if let Some(tag) = tag {
            let (repository, tag) = (repository.clone(), tag.clone());
            batch = batch.when(Condition::TagIs { repository, tag, digest: None });
        }
        match self.meta.commit(batch).await {
            Ok(_) => Ok(()),
            Err(MetaError::BlobsMissing(missing)) => {
                Err(RegistryError::ManifestBlobsUnknown { repository: repository.clone(), missing })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Notes that a tag names a manifest that is here. Gives whether that manifest is here.
    pub async fn keep_tag(
        &self,
        repository: &RepoName,
        tag: &Tag,
        digest: Digest,
    ) -> Result<bool, RegistryError> {
        let known = Condition::ManifestExists { repository: repository.clone(), digest };
        let batch = tagged(self.mirror_batch(repository).when(known), repository, tag, digest);
        match self.meta.commit(batch).await {
            Ok(_) => Ok(true),
            Err(MetaError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes that a tag is right now what its upstream has.
    pub async fn note_checked(&self, repository: &RepoName, tag: &Tag) -> Result<(), RegistryError> {
        let write = Write::Checked { repository: repository.clone(), tag: tag.clone() };
        self.meta.commit(Batch::of(origin(&grant(repository)), write)).await?;
        Ok(())
    }

    /// What a tag names, and when that was last seen at its upstream.
    pub async fn checked(
        &self,
        repository: &RepoName,
        tag: &Tag,
    ) -> Result<Option<(Digest, Option<Timestamp>)>, RegistryError> {
        Ok(self.meta.checked(repository, tag).await?)
    }

    /// Begins to take in a blob of an upstream.
    pub async fn begin_arrival(
        &self,
        repository: &RepoName,
        algorithm: Algorithm,
    ) -> Result<Upload, RegistryError> {
        self.start_upload(&grant(repository), algorithm).await
    }

    /// Ends that: the blob is durable, and the repository's. Gives the object that holds it.
    pub async fn end_arrival(
        &self,
        repository: &RepoName,
        upload: Upload,
        digest: Digest,
    ) -> Result<BlobId, RegistryError> {
        if let Err(error) = self.meta.commit(self.mirror_batch(repository)).await {
            upload.cancel().await?;
            return Err(error.into());
        }
        self.finish(&grant(repository), upload, digest, mirrored(repository)).await
    }

    /// Gives a mirrored repository a blob that is stored already. Gives whether there is one.
    pub async fn link_mirrored(&self, repository: &RepoName, digest: &Digest) -> Result<bool, RegistryError> {
        let link = Write::Link { repository: repository.clone(), digest: *digest };
        let committed = self.meta.commit(self.mirror_batch(repository).then(link)).await?;
        Ok(committed.effects.last() != Some(&Effect::Absent))
    }

    /// Whether somebody has a project of that name, or a repository in it.
    pub async fn has_project(&self, name: &str) -> Result<bool, RegistryError> {
        let Ok(entry) = name.parse() else { return Ok(false) };
        if self.meta.entry(EntryKind::Project, &entry).await?.is_some() {
            return Ok(true);
        }
        let project = Visible::Projects(vec![name.to_owned()]);
        Ok(!self.meta.repositories(&project, None, 1).await?.is_empty())
    }

    /// Whether a repository lacks a blob that is stored.
    pub async fn lacks_stored(&self, repository: &RepoName, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.meta.blob(repository, digest).await?.is_none() && self.is_stored(digest).await?)
    }

    /// Whether a sound blob with this digest is stored, whosever it is.
    pub async fn is_stored(&self, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.meta.holder(digest, &Visible::All).await?.is_some())
    }

    /// Whether a manifest of the repository needs this blob.
    pub async fn is_needed(&self, repository: &RepoName, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.meta.is_needed(repository, digest).await?)
    }

    fn mirror_batch(&self, repository: &RepoName) -> Batch {
        let write = Write::Mirror { repository: repository.clone() };
        Batch::of(origin(&grant(repository)), write).when(mirrored(repository))
    }
}

/// That a repository is not somebody's own.
fn mirrored(repository: &RepoName) -> Condition {
    Condition::RepositoryIs { repository: repository.clone(), kind: RepositoryKind::Mirrored }
}

fn tagged(batch: Batch, repository: &RepoName, tag: &Tag, digest: Digest) -> Batch {
    let (repository, tag) = (repository.clone(), tag.clone());
    batch
        .then(Write::Tag { repository: repository.clone(), tag: tag.clone(), digest })
        .then(Write::Checked { repository, tag })
}
