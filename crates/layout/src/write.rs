//! Writing files so that they are complete under their name or not there at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use oci::Verifier;
use tokio::task::JoinHandle;
use transfer::{ByteStream, Feed, TransferError};

use crate::LayoutError;
use crate::blocking::blocking;

/// How much is gathered before it is written.
const GATHER: usize = 1 << 20;

/// Writes a small file whole: beside its place, synced, and then moved there.
pub(crate) fn write_small(path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
    let publish = || {
        complete(path, bytes)?.persist(path).map_err(|error| error.error)?;
        sync_folder(folder_of(path))
    };
    publish().map_err(LayoutError::io(path))
}

/// The same for a file that is never replaced: where one is already, it stays.
pub(crate) fn write_once(path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
    let publish = || match complete(path, bytes)?.persist_noclobber(path) {
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => {
            outcome.map_err(|error| error.error)?;
            sync_folder(folder_of(path))
        }
    };
    publish().map_err(LayoutError::io(path))
}

/// A complete temporary file beside `path`.
fn complete(path: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = temporary(folder_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// A file that vanishes unless it is moved to its place, readable by whoever may read new files.
pub(crate) fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    tempfile::Builder::new()
        .prefix(".wharf-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

/// Makes the names in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// Removes the folder of partial files, unless another copy is writing there or an earlier one has left some.
pub(crate) fn remove_if_empty(folder: &Path) -> Result<(), LayoutError> {
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(LayoutError::io(folder)(error))
        }
        _ => Ok(()),
    }
}

/// Writes a stream to a file from `offset` on. While the next bytes arrive, the last are being written.
pub(crate) async fn write_stream(
    file: Arc<File>,
    path: Arc<PathBuf>,
    mut offset: u64,
    mut stream: ByteStream,
) -> Result<(), TransferError> {
    let mut gathered = BytesMut::new();
    let mut writing: Option<JoinHandle<Result<(), LayoutError>>> = None;
    loop {
        let chunk = stream.try_next().await?;
        let ended = chunk.is_none();
        gathered.extend_from_slice(&chunk.unwrap_or_default());
        if gathered.len() >= GATHER || (ended && !gathered.is_empty()) {
            settle(writing.take()).await?;
            let bytes: Bytes = gathered.split().freeze();
            let (file, path, at) = (file.clone(), path.clone(), offset);
            offset += bytes.len() as u64;
            writing = Some(tokio::task::spawn_blocking(move || {
                file.write_all_at(&bytes, at).map_err(LayoutError::io(path.as_ref()))
            }));
        }
        if ended {
            return settle(writing.take()).await;
        }
    }
}

async fn settle(writing: Option<JoinHandle<Result<(), LayoutError>>>) -> Result<(), TransferError> {
    match writing {
        None => Ok(()),
        Some(task) => match task.await {
            Ok(outcome) => outcome.map_err(LayoutError::into_transfer),
            Err(error) => Err(TransferError::Task(error.to_string())),
        },
    }
}

/// A blob that is being written. The part that has arrived outlives this process, so that the next goes on.
struct Partial {
    file: Arc<File>,
    path: Arc<PathBuf>,
    /// How much an earlier run has left.
    length: u64,
    /// Which has taken that in.
    prefix: Verifier,
}

/// Brings a blob to `place`, by way of `partial`.
pub(crate) async fn write_blob(feed: &Feed, place: PathBuf, partial: PathBuf) -> Result<(), TransferError> {
    let descriptor = feed.descriptor().clone();
    let (size, digest) = (descriptor.size, descriptor.digest);
    let finished = place.clone();
    let opened = blocking(move || open_partial(&finished, &partial, Verifier::new(digest, Some(size)), size));
    let Some(Partial { file, path, length, prefix }) = opened.await? else { return Ok(()) };
    let mut outcome = write_stream(file.clone(), path.clone(), length, feed.after(prefix, length)).await;
    if length > 0 && matches!(outcome, Err(TransferError::Corrupt { .. })) {
        // What the earlier run left was damaged: once more from the start.
        truncate(&file, &path).await?;
        outcome = write_stream(file.clone(), path.clone(), 0, feed.from_start()).await;
    }
    if let Err(error) = outcome {
        if matches!(error, TransferError::Corrupt { .. }) {
            truncate(&file, &path).await?;
        }
        return Err(error);
    }
    blocking(move || {
        let publish = || {
            file.sync_all()?;
            fs::rename(path.as_ref(), &place)?;
            place.parent().map_or(Ok(()), sync_folder)
        };
        publish().map_err(LayoutError::io(path.as_ref()))
    })
    .await
}

async fn truncate(file: &Arc<File>, path: &Arc<PathBuf>) -> Result<(), TransferError> {
    let (file, path) = (file.clone(), path.clone());
    blocking(move || file.set_len(0).map_err(LayoutError::io(path.as_ref()))).await
}

/// Opens the partial file for this process alone, and hashes what is in it. `None` when another process has
/// finished the blob while this one waited.
fn open_partial(
    place: &Path,
    partial: &Path,
    mut prefix: Verifier,
    size: u64,
) -> Result<Option<Partial>, LayoutError> {
    let wrong = || LayoutError::io(partial);
    if let Some(folder) = partial.parent() {
        fs::create_dir_all(folder).map_err(LayoutError::io(folder))?;
    }
    loop {
        // The name is known beforehand: whoever may write here could have laid a link to another file there.
        if partial.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            let why = "something else is there".into();
            return Err(LayoutError::Form { path: partial.to_owned(), what: "a file", why });
        }
        let mut options = OpenOptions::new();
        let file =
            options.create(true).truncate(false).read(true).write(true).open(partial).map_err(wrong())?;
        file.lock().map_err(wrong())?;
        if place.metadata().is_ok_and(|metadata| metadata.len() == size) {
            if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
                // Just made by the line above. Whoever else removes it first has done the same.
                fs::remove_file(partial).ok();
            }
            return Ok(None);
        }
        // The one who held the lock may have moved this very file to its place, or removed it. And a link that came
        // after the look above is not the file that it led to.
        let same = partial.symlink_metadata().is_ok_and(|now| {
            file.metadata().is_ok_and(|mine| (now.dev(), now.ino()) == (mine.dev(), mine.ino()))
        });
        if !same {
            continue;
        }
        let length = hash_prefix(&file, &mut prefix, size).map_err(wrong())?;
        let path = Arc::new(partial.to_owned());
        return Ok(Some(Partial { file: Arc::new(file), path, length, prefix }));
    }
}

/// Takes in what the file holds. A file that is longer than the blob is begun anew.
fn hash_prefix(mut file: &File, prefix: &mut Verifier, size: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length > size {
        file.set_len(0)?;
        return Ok(0);
    }
    let mut buffer = vec![0; GATHER];
    let mut left = length;
    while left > 0 {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        prefix.update(&buffer[..read]).map_err(io::Error::other)?;
        left = left.saturating_sub(read as u64);
    }
    Ok(length)
}
