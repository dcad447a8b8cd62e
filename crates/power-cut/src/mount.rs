//! A disk mounted as a file system, with a switch for the power.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption};

use crate::error::{Error, Result};
use crate::fuse::FileSystem;
use crate::{Disk, Unsynced, Usage};

/// How long to wait, in steps, for the last program to let go of the file system.
const UNMOUNT_STEP: Duration = Duration::from_millis(10);
const UNMOUNT_STEPS: u32 = 500;

/// What the mount and the threads that answer the kernel share.
pub(crate) struct Shared {
    state: Mutex<State>,
}

struct State {
    disk: Disk,
    powered: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every operation checks before it changes anything, so a panic elsewhere leaves no half-made change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one operation on the disk; without power every operation fails.
    pub(crate) fn with<T>(&self, operation: impl FnOnce(&mut Disk) -> Result<T>) -> Result<T> {
        let mut state = self.lock();
        if !state.powered {
            return Err(Error::Failed);
        }
        operation(&mut state.disk)
    }
}

/// A mounted [`Disk`]. It is unmounted when dropped.
pub struct Mount {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    point: PathBuf,
}

impl Mount {
    /// Shows the disk at a folder that exists.
    pub fn new(disk: Disk, point: &Path) -> Result<Self> {
        let failed = |source| Error::Mount { point: point.to_owned(), source };
        let shared = Arc::new(Shared { state: Mutex::new(State { disk, powered: true }) });
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("power-cut".into()), MountOption::NoAtime];
        config.n_threads = Some(2);
        config.clone_fd = true;
        let session =
            fuser::spawn_mount(FileSystem::new(Arc::clone(&shared)), point, &config).map_err(failed)?;
        Ok(Self { shared, session: Some(session), point: point.to_owned() })
    }

    /// Cuts the power: gives the disk as it will be found, and fails every operation from now on, so that a program
    /// that still runs can save nothing more.
    pub fn power_off(&self, unsynced: Unsynced) -> Disk {
        let mut state = self.shared.lock();
        state.powered = false;
        state.disk.after_cut(unsynced)
    }

    /// Changes the disk under the file system, for instance its limit.
    ///
    /// Only limits and faults: the kernel would not notice a change of the tree.
    pub fn adjust(&self, change: impl FnOnce(&mut Disk)) {
        change(&mut self.shared.lock().disk);
    }

    /// How full the disk is.
    pub fn usage(&self) -> Usage {
        self.shared.lock().disk.usage()
    }

    /// Takes the file system down and gives the disk with everything on it, synced or not. It waits a while for the
    /// last program to close its files.
    pub fn unmount(mut self) -> Result<Disk> {
        self.detach()?;
        if let Some(session) = self.session.take() {
            match session.join() {
                Ok(()) => {}
                // It is unmounted. A thread that waits for a request learns that by ENODEV, which the session takes for
                // its end; one that had just taken one off the queue learns it by this (Linux, `fuse_dev_do_read`).
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => {}
                Err(source) => return Err(Error::Unmount { point: self.point.clone(), source }),
            }
        }
        Ok(self.shared.lock().disk.clone())
    }

    fn detach(&self) -> Result<()> {
        let mut steps = UNMOUNT_STEPS;
        loop {
            match unmount(&self.point, 0) {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && steps > 0 => {
                    steps -= 1;
                    std::thread::sleep(UNMOUNT_STEP);
                }
                Err(source) => return Err(Error::Unmount { point: self.point.clone(), source }),
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.session.is_some() {
            // Also after a failed test nothing may stay mounted; there is nobody left to tell of an error.
            let _ = unmount(&self.point, libc::MNT_DETACH);
        }
    }
}

fn unmount(point: &Path, flags: libc::c_int) -> io::Result<()> {
    let point = std::ffi::CString::new(point.as_os_str().as_bytes())?;
    // SAFETY: `point` is a string that ends in a zero byte and lives until the call returns.
    match unsafe { libc::umount2(point.as_ptr(), flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
