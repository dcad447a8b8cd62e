//! Who has read what from registries that are replaced: counted in memory, and written together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use access::Grant;
use meta::{Batch, FallbackUse, Origin, Timestamp, Write};
use oci::{ProjectName, Reference, RepoName};
use registry::{Registry, RegistryError};

/// How many uses of a project are kept: the longest unused go.
const KEPT: usize = 10_000;

/// How many different uses are counted in memory until they are written. What comes beyond is served, and not told of.
const WAITING: usize = 20_000;

/// How many are written at once.
const BATCH: usize = 500;

/// A project, who, a repository, and what of it.
type Key = (ProjectName, String, RepoName, Reference);

/// How often, when first, when last.
type Count = (u64, Timestamp, Timestamp);

/// The uses that are not written yet.
#[derive(Default)]
pub(crate) struct Uses {
    waiting: Mutex<HashMap<Key, Count>>,
    /// Held while they are written, so that who reads the report does not miss them.
    writing: tokio::sync::Mutex<()>,
}

impl Uses {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Count>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts that somebody read something.
    pub fn note(&self, grant: &Grant, project: &ProjectName, reference: &Reference, now: Timestamp) {
        let Some(repository) = grant.repository() else { return };
        let key = (project.clone(), grant.actor().to_string(), repository.clone(), reference.clone());
        self.add(key, (1, now, now));
    }

    fn add(&self, key: Key, (times, first, last): Count) {
        let mut waiting = self.waiting();
        if let Some(known) = waiting.get_mut(&key) {
            *known = (known.0 + times, known.1.min(first), known.2.max(last));
        } else if waiting.len() < WAITING {
            waiting.insert(key, (times, first, last));
        } else {
            tracing::warn!(project = %key.0, "too many different uses of what it replaces: the report lacks some");
        }
    }

    /// Writes down what was counted. What cannot be written waits for the next time.
    pub async fn write(&self, registry: &Registry) -> Result<(), RegistryError> {
        let _one_at_a_time = self.writing.lock().await;
        let counted: Vec<(Key, Count)> = std::mem::take(&mut *self.waiting()).into_iter().collect();
        let mut rest = &counted[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BATCH));
            let uses = now.iter().map(used).collect();
            let write = Write::FallbackUsed { uses, keep: KEPT };
            if let Err(error) = registry.meta().commit(Batch::of(Origin::default(), write)).await {
                rest.iter().for_each(|(key, count)| self.add(key.clone(), *count));
                return Err(error.into());
            }
            rest = later;
        }
        Ok(())
    }

    /// What is written of a project.
    pub async fn read(
        &self,
        registry: &Registry,
        project: &ProjectName,
    ) -> Result<Vec<FallbackUse>, RegistryError> {
        Ok(registry.meta().fallback_uses(project, KEPT).await?)
    }
}

fn used(((project, actor, repository, reference), (times, first, last)): &(Key, Count)) -> FallbackUse {
    FallbackUse {
        project: project.clone(),
        actor: actor.clone(),
        repository: repository.clone(),
        reference: reference.clone(),
        times: *times,
        first: *first,
        last: *last,
    }
}

#[cfg(test)]
mod tests {
    use access::{Action, Target};

    use super::*;

    #[test]
    fn uses_are_counted_and_bounded() {
        let uses = Uses::default();
        let repository: RepoName = "team/app".parse().unwrap();
        let grant = Grant::system("test", Action::Pull, Target::Repository(repository));
        let project: ProjectName = "team".parse().unwrap();
        let at = Timestamp::from_micros;
        for (time, tag) in [(5, "v1"), (3, "v1"), (9, "v2"), (7, "v1")] {
            uses.note(&grant, &project, &tag.parse().unwrap(), at(time));
        }
        let mut counts: Vec<Count> = uses.waiting().values().copied().collect();
        counts.sort();
        assert_eq!(counts, [(1, at(9), at(9)), (3, at(3), at(7))]);
        for number in 0..WAITING + 10 {
            uses.note(&grant, &project, &format!("t{number}").parse().unwrap(), at(1));
        }
        assert_eq!(uses.waiting().len(), WAITING);
    }
}
