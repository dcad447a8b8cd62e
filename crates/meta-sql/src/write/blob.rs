//! Blobs and the links of repositories to them.
//!
//! A blob is live while a repository links it, deletable once none does, and condemned at last; a link revives a
//! deletable blob and never a condemned one.

use blob::BlobId;
use meta::{Effect, EventKind, NewBlob, Timestamp};
use oci::{Digest, RepoName};

use super::event::About;
use super::{Change, done_if};
use crate::error::Result;
use crate::sql::size;

pub(super) const FIND: &str =
    "SELECT id, object, size, state, damaged_at FROM blob WHERE digest = ?1 AND state < 2";

const INSERT: &str = "INSERT INTO blob (digest, size, object, state) VALUES (?1, ?2, ?3, 0) RETURNING id";

const REVIVE: &str = "UPDATE blob SET state = 0, since = NULL WHERE id = ?1";

const HEAL: &str = "UPDATE blob SET object = ?2, damaged_at = NULL WHERE id = ?1";

/// An object may be condemned once more where its upload is committed again.
const CONDEMN_OBJECT: &str =
    "INSERT INTO blob (digest, size, object, state, since) VALUES (?1, ?2, ?3, 2, ?4)
    ON CONFLICT (object) DO NOTHING";

/// Referenced from the start where a manifest waits for this blob.
pub(super) const LINK: &str = "INSERT INTO link (blob_id, repository_id, since)
    SELECT ?1, ?2, CASE WHEN EXISTS (SELECT 1 FROM manifest_ref x
        WHERE x.repository_id = ?2 AND x.digest = ?3 AND x.kind < 2) THEN NULL ELSE ?4 END
    WHERE true
    ON CONFLICT (blob_id, repository_id) DO NOTHING";

const IS_LINKED: &str = "SELECT 1 FROM link WHERE blob_id = ?1 AND repository_id = ?2";

pub(super) const RENEW: &str =
    "UPDATE link SET since = ?3 WHERE blob_id = ?1 AND repository_id = ?2 AND since IS NOT NULL";

const UNLINK: &str = "DELETE FROM link WHERE blob_id = ?1 AND repository_id = ?2";

pub(super) const RELEASE: &str = "UPDATE blob SET state = 1, since = ?2
    WHERE id = ?1 AND state = 0 AND NOT EXISTS (SELECT 1 FROM link l WHERE l.blob_id = ?1)";

pub(super) const DAMAGED: &str =
    "UPDATE blob SET damaged_at = ?2 WHERE object = ?1 AND state < 2 AND damaged_at IS NULL";

const SOUND: &str =
    "UPDATE blob SET damaged_at = NULL WHERE object = ?1 AND state < 2 AND damaged_at IS NOT NULL";

pub(super) const A_HOLDER: &str = "SELECT r.name, b.digest FROM blob b
    JOIN link l ON l.blob_id = b.id
    JOIN repository r ON r.id = l.repository_id
    WHERE b.object = ?1 LIMIT 1";

/// The row of a digest that is live or deletable.
struct Found {
    id: i64,
    object: BlobId,
    size: u64,
    live: bool,
    damaged: bool,
}

