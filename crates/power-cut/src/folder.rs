//! The entries of one folder, as seen and as they would be found after a power cut.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::Fate;
use crate::node::Ino;

/// A name and what it stands for from now on; `None` where it is gone.
pub(crate) type Change = (OsString, Option<Ino>);

type Entries = BTreeMap<OsString, Ino>;

/// A folder's entries in both states.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    live: Entries,
    durable: Entries,
    /// What was done since the last sync, in order. Changes in one group are one operation, such as a rename within
    /// the folder, and survive a power cut together or not at all.
    pending: Vec<Vec<Change>>,
}

impl Folder {
    pub(crate) fn get(&self, name: &OsStr) -> Option<Ino> {
        self.live.get(name).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&OsString, Ino)> {
        self.live.iter().map(|(name, ino)| (name, *ino))
    }

    pub(crate) fn change(&mut self, changes: Vec<Change>) {
        apply(&mut self.live, &changes);
        self.pending.push(changes);
    }

    /// What `fsync` of a folder does.
    pub(crate) fn sync(&mut self) {
        for changes in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &changes);
        }
    }

    /// A failed `fsync`: see [`crate::content::Content::fail_sync`].
    pub(crate) fn fail_sync(&mut self) {
        self.pending.clear();
    }

    /// The entries as they are found after the power comes back.
    pub(crate) fn after_cut(&self, fate: &mut Fate) -> Entries {
        let mut found = self.durable.clone();
        for changes in &self.pending {
            if fate.keeps() {
                apply(&mut found, changes);
            }
        }
        found
    }

    /// A folder in which these entries are durable.
    pub(crate) fn synced(entries: Entries) -> Self {
        Self { live: entries.clone(), durable: entries, pending: Vec::new() }
    }
}

fn apply(entries: &mut Entries, changes: &[Change]) {
    for (name, ino) in changes {
        match ino {
            Some(ino) => entries.insert(name.clone(), *ino),
            None => entries.remove(name),
        };
    }
}
