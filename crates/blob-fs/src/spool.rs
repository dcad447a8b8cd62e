//! The file of an upload while somebody writes to it. All of this runs in the blocking pool.

use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use blob::{BlobError, BlobKey, Staged};
use bytes::Bytes;
use oci::{Algorithm, Digest, Hasher};

use crate::failed;
use crate::folders::Folders;
use crate::growth::Growth;
use crate::sessions::{Lease, Progress, Turn};

/// How much is read at once where a file has to be read again.
const READ: usize = 256 * 1024;

/// After how many bytes the kernel is told to begin writing them to the disk.
const WRITEBACK: u64 = 4 << 20;

/// An upload's bytes on their way to the disk. Dropping it leaves the upload to be resumed.
pub(crate) struct Spool {
    folders: Arc<Folders>,
    growth: Arc<Growth>,
    /// Whether the upload has a file. A new one gets it with its first write, so that one which comes whole in a
    /// single request costs one trip to the blocking pool.
    exists: bool,
    written: u64,
    /// The hash of what is written.
    hasher: Hasher,
    /// What a verification has found, and after how many bytes.
    verified: Option<(u64, Digest)>,
    /// Whether `written` and `hasher` are what is in the file.
    intact: bool,
    ended: bool,
    /// Up to where the kernel has been told to begin writing.
    started: u64,
    /// Dropped last: from then on somebody else may open the file.
    lease: Lease,
}

impl Spool {
    /// For a new upload.
    pub fn new(folders: Arc<Folders>, lease: Lease) -> Self {
        let hasher = Hasher::new(lease.name().algorithm);
        let mut spool = Self::resume(folders, lease, Progress { written: 0, hasher });
        spool.exists = false;
        spool
    }

    /// For an upload of which all is known.
    pub fn resume(folders: Arc<Folders>, lease: Lease, progress: Progress) -> Self {
        let Progress { written, hasher } = progress;
        let growth = Arc::new(Growth::new(folders.upload(lease.name()), written));
        Self {
            folders,
            growth,
            exists: true,
            written,
            hasher,
            verified: None,
            intact: true,
            ended: false,
            started: written,
            lease,
        }
    }

    /// For an upload of which there is only the file: reads it to see how far it came.
    pub fn recover(folders: Arc<Folders>, lease: Lease) -> Result<Self, BlobError> {
        let mut spool = Self::new(folders, lease);
        spool.exists = true;
        spool.intact = false;
        // A power cut may have kept a commit's new name without losing the old one. The object is not ours to
        // change any more.
        let object = spool.folders.object(spool.key());
        if object.try_exists().map_err(|error| failed("looking for", &object, error))? {
            spool.discard()?;
            return Err(BlobError::NoUpload);
        }
        let file = spool.file()?;
        let (hasher, written) = hash(&file, spool.lease.name().algorithm)
            .map_err(|error| failed("reading the upload", spool.path(), error))?;
        (spool.hasher, spool.written, spool.intact) = (hasher, written, true);
        spool.growth.reached(written);
        Ok(spool)
    }

    /// Which lease of the upload it holds.
    pub fn turn(&self) -> Turn {
        self.lease.turn()
    }

    /// What of it can be read while it grows. The file is closed when the last who has this lets go of it.
    pub fn growth(&self) -> &Arc<Growth> {
        &self.growth
    }

    /// How many bytes are written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether there is a file, so that the upload is found again after a restart.
    pub fn exists(&self) -> bool {
        self.exists
    }

    /// Whether the upload has ended: nothing can be written to it any more.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Writes and hashes bytes: all of them or, if it fails, none.
    pub fn append(&mut self, pieces: &[Bytes]) -> Result<(), BlobError> {
        self.write(pieces)?;
        let hasher = hashed(self.hasher.clone(), pieces);
        self.advance(hasher, pieces);
        Ok(())
    }

    /// Writes bytes: all of them or, if it fails, none. They count when [`Spool::advance`] says so.
    pub fn write(&mut self, pieces: &[Bytes]) -> Result<(), BlobError> {
        let file = self.file()?;
        if !self.intact {
            // A write before this one has failed and left something behind.
            file.set_len(self.written).map_err(|error| failed("cutting the upload", self.path(), error))?;
        }
        self.intact = false;
        let outcome = write_all_at(&file, self.written, pieces);
        let end = self.written + length(pieces);
        if outcome.is_err() {
            // Where even this fails, the upload is read again before it goes on.
            self.intact = file.set_len(self.written).is_ok();
        } else {
            // Nothing cuts them off again: where they could not be hashed, the upload is read anew with them.
            self.growth.reached(end);
            if end - self.started >= WRITEBACK {
                start_writeback(&file, self.started, end - self.started);
                self.started = end;
            }
        }
        outcome.map_err(|error| failed("writing the upload", self.path(), error))
    }

