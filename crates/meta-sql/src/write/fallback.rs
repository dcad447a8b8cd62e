//! What was read from registries that are being replaced.

use std::collections::BTreeSet;

use meta::{Effect, FallbackUse};

use super::Change;
use crate::error::Result;
use crate::sql::{Value, count, size};

pub(super) const ADD: &str =
    "INSERT INTO fallback_use (project, actor, repository, reference, times, first_at, last_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (project, actor, repository, reference) DO UPDATE SET times = times + excluded.times,
        first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)";

pub(super) const CUT: &str = "DELETE FROM fallback_use WHERE id IN (
    SELECT id FROM fallback_use WHERE project = ?1 ORDER BY last_at DESC LIMIT -1 OFFSET ?2)";

impl Change<'_> {
    pub(super) fn note_fallbacks(&self, uses: &[FallbackUse], keep: usize) -> Result<Effect> {
        for FallbackUse { project, actor, repository, reference, times, first, last } in uses {
            let reference = reference.to_string();
            let values: [Value<'_>; 7] = [
                project.into(),
                actor.as_str().into(),
                repository.into(),
                reference.as_str().into(),
                size(*times).into(),
                (*first).into(),
                (*last).into(),
            ];
            self.db.run(ADD, &values)?;
        }
        let projects: BTreeSet<&str> = uses.iter().map(|one| one.project.as_str()).collect();
        for project in projects {
            self.db.run(CUT, &[project.into(), count(keep)])?;
        }
        Ok(Effect::Done)
    }
}
