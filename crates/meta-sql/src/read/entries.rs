//! Entries.

use meta::{Entry, EntryKind, EntryName};

use crate::error::Result;
use crate::sql::{Db, Row, count};

pub(crate) const ENTRY: &str = "SELECT kind, name, revision, created_at, changed_at, value FROM entry
    WHERE kind = ?1 AND name = ?2";

pub(crate) const ENTRIES: &str = "SELECT kind, name, revision, created_at, changed_at, value FROM entry
    WHERE kind = ?1 AND name > ?2 ORDER BY name LIMIT ?3";

pub(crate) const OWNED: &str = "SELECT e.kind, e.name, e.revision, e.created_at, e.changed_at, e.value
    FROM entry o
    JOIN entry_owner x ON x.owner_id = o.id AND x.kind = ?3 AND x.name > ?4
    JOIN entry e ON e.id = x.entry_id
    WHERE o.kind = ?1 AND o.name = ?2
    ORDER BY x.name LIMIT ?5";

pub(crate) fn entry(db: Db<'_>, kind: EntryKind, name: &EntryName) -> Result<Option<Entry>> {
    db.first(ENTRY, &[kind.into(), name.into()], |row| record(&row))
}

pub(crate) fn entries(db: Db<'_>, kind: EntryKind, after: &str, limit: usize) -> Result<Vec<Entry>> {
    db.all(ENTRIES, &[kind.into(), after.into(), count(limit)], |row| record(&row))
}

pub(crate) fn owned(
    db: Db<'_>,
    owner: (EntryKind, &EntryName),
    kind: EntryKind,
    after: &str,
    limit: usize,
) -> Result<Vec<Entry>> {
    let values = [owner.0.into(), owner.1.into(), kind.into(), after.into(), count(limit)];
    db.all(OWNED, &values, |row| record(&row))
}

fn record(row: &Row<'_>) -> Result<Entry> {
    Ok(Entry {
        kind: row.entry_kind(0)?,
        name: row.entry_name(1)?,
        revision: row.int(2)?,
        created: row.time(3)?,
        changed: row.time(4)?,
        value: row.text(5)?.to_owned(),
    })
}
