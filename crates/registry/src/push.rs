//! Pushing and deleting manifests.

use std::collections::BTreeSet;

use access::{Action, Grant};
use bytes::Bytes;
use meta::{Batch, Condition, Effect, MetaError, NewManifest, RefKind, Write};
use oci::{Digest, Manifest, MediaType, Reference, RepoName, Role, Tag};

use crate::{Registry, RegistryError, granted, hosted, origin};

/// A manifest that is stored, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedManifest {
    /// Its digest.
    pub digest: Digest,
    /// The manifest it is about.
    pub subject: Option<Digest>,
    /// The tags that point to it now, of those that were asked for.
    pub tags: Vec<Tag>,
}

impl Registry {
    /// Stores a manifest under a digest or tag, and under more tags, all or nothing.
    ///
    /// Its configuration and layers must be in the repository already; what is foreign, its subject and the
    /// manifests of an index may be absent.
    pub async fn push_manifest(
        &self,
        grant: &Grant,
        reference: &Reference,
        tags: &[Tag],
        media_type: Option<&MediaType>,
        bytes: Bytes,
    ) -> Result<PushedManifest, RegistryError> {
        let repository = granted(grant, Action::Push)?;
        let manifest = Manifest::parse(&bytes, media_type, &self.limits.manifest)?;
        let digest = digest_of(reference, &bytes)?;
        let tags = tags_of(reference, tags);
        if tags.len() > self.limits.tags_per_push {
            return Err(RegistryError::TooManyTags(self.limits.tags_per_push));
        }
        if self.space.is_scarce() {
            return Err(RegistryError::Full);
        }
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        let batch = push_batch(grant, repository, digest, manifest, bytes, &tags);
        match self.meta.commit(batch).await {
            Ok(_) => Ok(PushedManifest { digest, subject, tags }),
            Err(MetaError::BlobsMissing(missing)) => {
                Err(RegistryError::ManifestBlobsUnknown { repository: repository.clone(), missing })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a tag, or a manifest with all its tags.
    pub async fn delete_manifest(&self, grant: &Grant, reference: &Reference) -> Result<(), RegistryError> {
        let action = match reference {
            Reference::Tag(_) => Action::DeleteTag,
            Reference::Digest(_) => Action::DeleteArtifact,
        };
        let repository = granted(grant, action)?.clone();
        let write = match reference {
            Reference::Tag(tag) => Write::DropTag { repository: repository.clone(), tag: tag.clone() },
            Reference::Digest(digest) => {
                Write::DropManifest { repository: repository.clone(), digest: *digest }
            }
        };
        let committed = self.meta.commit(Batch::of(origin(grant), write)).await?;
        match committed.effects.as_slice() {
            [Effect::Absent] => {
                Err(RegistryError::ManifestUnknown { repository, reference: reference.clone() })
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn push_batch(
    grant: &Grant,
    repository: &RepoName,
    digest: Digest,
    manifest: Manifest,
    bytes: Bytes,
    tags: &[Tag],
) -> Batch {
    let needed = manifest.required_blobs();
    let write = Write::Manifest { repository: repository.clone(), manifest: stored(digest, manifest, bytes) };
    let mut batch = Batch::of(origin(grant), write);
    if !needed.is_empty() {
        batch = batch.when(Condition::BlobsLinked { repository: repository.clone(), digests: needed });
    }
    let batch = batch.when(hosted(repository));
    tags.iter().fold(batch, |batch, tag| {
        batch.then(Write::Tag { repository: repository.clone(), tag: tag.clone(), digest })
    })
}

/// A manifest as it is stored.
pub(crate) fn stored(digest: Digest, manifest: Manifest, bytes: Bytes) -> NewManifest {
    NewManifest {
        digest,
        references: references(&manifest),
        media_type: manifest.media_type,
        bytes,
        artifact_type: manifest.artifact_type,
        subject: manifest.subject.map(|subject| subject.digest),
        annotations: manifest.annotations,
    }
}

/// The digest by which the manifest is stored: the algorithm is the one the client named it with.
fn digest_of(reference: &Reference, bytes: &Bytes) -> Result<Digest, RegistryError> {
    match reference {
        Reference::Tag(_) => Ok(Digest::sha256(bytes)),
        Reference::Digest(expected) => {
            let actual = Digest::of(expected.algorithm(), bytes);
            let size = bytes.len() as u64;
            (actual == *expected).then_some(actual).ok_or(RegistryError::DigestMismatch {
                expected: *expected,
                actual,
                size,
            })
        }
    }
}

fn tags_of(reference: &Reference, more: &[Tag]) -> Vec<Tag> {
    let named = match reference {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => None,
    };
    let mut seen = BTreeSet::new();
    named.into_iter().chain(more).filter(|tag| seen.insert((*tag).clone())).cloned().collect()
}

/// What the manifest refers to, each digest once in each kind. The first role counts where one digest has two.
fn references(manifest: &Manifest) -> Vec<(Digest, RefKind)> {
    let mut seen = BTreeSet::new();
    let kinds = manifest.children.iter().map(|child| {
        let kind = match child.role {
            Role::Config | Role::Layer => RefKind::Blob,
            Role::Foreign => RefKind::Foreign,
            Role::Manifest => RefKind::Manifest,
        };
        (child.descriptor.digest, kind)
    });
    kinds.filter(|(digest, kind)| seen.insert((*digest, *kind as u8))).collect()
}
