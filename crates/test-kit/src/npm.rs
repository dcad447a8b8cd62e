//! Programs for Node, with the one package that they need.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Cmd;

/// Writes a program into a folder of `cache` where its package is installed, too, unless that was done before. The
/// folder is for this version of the package and this text of the program, and whole once it has its name.
pub fn install(cache: &Path, package: &str, version: &str, file: &str, program: &str) -> PathBuf {
    let name = format!("{package}-{version}-{}", &crate::sha256(program.as_bytes())[7..15]);
    let home = cache.join(&name);
    // Tests run side by side: one installs, the others wait.
    let lock = File::create(cache.join(format!("{package}.lock"))).expect("the cache folder can be written");
    lock.lock().expect("a file can be locked");
    if home.exists() {
        return home;
    }
    let new = tempfile::tempdir_in(cache).expect("the cache folder can be written");
    std::fs::write(new.path().join(file), program).expect("the cache folder can be written");
    Cmd::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
        .arg(new.path())
        .arg(format!("{package}@{version}"))
        .run();
    std::fs::rename(new.keep(), &home).expect("a folder can be renamed beside itself");
    home
}
