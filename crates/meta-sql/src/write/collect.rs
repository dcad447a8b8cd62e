//! What garbage collection writes. Each step looks once more, in its own transaction, before it takes away.

use blob::BlobId;
use meta::{Effect, StoredBlob, Timestamp};
use oci::{Digest, RepoName};

use super::{Change, done_if};
use crate::error::Result;
use crate::sql::{count, size};

pub(super) const EXPIRED: &str = "SELECT l.blob_id, l.repository_id, l.since, r.name, b.digest, b.size,
        EXISTS (SELECT 1 FROM manifest_ref x
            WHERE x.repository_id = l.repository_id AND x.digest = b.digest AND x.kind < 2)
    FROM link l JOIN repository r ON r.id = l.repository_id JOIN blob b ON b.id = l.blob_id
    WHERE l.since IS NOT NULL AND l.since < ?1
    ORDER BY l.since, l.blob_id, l.repository_id LIMIT ?2";

const REPAIR_LINK: &str = "UPDATE link SET since = NULL WHERE blob_id = ?1 AND repository_id = ?2";

pub(super) const DELETABLE: &str = "SELECT b.id, b.object, b.digest, b.size,
        EXISTS (SELECT 1 FROM link l WHERE l.blob_id = b.id)
    FROM blob b WHERE b.state = 1 AND b.since < ?1 ORDER BY b.since LIMIT ?2";

const REPAIR_BLOB: &str = "UPDATE blob SET state = 0, since = NULL WHERE id = ?1";

const CONDEMN: &str = "UPDATE blob SET state = 2, since = ?2 WHERE id = ?1";

pub(super) const FORGET: &str = "DELETE FROM blob WHERE object = ?1 AND state = 2";

/// A link past its grace.
struct Expired {
    blob: i64,
    repository: i64,
    since: Timestamp,
    name: RepoName,
    digest: Digest,
    size: u64,
    needed: bool,
}

impl Change<'_> {
    /// A link that a manifest needs after all is repaired and not taken away: the references are the truth, the
    /// time in the link is only what was derived from them.
    pub(super) fn expire_links(&mut self, before: Timestamp, limit: usize) -> Result<Effect> {
        let mut links = Vec::new();
        while links.len() < limit {
            let expired = self.expired(before, limit - links.len())?;
            if expired.is_empty() {
                break;
            }
            for link in expired {
                if link.needed {
                    self.db.run(REPAIR_LINK, &[link.blob.into(), link.repository.into()])?;
                } else if self.remove_link(link.repository, link.blob, link.size, link.since)? {
                    links.push((link.name, link.digest, link.size));
                }
            }
        }
        Ok(Effect::Expired { links })
    }

    fn expired(&self, before: Timestamp, limit: usize) -> Result<Vec<Expired>> {
        self.db.all(EXPIRED, &[before.into(), count(limit)], |row| {
            Ok(Expired {
                blob: row.int(0)?,
                repository: row.int(1)?,
                since: row.time(2)?,
                name: row.repository(3)?,
                digest: row.digest(4)?,
                size: row.number(5)?,
                needed: row.flag(6)?,
            })
        })
    }

    /// Only blobs without links; one that has some is live, whatever its state said.
    pub(super) fn condemn(&mut self, before: Timestamp, limit: usize) -> Result<Effect> {
        let mut blobs = Vec::new();
        while blobs.len() < limit {
            let deletable = self.db.all(DELETABLE, &[before.into(), count(limit - blobs.len())], |row| {
                let blob = StoredBlob { id: row.blob_id(1)?, digest: row.digest(2)?, size: row.number(3)? };
                Ok((row.int(0)?, blob, row.flag(4)?))
            })?;
            if deletable.is_empty() {
                break;
            }
            for (id, blob, linked) in deletable {
                if linked {
                    self.db.run(REPAIR_BLOB, &[id.into()])?;
                    continue;
                }
                self.condemn_one(id, &blob)?;
                blobs.push(blob);
            }
        }
        Ok(Effect::Condemned { blobs })
    }

    /// The row has no links.
    pub(super) fn condemn_one(&mut self, row: i64, blob: &StoredBlob) -> Result<()> {
        self.db.run(CONDEMN, &[row.into(), self.now.into()])?;
        let delta = self.usage.of_store();
        delta.blobs -= 1;
        delta.stored_bytes -= size(blob.size);
        Ok(())
    }

    pub(super) fn forget(&self, ids: &[BlobId]) -> Result<Effect> {
        let mut forgotten = 0;
        for id in ids {
            forgotten += self.db.run(FORGET, &[id.into()])?;
        }
        Ok(done_if(forgotten))
    }
}
