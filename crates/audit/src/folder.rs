//! The folder of a journal: its files by name, and the two small files that say where it ends and begins.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::chain::{self, Chain, Hash, SealKey};
use crate::error::AuditError;
use crate::line::{Header, LINE_BYTES, Line, Version};
use crate::lines::Lines;

/// How many digits the largest number has.
const DIGITS: usize = 20;
const ENDING: &str = ".jsonl";
/// A mark is far shorter.
const MARK_BYTES: u64 = 1024;

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder where it is not there.
    pub fn make(&self) -> Result<(), AuditError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(AuditError::io("making", &self.0))?;
        if let Some(parent) = self.0.parent().filter(|parent| *parent != Path::new("")) {
            sync_folder(parent).map_err(AuditError::io("flushing", parent))?;
        }
        Ok(())
    }

    /// Where the file that begins with this record is.
    pub fn file(&self, first: u64) -> PathBuf {
        self.0.join(format!("{first:0DIGITS$}{ENDING}"))
    }

    /// Where records are that are in no file yet.
    pub fn intake(&self) -> PathBuf {
        self.0.join("INTAKE")
    }

    /// The first records of all files, in order.
    pub fn files(&self) -> Result<Vec<u64>, AuditError> {
        let list = || -> io::Result<Vec<u64>> {
            let mut files = Vec::new();
            for entry in fs::read_dir(&self.0)? {
                files.extend(entry?.file_name().to_str().and_then(first_of));
            }
            files.sort_unstable();
            Ok(files)
        };
        list().map_err(AuditError::io("reading", &self.0))
    }

    /// Makes a file, or opens it if it is there, for lines to be appended.
    pub fn append_to(&self, first: u64) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(self.file(first))
    }

    /// Makes the names of files durable.
    pub fn sync(&self) -> io::Result<()> {
        sync_folder(&self.0)
    }

    /// The header of a file; `None` where it is not whole.
    pub fn header(&self, first: u64) -> Result<Option<Header>, AuditError> {
        let path = self.file(first);
        let read = || -> io::Result<Option<Header>> {
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            let mut lines = Lines::new(BufReader::new(file.take(LINE_BYTES as u64)), 0);
            let line = lines.next()?.filter(|line| line.is_whole);
            Ok(line.and_then(|line| match Line::parse(line.bytes) {
                Some(Line::Header(header)) if header.file == first => Some(header),
                _ => None,
            }))
        };
        read().map_err(AuditError::io("reading", &path))
    }

    /// Reads a mark.
    pub fn mark(&self, kind: MarkKind, key: Option<&SealKey>) -> Result<Found, AuditError> {
        let path = self.0.join(kind.name());
        let mut text = Vec::new();
        match File::open(&path).and_then(|file| file.take(MARK_BYTES).read_to_end(&mut text)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            outcome => outcome.map_err(AuditError::io("reading", &path))?,
        };
        let stored = serde_json::from_slice::<Stored>(&text).ok();
        let mark =
            stored.map(|Stored { seal, through, hash, proof, .. }| (Mark { seal, through, hash }, proof));
        Ok(match mark {
            // No journal comes so far, and from here on nothing overflows.
            Some((mark, proof)) if mark.proof(kind, key) == proof && mark.through <= u64::MAX / 2 => {
                Found::Sound(mark)
            }
            _ => Found::Damaged,
        })
    }

    /// Replaces a mark, durably.
    pub fn set_mark(&self, kind: MarkKind, mark: &Mark, key: Option<&SealKey>) -> Result<(), AuditError> {
        let (path, temporary) = (self.0.join(kind.name()), self.0.join(kind.temporary()));
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(mark.text(kind, key).as_bytes())?;
            file.sync_data()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(AuditError::io("writing", &path))
    }
}