    /// The hash of what is written.
    pub fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }

    /// Counts bytes that were written. `hasher` has seen them as well.
    pub fn advance(&mut self, hasher: Hasher, pieces: &[Bytes]) {
        self.hasher = hasher;
        self.written += length(pieces);
        self.intact = true;
    }

    /// Writes the last bytes and ends the upload if all together are not `expected`.
    pub fn verify(&mut self, pieces: &[Bytes], expected: Digest) -> Result<(), BlobError> {
        self.append(pieces)?;
        let size = self.written;
        let actual = self.digest(expected.algorithm())?;
        if actual != expected {
            // What cannot be removed now expires after the next start; the mismatch is what must be told.
            let _ = self.discard();
            return Err(BlobError::Mismatch { expected, actual, size });
        }
        self.verified = Some((size, actual));
        Ok(())
    }

    /// Writes the last bytes and makes the upload the object that it was meant to be, if that is `expected`.
    pub fn commit(mut self, pieces: &[Bytes], expected: Digest) -> Result<Staged, BlobError> {
        self.verify(pieces, expected)?;
        let file = self.file()?;
        // The time from which a collection reckons how long its metadata may take to come.
        file.set_modified(SystemTime::now()).map_err(|error| failed("dating", self.path(), error))?;
        // Named before it is flushed: the flush of the file then covers the new name as well on file systems
        // with a journal, and nobody can meet the object early, for no metadata knows it.
        self.folders.place(self.path(), self.key()).map_err(|error| failed("naming", self.path(), error))?;
        self.ended = true;
        self.sync(&file)?;
        Ok(Staged { id: self.lease.name().blob, size: self.written })
    }

    /// Makes the object durable. After a failure the kernel may have dropped the bytes that it could not write, so
    /// there is nothing to try again with.
    fn sync(&self, file: &File) -> Result<(), BlobError> {
        file.sync_data().and_then(|()| self.folders.sync(self.key())).map_err(|error| {
            // What cannot be removed is an object that nothing refers to.
            let _ = self.folders.remove(&[self.key()]);
            failed("flushing", &self.folders.object(self.key()), error)
        })
    }

    /// Ends the upload and removes its bytes.
    pub fn discard(&mut self) -> Result<(), BlobError> {
        self.ended = true;
        if self.exists { self.folders.remove_staged(self.lease.name()) } else { Ok(()) }
    }

    fn digest(&mut self, algorithm: Algorithm) -> Result<Digest, BlobError> {
        if algorithm == self.hasher.algorithm() {
            return Ok(self.hasher.clone().finish());
        }
        if let Some((size, digest)) = self.verified
            && (size, digest.algorithm()) == (self.written, algorithm)
        {
            return Ok(digest);
        }
        let hashed = hash(&*self.file()?, algorithm);
        hashed.map(|(hasher, _)| hasher.finish()).map_err(|error| failed("reading", self.path(), error))
    }

    /// The file, which the first write opens: an upload that is only asked about needs none.
    fn file(&mut self) -> Result<Arc<File>, BlobError> {
        let new = !self.exists;
        match self.growth.file(new) {
            Ok(file) => {
                self.exists = true;
                Ok(file)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !new => {
                self.ended = true;
                Err(BlobError::NoUpload)
            }
            Err(error) => Err(failed("opening the upload", self.path(), error)),
        }
    }

    fn path(&self) -> &Path {
        self.growth.path()
    }

    fn key(&self) -> BlobKey {
        self.lease.name().blob.into()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.ended || !self.exists {
            self.lease.leave_ended();
        } else if self.intact {
            self.lease.leave_warm(Progress { written: self.written, hasher: self.hasher.clone() });
        }
    }
}

/// Adds bytes to a hash.
pub(crate) fn hashed(mut hasher: Hasher, pieces: &[Bytes]) -> Hasher {
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher
}

fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// Writes pieces one after another, in as few calls as the system allows: each looks for its pages anew.
fn write_all_at(mut file: &File, offset: u64, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut slices = slices.as_mut_slice();
    file.seek(SeekFrom::Start(offset))?;
    // Drops slices without bytes, which would look like a write of none.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lets the kernel begin to write a part of a file, without waiting for the end of that.
///
/// The flush at the end of a large upload is then short (a tenth of the time of a push of 64 MiB was saved), and
/// the flushes of small ones, and those of metadata, do not find gigabytes in their way.
fn start_writeback(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else { return };
    // SAFETY: the descriptor is open, for `file` is borrowed, and the call touches no memory of this process.
    unsafe {
        // It is a hint: what it could not do, the flush does, and tells of any error.
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// Reads a file from its beginning to its end.
fn hash(file: &File, algorithm: Algorithm) -> io::Result<(Hasher, u64)> {
    let mut buffer = vec![0; READ];
    let (mut hasher, mut at) = (Hasher::new(algorithm), 0);
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok((hasher, at)),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                at += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
