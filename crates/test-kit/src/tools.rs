//! Where the programs are that the tests call.

use std::path::{Path, PathBuf};

/// The full path of a program: from `$WHARF_TOOLS`, from the folder where `cargo xtask test` puts what it
/// builds, or from PATH. Panics with what to do when there is none.
pub fn path(program: &str) -> PathBuf {
    if program.contains('/') {
        return PathBuf::from(program);
    }
    folders().into_iter().map(|folder| folder.join(program)).find(|file| is_program(file)).unwrap_or_else(
        || panic!("there is no program {program} here; `cargo xtask test` installs what the tests need"),
    )
}

fn folders() -> Vec<PathBuf> {
    let given = std::env::var_os("WHARF_TOOLS").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cached = cache.or(home).map(|cache| cache.join("wharf/tools/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The system folders hold daemons (nginx, dockerd) and are not on every user's PATH.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    given.into_iter().chain(cached).chain(std::env::split_paths(&path)).chain(system).collect()
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