impl Change<'_> {
    pub(super) fn store_blob(&mut self, name: &RepoName, blob: &NewBlob) -> Result<Effect> {
        let repository = self.repository(name)?;
        let (id, object) = match self.find_blob(&blob.digest)? {
            Some(found) => (found.id, self.settle(name, &found, blob)?),
            None => {
                let values = [(&blob.digest).into(), size(blob.size).into(), (&blob.id).into()];
                let id = self.db.insert(INSERT, &values)?;
                let delta = self.usage.of(repository);
                delta.blobs += 1;
                delta.stored_bytes += size(blob.size);
                (id, blob.id)
            }
        };
        self.add_link(repository, id, &blob.digest, blob.size)?;
        Ok(Effect::Blob { id: object })
    }

    /// Two objects for one digest: the one that is sound stays, the stored one if both are. Gives it.
    fn settle(&self, name: &RepoName, found: &Found, new: &NewBlob) -> Result<BlobId> {
        self.revive(found)?;
        let (keep, other) = if found.damaged { (new.id, found.object) } else { (found.object, new.id) };
        if keep == other {
            return Ok(keep);
        }
        if found.damaged {
            self.db.run(HEAL, &[found.id.into(), (&keep).into()])?;
            self.append(EventKind::BlobHealed, About::digest(name, &new.digest))?;
        }
        let values = [(&new.digest).into(), size(new.size).into(), (&other).into(), self.now.into()];
        self.db.run(CONDEMN_OBJECT, &values)?;
        Ok(keep)
    }

    pub(super) fn link(&mut self, name: &RepoName, digest: &Digest) -> Result<Effect> {
        let Some(found) = self.find_blob(digest)?.filter(|found| !found.damaged) else {
            return Ok(Effect::Absent);
        };
        let repository = self.repository(name)?;
        self.revive(&found)?;
        self.add_link(repository, found.id, digest, found.size)?;
        Ok(Effect::Blob { id: found.object })
    }

    pub(super) fn renew(&self, name: &RepoName, digest: &Digest) -> Result<Effect> {
        let (Some(repository), Some(found)) = (self.find_repository(name)?, self.find_blob(digest)?) else {
            return Ok(Effect::Absent);
        };
        let keys = [found.id.into(), repository.into()];
        let linked = self.db.first(IS_LINKED, &keys, |_| Ok(()))?.is_some();
        if linked {
            self.db.run(RENEW, &[found.id.into(), repository.into(), self.now.into()])?;
        }
        Ok(done_if(usize::from(linked)))
    }

    pub(super) fn unlink(&mut self, name: &RepoName, digest: &Digest) -> Result<Effect> {
        let (Some(repository), Some(found)) = (self.find_repository(name)?, self.find_blob(digest)?) else {
            return Ok(Effect::Absent);
        };
        if !self.remove_link(repository, found.id, found.size, self.now)? {
            return Ok(Effect::Absent);
        }
        self.append(EventKind::BlobDeleted, About::digest(name, digest))?;
        Ok(Effect::Done)
    }

    pub(super) fn set_damage(&self, object: &BlobId, damaged: bool) -> Result<Effect> {
        let changed = if damaged {
            self.db.run(DAMAGED, &[object.into(), self.now.into()])?
        } else {
            self.db.run(SOUND, &[object.into()])?
        };
        if changed > 0 && !damaged {
            let holder =
                self.db.first(A_HOLDER, &[object.into()], |row| Ok((row.repository(0)?, row.digest(1)?)))?;
            if let Some((name, digest)) = holder {
                self.append(EventKind::BlobHealed, About::digest(&name, &digest))?;
            }
        }
        Ok(done_if(changed))
    }

    /// Takes a link away, if it is there. A blob without links is deletable, and was not needed since `since`.
    pub(super) fn remove_link(
        &mut self,
        repository: i64,
        blob: i64,
        bytes: u64,
        since: Timestamp,
    ) -> Result<bool> {
        if self.db.run(UNLINK, &[blob.into(), repository.into()])? == 0 {
            return Ok(false);
        }
        self.usage.of(repository).bytes -= size(bytes);
        self.db.run(RELEASE, &[blob.into(), since.into()])?;
        Ok(true)
    }

    fn add_link(&mut self, repository: i64, blob: i64, digest: &Digest, bytes: u64) -> Result<()> {
        let values = [blob.into(), repository.into(), digest.into(), self.now.into()];
        if self.db.run(LINK, &values)? > 0 {
            self.usage.of(repository).bytes += size(bytes);
        } else {
            self.db.run(RENEW, &[blob.into(), repository.into(), self.now.into()])?;
        }
        Ok(())
    }

    fn revive(&self, found: &Found) -> Result<()> {
        if !found.live {
            self.db.run(REVIVE, &[found.id.into()])?;
        }
        Ok(())
    }

    fn find_blob(&self, digest: &Digest) -> Result<Option<Found>> {
        self.db.first(FIND, &[digest.into()], |row| {
            Ok(Found {
                id: row.int(0)?,
                object: row.blob_id(1)?,
                size: row.number(2)?,
                live: row.int(3)? == 0,
                damaged: row.int_or_null(4)?.is_some(),
            })
        })
    }
}
