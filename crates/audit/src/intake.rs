//! Where records are until they are written into the files: a file that is mapped into memory.
//!
//! What is stored into a shared mapping is in the page cache from then on, just as after a `write`, and there it outlives
//! the process; but it takes a copy and no call of the system, which costs several times as much. It does not outlive
//! the kernel: after a power cut nobody knows which of its pages came to the disk. So each frame has a checksum, with
//! the mark of the process that put it: what is left of an older one is not taken for a newer one's.
//!
//! ```text
//! 0      "WHARF AUDIT IN 1"
//! 16     the mark of the process: when it began, 8 bytes
//! 64     how many bytes of the first half are in use, 8 bytes; and of the second
//! 4096   the first half: frames, one after the other
//! ...    the second half
//!
//! frame  length of the line, 4 bytes; CRC-32 of the mark and all that follows, 4; number, 8; time, 8; the line
//! ```
//!
//! Numbers are little-endian. Records go into one half while the other is written down, and is empty again after that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{Ordering, compiler_fence};

use memmap2::MmapMut;

use crate::error::AuditError;
use crate::folder::Folder;
use crate::line::{self, LINE_BYTES};
use crate::recover::Note;
use crate::time::Stamp;

const MAGIC: &[u8; 16] = b"WHARF AUDIT IN 1";
const MARK: usize = 16;
const USED: usize = 64;
const HEADER: usize = 4096;
/// How long a half is: what some thousand requests leave, and several of the longest lines. Both stay in the processor's
/// own cache, which more would drive other things out of; who fills one has the other written down.
const HALF: usize = 1 << 18;
const LENGTH: usize = HEADER + 2 * HALF;
const FRAME: usize = 4 + 4 + 8 + 8;

const _: () = assert!(FRAME + LINE_BYTES <= HALF);

/// The records that are in no file yet.
pub(crate) struct Intake {
    map: MmapMut,
    /// As the header has it.
    mark: i64,
    used: [usize; 2],
    /// The half that records are put into.
    active: usize,
    /// The number of the last record.
    last: u64,
    stamp: Stamp,
    /// How the line begins that is being added. Kept, so that this allocates nothing.
    place: Vec<u8>,
}

impl Intake {
    /// Opens the intake of a folder, which is made where it is not there, with what a process before left in it.
    pub fn open(folder: &Folder) -> Result<Self, AuditError> {
        let path = folder.intake();
        let map = map(folder, &path).map_err(AuditError::io("opening", &path))?;
        let mark = i64::from_le_bytes(map[MARK..MARK + 8].try_into().unwrap_or_default());
        let (stamp, place) = (Stamp::default(), Vec::new());
        let mut intake = Self { map, mark, used: [0; 2], active: 0, last: 0, stamp, place };
        if intake.map.starts_with(MAGIC) {
            intake.used = [0, 1].map(|half| {
                let at = USED + half * 8;
                let used = intake.map[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
                usize::try_from(used).unwrap_or(HALF).min(HALF)
            });
        }
        Ok(intake)
    }

    /// Goes on after a record that is in the files: keeps what follows it without a gap, and tells of what it cannot keep.
    pub fn follow(&mut self, last: u64) -> Option<Note> {
        let mut last = last;
        let mut lost = 0;
        let first = |intake: &Self, half| intake.frames(half).next().map_or(u64::MAX, |frame| frame.seq);
        let order = if first(self, 0) <= first(self, 1) { [0, 1] } else { [1, 0] };
        for half in order {
            let (mut sound, mut end, mut next) = (0, last, None);
            let mut frames = self.frames(half);
            while let Some(frame) = frames.next() {
                let follows = next.is_none_or(|next| frame.seq == next) && frame.seq <= end.saturating_add(1);
                if !follows || !frame.is_sound(self.mark) {
                    break;
                }
                sound = self.used[half] - frames.0.len();
                (end, next) = (end.max(frame.seq), frame.seq.checked_add(1));
            }
            lost += self.used[half] - sound;
            let kept = if end > last { sound } else { 0 };
            self.set_used(half, kept);
            last = end;
            if kept > 0 {
                self.active = half;
            }
        }
        self.last = last;
        self.map[..MAGIC.len()].copy_from_slice(MAGIC);
        (lost > 0).then(|| Note::cut(lost as u64, last))
    }

    /// Marks what is put from now on. Only where nothing waits that was put with another mark.
    pub fn set_mark(&mut self, mark: i64) {
        if self.used == [0; 2] {
            self.mark = mark;
            self.map[MARK..MARK + 8].copy_from_slice(&mark.to_le_bytes());
            compiler_fence(Ordering::SeqCst);
        }
    }

    /// The number of the last record.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The frames of a half.
    fn frames(&self, half: usize) -> Frames<'_> {
        let start = HEADER + half * HALF;
        Frames(&self.map[start..start + self.used[half]])
    }

