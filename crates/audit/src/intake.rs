//! Where records are until they are written into the files: a file that is mapped into memory.
//!
//! What is stored into a shared mapping is in the page cache from then on, just as after a `write`, and there it outlives
//! the process; but it takes a copy and no call of the system, which costs several times as much. It does not outlive
//! the kernel: after a power cut nobody knows which of its pages came to the disk. So the file names the boot whose
//! page cache it lies in, and of another boot it tells nothing.
//!
//! ```text
//! 0      "WHARF AUDIT IN 1"
//! 16     the boot: 36 characters
//! 64     how many bytes of the first half are in use, little-endian; and of the second
//! 4096   the first half: frames, one after the other
//! ...    the second half
//!
//! frame  length of the line, 4 bytes; number, 8; time, 8; all little-endian; the line with its end
//! ```
//!
//! Records go into one half while the other is written down, and is empty again after that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{Ordering, compiler_fence};

use memmap2::MmapMut;

use crate::error::AuditError;
use crate::folder::Folder;
use crate::line::{self, LINE_BYTES, Line, Place};
use crate::record::NewRecord;
use crate::time::Stamp;

const MAGIC: &[u8; 16] = b"WHARF AUDIT IN 1";
const BOOT: usize = 16;
const BOOT_BYTES: usize = 36;
const USED: usize = 64;
const HEADER: usize = 4096;
/// How long a half is: what 10,000 requests a second leave in three flushes, and many of the longest lines.
const HALF: usize = 1 << 20;
const LENGTH: usize = HEADER + 2 * HALF;
const FRAME: usize = 4 + 8 + 8;

const _: () = assert!(FRAME + LINE_BYTES <= HALF);

/// The records that are in no file yet.
pub(crate) struct Intake {
    map: MmapMut,
    /// As the header has it.
    used: [usize; 2],
    /// The half that records are put into.
    active: usize,
    /// The number of the last record.
    pub last: u64,
    stamp: Stamp,
    /// The line that is being made. Kept, so that a record allocates nothing.
    line: Vec<u8>,
}

impl Intake {
    /// Opens the intake of a folder, which is made where it is not there, and gives the frames that a process before left
    /// in it, the oldest first.
    pub fn open(folder: &Folder) -> Result<(Self, Vec<u8>), AuditError> {
        let (path, boot) = (folder.intake(), boot()?);
        let map = map(folder, &path).map_err(AuditError::io("opening", &path))?;
        let mut intake =
            Self { map, used: [0; 2], active: 0, last: 0, stamp: Stamp::default(), line: Vec::new() };
        let left = intake.left(&boot);
        intake.map[..MAGIC.len()].copy_from_slice(MAGIC);
        intake.map[BOOT..BOOT + BOOT_BYTES].copy_from_slice(&boot);
        Ok((intake, left))
    }

