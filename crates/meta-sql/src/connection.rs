//! Opening connections: where the database is, and how SQLite is told to keep it.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meta::MetaError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::Config;
use crate::error::{Result, explain};

/// One process keeps the database: SQLite then holds its lock all the time and its index of the write-ahead log
/// in the heap, and a read costs no system call for locks.
const EXCLUSIVE_VFS: &CStr = c"unix-excl";
const MEMORY_VFS: &CStr = c"memdb";
const OPENING: &str = "opening the metadata";
/// How long a connection waits for a lock. In one process nobody holds one for long.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Statements kept prepared; there are fewer texts than that.
const STATEMENTS: usize = 128;

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In this file.
    File(PathBuf),
    /// In memory, under a name that connections of this process share.
    Memory(String),
}

impl Place {
    /// A database in memory that nobody else has.
    pub(crate) fn memory() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self::Memory(format!("file:/wharf-{}?vfs=memdb", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The connection that writes. It is opened first, and makes what is not there.
    pub(crate) fn open_writer(&self, config: &Config) -> Result<Connection> {
        if let Self::File(path) = self {
            create(path).map_err(|error| MetaError::Failed {
                action: OPENING,
                reason: format!("{}: {error}", path.display()),
            })?;
        }
        let connection = self.connect(config.writer_cache_kib, 0)?;
        let wanted = match self {
            Self::File(_) => "wal",
            Self::Memory(_) => "memory",
        };
        let mode: String = connection
            .query_row(&format!("PRAGMA journal_mode = {wanted}"), [], |row| row.get(0))
            .map_err(|error| refuse(&error))?;
        if mode != wanted {
            let reason = format!("the file system allows journal mode {mode} only, not {wanted}");
            return Err(MetaError::Failed { action: OPENING, reason });
        }
        // Checkpoints are made by the writer between transactions, where nobody waits for them.
        run(
            &connection,
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 0;",
        )?;
        if let Some(bytes) = config.max_bytes {
            let page: u64 = pragma(&connection, "PRAGMA page_size")?;
            let pages = (bytes / page).max(1);
            pragma(&connection, &format!("PRAGMA max_page_count = {pages}"))?;
        }
        Ok(connection)
    }

    /// A connection that only reads.
    pub(crate) fn open_reader(&self, config: &Config, mmap_bytes: u64) -> Result<Connection> {
        let connection = self.connect(config.cache_kib, mmap_bytes)?;
        run(&connection, "PRAGMA query_only = ON;")?;
        Ok(connection)
    }

    fn connect(&self, cache_kib: u32, mmap_bytes: u64) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match self {
            Self::File(path) => Connection::open_with_flags_and_vfs(path, flags, EXCLUSIVE_VFS),
            Self::Memory(name) => Connection::open_with_flags_and_vfs(
                name,
                flags | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_CREATE,
                MEMORY_VFS,
            ),
        }
        .map_err(|error| refuse(&error))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // Else a statement whose plan may hang on a bound value is planned anew for each: four times the cost of
        // a look-up.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(|error| refuse(&error))?;
        connection.busy_timeout(BUSY_WAIT).map_err(|error| refuse(&error))?;
        run(
            &connection,
            &format!(
                "PRAGMA mmap_size = {mmap_bytes}; PRAGMA cache_size = -{cache_kib};
                 PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;"
            ),
        )?;
        Ok(connection)
    }
}

/// Makes the file where it is not there, for its owner only, and makes its name durable. That also where it is
/// there: whoever made it may have been stopped before.
fn create(path: &Path) -> io::Result<()> {
    if let Err(error) = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn refuse(error: &rusqlite::Error) -> MetaError {
    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
        let reason = "another process has the database open: stop that one first".into();
        return MetaError::Failed { action: OPENING, reason };
    }
    explain(OPENING, error)
}

fn run(connection: &Connection, sql: &str) -> Result<()> {
    connection.execute_batch(sql).map_err(|error| refuse(&error))
}

fn pragma(connection: &Connection, sql: &str) -> Result<u64> {
    connection
        .query_row(sql, [], |row| row.get::<_, i64>(0))
        .map_or_else(|error| Err(refuse(&error)), |value| Ok(value.unsigned_abs()))
}
