//! Conditions, checked before the writes of their batch, in the same transaction.

use meta::{Condition, MetaError};
use oci::{Digest, ProjectName, RepoName};

use super::project::below;
use crate::error::Result;
use crate::read::mirrors::repository_kind;
use crate::sql::Db;

pub(super) const TAG_DIGEST: &str = "SELECT m.digest FROM repository r
    JOIN tag t ON t.repository_id = r.id AND t.name = ?2
    JOIN manifest m ON m.id = t.manifest_id
    WHERE r.name = ?1";

pub(super) const SOUND_LINK: &str = "SELECT 1 FROM repository r
    JOIN blob b ON b.digest = ?2 AND b.state < 2 AND b.damaged_at IS NULL
    JOIN link l ON l.blob_id = b.id AND l.repository_id = r.id
    WHERE r.name = ?1";

pub(super) const BLOB_REFERENCE: &str = "SELECT 1 FROM repository r
    JOIN manifest_ref x ON x.repository_id = r.id AND x.digest = ?2 AND x.kind < 2
    WHERE r.name = ?1 LIMIT 1";

pub(super) const MANIFEST: &str = "SELECT 1 FROM repository r
    JOIN manifest m ON m.repository_id = r.id AND m.digest = ?2
    WHERE r.name = ?1";

pub(super) const REVISION: &str = "SELECT revision FROM entry WHERE kind = ?1 AND name = ?2";

pub(super) const BELOW_PROJECT: &str = "SELECT 1 FROM repository WHERE name >= ?1 AND name < ?2 LIMIT 1";

/// Only repositories of one part lie in a project that their name does not begin with.
pub(super) const IN_PROJECT: &str = "SELECT 1 FROM project p JOIN repository r ON r.project_id = p.id
    WHERE p.name = ?1 LIMIT 1";

/// Fails where the condition does not hold.
pub(super) fn check(db: Db<'_>, condition: &Condition) -> Result<()> {
    let holds = match condition {
        Condition::TagIs { repository, tag, digest } => {
            db.first(TAG_DIGEST, &[repository.into(), tag.into()], |row| row.digest(0))? == *digest
        }
        Condition::BlobsLinked { repository, digests } => return check_blobs(db, repository, digests),
        Condition::BlobUnreferenced { repository, digest } => {
            !exists(db, BLOB_REFERENCE, repository, digest)?
        }
        Condition::ManifestExists { repository, digest } => exists(db, MANIFEST, repository, digest)?,
        Condition::RepositoryIs { repository, kind } => {
            repository_kind(db, repository)?.is_none_or(|found| found == *kind)
        }
        Condition::EntryIs { kind, name, revision } => {
            db.first(REVISION, &[(*kind).into(), name.into()], |row| row.int(0))? == *revision
        }
        Condition::ProjectEmpty { project } => is_empty(db, project)?,
    };
    if holds { Ok(()) } else { Err(MetaError::Conflict(Box::new(condition.clone()))) }
}

/// Names all that are missing, so that a client need not find them one by one.
fn check_blobs(db: Db<'_>, repository: &RepoName, digests: &[Digest]) -> Result<()> {
    let mut missing = Vec::new();
    for digest in digests {
        if !exists(db, SOUND_LINK, repository, digest)? {
            missing.push(*digest);
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(MetaError::BlobsMissing(missing)) }
}

fn is_empty(db: Db<'_>, project: &ProjectName) -> Result<bool> {
    let (from, to) = below(project);
    let below = db.first(BELOW_PROJECT, &[from.as_str().into(), to.as_str().into()], |_| Ok(()))?;
    Ok(below.is_none() && db.first(IN_PROJECT, &[project.into()], |_| Ok(()))?.is_none())
}

fn exists(db: Db<'_>, sql: &str, repository: &RepoName, digest: &Digest) -> Result<bool> {
    Ok(db.first(sql, &[repository.into(), digest.into()], |_| Ok(()))?.is_some())
}