    /// What is there, if it is of this boot.
    fn left(&self, boot: &[u8; BOOT_BYTES]) -> Vec<u8> {
        if !self.map.starts_with(MAGIC) || self.map[BOOT..BOOT + BOOT_BYTES] != *boot {
            return Vec::new();
        }
        let mut halves = [0, 1].map(|half| {
            let at = USED + half * 8;
            let used = self.map[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
            let start = HEADER + half * HALF;
            &self.map[start..start + usize::try_from(used).unwrap_or(HALF).min(HALF)]
        });
        halves.sort_by_key(|half| Frames(half).next().map(|frame| frame.seq));
        halves.concat()
    }

    /// Forgets what a process before left, once it is written down.
    pub fn begin(&mut self, last: u64) {
        self.last = last;
        self.clear(0);
        self.clear(1);
    }

    /// Adds a record, and gives its number; `None` where there is no room until a half has been written down.
    pub fn put(&mut self, time: i64, record: &NewRecord<'_>) -> Option<u64> {
        let seq = self.last + 1;
        self.line.clear();
        line::write(seq, time, record, &mut self.stamp, &mut self.line);
        let needed = FRAME + self.line.len();
        if self.used[self.active] + needed > HALF {
            if self.used[1 - self.active] > 0 {
                return None;
            }
            self.active = 1 - self.active;
        }
        let used = self.used[self.active];
        let start = HEADER + self.active * HALF + used;
        let frame = &mut self.map[start..start + needed];
        frame[..4].copy_from_slice(&u32::try_from(self.line.len()).ok()?.to_le_bytes());
        frame[4..12].copy_from_slice(&seq.to_le_bytes());
        frame[12..FRAME].copy_from_slice(&time.to_le_bytes());
        frame[FRAME..].copy_from_slice(&self.line);
        self.set_used(self.active, used + needed);
        self.last = seq;
        Some(seq)
    }

    /// Copies the frames of the half that is to be written down next, and tells which it is.
    pub fn take(&mut self, frames: &mut Vec<u8>) -> Option<usize> {
        let oldest = if self.used[1 - self.active] > 0 { 1 - self.active } else { self.active };
        if self.used[oldest] == 0 {
            return None;
        }
        self.active = 1 - oldest;
        let start = HEADER + oldest * HALF;
        frames.clear();
        frames.extend_from_slice(&self.map[start..start + self.used[oldest]]);
        Some(oldest)
    }

    /// Empties a half.
    pub fn clear(&mut self, half: usize) {
        self.set_used(half, 0);
    }

    fn set_used(&mut self, half: usize, used: usize) {
        self.used[half] = used;
        // A process is killed between two instructions: what a frame is must be stored before it counts.
        compiler_fence(Ordering::SeqCst);
        let at = USED + half * 8;
        self.map[at..at + 8].copy_from_slice(&(used as u64).to_le_bytes());
        compiler_fence(Ordering::SeqCst);
    }
}

/// A record that is in no file yet.
pub(crate) struct Frame<'a> {
    pub seq: u64,
    pub time: i64,
    /// With its end.
    pub line: &'a [u8],
}

impl Frame<'_> {
    /// Whether it is as it was put: the only line, and the record that it says.
    pub fn is_sound(&self) -> bool {
        let Some(line) = self.line.strip_suffix(b"\n") else { return false };
        !line.contains(&b'\n')
            && matches!(Line::parse(line), Some(Line::Record(Place { seq, time, .. }))
                if (seq, time) == (self.seq, self.time))
    }
}

/// The frames in some bytes, as far as they are whole.
pub(crate) struct Frames<'a>(pub &'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let (head, rest) = self.0.split_at_checked(FRAME)?;
        let length = u32::from_le_bytes(head[..4].try_into().ok()?);
        let seq = u64::from_le_bytes(head[4..12].try_into().ok()?);
        let time = i64::from_le_bytes(head[12..].try_into().ok()?);
        let (line, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Frame { seq, time, line })
    }
}

/// Maps the file. It is as long as it will ever be and full of zeros before it has its name: a store into a place that the
/// disk has no room for would end the process.
fn map(folder: &Folder, path: &PathBuf) -> io::Result<MmapMut> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let file = match options.open(path) {
        Ok(file) if file.metadata()?.len() == LENGTH as u64 => file,
        Ok(_) => make(folder, path, &options)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, path, &options)?,
        Err(error) => return Err(error),
    };
    // SAFETY: whoever changes the file while it is mapped changes what is read here, and nothing that is read here is
    // trusted: it is bytes, each range is checked, and each line is parsed.
    unsafe { MmapMut::map_mut(&file) }
}

fn make(folder: &Folder, path: &PathBuf, options: &OpenOptions) -> io::Result<File> {
    let temporary = path.with_extension("tmp");
    let mut file = options.clone().create(true).truncate(true).open(&temporary)?;
    for _ in 0..LENGTH / HEADER {
        file.write_all(&[0; HEADER])?;
    }
    file.sync_data()?;
    fs::rename(&temporary, path)?;
    folder.sync()?;
    Ok(file)
}

