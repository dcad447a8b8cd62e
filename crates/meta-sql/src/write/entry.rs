//! Entries, and what goes with them: what they own, and the projects that some of them are.

use std::collections::HashSet;

use meta::{Effect, EntryKind, EntryName, EventKind, MetaError, NewEntry};
use oci::ProjectName;

use super::Change;
use super::event::About;
use crate::error::Result;

pub(super) const FIND: &str = "SELECT id, revision, value FROM entry WHERE kind = ?1 AND name = ?2";

const INSERT: &str = "INSERT INTO entry (kind, name, revision, created_at, changed_at, value)
    VALUES (?1, ?2, 1, ?3, ?3, ?4) RETURNING id";

const REPLACE: &str = "UPDATE entry SET revision = revision + 1, changed_at = ?2, value = ?3 WHERE id = ?1";

const DROP: &str = "DELETE FROM entry WHERE id = ?1";

pub(super) const OWNERS: &str = "SELECT owner_id FROM entry_owner WHERE entry_id = ?1 ORDER BY owner_id";

pub(super) const OWNED: &str =
    "SELECT entry_id, kind, name FROM entry_owner WHERE owner_id = ?1 ORDER BY kind, name";

const OWN: &str = "INSERT INTO entry_owner (owner_id, kind, name, entry_id) VALUES (?1, ?2, ?3, ?4)";

pub(super) const DISOWN: &str = "DELETE FROM entry_owner WHERE entry_id = ?1";

impl Change<'_> {
    pub(super) fn keep_entry(&self, entry: &NewEntry) -> Result<Effect> {
        check_limits(entry)?;
        let owners = self.owners(entry)?;
        let key = [entry.kind.into(), (&entry.name).into()];
        let found =
            self.db.first(FIND, &key, |row| Ok((row.int(0)?, row.int(1)?, row.text(2)? == entry.value)))?;
        let Some((id, revision, is_same)) = found else { return self.create_entry(entry, &owners) };
        if is_same && self.db.all(OWNERS, &[id.into()], |row| row.int(0))? == owners {
            return Ok(Effect::Entry { revision });
        }
        self.db.run(REPLACE, &[id.into(), self.now.into(), entry.value.as_str().into()])?;
        self.db.run(DISOWN, &[id.into()])?;
        self.own(id, entry, &owners)?;
        self.append(EventKind::EntryChanged, About::entry(entry.kind, &entry.name))?;
        Ok(Effect::Entry { revision: revision + 1 })
    }

    fn create_entry(&self, entry: &NewEntry, owners: &[i64]) -> Result<Effect> {
        if entry.kind == EntryKind::Project {
            self.make_project(&project(&entry.name)?)?;
        }
        let values = [entry.kind.into(), (&entry.name).into(), self.now.into(), entry.value.as_str().into()];
        let id = self.db.insert(INSERT, &values)?;
        self.own(id, entry, owners)?;
        self.append(EventKind::EntryCreated, About::entry(entry.kind, &entry.name))?;
        Ok(Effect::Entry { revision: 1 })
    }

    /// The owners go first in the list, and each entry once: two may own a third, or one another.
    pub(super) fn drop_entry(&self, kind: EntryKind, name: &EntryName) -> Result<Effect> {
        let Some(id) = self.find_entry(kind, name)? else { return Ok(Effect::Absent) };
        let mut ids = vec![id];
        let mut entries = vec![(kind, name.clone())];
        let mut known = HashSet::from([id]);
        let mut at = 0;
        while let Some(owner) = ids.get(at).copied() {
            let owned = self.db.all(OWNED, &[owner.into()], |row| {
                Ok((row.int(0)?, (row.entry_kind(1)?, row.entry_name(2)?)))
            })?;
            for (id, entry) in owned.into_iter().filter(|(id, _)| known.insert(*id)) {
                ids.push(id);
                entries.push(entry);
            }
            at += 1;
        }
        for id in &ids {
            self.db.run(DISOWN, &[(*id).into()])?;
        }
        for (id, (kind, name)) in ids.into_iter().zip(&entries) {
            self.db.run(DROP, &[id.into()])?;
            if *kind == EntryKind::Project {
                self.remove_project(&project(name)?)?;
            }
            self.append(EventKind::EntryDropped, About::entry(*kind, name))?;
        }
        Ok(Effect::EntriesDropped { entries })
    }

    /// The keys of an entry's owners, each once, in their order.
    fn owners(&self, entry: &NewEntry) -> Result<Vec<i64>> {
        let mut owners = Vec::new();
        for (kind, name) in &entry.owners {
            let missing = || MetaError::OwnerMissing { kind: *kind, name: name.clone() };
            owners.push(self.find_entry(*kind, name)?.ok_or_else(missing)?);
        }
        owners.sort_unstable();
        owners.dedup();
        Ok(owners)
    }

    fn own(&self, id: i64, entry: &NewEntry, owners: &[i64]) -> Result<()> {
        for owner in owners {
            self.db.run(OWN, &[(*owner).into(), entry.kind.into(), (&entry.name).into(), id.into()])?;
        }
        Ok(())
    }

    fn find_entry(&self, kind: EntryKind, name: &EntryName) -> Result<Option<i64>> {
        self.db.first(FIND, &[kind.into(), name.into()], |row| row.int(0))
    }
}

fn check_limits(entry: &NewEntry) -> Result<()> {
    let refuse =
        |reason: String| Err(MetaError::EntryInvalid { kind: entry.kind, name: entry.name.clone(), reason });
    let (bytes, owners) = (entry.value.len(), entry.owners.len());
    if bytes > NewEntry::VALUE_MAX {
        return refuse(format!("it has {bytes} bytes, and {} are allowed", NewEntry::VALUE_MAX));
    }
    if owners > NewEntry::OWNERS_MAX {
        return refuse(format!("it has {owners} owners, and {} are allowed", NewEntry::OWNERS_MAX));
    }
    Ok(())
}

fn project(name: &EntryName) -> Result<ProjectName> {
    name.as_str().parse().map_err(|error: oci::NameError| MetaError::EntryInvalid {
        kind: EntryKind::Project,
        name: name.clone(),
        reason: error.to_string(),
    })
}
