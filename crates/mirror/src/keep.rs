//! Keeping as the project's own what was read from the registry that it replaces: in the background, and whole, so that
//! it is all here when that registry is not.

use std::collections::HashSet;
use std::sync::Arc;

use access::{Action, Grant, Target};
use blob::BlobRead;
use futures_util::TryStreamExt;
use oci::{Digest, Manifest, Reference, RepoName, Role, Tag};
use registry::{FoundBlob, FoundManifest, MountFrom, Pull, RegistryError, Want};
use tokio::sync::Semaphore;

use crate::mirror::Mirror;
use crate::once::Once;

/// How many images are kept at once: who pulls comes first.
const AT_ONCE: usize = 2;

/// How many may wait for that. What comes beyond is kept when it is next asked for.
const WAITING: usize = 1_000;

/// The most manifests of one image: an index with what it lists.
const MANIFESTS: usize = 1_000;

/// How often a blob is fetched that was evicted before it could be kept.
const ATTEMPTS: usize = 3;

/// What keeps.
#[derive(Clone)]
pub(crate) struct Keeper {
    running: Once<(RepoName, Reference), ()>,
    turns: Arc<Semaphore>,
}

impl Default for Keeper {
    fn default() -> Self {
        Self { running: Once::default(), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

/// From where to where something is kept.
struct Way {
    mirror: Mirror,
    /// For reading it there.
    there: Grant,
    /// For adding it here.
    here: Grant,
}

impl Keeper {
    /// Begins to keep something, unless that goes on already.
    pub fn begin(&self, mirror: &Mirror, there: &Grant, here: &RepoName, reference: &Reference) {
        if self.running.len() >= WAITING {
            return;
        }
        let way = Way {
            mirror: mirror.clone(),
            there: there.clone(),
            here: Grant::system("fallback", Action::Push, Target::Repository(here.clone())),
        };
        let (turns, here, reference) = (Arc::clone(&self.turns), here.clone(), reference.clone());
        let _nobody_waits = self.running.begin((here.clone(), reference.clone()), |outcome| {
            Box::pin(async move {
                let _turn = turns.acquire_owned().await;
                match way.keep(&reference).await {
                    Ok(()) => tracing::info!(repository = %here, %reference, "kept what was read elsewhere"),
                    Err(error) => {
                        tracing::warn!(repository = %here, %reference, %error, "what was read elsewhere was not kept");
                    }
                }
                outcome.tell(());
            })
        });
    }
}

impl Way {
    /// Keeps a manifest with all that it needs, what it lists first: so nothing is here that lacks a part.
    async fn keep(&self, reference: &Reference) -> Result<(), RegistryError> {
        let top = self.read(reference).await?;
        let (mut seen, mut next) = (HashSet::from([top.digest]), vec![top.digest]);
        let (mut found, top) = (Vec::new(), top.digest);
        while let Some(digest) = next.pop() {
            // Read anew when it is its turn: of a thousand, only one is held in memory.
            let Some(manifest) = self.child(digest).await? else { continue };
            found.push(digest);
            for child in self.parsed(&manifest)?.children.iter().filter(|child| child.role == Role::Manifest)
            {
                let digest = child.descriptor.digest;
                if seen.len() < MANIFESTS && seen.insert(digest) {
                    next.push(digest);
                }
            }
        }
        for digest in found.into_iter().rev() {
            let tag = match reference {
                Reference::Tag(tag) if digest == top => Some(tag),
                _ => None,
            };
            self.keep_one(digest, tag).await?;
        }
        Ok(())
    }

    /// Keeps a manifest with its blobs, where it is not here yet.
    async fn keep_one(&self, digest: Digest, tag: Option<&Tag>) -> Result<(), RegistryError> {
        let manifest = self.read(&Reference::Digest(digest)).await?;
        for blob in self.parsed(&manifest)?.required_blobs() {
            self.keep_blob(blob).await?;
        }
        let FoundManifest { media_type, bytes, .. } = manifest;
        // Somebody may have pushed and deleted it while it came.
        let tag = match tag {
            Some(tag) if self.was_here(tag).await? => None,
            tag => tag,
        };
        self.mirror.registry.keep_own(&self.here, digest, &media_type, bytes, tag).await
    }

    async fn was_here(&self, tag: &Tag) -> Result<bool, RegistryError> {
        let Some(here) = self.here.repository() else { return Ok(false) };
        Ok(self.mirror.registry.meta().had(here, &Reference::Tag(tag.clone())).await?)
    }

    async fn read(&self, reference: &Reference) -> Result<FoundManifest, RegistryError> {
        Pull::manifest(&self.mirror, &self.there, reference, Want::Bytes).await
    }

    fn parsed(&self, found: &FoundManifest) -> Result<Manifest, RegistryError> {
        let limits = &self.mirror.registry.limits().manifest;
        Ok(Manifest::parse(&found.bytes, Some(&found.media_type), limits)?)
    }

    /// What an index lists; nothing where the other registry has not got it either.
    async fn child(&self, digest: Digest) -> Result<Option<FoundManifest>, RegistryError> {
        match self.read(&Reference::Digest(digest)).await {
            Ok(found) => Ok(Some(found)),
            Err(RegistryError::ManifestUnknown { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the repository here a blob that the one there has.
    async fn keep_blob(&self, digest: Digest) -> Result<(), RegistryError> {
        let registry = &self.mirror.registry;
        for _ in 0..ATTEMPTS {
            let found = Pull::blob(&self.mirror, &self.there, &digest, Want::Bytes).await?;
            if !matches!(found, FoundBlob::Stored(_)) {
                // To its end, at which it is stored.
                let read = Pull::read_blob(&self.mirror, &self.there, &digest, found, None).await?;
                if let BlobRead::Stream { mut stream, .. } = read {
                    while let Ok(Some(_)) = stream.try_next().await {}
                }
            }
            if registry.mount(&self.here, &digest, MountFrom::Repository(&self.there)).await? {
                return Ok(());
            }
        }
        let repository = self.there.repository().or(self.here.repository());
        Err(repository.map_or(RegistryError::Conflict, |repository| RegistryError::BlobUnknown {
            repository: repository.clone(),
            digest,
        }))
    }
}
