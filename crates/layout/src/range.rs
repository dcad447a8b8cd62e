//! A part of an open file: what a blob is, in a folder as in an archive.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use transfer::ByteStream;

use crate::LayoutError;
use crate::blocking::blocking;

/// How much is read at once.
const CHUNK: u64 = 512 << 10;

/// Some bytes of a file.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub file: Arc<File>,
    pub path: Arc<PathBuf>,
    pub offset: u64,
    pub length: u64,
}

impl Range {
    /// All of it, if it is no longer than `most`.
    pub fn read(&self, most: u64) -> Result<Bytes, LayoutError> {
        if self.length > most {
            let why =
                format!("a document of {} bytes in it is longer than the {most} that are read", self.length);
            return Err(LayoutError::Form { path: self.path.to_path_buf(), what: "usable", why });
        }
        self.part(0, self.length)
    }

    /// Its bytes from `start` on, as they are read.
    pub fn stream(self, start: u64) -> ByteStream {
        stream::try_unfold((self, start), |(range, at)| async move {
            let length = range.length.saturating_sub(at).min(CHUNK);
            if length == 0 {
                return Ok(None);
            }
            let part = range.clone();
            let bytes = blocking(move || part.part(at, length)).await?;
            Ok(Some((bytes, (range, at + length))))
        })
        .boxed()
    }

    /// A part that lies within the range.
    fn part(&self, at: u64, length: u64) -> Result<Bytes, LayoutError> {
        let wrong = LayoutError::io(self.path.as_ref());
        let Ok(size) = usize::try_from(length) else {
            return Err(wrong(io::ErrorKind::OutOfMemory.into()));
        };
        let mut bytes = BytesMut::zeroed(size);
        self.file.read_exact_at(&mut bytes, self.offset + at).map_err(wrong)?;
        Ok(bytes.freeze())
    }
}
