//! Lists, a page at a time: from a name on, in bytewise order, by an index.

use meta::{RepositoryRow, Totals, Visible};
use oci::{RepoName, Tag};

use super::projects;
use crate::error::Result;
use crate::sql::{Db, count};

pub(crate) const REPOSITORY: &str = "SELECT id FROM repository WHERE name = ?1";

pub(crate) const TAGS: &str =
    "SELECT name FROM tag WHERE repository_id = ?1 AND name > ?2 ORDER BY name LIMIT ?3";

pub(crate) const REPOSITORIES: &str = "SELECT r.name FROM repository r
    WHERE r.name > ?1 AND (?3 IS NULL OR r.project_id IN (
        SELECT p.id FROM project p JOIN json_each(?3) v ON v.value = p.name))
    ORDER BY r.name LIMIT ?2";

pub(crate) const USAGE: &str =
    "SELECT r.name, coalesce(u.manifests, 0), coalesce(u.tags, 0), coalesce(u.bytes, 0)
    FROM repository r LEFT JOIN usage u ON u.repository_id = r.id
    WHERE r.name > ?1 AND (?3 IS NULL OR r.project_id IN (
        SELECT p.id FROM project p JOIN json_each(?3) v ON v.value = p.name))
    ORDER BY r.name LIMIT ?2";

pub(crate) const TOTALS: &str =
    "SELECT repositories, manifests, tags, bytes, blobs, stored_bytes FROM totals WHERE id = 1";

pub(crate) fn tags(db: Db<'_>, repository: &RepoName, after: &str, limit: usize) -> Result<Option<Vec<Tag>>> {
    let Some(id) = db.first(REPOSITORY, &[repository.into()], |row| row.int(0))? else { return Ok(None) };
    db.all(TAGS, &[id.into(), after.into(), count(limit)], |row| row.tag(0)).map(Some)
}

pub(crate) fn repositories(
    db: Db<'_>,
    visible: &Visible,
    after: &str,
    limit: usize,
) -> Result<Vec<RepoName>> {
    let projects = projects(visible);
    db.all(REPOSITORIES, &[after.into(), count(limit), projects.as_deref().into()], |row| row.repository(0))
}

pub(crate) fn usage(db: Db<'_>, visible: &Visible, after: &str, limit: usize) -> Result<Vec<RepositoryRow>> {
    let projects = projects(visible);
    db.all(USAGE, &[after.into(), count(limit), projects.as_deref().into()], |row| {
        Ok(RepositoryRow {
            name: row.repository(0)?,
            manifests: row.number(1)?,
            tags: row.number(2)?,
            bytes: row.number(3)?,
        })
    })
}

pub(crate) fn totals(db: Db<'_>) -> Result<Totals> {
    db.only(TOTALS, &[], |row| {
        Ok(Totals {
            repositories: row.number(0)?,
            manifests: row.number(1)?,
            tags: row.number(2)?,
            logical_bytes: row.number(3)?,
            blobs: row.number(4)?,
            stored_bytes: row.number(5)?,
        })
    })
}
