//! A blob on its way here, and those who read it meanwhile.
//!
//! Everybody reads from the stage: from memory what is not written yet, from its file what is. The end of the blob is
//! held back until its digest is known to be right, so that nobody is ever given all of something that is wrong.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use blob::{BlobRead, ByteRange, Growing};
use bytes::Bytes;
use futures_util::stream;
use oci::{Digest, RepoName};
use registry::Arriving;
use tokio::sync::Notify;

/// How much of the end waits for the digest.
const HELD_BACK: u64 = 64 << 10;

/// How much one reader is given at once.
const PIECE: u64 = 512 << 10;

/// Readers are woken after so many bytes, or when the last time was so long ago: two hundred of them at each packet
/// would cost more than the bytes.
const WAKE_BYTES: u64 = 256 << 10;
const WAKE_AFTER: Duration = Duration::from_millis(20);

/// A blob on its way here.
pub struct Flight {
    digest: Digest,
    size: u64,
    growing: Arc<dyn Growing>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    received: u64,
    /// What may not be written yet: where it begins, and the bytes.
    recent: VecDeque<(u64, Bytes)>,
    end: Option<Result<(), String>>,
    /// Which are known to have it at their upstream.
    repositories: HashSet<RepoName>,
    woken: (u64, Instant),
}

/// What a reader can do next.
enum Next {
    Memory(Bytes),
    File(ByteRange),
    Wait,
    Over,
    Failed(String),
}

impl Flight {
    pub(crate) fn new(digest: Digest, size: u64, growing: Arc<dyn Growing>) -> Self {
        let state = State {
            received: 0,
            recent: VecDeque::new(),
            end: None,
            repositories: HashSet::new(),
            woken: (0, Instant::now()),
        };
        Self { digest, size, growing, state: Mutex::new(state), changed: Notify::new() }
    }

    /// One that has landed: all of it is in the stage, and right.
    pub(crate) fn landed(digest: Digest, size: u64, growing: Arc<dyn Growing>) -> Self {
        let flight = Self::new(digest, size, growing);
        flight.state().received = size;
        flight.end(Ok(()));
        flight
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is known that a repository has it.
    pub(crate) fn is_of(&self, repository: &RepoName) -> bool {
        self.state().repositories.contains(repository)
    }

    /// Notes that.
    pub(crate) fn is_also_of(&self, repository: &RepoName) {
        self.state().repositories.insert(repository.clone());
    }

    /// Takes the next bytes: the stage has them, too.
    pub(crate) fn receive(&self, bytes: Bytes) {
        let now = Instant::now();
        let mut state = self.state();
        let start = state.received;
        state.received += bytes.len() as u64;
        state.recent.push_back((start, bytes));
        let written = self.growing.available();
        while state.recent.front().is_some_and(|(start, bytes)| start + bytes.len() as u64 <= written) {
            state.recent.pop_front();
        }
        let (bytes, since) = state.woken;
        if start == 0 || state.received - bytes >= WAKE_BYTES || now - since >= WAKE_AFTER {
            state.woken = (state.received, now);
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// All of it is here, and right; or it will not come, or is not what it should be.
    pub(crate) fn end(&self, outcome: Result<(), String>) {
        let mut state = self.state();
        if state.end.is_some() {
            return;
        }
        if outcome.is_ok() {
            // It was written before it could be verified.
            state.recent = VecDeque::new();
        }
        state.end = Some(outcome);
        drop(state);
        self.changed.notify_waiters();
    }

    /// What comes after `position` up to `end`.
    fn next(&self, position: u64, end: u64) -> Next {
        // Also of nothing: whoever reads an empty part learns no less than others.
        if position >= end {
            return Next::Over;
        }
        let state = self.state();
        let open = match &state.end {
            Some(Ok(())) => self.size,
            Some(Err(reason)) => return Next::Failed(reason.clone()),
            None => state.received.min(self.size.saturating_sub(HELD_BACK)),
        };
        let open = open.min(end);
        if position >= open {
            return Next::Wait;
        }
        // They are in order, and the one that holds `position` is the last that begins no later.
        let after = state.recent.partition_point(|(start, _)| *start <= position);
        let found = after.checked_sub(1).and_then(|at| state.recent.get(at));
        if let Some((start, bytes)) = found
            && position < start + bytes.len() as u64
        {
            // Both lie within the bytes.
            let (from, to) = (position - start, (open - start).min(bytes.len() as u64));
            return Next::Memory(bytes.slice(from as usize..to as usize));
        }
        let written = state.recent.front().map_or(state.received, |(start, _)| *start);
        let length = (open.min(written) - position).min(PIECE);
        Next::File(ByteRange { offset: position, length })
    }

    async fn wait_and_read(&self, position: u64, end: u64) -> io::Result<Option<Bytes>> {
        loop {
            // Before looking, so that what comes between is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.next(position, end) {
                Next::Memory(bytes) => return Ok(Some(bytes)),
                Next::File(range) => return self.growing.read(range).await.map(Some),
                Next::Over => return Ok(None),
                Next::Failed(reason) => {
                    let message = format!("{} did not arrive: {reason}", self.digest);
                    return Err(io::Error::other(message));
                }
                Next::Wait => changed.await,
            }
        }
    }
}

/// Ends a flight that nobody has ended, as where fetching it panics: else its readers would wait for ever.
pub(crate) struct Landing(pub Arc<Flight>);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.end(Err("fetching it ended without a word".into()));
    }
}

impl Arriving for Flight {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_verified(&self) -> bool {
        matches!(self.state().end, Some(Ok(())))
    }

