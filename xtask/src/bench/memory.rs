//! A full page cache, as a machine has that has been up for a while.

use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// What is left free.
const LEFT: u64 = 512 << 20;

/// Memory full of pages that the kernel may take for other uses, until this is dropped.
///
/// A virtual machine gets its memory from its host page by page, at the first use, and the process that happens to
/// be first pays: 64 MiB of fresh page cache were measured to cost 100 ms of CPU where used memory costs 20. Who
/// writes through the page cache would look several times worse than he is, until the memory has all been used.
pub struct FullPageCache {
    file: PathBuf,
}

impl FullPageCache {
    /// Reads a file that is all hole: that takes memory and no disk.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let full = Self { file: folder.join("hole") };
        let read = || -> Result<()> {
            let hole = File::options().read(true).write(true).create(true).truncate(true).open(&full.file)?;
            hole.set_len(free()?.saturating_sub(LEFT))?;
            let (mut hole, mut buffer) = (hole, vec![0; 1 << 20]);
            while hole.read(&mut buffer)? > 0 {}
            Ok(())
        };
        read().with_context(|| format!("cannot fill the page cache with {}", full.file.display()))?;
        Ok(full)
    }
}

impl Drop for FullPageCache {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.file) {
            eprintln!("cannot remove {}: {error}", self.file.display());
        }
    }
}

/// Bytes that nothing uses.
fn free() -> Result<u64> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let free = text.lines().find_map(|line| line.strip_prefix("MemFree:")?.split_whitespace().next());
    Ok(free.with_context(|| format!("{path} has no MemFree"))?.parse::<u64>()? * 1024)
}
