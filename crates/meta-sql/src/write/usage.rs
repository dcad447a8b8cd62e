//! Usage: what a batch adds is appended as a row; a job folds the rows into the counters.

use meta::Effect;

use super::Change;
use crate::error::Result;
use crate::sql::{Db, Value, count};

const APPEND: &str =
    "INSERT INTO usage_delta (repository_id, repositories, manifests, tags, bytes, blobs, stored_bytes)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const LAST: &str = "SELECT max(id), count(*) FROM (SELECT id FROM usage_delta ORDER BY id LIMIT ?1) AS d";

const FOLD: &str = "INSERT INTO usage (repository_id, manifests, tags, bytes)
    SELECT repository_id, sum(manifests), sum(tags), sum(bytes) FROM usage_delta
    WHERE id <= ?1 AND repository_id IS NOT NULL GROUP BY repository_id
    ON CONFLICT (repository_id) DO UPDATE SET manifests = usage.manifests + excluded.manifests,
        tags = usage.tags + excluded.tags, bytes = usage.bytes + excluded.bytes";

const FOLD_TOTALS: &str = "UPDATE totals SET repositories = totals.repositories + d.repositories,
        manifests = totals.manifests + d.manifests, tags = totals.tags + d.tags, bytes = totals.bytes + d.bytes,
        blobs = totals.blobs + d.blobs, stored_bytes = totals.stored_bytes + d.stored_bytes
    FROM (SELECT sum(repositories) AS repositories, sum(manifests) AS manifests, sum(tags) AS tags,
            sum(bytes) AS bytes, sum(blobs) AS blobs, sum(stored_bytes) AS stored_bytes
        FROM usage_delta WHERE id <= ?1) AS d
    WHERE totals.id = 1";

const DROP: &str = "DELETE FROM usage_delta WHERE id <= ?1";

/// What a batch adds to the counters of one repository and to those of the whole store.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) repositories: i64,
    pub(super) manifests: i64,
    pub(super) tags: i64,
    pub(super) bytes: i64,
    pub(super) blobs: i64,
    pub(super) stored_bytes: i64,
}

/// The deltas of a batch, by repository; few, so they are searched.
#[derive(Default)]
pub(super) struct Usage {
    deltas: Vec<(Option<i64>, Delta)>,
}

impl Usage {
    /// What the batch adds to this repository.
    pub(super) fn of(&mut self, repository: i64) -> &mut Delta {
        self.entry(Some(repository))
    }

    /// What the batch adds to the store as a whole.
    pub(super) fn of_store(&mut self) -> &mut Delta {
        self.entry(None)
    }

    fn entry(&mut self, repository: Option<i64>) -> &mut Delta {
        let at = self.deltas.iter().position(|(id, _)| *id == repository).unwrap_or_else(|| {
            self.deltas.push((repository, Delta::default()));
            self.deltas.len() - 1
        });
        &mut self.deltas[at].1
    }

    /// Writes the deltas down.
    pub(super) fn append(&self, db: Db<'_>) -> Result<()> {
        for (repository, delta) in self.deltas.iter().filter(|(_, delta)| *delta != Delta::default()) {
            let values: [Value<'_>; 7] = [
                (*repository).into(),
                delta.repositories.into(),
                delta.manifests.into(),
                delta.tags.into(),
                delta.bytes.into(),
                delta.blobs.into(),
                delta.stored_bytes.into(),
            ];
            db.run(APPEND, &values)?;
        }
        Ok(())
    }
}

impl Change<'_> {
    pub(super) fn fold_usage(&self, limit: usize) -> Result<Effect> {
        let (last, deltas) =
            self.db.only(LAST, &[count(limit)], |row| Ok((row.int_or_null(0)?, row.number(1)?)))?;
        if let Some(last) = last {
            for sql in [FOLD, FOLD_TOTALS, DROP] {
                self.db.run(sql, &[last.into()])?;
            }
        }
        Ok(Effect::Folded { deltas: usize::try_from(deltas).unwrap_or(usize::MAX) })
    }
}
