//! Blobs. A blob that is known to be damaged is absent here.

use meta::{BlobRecord, Timestamp, Visible};
use oci::{Digest, RepoName};

use super::projects;
use crate::error::Result;
use crate::sql::Db;

pub(crate) const BLOB: &str = "SELECT b.object, b.size, l.since FROM repository r
    JOIN blob b ON b.digest = ?2 AND b.state < 2 AND b.damaged_at IS NULL
    JOIN link l ON l.blob_id = b.id AND l.repository_id = r.id
    WHERE r.name = ?1";

pub(crate) const HOLDER: &str = "SELECT r.name FROM blob b
    JOIN link l ON l.blob_id = b.id
    JOIN repository r ON r.id = l.repository_id
    WHERE b.digest = ?1 AND b.state < 2 AND b.damaged_at IS NULL AND (?2 IS NULL OR r.project_id IN (
        SELECT p.id FROM project p JOIN json_each(?2) v ON v.value = p.name))
    LIMIT 1";

pub(crate) fn blob(db: Db<'_>, repository: &RepoName, digest: &Digest) -> Result<Option<BlobRecord>> {
    db.first(BLOB, &[repository.into(), digest.into()], |row| {
        Ok(BlobRecord {
            id: row.blob_id(0)?,
            size: row.number(1)?,
            unreferenced_since: row.int_or_null(2)?.map(Timestamp::from_micros),
        })
    })
}

pub(crate) fn holder(db: Db<'_>, digest: &Digest, visible: &Visible) -> Result<Option<RepoName>> {
    let projects = projects(visible);
    db.first(HOLDER, &[digest.into(), projects.as_deref().into()], |row| row.repository(0))
}
