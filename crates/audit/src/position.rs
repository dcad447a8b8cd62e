//! How far a journal has come: the same for who writes it and for who walks through it.

use crate::chain::{Chain, SealKey};
use crate::folder::Mark;
use crate::line::{Header, Line, Place, Seal, Times};
use crate::verify::Problem;

/// A point between two lines.
#[derive(Clone)]
pub(crate) struct Position {
    key: Option<SealKey>,
    /// The last seal.
    pub sealed: Mark,
    /// The number of the last record.
    pub last: u64,
    /// The times of the records in this file so far.
    pub times: Option<Times>,
    /// The hash of the lines since the last seal.
    chain: Chain,
}

impl Position {
    /// Right after a seal.
    pub fn at(mark: Mark, key: Option<SealKey>) -> Self {
        let chain = Chain::after(key.as_ref(), &mark.hash);
        Self { key, sealed: mark, last: mark.through, times: None, chain }
    }

    /// How many records no seal covers yet.
    pub fn unsealed(&self) -> u64 {
        self.last.saturating_sub(self.sealed.through)
    }

    /// The seal that belongs here.
    pub fn seal(&self) -> Seal {
        Seal::new(self.sealed.seal.saturating_add(1), self.last, self.chain.clone().finish())
    }

    /// The header of the file that begins here.
    pub fn header(&self) -> Header {
        Header::new(self.last.saturating_add(1), self.sealed.seal, self.sealed.hash, self.times)
    }

    /// Goes past a record.
    pub fn pass_record(&mut self, seq: u64, time: i64, line: &[u8]) {
        self.last = self.last.max(seq);
        self.times = Some(Times::with(self.times, time));
        self.chain.update(line);
    }

    /// Goes past a seal.
    pub fn pass_seal(&mut self, seal: &Seal) {
        let mark = Mark { seal: seal.seal, through: seal.through, hash: seal.hash };
        *self =
            Self { last: self.last.max(seal.through), times: self.times, ..Self::at(mark, self.key.take()) };
    }

    /// Goes past the header of a file.
    pub fn pass_header(&mut self, header: &Header, line: &[u8]) {
        let through = header.file.saturating_sub(1);
        *self = Self::at(Mark { seal: header.seal, through, hash: header.previous }, self.key.take());
        self.chain.update(line);
    }

    /// Goes past any line but the first of a file, and says what is wrong with it. `line` has its end.
    pub fn pass(&mut self, file: u64, number: u64, line: &[u8]) -> Result<(), Problem> {
        match Line::parse(line.strip_suffix(b"\n").unwrap_or(line)) {
            Some(Line::Record(Place { seq, time, .. })) => {
                let last = self.last;
                self.pass_record(seq, time, line);
                if seq <= last {
                    Err(Problem::Order { file, line: number, seq })
                } else if seq > last.saturating_add(1) {
                    Err(Problem::Missing { from: last + 1, to: seq - 1 })
                } else {
                    Ok(())
                }
            }
            Some(Line::Seal(seal)) => {
                let (from, is_right) = (self.sealed.through.saturating_add(1), seal == self.seal());
                self.pass_seal(&seal);
                if is_right {
                    Ok(())
                } else {
                    Err(Problem::Changed { file, line: number, from, to: seal.through })
                }
            }
            Some(Line::Header(_)) | None => {
                self.chain.update(line);
                Err(Problem::Unreadable { file, line: number })
            }
        }
    }

    /// Goes past the first line of a file, and says what is wrong with it. `line` has its end.
    pub fn begin(&mut self, file: u64, line: &[u8]) -> Result<(), Problem> {
        let parsed = Line::parse(line.strip_suffix(b"\n").unwrap_or(line));
        let Some(Line::Header(header)) = parsed.filter(|_| line.ends_with(b"\n")) else {
            self.chain.update(line);
            self.last = self.last.max(file.saturating_sub(1));
            return Err(Problem::Unreadable { file, line: 1 });
        };
        let (last, unsealed, sealed) = (self.last, self.unsealed(), self.sealed);
        self.pass_header(&header, line);
        if header.file != file {
            Err(Problem::Chain { file })
        } else if file > last.saturating_add(1) {
            Err(Problem::Missing { from: last + 1, to: file - 1 })
        } else if (header.seal, header.previous) != (sealed.seal, sealed.hash) || unsealed > 0 || file <= last
        {
            Err(Problem::Chain { file })
        } else {
            Ok(())
        }
    }
}
