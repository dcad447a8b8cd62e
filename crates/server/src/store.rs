//! The data folder, and the registry on it.
//!
//! ```text
//! DATA/
//!   format          the version of this layout: 1
//!   wharf.lock      held by the process that has the folder open
//!   wharf.sock      for administration, mode 0600
//!   meta.db         metadata (SQLite, with its -wal and -shm files)
//!   blobs/ uploads/ segments/      see the crate `blob`
//!   audit/                         the audit journal, see the crate `audit`
//! ```

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use blob::BlobStore;
use blob_fs::FsBlobs;
use meta::{CachedMeta, MetaStore, SystemClock};
use meta_sql::SqliteMeta;
use registry::{FreeSpace, Registry};

use crate::config::Config;

/// The version of the layout drawn above.
const FORMAT: &str = "1";

/// An open data folder. Nobody else can open it while this lives.
pub(crate) struct Store {
    pub(crate) registry: Arc<Registry>,
    pub(crate) meta: Arc<dyn MetaStore>,
    _lock: File,
}

/// Where the server that has the folder open listens for administration.
pub(crate) fn socket(data: &Path) -> PathBuf {
    data.join("wharf.sock")
}

impl Store {
    /// Opens the data folder, and makes it where it is not there.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let data = &config.data;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .with_context(|| format!("cannot make {}", data.display()))?;
        let lock = lock(data)?;
        settle_format(data)?;
        let options = blob_fs::Options {
            max_uploads: config.uploads.open,
            open_files: config.cache.open_files,
            ..blob_fs::Options::default()
        };
        let blobs: Arc<dyn BlobStore> = Arc::new(
            FsBlobs::open(data, options)
                .with_context(|| format!("cannot open the blobs in {}", data.display()))?,
        );
        let database = data.join("meta.db");
        let sqlite = SqliteMeta::open(&database, Arc::new(SystemClock), meta_sql::Config::default())
            .with_context(|| format!("cannot open {}", database.display()))?;
        let meta: Arc<dyn MetaStore> = Arc::new(CachedMeta::new(Arc::new(sqlite), config.cache_size()));
        let space = DiskSpace {
            folder: CString::new(data.as_os_str().as_bytes())?,
            reserve: config.limits.free_bytes,
        };
        let registry = Registry::new(Arc::clone(&meta), blobs, config.registry_limits(), config.lifetimes())
            .with_space(Arc::new(space));
        Ok(Self { registry: Arc::new(registry), meta, _lock: lock })
    }
}

/// The room on the disk of the data folder.
struct DiskSpace {
    folder: CString,
    /// What is to be left.
    reserve: u64,
}

impl FreeSpace for DiskSpace {
    fn is_scarce(&self) -> bool {
        self.free() < self.reserve
    }

    fn free(&self) -> u64 {
        // SAFETY: all fields are integers, for which zero is a value.
        let mut found: libc::statvfs = unsafe { mem::zeroed() };
        // SAFETY: the path ends with a zero byte, and both it and `found` outlive the call.
        let code = unsafe { libc::statvfs(self.folder.as_ptr(), &raw mut found) };
        // Where the system does not say, the writes themselves will.
        if code == 0 { found.f_bavail.saturating_mul(found.f_frsize) } else { u64::MAX }
    }
}

/// The kernel lets go of the lock when the process ends, however it ends.
fn lock(data: &Path) -> Result<File> {
    let path = data.join("wharf.lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = open.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "another wharf has {} open: stop it first, or give this one another data folder",
                data.display()
            )
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Refuses a folder of a newer layout, and marks a new one.
fn settle_format(data: &Path) -> Result<()> {
    let path = data.join("format");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim() == FORMAT => Ok(()),
        Ok(text) => bail!(
            "{} has the data format {:?}, and this program knows {FORMAT}: start the version of wharf that wrote it, or a newer one",
            data.display(),
            text.trim().chars().take(20).collect::<String>()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_format(data, &path).with_context(|| format!("cannot write {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Whole or not at all: a crash must not leave a folder whose format is half written.
fn write_format(data: &Path, path: &Path) -> std::io::Result<()> {
    let new = data.join("format.new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(format!("{FORMAT}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)?;
    File::open(data)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_opened_by_one_process_and_in_its_own_format() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data: folder.path().join("new/data"), ..Config::default() };
        let store = Store::open(&config).unwrap();
        let refused = Store::open(&config).err().unwrap();
        assert!(refused.to_string().contains("another wharf"), "{refused}");
        drop(store);
        std::fs::write(config.data.join("format"), "2\n").unwrap();
        let refused = Store::open(&config).err().unwrap();
        assert!(refused.to_string().contains("data format \"2\""), "{refused}");
    }
}
