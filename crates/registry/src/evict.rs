//! Eviction: a pull-through cache lets go of blobs that it can fetch again.

use std::time::Instant;

use access::{Action, Grant, Target};
use blob::BlobId;
use meta::{Batch, Effect, StoredBlob, Write};

use crate::gc::{STEP, rest};
use crate::{Registry, RegistryError, origin};

impl Registry {
    /// Takes blobs away that mirrored repositories hold and no other, and deletes their objects. Gives those that are gone;
    /// the others are in use by hosted repositories, or were gone before.
    ///
    /// Who has an object open goes on reading it. A crash leaves blobs that are condemned, which
    /// [`Registry::delete_condemned`] or the next collection deletes.
    pub async fn evict(&self, ids: Vec<BlobId>) -> Result<Vec<StoredBlob>, RegistryError> {
        let grant = Grant::system("evict", Action::Administer, Target::System);
        let (mut left, mut gone) = (ids, Vec::new());
        while !left.is_empty() {
            let started = Instant::now();
            let step: Vec<BlobId> = left.iter().take(STEP).copied().collect();
            let write = Write::Evict { ids: step.clone(), limit: STEP };
            let committed = self.meta.commit(Batch::of(origin(&grant), write)).await?;
            let Some(Effect::Evicted { links, blobs }) = committed.effects.into_iter().next() else { break };
            // Where so many links went, the step may have ended before its last blob.
            let is_cut = links.len() == STEP;
            left.retain(|id| !blobs.iter().any(|blob| blob.id == *id) && (is_cut || !step.contains(id)));
            gone.extend(blobs);
            rest(started).await;
        }
        self.delete_condemned().await?;
        Ok(gone)
    }
}