    fn read(self: Arc<Self>, range: Option<ByteRange>) -> BlobRead {
        let ByteRange { offset, length } = range.unwrap_or(ByteRange { offset: 0, length: self.size });
        let end = offset.saturating_add(length).min(self.size);
        let bytes = stream::try_unfold((self, offset), move |(flight, position)| async move {
            let next = flight.wait_and_read(position, end).await?;
            Ok(next.map(|bytes| {
                let position = position + bytes.len() as u64;
                (bytes, (flight, position))
            }))
        });
        BlobRead::Stream { length, stream: Box::pin(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use futures_util::{FutureExt, StreamExt, TryStreamExt};

    use super::*;

    /// A stage whose file has what it is told to have.
    #[derive(Default)]
    struct Fake(Mutex<Vec<u8>>);

    impl Growing for Fake {
        fn available(&self) -> u64 {
            self.0.lock().unwrap().len() as u64
        }

        fn read(&self, range: ByteRange) -> BoxFuture<'static, io::Result<Bytes>> {
            let bytes = self.0.lock().unwrap();
            let start = usize::try_from(range.offset).unwrap();
            let part = bytes.get(start..start + usize::try_from(range.length).unwrap());
            let part = part.map(Bytes::copy_from_slice).ok_or_else(|| io::Error::other("not written"));
            async { part }.boxed()
        }
    }

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    fn flight(size: usize) -> (Arc<Flight>, Arc<Fake>, Vec<u8>) {
        let (content, file) = (content(size), Arc::new(Fake::default()));
        let digest = Digest::sha256(&content);
        (Arc::new(Flight::new(digest, size as u64, file.clone())), file, content)
    }

    fn stream(
        flight: &Arc<Flight>,
        range: Option<ByteRange>,
    ) -> futures_util::stream::BoxStream<'static, io::Result<Bytes>> {
        match flight.clone().read(range) {
            BlobRead::Stream { stream, .. } => stream,
            BlobRead::File(_) => panic!("a file"),
        }
    }

    async fn all(flight: &Arc<Flight>, range: Option<ByteRange>) -> io::Result<Vec<u8>> {
        stream(flight, range)
            .try_fold(Vec::new(), |mut all, bytes| async move {
                all.extend_from_slice(&bytes);
                Ok(all)
            })
            .await
    }

    #[tokio::test]
    async fn everybody_reads_all_wherever_it_is_and_whenever_they_come() {
        let (flight, file, content) = flight(1_000_000);
        let mut readers = Vec::new();
        let mut part = 0;
        for (number, bytes) in content.chunks(7_777).enumerate() {
            let range = ByteRange { offset: part, length: 300_000 };
            if number % 20 == 0 {
                let (flight, flight2) = (flight.clone(), flight.clone());
                readers.push((
                    range,
                    tokio::spawn(async move { all(&flight, None).await }),
                    tokio::spawn(async move { all(&flight2, Some(range)).await }),
                ));
                part += 90_000;
            }
            flight.receive(Bytes::copy_from_slice(bytes));
            // The file comes after, in steps of its own.
            if number % 13 == 0 {
                let end = (number * 7_777).min(content.len());
                *file.0.lock().unwrap() = content[..end].to_vec();
            }
            tokio::task::yield_now().await;
        }
        assert!(readers.iter().all(|(_, whole, _)| !whole.is_finished()), "the end is held back");
        *file.0.lock().unwrap() = content.clone();
        flight.end(Ok(()));
        for (ByteRange { offset, length }, whole, part) in readers {
            assert!(whole.await.unwrap().unwrap() == content);
            let (start, end) = (offset as usize, (offset + length) as usize);
            assert!(part.await.unwrap().unwrap() == content[start..end]);
        }
        assert!(all(&flight, None).await.unwrap() == content, "and who comes after the end");
    }

    #[tokio::test]
    async fn what_has_landed_is_read_from_its_file() {
        let (flying, file, content) = flight(100_000);
        *file.0.lock().unwrap() = content.clone();
        let landed = Arc::new(Flight::landed(flying.digest, flying.size, file));
        assert!(all(&landed, None).await.unwrap() == content);
        assert!(
            all(&landed, Some(ByteRange { offset: 99_990, length: 10 })).await.unwrap() == content[99_990..]
        );
        assert!(all(&landed, Some(ByteRange { offset: 100_000, length: 0 })).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn nobody_gets_the_end_of_what_is_wrong() {
        let (flight, _file, content) = flight(200_000);
        flight.receive(Bytes::copy_from_slice(&content));
        let mut early = stream(&flight, None);
        let mut seen = 0;
        while seen < 200_000 - 65_536 {
            seen += early.next().await.unwrap().unwrap().len();
        }
        assert_eq!(seen, 200_000 - 65_536);
        assert!(early.next().now_or_never().is_none(), "the rest waits");
        flight.end(Err("it has another digest".into()));
        let error = early.next().await.unwrap().unwrap_err().to_string();
        assert!(error.contains("another digest"), "{error}");
        assert!(all(&flight, Some(ByteRange { offset: 0, length: 10 })).await.is_err(), "nor anything later");
    }

    #[tokio::test]
    async fn the_first_bytes_go_on_at_once_and_small_blobs_wait() {
        let (large, _file, content) = flight(500_000);
        let mut reader = stream(&large, None);
        let first = tokio::spawn(async move { reader.next().await.unwrap().unwrap() });
        tokio::task::yield_now().await;
        large.receive(Bytes::copy_from_slice(&content[..10]));
        assert_eq!(first.await.unwrap(), content[..10]);
        let (small, file, content) = flight(10);
        small.receive(Bytes::copy_from_slice(&content));
        let mut reader = stream(&small, None);
        assert!(reader.next().now_or_never().is_none());
        *file.0.lock().unwrap() = content.clone();
        small.end(Ok(()));
        assert_eq!(reader.next().await.unwrap().unwrap(), content);
        assert!(reader.next().await.is_none());
    }
}