/// The first record of the file with this name.
fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING).filter(|digits| digits.len() == DIGITS)?;
    let number: u64 = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())??;
    // No journal comes so far, and from here on nothing overflows.
    (number <= u64::MAX / 2).then_some(number)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Which end of the journal a mark tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkKind {
    /// The last seal that is durable. What is not there up to it was taken away.
    Head,
    /// The last seal in the files that retention has removed.
    Anchor,
}

impl MarkKind {
    fn name(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Anchor => "ANCHOR",
        }
    }

    fn temporary(self) -> &'static str {
        match self {
            Self::Head => "HEAD.new",
            Self::Anchor => "ANCHOR.new",
        }
    }
}

/// What is known of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Sound(Mark),
    /// It is there, and the journal has not written it so.
    Damaged,
    Missing,
}

impl Found {
    pub fn sound(self) -> Option<Mark> {
        match self {
            Self::Sound(mark) => Some(mark),
            Self::Damaged | Self::Missing => None,
        }
    }
}

/// A point between two lines: the last seal, and the last record, before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub seal: u64,
    pub through: u64,
    pub hash: Hash,
}

#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "v")]
    _version: Version,
    seal: u64,
    through: u64,
    #[serde(deserialize_with = "chain::deserialize")]
    hash: Hash,
    /// So that a seal out of a file, which anybody can copy, makes no mark.
    #[serde(deserialize_with = "chain::deserialize")]
    proof: Hash,
}

impl Mark {
    fn text(&self, kind: MarkKind, key: Option<&SealKey>) -> String {
        let Self { seal, through, hash } = self;
        let (hash, proof) = (hex::encode(hash), hex::encode(self.proof(kind, key)));
        format!(
            "{{\"v\":1,\"seal\":{seal},\"through\":{through},\"hash\":\"{hash}\",\"proof\":\"{proof}\"}}\n"
        )
    }

    fn proof(&self, kind: MarkKind, key: Option<&SealKey>) -> Hash {
        let mut chain = Chain::purpose(key, kind.name());
        chain.update(&self.seal.to_be_bytes());
        chain.update(&self.through.to_be_bytes());
        chain.update(&self.hash);
        chain.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_files_are_read() {
        let check = |name: &str, expect| assert_eq!(first_of(name), expect, "{name}");
        check("00000000000000000001.jsonl", Some(1));
        check("09223372036854775807.jsonl", Some(u64::MAX / 2));
        check("09223372036854775808.jsonl", None);
        check("18446744073709551616.jsonl", None);
        check("+0000000000000000001.jsonl", None);
        check("1.jsonl", None);
        check("00000000000000000001", None);
        check("HEAD", None);
    }

    #[test]
    fn a_mark_is_only_what_the_journal_has_written() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(temporary.path());
        let (key, other) = (SealKey::new(&[1; 32]), SealKey::new(&[2; 32]));
        let mark = Mark { seal: 3, through: 70, hash: [9; 32] };
        assert_eq!(folder.mark(MarkKind::Head, Some(&key)).unwrap(), Found::Missing);
        folder.set_mark(MarkKind::Head, &mark, Some(&key)).unwrap();
        assert_eq!(folder.mark(MarkKind::Head, Some(&key)).unwrap(), Found::Sound(mark));
        assert_eq!(folder.mark(MarkKind::Head, Some(&other)).unwrap(), Found::Damaged);
        assert_eq!(folder.mark(MarkKind::Head, None).unwrap(), Found::Damaged);
        let path = temporary.path().join("HEAD");
        let text = fs::read_to_string(&path).unwrap();
        fs::copy(&path, temporary.path().join("ANCHOR")).unwrap();
        assert_eq!(folder.mark(MarkKind::Anchor, Some(&key)).unwrap(), Found::Damaged);
        for (from, to) in [("70", "71"), (":3,", ":2,"), ("0909", "0908"), ("\"v\":1", "\"v\":2"), ("}", "")]
        {
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            assert_eq!(folder.mark(MarkKind::Head, Some(&key)).unwrap(), Found::Damaged, "{to}");
        }
    }
}
