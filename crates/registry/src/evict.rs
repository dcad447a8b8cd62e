//! Eviction: a pull-through cache lets go of blobs that it can fetch again.

use std::time::Instant;

use access::{Action, Grant, Target};
use blob::BlobId;
use meta::{Batch, Effect, StoredBlob, Write};

use crate::gc::{STEP, rest};
use crate::{Registry, RegistryError, origin};

/// What an eviction came to.
#[derive(Debug)]
pub struct Evicted {
    /// What is gone. The others are in use by hosted repositories, or were gone before.
    pub gone: Vec<StoredBlob>,
    /// Why it ended before it had looked at all, where it did.
    pub error: Option<RegistryError>,
}

impl Registry {
    /// Takes blobs away that mirrored repositories hold and no other, and deletes their objects.
    ///
    /// Who has an object open goes on reading it. An object that cannot be deleted now, or that a crash leaves, is
    /// condemned: [`Registry::delete_condemned`] or the next collection deletes it.
    pub async fn evict(&self, ids: Vec<BlobId>) -> Evicted {
        let grant = Grant::system("evict", Action::Administer, Target::System);
        let (mut left, mut gone) = (ids, Vec::new());
        while !left.is_empty() {
            let started = Instant::now();
            let step: Vec<BlobId> = left.iter().take(STEP).copied().collect();
            let write = Write::Evict { ids: step.clone(), limit: STEP };
            let committed = match self.meta.commit(Batch::of(origin(&grant), write)).await {
                Ok(committed) => committed,
                Err(error) => return Evicted { gone, error: Some(error.into()) },
            };
            let Some(Effect::Evicted { links, blobs }) = committed.effects.into_iter().next() else { break };
            // Where so many links went, the step may have ended before its last blob.
            let is_cut = links.len() == STEP;
            left.retain(|id| !blobs.iter().any(|blob| blob.id == *id) && (is_cut || !step.contains(id)));
            self.delete_evicted(&grant, &blobs).await;
            gone.extend(blobs);
            rest(started).await;
        }
        Evicted { gone, error: None }
    }

    /// Deletes these and no others: what a collection has condemned may be any number, and who evicts is waited for.
    async fn delete_evicted(&self, grant: &Grant, blobs: &[StoredBlob]) {
        if !self.blobs.drain().is_zero() {
            return;
        }
        let mut ids: Vec<BlobId> = blobs.iter().map(|blob| blob.id).collect();
        if self.blobs.delete(ids.iter().map(|id| (*id).into()).collect()).await.is_err() {
            // One that cannot be deleted must not keep the others.
            let mut deleted = Vec::new();
            for id in ids {
                match self.blobs.delete(vec![id.into()]).await {
                    Ok(()) => deleted.push(id),
                    Err(error) => tracing::error!(object = %id, %error, "what was evicted cannot be deleted"),
                }
            }
            ids = deleted;
        }
        if let Err(error) = self.meta.commit(Batch::of(origin(grant), Write::Forget { ids })).await {
            tracing::error!(%error, "what was evicted is deleted, and waits for the next collection to be forgotten");
        }
    }
}
