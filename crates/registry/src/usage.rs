//! When manifests were last pulled: by the day, remembered in memory and written in batches.
//!
//! A pull must not write. So a pull notes at most one thing, once a day for a manifest, and a job writes the
//! notes together. A crash loses the notes of the last minute, which only ever makes something look older by
//! a day than it is.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use access::{Action, Grant, Target};
use meta::{Batch, ManifestRecord, Write};
use oci::{Digest, RepoName};

use crate::{Registry, RegistryError, origin};

/// The most manifests remembered as noted today, and the most notes that wait to be written.
const BOUND: usize = 100_000;

#[derive(Default)]
pub(crate) struct Usage {
    hasher: RandomState,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    day: i64,
    /// Hashes of what was noted today, so that a hot manifest is noted once.
    noted: HashSet<u64>,
    waiting: Vec<(RepoName, Digest, i64)>,
}

impl Usage {
    pub(crate) fn note(&self, repository: &RepoName, record: &ManifestRecord, day: i64) {
        if record.used_day >= day {
            return;
        }
        let hash = self.hasher.hash_one((repository, record.digest));
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.day != day || notes.noted.len() >= BOUND {
            notes.day = day;
            notes.noted.clear();
        }
        if notes.waiting.len() < BOUND && notes.noted.insert(hash) {
            notes.waiting.push((repository.clone(), record.digest, day));
        }
    }

    fn take(&self) -> Vec<(RepoName, Digest, i64)> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner).waiting)
    }
}

impl Usage {
    /// For the next time: what was noted today is not noted again.
    fn put_back(&self, notes: &[(RepoName, Digest, i64)]) {
        let waiting = &mut self.notes.lock().unwrap_or_else(PoisonError::into_inner).waiting;
        waiting.extend_from_slice(&notes[..notes.len().min(BOUND.saturating_sub(waiting.len()))]);
    }
}

impl Registry {
    /// Writes the notes of pulls, and folds the deltas of usage. For a job, each minute or so.
    pub async fn tend(&self) -> Result<(), RegistryError> {
        const AT_ONCE: usize = 500;
        let grant = Grant::system("usage", Action::Administer, Target::System);
        let notes = self.usage.take();
        for (at, uses) in notes.chunks(AT_ONCE).enumerate() {
            let batch = Batch::of(origin(&grant), Write::Used { uses: uses.to_vec() });
            if let Err(error) = self.meta.commit(batch).await {
                self.usage.put_back(&notes[at * AT_ONCE..]);
                return Err(error.into());
            }
        }
        loop {
            let batch = Batch::of(origin(&grant), Write::FoldUsage { limit: AT_ONCE });
            let committed = self.meta.commit(batch).await?;
            if !matches!(committed.effects.as_slice(), [meta::Effect::Folded { deltas }] if *deltas == AT_ONCE)
            {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_noted_once_a_day() {
        let usage = Usage::default();
        let repository: RepoName = "a/b".parse().unwrap();
        let record = ManifestRecord {
            digest: Digest::sha256(b""),
            media_type: "a/b".parse().unwrap(),
            bytes: bytes::Bytes::new(),
            used_day: 5,
        };
        for day in [4, 5, 6, 6, 7, 7] {
            usage.note(&repository, &record, day);
        }
        let days: Vec<i64> = usage.take().into_iter().map(|(_, _, day)| day).collect();
        assert_eq!(days, [6, 7]);
    }
}
