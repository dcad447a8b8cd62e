//! Lines of a file, forwards and backwards, in memory that does not grow with the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;

use crate::line::{LINE_BYTES, Line};

/// How much is read at once.
const BLOCK: usize = 64 << 10;
/// How near a record is looked for before its lines are read one after the other.
const NEAR: u64 = 4 << 10;

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read<'a> {
    /// The bytes; of a line that is longer than any the journal writes, not all.
    pub bytes: &'a [u8],
    /// Where in the file it begins.
    pub start: u64,
    /// Where in the file it ends, with its end.
    pub end: u64,
    /// Whether it has an end.
    pub is_whole: bool,
}

/// Lines from the first to the last.
pub(crate) struct Lines<R> {
    reader: R,
    position: u64,
    line: Vec<u8>,
}

impl Lines<BufReader<File>> {
    /// The lines of a file from a place on where one begins.
    pub fn from(mut file: File, start: u64) -> io::Result<Self> {
        io::Seek::seek(&mut file, io::SeekFrom::Start(start))?;
        Ok(Self::new(BufReader::with_capacity(BLOCK, file), start))
    }
}

impl<R: BufRead> Lines<R> {
    /// The lines that `reader` gives, which begins at `position`.
    pub fn new(reader: R, position: u64) -> Self {
        Self { reader, position, line: Vec::new() }
    }

    /// The next line.
    pub fn next(&mut self) -> io::Result<Option<Read<'_>>> {
        let start = self.position;
        self.line.clear();
        let mut is_whole = false;
        while !is_whole {
            let available = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() {
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let (length, used) = end.map_or((available.len(), available.len()), |end| (end, end + 1));
            let kept = length.min(LINE_BYTES.saturating_sub(self.line.len()));
            self.line.extend_from_slice(&available[..kept]);
            self.reader.consume(used);
            self.position += used as u64;
            is_whole = end.is_some();
        }
        let end = self.position;
        Ok((end > start).then_some(Read { bytes: &self.line, start, end, is_whole }))
    }
}

/// Lines from the last to the first. What follows the last end of a line is passed over: it is being written.
pub(crate) struct Backwards {
    file: File,
    /// Where in the file `block` begins.
    start: u64,
    /// What is read and not yet given; ends with the end of a line.
    block: Vec<u8>,
}

impl Backwards {
    /// The lines before a place where one ends, or anywhere in the last one.
    pub fn before(file: File, end: u64) -> io::Result<Self> {
        let mut lines = Self { file, start: end, block: Vec::new() };
        // Forgets what has no end: as if it were a line that is too long.
        lines.back_to_end()?;
        Ok(lines)
    }

    /// Reads backwards until `block` ends with the end of a line, or is empty at the beginning of the file.
    fn back_to_end(&mut self) -> io::Result<()> {
        loop {
            if let Some(end) = self.block.iter().rposition(|byte| *byte == b'\n') {
                self.block.truncate(end + 1);
                return Ok(());
            }
            self.block.clear();
            if !self.extend()? {
                return Ok(());
            }
        }
    }

    /// Reads the block before. Tells whether there was one.
    fn extend(&mut self) -> io::Result<bool> {
        let length = usize::try_from(self.start).unwrap_or(BLOCK).min(BLOCK);
        let mut block = vec![0; length];
        self.start -= length as u64;
        self.file.read_exact_at(&mut block, self.start)?;
        block.append(&mut self.block);
        self.block = block;
        Ok(length > 0)
    }

    /// The line before. One that is longer than any the journal writes is given empty.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        loop {
            let Some(content) = self.block.len().checked_sub(1) else {
                if self.extend()? {
                    continue;
                }
                return Ok(false);
            };
            let end = self.block[..content].iter().rposition(|byte| *byte == b'\n');
            let start = end.map_or(0, |end| end + 1);
            if content - start > LINE_BYTES {
                self.block.truncate(start);
                self.back_to_end()?;
                return Ok(true);
            }
            if end.is_some() || !self.extend()? {
                line.extend_from_slice(&self.block[start..content]);
                self.block.truncate(start);
                return Ok(true);
            }
        }
    }
}

/// Where in a file the records after `number` begin: the lines before the first place all come before or are that
/// record, those after the second all come after it. Between the places there are few lines, or damaged ones.
pub(crate) fn find(file: &File, length: u64, number: u64) -> io::Result<(u64, u64)> {
    let (mut low, mut high) = (0, length);
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        match first_line(file, middle, high)? {
            Some((start, found)) if found <= number => low = start,
            Some(_) | None => high = middle,
        }
    }
    Ok((low, high))
}

/// The first line that can be read of those that begin between two places: where it begins, and its number.
fn first_line(file: &File, from: u64, to: u64) -> io::Result<Option<(u64, u64)>> {
    let mut lines = Lines::from(file.try_clone()?, from)?;
    // The first one has begun before.
    let mut is_first = true;
    while let Some(line) = lines.next()? {
        if !is_first && line.start >= to {
            break;
        }
        if !is_first
            && line.is_whole
            && let Some(parsed) = Line::parse(line.bytes)
        {
            return Ok(Some((line.start, parsed.number())));
        }
        is_first = false;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn backwards(content: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Backwards::before(file(content), content.len() as u64).unwrap();
        let (mut all, mut line) = (Vec::new(), Vec::new());
        while lines.next(&mut line).unwrap() {
            all.push(line.clone());
        }
        all.reverse();
        all
    }

    #[test]
    fn both_directions_give_the_same_lines() {
        let check = |content: &[u8]| {
            let mut lines = Lines::from(file(content), 0).unwrap();
            let mut forwards = Vec::new();
            while let Some(line) = lines.next().unwrap() {
                if line.is_whole {
                    let too_long = line.end - line.start > LINE_BYTES as u64 + 1;
                    forwards.push(if too_long { Vec::new() } else { line.bytes.to_vec() });
                }
            }
            assert!(forwards == backwards(content));
        };
        check(b"");
        check(b"\n");
        check(b"a");
        check(b"a\nb\n\ncc\n");
        check(b"a\nb");
        let line = |length: usize| [vec![b'x'; length], vec![b'\n']].concat();
        for length in [BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 7] {
            check(&line(length));
            check(&[line(3), line(length), line(4), line(length), b"torn".to_vec()].concat());
            check(&[line(length), vec![b'x'; length]].concat());
        }
        check(&line(1000).repeat(300));
    }
}
