//! One flush of a folder for all who wait for it.
//!
//! A new name is durable when its folder has been flushed, and a flush covers every name that was there when it
//! began. So whoever comes while one runs waits for the next, together with all others who came meanwhile.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

/// Flushes folders, for many threads at once.
#[derive(Default)]
pub(crate) struct Flusher {
    state: Mutex<State>,
    /// Those who wait for runs with even and with odd numbers: the end of a run must wake all who waited for it, but
    /// only one of those who wait for the next.
    turns: [Condvar; 2],
}

#[derive(Default)]
struct State {
    /// The folders that the next run flushes.
    wanted: BTreeSet<PathBuf>,
    /// The number of the last run that was begun.
    begun: u64,
    running: bool,
    /// The last run that failed, and what the system said.
    failed: Option<(u64, io::ErrorKind)>,
}

impl Flusher {
    /// Returns when every name that is in `folder` now will be there after a power cut.
    pub fn sync(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let run = state.begun + 1;
        if !state.wanted.contains(folder) {
            state.wanted.insert(folder.to_owned());
        }
        while state.running && state.begun <= run {
            state = self.turn(run).wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.begun < run {
            (state.begun, state.running) = (run, true);
            let wanted = mem::take(&mut state.wanted);
            drop(state);
            let outcome = wanted.iter().try_for_each(|folder| sync_folder(folder));
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = false;
            if let Err(error) = outcome {
                state.failed = Some((run, error.kind()));
            }
            self.turn(run).notify_all();
            self.turn(run + 1).notify_one();
        }
        match state.failed {
            // A later failure counts as well: this run's own outcome may have been overwritten by it.
            Some((failed, kind)) if failed >= run => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn turn(&self, run: u64) -> &Condvar {
        &self.turns[usize::from(run % 2 == 1)]
    }
}

/// Flushes one folder.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // A folder that is gone has no names to lose: its last object was deleted meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn all_waiters_return_and_share_runs() {
        let folder = tempfile::tempdir().unwrap();
        let flusher = Flusher::default();
        thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| (0..20).for_each(|_| flusher.sync(folder.path()).unwrap()));
            }
        });
        let state = flusher.state.lock().unwrap();
        assert!(state.begun <= 32 * 20 && !state.running && state.wanted.is_empty());
    }

    #[test]
    fn a_failure_is_told_to_who_waited_for_it_and_to_no_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let flusher = Flusher::default();
        let odd = PathBuf::from("a\0b");
        assert!(flusher.sync(&odd).is_err());
        flusher.sync(folder.path()).unwrap();
        flusher.sync(&folder.path().join("gone")).unwrap();
    }
}
