//! The schema and its numbered migrations: forward only, each in a transaction of its own.

use meta::MetaError;
use rusqlite::Connection;

use crate::error::{Result, explain};

/// Migration N brings version N - 1 to version N. Once released, a migration is never edited.
const MIGRATIONS: [&str; 4] = [
    include_str!("../migrations/sqlite/0001_initial.sql"),
    include_str!("../migrations/sqlite/0002_entries.sql"),
    include_str!("../migrations/sqlite/0003_mirrors.sql"),
    include_str!("../migrations/sqlite/0004_fallbacks.sql"),
];

const MIGRATING: &str = "bringing the metadata to this version";

/// Brings the database to the newest version that this program knows.
pub(crate) fn migrate(connection: &mut Connection) -> Result<()> {
    let failed = |error: rusqlite::Error| explain(MIGRATING, &error);
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if found > known {
        return Err(MetaError::TooNew { found, known });
    }
    for (version, migration) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(migration).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
