//! What a pull-through cache reads.

use blob::BlobId;
use meta::{CachedBlob, RepositoryKind, Timestamp};
use oci::{Digest, RepoName, Tag};

use crate::error::Result;
use crate::sql::{Db, Value, count};

/// So many blobs are looked at in one query: while it runs, the write-ahead log can only grow, and of a large store
/// any number of blobs in a row may be hosted.
const STEP: usize = 1_000;

pub(crate) const KIND: &str = "SELECT kind FROM repository WHERE name = ?1";

pub(crate) const CHECKED: &str = "SELECT m.digest, t.checked_at FROM repository r
    JOIN tag t ON t.repository_id = r.id AND t.name = ?2
    JOIN manifest m ON m.id = t.manifest_id
    WHERE r.name = ?1";

/// Live blobs, which some repository holds, and whether any that is not mirrored does.
pub(crate) const LIVE: &str = "SELECT b.object, b.digest, b.size, EXISTS (SELECT 1 FROM link l
        JOIN repository r ON r.id = l.repository_id
        WHERE l.blob_id = b.id AND r.kind <> 'mirrored')
    FROM blob b WHERE b.object > ?1 AND b.state = 0 ORDER BY b.object LIMIT ?2";

pub(crate) const IS_NEEDED: &str = "SELECT 1 FROM repository r
    JOIN manifest_ref x ON x.repository_id = r.id AND x.digest = ?2 AND x.kind < 2
    WHERE r.name = ?1 LIMIT 1";

pub(crate) const LINKS_OF: &str = "SELECT r.name, r.kind FROM blob b
    JOIN link l ON l.blob_id = b.id
    JOIN repository r ON r.id = l.repository_id
    WHERE b.object = ?1 AND b.state < 2 LIMIT ?2";

pub(crate) fn repository_kind(db: Db<'_>, repository: &RepoName) -> Result<Option<RepositoryKind>> {
    db.first(KIND, &[repository.into()], |row| row.repository_kind(0))
}

pub(crate) fn checked(
    db: Db<'_>,
    repository: &RepoName,
    tag: &Tag,
) -> Result<Option<(Digest, Option<Timestamp>)>> {
    db.first(CHECKED, &[repository.into(), tag.into()], |row| {
        Ok((row.digest(0)?, row.int_or_null(1)?.map(Timestamp::from_micros)))
    })
}

pub(crate) fn cached_blobs(db: Db<'_>, after: Option<BlobId>, limit: usize) -> Result<Vec<CachedBlob>> {
    let mut found = Vec::new();
    let mut after = after;
    loop {
        let from = after.as_ref().map_or(&[][..], |id| &id.as_bytes()[..]);
        let live = db.all(LIVE, &[Value::Bytes(from), count(STEP)], |row| {
            let blob = CachedBlob { id: row.blob_id(0)?, digest: row.digest(1)?, size: row.number(2)? };
            Ok((blob, row.flag(3)?))
        })?;
        let is_last = live.len() < STEP;
        after = live.last().map(|(blob, _)| blob.id);
        found.extend(live.into_iter().filter(|(_, is_hosted)| !is_hosted).map(|(blob, _)| blob));
        if is_last || found.len() >= limit {
            found.truncate(limit);
            return Ok(found);
        }
    }
}

pub(crate) fn is_needed(db: Db<'_>, repository: &RepoName, digest: &Digest) -> Result<bool> {
    Ok(db.first(IS_NEEDED, &[repository.into(), digest.into()], |_| Ok(()))?.is_some())
}

pub(crate) fn links_of(db: Db<'_>, id: BlobId, limit: usize) -> Result<Vec<(RepoName, RepositoryKind)>> {
    db.all(LINKS_OF, &[(&id).into(), count(limit)], |row| Ok((row.repository(0)?, row.repository_kind(1)?)))
}
