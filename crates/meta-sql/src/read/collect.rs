//! What garbage collection reads.

use blob::BlobId;
use meta::{Garbage, StoredBlob, Timestamp};

use crate::error::Result;
use crate::sql::{Db, count};

/// Links past their grace that no manifest needs: what `ExpireLinks` would take away, in its order.
pub(crate) const LINKS: &str = "SELECT r.name, b.digest, b.size, l.since
    FROM link l JOIN repository r ON r.id = l.repository_id JOIN blob b ON b.id = l.blob_id
    WHERE l.since IS NOT NULL AND l.since < ?1 AND NOT EXISTS (SELECT 1 FROM manifest_ref x
        WHERE x.repository_id = l.repository_id AND x.digest = b.digest AND x.kind < 2)
    ORDER BY l.since, l.blob_id, l.repository_id LIMIT ?2 OFFSET ?3";

pub(crate) const LINK_COUNT: &str = "SELECT count(*) FROM link l JOIN blob b ON b.id = l.blob_id
    WHERE l.since IS NOT NULL AND l.since < ?1 AND NOT EXISTS (SELECT 1 FROM manifest_ref x
        WHERE x.repository_id = l.repository_id AND x.digest = b.digest AND x.kind < 2)";

/// Blobs past their grace, and those that would be once these links are gone.
pub(crate) const BLOBS: &str = "SELECT b.digest, b.object, b.size FROM blob b
    WHERE b.id IN (
            SELECT d.id FROM blob d WHERE d.state = 1 AND d.since < ?1
            UNION SELECT l.blob_id FROM link l WHERE l.since IS NOT NULL AND l.since < ?1)
        AND NOT EXISTS (SELECT 1 FROM link k WHERE k.blob_id = b.id AND (k.since IS NULL OR k.since >= ?1
            OR EXISTS (SELECT 1 FROM manifest_ref x
                WHERE x.repository_id = k.repository_id AND x.digest = b.digest AND x.kind < 2)))
    ORDER BY b.id LIMIT ?2 OFFSET ?3";

pub(crate) const CONDEMNED: &str =
    "SELECT object, digest, size FROM blob WHERE state = 2 AND since <= ?1 ORDER BY since, id LIMIT ?2";

pub(crate) const KNOWN: &str = "SELECT 1 FROM blob WHERE object = ?1";

/// The links first, then the blobs.
pub(crate) fn garbage(db: Db<'_>, before: Timestamp, skip: usize, limit: usize) -> Result<Vec<Garbage>> {
    db.snapshot(|| {
        let mut found = db.all(LINKS, &[before.into(), count(limit), count(skip)], |row| {
            Ok(Garbage::Link {
                repository: row.repository(0)?,
                digest: row.digest(1)?,
                size: row.number(2)?,
                since: row.time(3)?,
            })
        })?;
        if found.len() < limit {
            let links = db.only(LINK_COUNT, &[before.into()], |row| row.number(0))?;
            let skip = skip.saturating_sub(usize::try_from(links).unwrap_or(usize::MAX));
            found.extend(blobs(db, before, skip, limit - found.len())?);
        }
        Ok(found)
    })
}

fn blobs(db: Db<'_>, before: Timestamp, skip: usize, limit: usize) -> Result<Vec<Garbage>> {
    db.all(BLOBS, &[before.into(), count(limit), count(skip)], |row| {
        Ok(Garbage::Blob { digest: row.digest(0)?, id: row.blob_id(1)?, size: row.number(2)? })
    })
}

pub(crate) fn condemned(db: Db<'_>, before: Timestamp, limit: usize) -> Result<Vec<StoredBlob>> {
    db.all(CONDEMNED, &[before.into(), count(limit)], |row| {
        Ok(StoredBlob { id: row.blob_id(0)?, digest: row.digest(1)?, size: row.number(2)? })
    })
}

/// In one snapshot: an object that turns from one state to another meanwhile must not fall between.
pub(crate) fn unknown(db: Db<'_>, ids: Vec<BlobId>) -> Result<Vec<BlobId>> {
    db.snapshot(|| {
        let mut unknown = Vec::new();
        for id in ids {
            if db.first(KNOWN, &[(&id).into()], |_| Ok(()))?.is_none() {
                unknown.push(id);
            }
        }
        Ok(unknown)
    })
}
