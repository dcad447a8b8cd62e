//! A tar file that many write at once: each member gets its place first, and its bytes when they come.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tar::{EntryType, Header};
use tempfile::NamedTempFile;

use crate::LayoutError;
use crate::tar_index::BLOCK;
use crate::write::{sync_folder, temporary};

/// Writes a tar file beside its place, and moves it there at the end.
pub(crate) struct TarWriter {
    place: PathBuf,
    file: Arc<File>,
    state: Mutex<State>,
}

struct State {
    /// Vanishes with this writer when the end is never reached; gone when it has been.
    temporary: Option<NamedTempFile>,
    end: u64,
}

impl TarWriter {
    /// Begins a file that will be at `place`.
    pub fn create(place: PathBuf) -> Result<Self, LayoutError> {
        let folder = place.parent().unwrap_or(Path::new("."));
        let temporary = temporary(folder).map_err(LayoutError::io(&place))?;
        let file = Arc::new(temporary.as_file().try_clone().map_err(LayoutError::io(&place))?);
        Ok(Self { place, file, state: Mutex::new(State { temporary: Some(temporary), end: 0 }) })
    }

    /// The file's place.
    pub fn place(&self) -> &PathBuf {
        &self.place
    }

    /// The file, for the bytes of members.
    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Writes the header of a member and says where its `length` bytes belong.
    pub fn allocate(&self, name: &str, length: u64) -> Result<u64, LayoutError> {
        let header = header(name, length).map_err(LayoutError::io(&self.place))?;
        let at = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let at = state.end;
            state.end = at + BLOCK + length.next_multiple_of(BLOCK);
            at
        };
        self.file.write_all_at(header.as_bytes(), at).map_err(LayoutError::io(&self.place))?;
        Ok(at + BLOCK)
    }

    /// Writes a small member whole.
    pub fn add(&self, name: &str, bytes: &[u8]) -> Result<(), LayoutError> {
        let at = self.allocate(name, bytes.len() as u64)?;
        self.file.write_all_at(bytes, at).map_err(LayoutError::io(&self.place))
    }

    /// All members are written: makes the file complete and moves it to its place.
    pub fn finish(&self) -> Result<(), LayoutError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(temporary) = state.temporary.take() else { return Ok(()) };
        let publish = || {
            // Two empty blocks are the end; what was never written is zero, too.
            self.file.set_len(state.end + 2 * BLOCK)?;
            self.file.sync_all()?;
            temporary.persist(&self.place).map_err(|error| error.error)?;
            sync_folder(self.place.parent().unwrap_or(Path::new(".")))
        };
        publish().map_err(LayoutError::io(&self.place))
    }
}

/// The same for the same content at any time, so that equal images make equal files.
fn header(name: &str, length: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(length);
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar_index::TarIndex;

    #[test]
    fn members_may_be_written_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.tar");
        let writer = TarWriter::create(place.clone()).unwrap();
        let first = writer.allocate("first", 700).unwrap();
        writer.add("second", b"two").unwrap();
        writer.file().write_all_at(&[1; 700], first).unwrap();
        assert!(!place.exists());
        writer.finish().unwrap();
        let index = TarIndex::read(place.clone()).unwrap();
        assert_eq!(index.find("first").unwrap().read(1000).unwrap(), [1; 700].as_slice());
        assert_eq!(index.find("second").unwrap().read(1000).unwrap(), b"two".as_slice());
        let names: Vec<String> = tar::Archive::new(File::open(place).unwrap())
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["first", "second"]);
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let writer = TarWriter::create(folder.path().join("a.tar")).unwrap();
        writer.add("a", b"a").unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
