//! What is read where a project replaces another registry.

use meta::FallbackUse;
use oci::{ProjectName, Reference, RepoName};

use crate::error::{Result, damaged};
use crate::sql::{Db, count};

pub(crate) const HAD_TAG: &str = "SELECT 1 FROM repository r
    JOIN tag_history h ON h.repository_id = r.id AND h.name = ?2
    WHERE r.name = ?1 LIMIT 1";

pub(crate) const HAD_DIGEST: &str = "SELECT 1 FROM repository r
    JOIN tag_history h ON h.repository_id = r.id AND h.digest = ?2
    WHERE r.name = ?1 LIMIT 1";

pub(crate) const USES: &str = "SELECT project, actor, repository, reference, times, first_at, last_at
    FROM fallback_use WHERE project = ?1 ORDER BY last_at DESC LIMIT ?2";

pub(crate) fn had(db: Db<'_>, repository: &RepoName, reference: &Reference) -> Result<bool> {
    let found = match reference {
        Reference::Tag(tag) => db.first(HAD_TAG, &[repository.into(), tag.into()], |_| Ok(()))?,
        Reference::Digest(digest) => db.first(HAD_DIGEST, &[repository.into(), digest.into()], |_| Ok(()))?,
    };
    Ok(found.is_some())
}

pub(crate) fn uses(db: Db<'_>, project: &ProjectName, limit: usize) -> Result<Vec<FallbackUse>> {
    db.all(USES, &[project.into(), count(limit)], |row| {
        Ok(FallbackUse {
            project: row.text(0)?.parse().map_err(|_| damaged("the name of a project"))?,
            actor: row.text(1)?.to_owned(),
            repository: row.repository(2)?,
            reference: row.text(3)?.parse().map_err(|_| damaged("a tag or a digest"))?,
            times: row.number(4)?,
            first: row.time(5)?,
            last: row.time(6)?,
        })
    })
}