/// What the kernel calls the time since it was started.
fn boot() -> Result<[u8; BOOT_BYTES], AuditError> {
    let path = PathBuf::from("/proc/sys/kernel/random/boot_id");
    let id = fs::read(&path).and_then(|bytes| {
        let id = bytes.get(..BOOT_BYTES).and_then(|id| id.try_into().ok());
        id.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    });
    id.map_err(AuditError::io("reading", &path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        (place, folder)
    }

    fn record(detail: &str) -> NewRecord<'_> {
        NewRecord { action: "pull", detail, ..NewRecord::default() }
    }

    fn numbers(frames: &[u8]) -> Vec<u64> {
        Frames(frames).map(|frame| if frame.is_sound() { frame.seq } else { 0 }).collect()
    }

    #[test]
    fn what_was_put_is_there_for_the_next_process() {
        let (_place, folder) = folder();
        let (mut intake, left) = Intake::open(&folder).unwrap();
        assert!(left.is_empty());
        intake.begin(6);
        assert_eq!((intake.put(1, &record("one")), intake.put(2, &record("two"))), (Some(7), Some(8)));
        let mut frames = Vec::new();
        let half = intake.take(&mut frames).unwrap();
        assert_eq!(numbers(&frames), [7, 8]);
        assert_eq!(intake.put(3, &record("three")), Some(9));
        // As when it was killed: nothing is said to the system.
        std::mem::forget(intake);
        assert_eq!(numbers(&Intake::open(&folder).unwrap().1), [7, 8, 9]);
        let (mut intake, _) = Intake::open(&folder).unwrap();
        intake.clear(half);
        std::mem::forget(intake);
        assert_eq!(numbers(&Intake::open(&folder).unwrap().1), [9]);
    }

    #[test]
    fn what_another_boot_left_tells_nothing() {
        let (_place, folder) = folder();
        let (mut intake, _) = Intake::open(&folder).unwrap();
        intake.begin(0);
        intake.put(1, &record("one")).unwrap();
        intake.map[BOOT] ^= 1;
        drop(intake);
        assert!(Intake::open(&folder).unwrap().1.is_empty());
    }

    #[test]
    fn it_is_full_when_neither_half_has_room() {
        let (_place, folder) = folder();
        let (mut intake, _) = Intake::open(&folder).unwrap();
        intake.begin(0);
        let detail = "x".repeat(500);
        let put = (0..).take_while(|time| intake.put(*time, &record(&detail)).is_some()).count() as u64;
        assert!(put > 3_000, "{put}");
        let mut frames = Vec::new();
        let mut seen = Vec::new();
        let first = intake.take(&mut frames).unwrap();
        seen.extend(numbers(&frames));
        assert_eq!(intake.take(&mut frames), Some(first), "until it is cleared, the older half is the next");
        intake.clear(first);
        assert_eq!(intake.put(0, &record("")), Some(put + 1), "there is room again");
        while let Some(half) = intake.take(&mut frames) {
            seen.extend(numbers(&frames));
            intake.clear(half);
        }
        assert_eq!(seen, (1..=put + 1).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_of_another_length_is_made_anew() {
        let (_place, folder) = folder();
        fs::write(folder.intake(), MAGIC).unwrap();
        let (intake, left) = Intake::open(&folder).unwrap();
        assert_eq!((intake.map.len(), left), (LENGTH, Vec::new()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), used: [u64; 2]) {
            for frame in Frames(&bytes) {
                frame.is_sound();
            }
            let (_place, folder) = folder();
            let (mut intake, _) = Intake::open(&folder).unwrap();
            intake.map[HEADER..HEADER + bytes.len()].copy_from_slice(&bytes);
            for (half, used) in used.into_iter().enumerate() {
                intake.map[USED + half * 8..USED + half * 8 + 8].copy_from_slice(&used.to_le_bytes());
            }
            drop(intake);
            Intake::open(&folder).unwrap();
        }
    }
}
