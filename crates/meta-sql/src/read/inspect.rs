//! What `check` reads: long walks, page by page, and the database's own checks.

use std::ops::ControlFlow;

use blob::BlobId;
use meta::{BlobRow, ManifestRow, MissingBlob};
use oci::{Digest, RepoName};

use super::manifests::record;
use crate::error::Result;
use crate::sql::{Db, Value, count};

/// A page of manifests ends with the one that makes it as large as this.
const PAGE_BYTES: usize = 8 << 20;

/// The most findings of the database that are worth reading.
const FINDINGS: usize = 100;

pub(crate) const BLOB_ROWS: &str = "SELECT object, digest, size, damaged_at IS NOT NULL FROM blob
    WHERE object > ?1 AND state < 2 ORDER BY object LIMIT ?2";

pub(crate) const MANIFEST_ROWS: &str = "SELECT m.id, r.name, m.digest, m.media_type, c.bytes, m.used_day
    FROM manifest m
    JOIN repository r ON r.id = m.repository_id
    JOIN content c ON c.id = m.content_id
    WHERE m.id > ?1 ORDER BY m.id LIMIT ?2";

pub(crate) const MISSING: &str = "SELECT r.name, m.digest, x.digest FROM manifest_ref x
    JOIN manifest m ON m.id = x.manifest_id
    JOIN repository r ON r.id = x.repository_id
    WHERE x.kind = 0 AND r.kind <> 'mirrored' AND NOT EXISTS (SELECT 1 FROM blob b
        JOIN link l ON l.blob_id = b.id AND l.repository_id = x.repository_id
        WHERE b.digest = x.digest AND b.state < 2)
    ORDER BY x.manifest_id, x.digest LIMIT ?1 OFFSET ?2";

pub(crate) const HOLDERS: &str = "SELECT r.name FROM blob b
    JOIN link l ON l.blob_id = b.id
    JOIN repository r ON r.id = l.repository_id
    WHERE b.digest = ?1 AND b.state < 2 LIMIT ?2";

const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";

pub(crate) fn blob_rows(db: Db<'_>, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobRow>> {
    let after = after.as_ref().map_or(&[][..], |id| &id.as_bytes()[..]);
    db.all(BLOB_ROWS, &[Value::Bytes(after), count(limit)], |row| {
        Ok(BlobRow {
            id: row.blob_id(0)?,
            digest: row.digest(1)?,
            size: row.number(2)?,
            damaged: row.flag(3)?,
        })
    })
}

pub(crate) fn manifest_rows(db: Db<'_>, after: i64, limit: usize) -> Result<Vec<ManifestRow>> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    db.each(MANIFEST_ROWS, &[after.into(), count(limit)], |row| {
        let record = record(&row, 2)?;
        bytes += record.bytes.len();
        rows.push(ManifestRow { cursor: row.int(0)?, repository: row.repository(1)?, record });
        Ok(if bytes < PAGE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(rows)
}

pub(crate) fn missing_blobs(db: Db<'_>, skip: usize, limit: usize) -> Result<Vec<MissingBlob>> {
    db.all(MISSING, &[count(limit), count(skip)], |row| {
        Ok(MissingBlob { repository: row.repository(0)?, manifest: row.digest(1)?, blob: row.digest(2)? })
    })
}

pub(crate) fn holders(db: Db<'_>, digest: &Digest, limit: usize) -> Result<Vec<RepoName>> {
    db.all(HOLDERS, &[digest.into(), count(limit)], |row| row.repository(0))
}

/// Table by table, so that no snapshot is held for the time of the whole check: while one is, the write-ahead
/// log can only grow.
pub(crate) fn self_check(db: Db<'_>) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for table in db.all(TABLES, &[], |row| row.text(0).map(str::to_owned))? {
        db.each(&format!("PRAGMA integrity_check('{table}')"), &[], |row| {
            let finding = row.text(0)?;
            if finding != "ok" {
                findings.push(format!("{table}: {finding}"));
            }
            Ok(enough(findings.len()))
        })?;
    }
    db.each("PRAGMA foreign_key_check", &[], |row| {
        let (table, parent) = (row.text(0)?, row.text(2)?);
        findings.push(format!("{table}: a row names a row of {parent} that is not there"));
        Ok(enough(findings.len()))
    })?;
    findings.truncate(FINDINGS);
    Ok(findings)
}

const fn enough(findings: usize) -> ControlFlow<()> {
    if findings < FINDINGS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
