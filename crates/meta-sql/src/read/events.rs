//! Events and settings.

use meta::{Event, EventKind, Origin};

use crate::error::{Result, damaged};
use crate::sql::{Db, Row, count};

pub(crate) const EVENTS: &str =
    "SELECT position, version, kind, repository, digest, tag, tag_before, actor, address,
        agent, request, time, entry_kind, entry_name
    FROM event WHERE position > ?1 ORDER BY position LIMIT ?2";

pub(crate) const SETTING: &str = "SELECT value FROM setting WHERE name = ?1";

pub(crate) fn events(db: Db<'_>, after: i64, limit: usize) -> Result<Vec<Event>> {
    db.all(EVENTS, &[after.into(), count(limit)], |row| event(&row))
}

fn event(row: &Row<'_>) -> Result<Event> {
    // Each event is about one or the other.
    let (repository, entry) = match row.text_or_null(12)? {
        None => (Some(row.repository(3)?), None),
        Some(_) => (None, Some((row.entry_kind(12)?, row.entry_name(13)?))),
    };
    let address = row.text_or_null(8)?.map(str::parse).transpose();
    Ok(Event {
        position: row.int(0)?,
        version: u16::try_from(row.int(1)?).map_err(|_| damaged("the version of an event"))?,
        kind: EventKind::from_name(row.text(2)?).ok_or_else(|| damaged("the kind of an event"))?,
        repository,
        digest: row.digest_or_null(4)?,
        tag: row.tag_or_null(5)?,
        before: row.digest_or_null(6)?,
        entry,
        origin: Origin {
            actor: row.text(7)?.to_owned(),
            address: address.map_err(|_| damaged("the address in an event"))?,
            agent: row.text_or_null(9)?.map(str::to_owned),
            request: row.text_or_null(10)?.map(str::to_owned),
        },
        time: row.time(11)?,
    })
}

pub(crate) fn setting(db: Db<'_>, name: &str) -> Result<Option<String>> {
    db.first(SETTING, &[name.into()], |row| row.text(0).map(str::to_owned))
}
