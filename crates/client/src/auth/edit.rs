//! Changes to a file of credentials: one entry at a time, all else as it was, and never half of it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use serde_json::{Map, Value, json};

use super::credential::Secret;
use super::file::{AuthFileError, read_bytes};

/// Puts a name and password under a key.
pub(super) fn put(path: &Path, key: &str, username: &str, password: &Secret) -> Result<(), AuthFileError> {
    let auth = STANDARD.encode(format!("{username}:{}", password.expose()));
    change(path, |auths| {
        auths.insert(key.to_owned(), json!({"auth": auth}));
        true
    })
    .map(drop)
}

/// Lists a key whose credential is kept elsewhere.
pub(super) fn list(path: &Path, key: &str) -> Result<(), AuthFileError> {
    change(path, |auths| {
        auths.insert(key.to_owned(), json!({}));
        true
    })
    .map(drop)
}

/// Takes a key out. False where it is not there.
pub(super) fn remove(path: &Path, key: &str) -> Result<bool, AuthFileError> {
    change(path, |auths| auths.remove(key).is_some())
}

/// Changes the entries of a file, and writes it where `change` says that it did.
fn change(path: &Path, change: impl FnOnce(&mut Map<String, Value>) -> bool) -> Result<bool, AuthFileError> {
    let malformed = |line| AuthFileError::Json { path: path.to_owned(), line };
    let mut file: Map<String, Value> = match read_bytes(path)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| malformed(error.line()))?,
        None => Map::new(),
    };
    let auths =
        file.entry("auths").or_insert_with(|| json!({})).as_object_mut().ok_or_else(|| malformed(1))?;
    if !change(auths) {
        return Ok(false);
    }
    write(path, &file).map_err(|error| AuthFileError::Write { path: path.to_owned(), error })?;
    Ok(true)
}

/// Writes a new file beside the old one and puts it in its place. Only its user may read it.
fn write(path: &Path, file: &Map<String, Value>) -> io::Result<()> {
    // Where the file is a link into somebody's collection of settings, it stays one.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let temporary = temporary(&path)?;
    let written = write_new(&temporary, file).and_then(|()| std::fs::rename(&temporary, &path));
    if written.is_err() {
        // What failed before is what matters.
        std::fs::remove_file(&temporary).ok();
    }
    written
}

fn write_new(path: &Path, file: &Map<String, Value>) -> io::Result<()> {
    let mut bytes = Vec::new();
    // As docker writes it, so that the two do not undo each other's form.
    let formatter = PrettyFormatter::with_indent(b"\t");
    file.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    bytes.push(b'\n');
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    new.write_all(&bytes)?;
    new.sync_all()
}

/// A name beside the file that only this process uses.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let path = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    match std::fs::remove_file(&path) {
        // Left by a process that had our id before us and was killed.
        Ok(()) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn secret() -> Secret {
        Secret::new("p:w".into())
    }

    fn read(path: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn a_new_file_is_its_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/config.json");
        put(&path, "h:5000", "ann", &secret()).unwrap();
        assert_eq!(read(&path), json!({"auths": {"h:5000": {"auth": "YW5uOnA6dw=="}}}));
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn all_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let before =
            json!({"auths": {"other": {"auth": "eDp5", "email": "e"}}, "psFormat": "x", "n": [1, null]});
        std::fs::write(&path, before.to_string()).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        put(&path, "h", "ann", &secret()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(remove(&path, "h").unwrap());
        assert_eq!(read(&path), before);
        assert!(!remove(&path, "h").unwrap());
        list(&path, "h").unwrap();
        assert_eq!(read(&path)["auths"]["h"], json!({}));
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (link, real) = (folder.path().join("config.json"), folder.path().join("real.json"));
        std::fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink("real.json", &link).unwrap();
        put(&link, "h", "ann", &secret()).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert!(read(&real)["auths"]["h"].is_object());
    }

    #[test]
    fn what_is_not_understood_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for text in ["[]", "{\"auths\": 1}", "{\"auths\": {}", "secret"] {
            std::fs::write(&path, text).unwrap();
            let error = put(&path, "h", "ann", &secret()).unwrap_err();
            assert!(matches!(error, AuthFileError::Json { .. }), "{text}: {error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