    /// The lines that wait, the oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let halves = self.frames(1 - self.active).chain(self.frames(self.active));
        halves.map(|frame| frame.line)
    }

    /// Adds a record, and gives its number; `None` where there is no room until a half has been written down. All that
    /// does not hang on its place is in the line already: others wait meanwhile.
    pub fn put(&mut self, time: i64, content: &[u8]) -> Option<u64> {
        let seq = self.last.checked_add(1)?;
        self.place.clear();
        line::write_place(seq, time, &mut self.stamp, &mut self.place);
        let length = self.place.len() + content.len();
        let needed = FRAME + length;
        if self.used[self.active] + needed > HALF {
            if self.used[1 - self.active] > 0 {
                return None;
            }
            self.active = 1 - self.active;
        }
        let used = self.used[self.active];
        let start = HEADER + self.active * HALF + used;
        let frame = &mut self.map[start..start + needed];
        frame[..4].copy_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
        frame[8..16].copy_from_slice(&seq.to_le_bytes());
        frame[16..FRAME].copy_from_slice(&time.to_le_bytes());
        frame[FRAME..needed - content.len()].copy_from_slice(&self.place);
        frame[needed - content.len()..].copy_from_slice(content);
        let checksum = checksum(self.mark, &frame[8..]);
        frame[4..8].copy_from_slice(&checksum.to_le_bytes());
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
    checksum: u32,
    /// What the checksum is of.
    body: &'a [u8],
}

impl Frame<'_> {
    /// Whether it is as a process with this mark has put it.
    fn is_sound(&self, mark: i64) -> bool {
        self.checksum == checksum(mark, self.body) && self.line.ends_with(b"\n")
    }
}

/// The frames in some bytes, as far as they are whole.
pub(crate) struct Frames<'a>(pub &'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let head = self.0.get(..FRAME)?;
        let length = usize::try_from(u32::from_le_bytes(head[..4].try_into().ok()?)).ok()?;
        let checksum = u32::from_le_bytes(head[4..8].try_into().ok()?);
        let seq = u64::from_le_bytes(head[8..16].try_into().ok()?);
        let time = i64::from_le_bytes(head[16..].try_into().ok()?);
        let (frame, rest) = self.0.split_at_checked(FRAME.checked_add(length)?)?;
        self.0 = rest;
        Some(Frame { seq, time, line: &frame[FRAME..], checksum, body: &frame[8..] })
    }
}

