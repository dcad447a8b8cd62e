//! What eviction takes: blobs that mirrored repositories hold and no other, with all their links.

use blob::BlobId;
use meta::{Effect, StoredBlob};
use oci::{Digest, RepoName};

use super::Change;
use crate::error::Result;
use crate::sql::count;

pub(super) const LIVE: &str = "SELECT id, digest, size FROM blob WHERE object = ?1 AND state = 0";

pub(super) const IS_HOSTED: &str = "SELECT 1 FROM link l JOIN repository r ON r.id = l.repository_id
    WHERE l.blob_id = ?1 AND r.kind <> 'mirrored' LIMIT 1";

pub(super) const LINKS: &str = "SELECT l.repository_id, r.name FROM link l
    JOIN repository r ON r.id = l.repository_id WHERE l.blob_id = ?1 LIMIT ?2";

impl Change<'_> {
    /// Without an event: nobody took the blobs away, and a rebuild does not mind what a mirrored repository lacks.
    pub(super) fn evict(&mut self, ids: &[BlobId], limit: usize) -> Result<Effect> {
        let (mut links, mut blobs) = (Vec::new(), Vec::new());
        for id in ids {
            if links.len() == limit {
                break;
            }
            blobs.extend(self.evict_one(*id, limit, &mut links)?);
        }
        Ok(Effect::Evicted { links, blobs })
    }

    /// Gives the blob where its last link went.
    fn evict_one(
        &mut self,
        id: BlobId,
        limit: usize,
        links: &mut Vec<(RepoName, Digest)>,
    ) -> Result<Option<StoredBlob>> {
        let found = self.db.first(LIVE, &[(&id).into()], |row| {
            Ok((row.int(0)?, StoredBlob { id, digest: row.digest(1)?, size: row.number(2)? }))
        })?;
        let Some((row, blob)) = found else { return Ok(None) };
        if self.db.first(IS_HOSTED, &[row.into()], |_| Ok(()))?.is_some() {
            return Ok(None);
        }
        // One more than may go tells whether these are all.
        let room = limit - links.len();
        let mut holders = self
            .db
            .all(LINKS, &[row.into(), count(room + 1)], |row| Ok((row.int(0)?, row.repository(1)?)))?;
        let is_last = holders.len() <= room;
        holders.truncate(room);
        for (repository, name) in holders {
            self.remove_link(repository, row, blob.size, self.now)?;
            links.push((name, blob.digest));
        }
        if is_last {
            self.condemn_one(row, &blob)?;
        }
        Ok(is_last.then_some(blob))
    }
}