fn checksum(mark: i64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&mark.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::NewRecord;
    use proptest::prelude::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        (place, folder)
    }

    fn record(detail: &str) -> Vec<u8> {
        let mut content = Vec::new();
        line::write_content(&NewRecord { action: "pull", detail, ..NewRecord::default() }, &mut content);
        content
    }

    fn numbers(frames: &[u8]) -> Vec<u64> {
        Frames(frames).map(|frame| frame.seq).collect()
    }

    /// All numbers that wait, in the order in which they would be written down.
    fn waiting(intake: &mut Intake) -> Vec<u64> {
        let (mut frames, mut seen) = (Vec::new(), Vec::new());
        while let Some(half) = intake.take(&mut frames) {
            seen.extend(numbers(&frames));
            intake.clear(half);
        }
        seen
    }

    /// What is found by the process after the one that put some records into both halves, and was killed.
    #[track_caller]
    fn check(last: u64, damage: impl FnOnce(&mut Intake), expect: &[u64], is_told: bool) {
        let (_place, folder) = folder();
        let mut intake = Intake::open(&folder).unwrap();
        assert!(intake.follow(6).is_none());
        intake.set_mark(1);
        assert_eq!((intake.put(1, &record("one")), intake.put(2, &record("two"))), (Some(7), Some(8)));
        intake.take(&mut Vec::new()).unwrap();
        assert_eq!((intake.put(3, &record("three")), intake.put(4, &record("four"))), (Some(9), Some(10)));
        damage(&mut intake);
        drop(intake);
        let mut intake = Intake::open(&folder).unwrap();
        assert_eq!(intake.follow(last).is_some(), is_told);
        assert_eq!(waiting(&mut intake), expect);
        intake.set_mark(2);
        assert_eq!(
            intake.put(5, &record("next")),
            Some(expect.last().map_or(last, |seq| (*seq).max(last)) + 1)
        );
    }

    #[test]
    fn what_was_put_is_there_for_the_next_process() {
        let second = HEADER + HALF;
        let nothing = |_: &mut Intake| {};
        check(6, nothing, &[7, 8, 9, 10], false);
        check(7, nothing, &[7, 8, 9, 10], false);
        check(8, nothing, &[9, 10], false);
        check(9, nothing, &[9, 10], false);
        check(10, nothing, &[], false);
        check(6, |intake| intake.clear(0), &[], true);
        check(8, |intake| intake.clear(0), &[9, 10], false);
        // Beyond a gap nothing is taken.
        check(5, nothing, &[], true);
        check(6, |intake| intake.map[HEADER + FRAME + 3] ^= 1, &[], true);
        check(6, |intake| intake.map[second + 9] ^= 1, &[7, 8], true);
        check(6, |intake| intake.map[second + 5] ^= 1, &[7, 8], true);
        check(6, |intake| intake.map[second] = 255, &[7, 8], true);
        check(6, |intake| intake.map[second..second + FRAME].fill(0), &[7, 8], true);
        let last = |intake: &mut Intake| {
            let end = second + intake.used[1];
            intake.map[end - 2] ^= 1;
        };
        check(6, last, &[7, 8, 9], true);
        // What another process has left.
        check(6, |intake| intake.map[MARK] ^= 2, &[], true);
        // A process that was killed before it had given it a header.
        check(6, |intake| intake.map[..MAGIC.len()].fill(0), &[], false);
    }

    #[test]
    fn it_is_full_when_neither_half_has_room() {
        let (_place, folder) = folder();
        let mut intake = Intake::open(&folder).unwrap();
        intake.follow(0);
        let detail = "x".repeat(500);
        let put = (0..).take_while(|time| intake.put(*time, &record(&detail)).is_some()).count() as u64;
        assert!(put > 700, "{put}");
        let mut frames = Vec::new();
        let first = intake.take(&mut frames).unwrap();
        let mut seen = numbers(&frames);
        assert_eq!(intake.take(&mut frames), Some(first), "until it is cleared, the older half is the next");
        intake.clear(first);
        assert_eq!(intake.put(0, &record("")), Some(put + 1), "there is room again");
        seen.extend(waiting(&mut intake));
        assert_eq!(seen, (1..=put + 1).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_of_another_length_is_made_anew() {
        let (_place, folder) = folder();
        fs::write(folder.intake(), MAGIC).unwrap();
        let mut intake = Intake::open(&folder).unwrap();
        assert_eq!((intake.map.len(), waiting(&mut intake)), (LENGTH, Vec::new()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300), used: [u64; 2], last: u64,
        ) {
            assert!(Frames(&bytes).all(|frame| !frame.is_sound(0)));
            let (_place, folder) = folder();
            let mut intake = Intake::open(&folder).unwrap();
            intake.follow(0);
            intake.map[HEADER..HEADER + bytes.len()].copy_from_slice(&bytes);
            for (half, used) in used.into_iter().enumerate() {
                intake.map[USED + half * 8..USED + half * 8 + 8].copy_from_slice(&used.to_le_bytes());
            }
            drop(intake);
            Intake::open(&folder).unwrap().follow(last);
        }
    }
}
