//! A blob on its way: one verified stream, however often its source has to be asked again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use oci::{Descriptor, Verifier, VerifyError};

use crate::{ByteStream, Event, Origin, Progress, Retry, Source, TransferError};

/// What a target is given to push a blob from.
///
/// Its streams mend themselves: where the source breaks off, they go on from the same byte. The last bytes are
/// told only after the whole has been verified, so that a target that counts bytes never completes a wrong blob.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    source: Arc<dyn Source>,
    descriptor: Descriptor,
    retry: Retry,
    progress: Arc<dyn Progress>,
    state: Mutex<State>,
}

/// How far the content has been verified. Kept outside the streams, so that a second stream that begins before
/// the end of the first goes on with the same hash.
struct State {
    /// Which stream is the last that was made. What took an earlier one may go on reading for a while after its
    /// request has been answered; those bytes must not get into the hash of the later one.
    stream: u64,
    verifier: Option<Verifier>,
    seen: u64,
    failure: Option<TransferError>,
}

impl Feed {
    /// Brings the blob `descriptor` from `source`.
    pub fn new(
        source: Arc<dyn Source>,
        descriptor: Descriptor,
        retry: Retry,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let state = Mutex::new(State { stream: 0, verifier: None, seen: 0, failure: None });
        Self(Arc::new(Inner { source, descriptor, retry, progress, state }))
    }

    /// The blob.
    pub fn descriptor(&self) -> &Descriptor {
        &self.0.descriptor
    }

    /// Where it could be mounted from.
    pub fn origin(&self) -> Option<&Origin> {
        self.0.source.origin()
    }

    /// What to do about faults that may pass.
    pub fn retry(&self) -> &Retry {
        &self.0.retry
    }

    /// Why the source's side failed for good, if it did. A target that sees its request broken asks this
    /// first: no other try of its own can help then.
    pub fn failure(&self) -> Option<TransferError> {
        self.0.state().failure.clone()
    }

    /// The whole blob. Whichever way a stream is made, it is the end of the one before it.
    pub fn from_start(&self) -> ByteStream {
        self.after(Verifier::new(self.0.descriptor.digest, Some(self.0.descriptor.size)), 0)
    }

    /// The rest of the blob for a target that holds its first `offset` bytes from an earlier run. `prefix` has
    /// taken them in.
    pub fn after(&self, prefix: Verifier, offset: u64) -> ByteStream {
        let mut state = self.0.state();
        *state = State { stream: state.stream, verifier: Some(prefix), seen: offset, failure: None };
        self.stream(&mut state, offset)
    }

    /// The blob again from `offset`, for a target that took only so much of this feed's last stream. `None`
    /// when it claims to have more than it was sent.
    pub fn again(&self, offset: u64) -> Option<ByteStream> {
        let mut state = self.0.state();
        (offset <= state.seen).then(|| self.stream(&mut state, offset))
    }

    /// Waits as long as the policy says after this many failures in a row of the target, and tells the
    /// progress why. Gives the error back when it was one failure too many.
    pub async fn pause(&self, failures: u32, error: TransferError) -> Result<(), TransferError> {
        let Some(pause) = self.0.retry.pause(failures) else { return Err(error) };
        self.0.wait(&error, pause).await;
        Ok(())
    }

    fn stream(&self, state: &mut State, offset: u64) -> ByteStream {
        state.stream += 1;
        let (inner, number) = (self.0.clone(), state.stream);
        let cursor = Cursor {
            inner: inner.clone(),
            number,
            stream: None,
            position: offset,
            failures: 0,
            failed_at: offset,
        };
        stream::try_unfold(cursor, Cursor::next)
            .inspect_err(move |error| {
                let mut state = inner.state();
                if state.stream == number {
                    state.failure = Some(error.clone());
                }
            })
            .boxed()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self, error: &TransferError, pause: Duration) {
        let reason = error.to_string();
        self.progress.event(Event::Retrying { descriptor: &self.descriptor, reason: &reason, pause });
        tokio::time::sleep(pause).await;
    }

    fn corrupt(&self, error: VerifyError) -> TransferError {
        TransferError::Corrupt { digest: self.descriptor.digest, place: self.source.place(), error }
    }

    /// Takes in the bytes that end at `end` in the stream `number`. What an earlier stream has brought already is
    /// not hashed twice.
    fn verify(&self, number: u64, bytes: &[u8], end: u64) -> Result<(), TransferError> {
        let mut state = self.state();
        if state.stream != number {
            return Err(TransferError::Replaced(self.descriptor.digest));
        }
        self.hash(&mut state, bytes, end).map_err(|error| self.corrupt(error))
    }

    fn hash(&self, state: &mut State, bytes: &[u8], end: u64) -> Result<(), VerifyError> {
        let size = self.descriptor.size;
        if end > size {
            return Err(VerifyError::TooLong { expected: size });
        }
        let fresh = usize::try_from(end.saturating_sub(state.seen)).unwrap_or(usize::MAX).min(bytes.len());
        if let Some(verifier) = &mut state.verifier {
            verifier.update(&bytes[bytes.len() - fresh..])?;
        }
        state.seen = state.seen.max(end);
        if end == size { state.verifier.take().map_or(Ok(()), Verifier::finish) } else { Ok(()) }
    }
}

/// One reading of the blob.
struct Cursor {
    inner: Arc<Inner>,
    number: u64,
    stream: Option<ByteStream>,
    position: u64,
    failures: u32,
    failed_at: u64,
}

impl Cursor {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, TransferError> {
        let size = self.inner.descriptor.size;
        if self.position == size {
            // Nothing was read of an empty blob, and yet its digest must be right.
            self.inner.verify(self.number, &[], size)?;
            return Ok(None);
        }
        loop {
            match self.read().await {
                Ok(chunk) => {
                    self.accept(&chunk)?;
                    return Ok(Some((chunk, self)));
                }
                Err(error) => self.recover(error).await?,
            }
        }
    }

    async fn read(&mut self) -> Result<Bytes, TransferError> {
        let Inner { source, descriptor, .. } = self.inner.as_ref();
        let stream = match &mut self.stream {
            Some(stream) => stream,
            empty => empty.insert(source.blob(descriptor, self.position).await?),
        };
        while let Some(chunk) = stream.try_next().await? {
            if !chunk.is_empty() {
                return Ok(chunk);
            }
        }
        Err(TransferError::Cut {
            digest: descriptor.digest,
            place: source.place(),
            position: self.position,
            size: descriptor.size,
        })
    }

    fn accept(&mut self, chunk: &Bytes) -> Result<(), TransferError> {
        let end = self.position + chunk.len() as u64;
        self.inner.verify(self.number, chunk, end)?;
        self.position = end;
        self.inner.progress.event(Event::Position(&self.inner.descriptor, end));
        Ok(())
    }

    /// After a fault of the source: waits, and lets the next read open the blob again where it stopped.
    async fn recover(&mut self, error: TransferError) -> Result<(), TransferError> {
        if !error.is_transient() {
            return Err(error);
        }
        let moved = self.position - self.failed_at >= Retry::PROGRESS;
        self.failures = if moved { 1 } else { self.failures + 1 };
        self.failed_at = self.position;
        self.stream = None;
        let Some(pause) = self.inner.retry.pause(self.failures) else { return Err(error) };
        self.inner.wait(&error, pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;
    use crate::fake::{Fake, run};

    fn feed(fake: &Arc<Fake>, descriptor: Descriptor) -> Feed {
        let retry = Retry { failures: 3, first: Duration::ZERO, longest: Duration::ZERO };
        Feed::new(fake.clone(), descriptor, retry, Arc::new(Silent))
    }

    async fn collect(stream: ByteStream) -> Result<Vec<u8>, TransferError> {
        stream
            .try_fold(Vec::new(), async |mut all, chunk| {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await
    }

    #[test]
    fn a_broken_source_is_asked_for_the_rest() {
        run(async {
            let fake = Arc::new(Fake::default());
            let content: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
            let descriptor = fake.put_blob(&content);
            fake.cut_after(40_000, 2);
            let feed = feed(&fake, descriptor);
            assert_eq!(collect(feed.from_start()).await.unwrap(), content);
            assert_eq!(fake.opened(), [0, 40_000, 80_000]);
        });
    }

    #[test]
    fn a_source_that_gives_nothing_is_given_up() {
        run(async {
            let fake = Arc::new(Fake::default());
            let descriptor = fake.put_blob(&[7; 1000]);
            fake.cut_after(10, usize::MAX);
            let feed = feed(&fake, descriptor);
            assert!(matches!(collect(feed.from_start()).await, Err(TransferError::Cut { position: 40, .. })));
            assert!(matches!(feed.failure(), Some(TransferError::Cut { .. })));
        });
    }

    #[test]
    fn wrong_bytes_never_end() {
        run(async {
            let check = async |served: &[u8], claimed: &[u8]| {
                let fake = Arc::new(Fake::default());
                let descriptor = fake.put_blob(claimed);
                fake.replace(&descriptor.digest, served);
                let mut stream = feed(&fake, descriptor).from_start();
                let mut told = 0;
                let error = loop {
                    match stream.try_next().await {
                        Ok(chunk) => told += chunk.expect("no end is told").len(),
                        Err(error) => break error,
                    }
                };
                assert!(told < claimed.len().max(1), "{served:?}");
                assert!(
                    matches!(error, TransferError::Corrupt { .. } | TransferError::Cut { .. }),
                    "{error}"
                );
            };
            check(b"wharg", b"wharf").await;
            check(b"wharfs", b"wharf").await;
            check(b"whar", b"wharf").await;
        });
    }

    #[test]
    fn a_target_can_have_bytes_again() {
        run(async {
            let fake = Arc::new(Fake::default());
            let descriptor = fake.put_blob(b"0123456789");
            let feed = feed(&fake, descriptor);
            fake.chunk(4);
            let mut first = feed.from_start();
            first.try_next().await.unwrap();
            first.try_next().await.unwrap();
            drop(first);
            assert!(feed.again(9).is_none(), "only eight bytes were sent");
            assert_eq!(collect(feed.again(3).unwrap()).await.unwrap(), b"3456789");
        });
    }

    #[test]
    fn a_stream_that_is_still_read_does_not_spoil_the_next() {
        run(async {
            let fake = Arc::new(Fake::default());
            let descriptor = fake.put_blob(b"0123456789");
            let feed = feed(&fake, descriptor);
            fake.chunk(4);
            // As a target does that is answered before it has sent all, and whose connection goes on sending.
            let mut first = feed.from_start();
            first.try_next().await.unwrap();
            let second = feed.from_start();
            assert!(matches!(first.try_next().await, Err(TransferError::Replaced(_))));
            assert!(feed.failure().is_none(), "the source has not failed");
            let mut third = feed.from_start();
            assert_eq!(third.try_next().await.unwrap().unwrap(), b"0123".as_slice());
            assert!(matches!(collect(second).await, Err(TransferError::Replaced(_))));
            let fourth = feed.again(4).unwrap();
            assert!(matches!(collect(third).await, Err(TransferError::Replaced(_))));
            assert_eq!(collect(fourth).await.unwrap(), b"456789");
        });
    }

    #[test]
    fn a_prefix_from_an_earlier_run_is_not_read() {
        run(async {
            let fake = Arc::new(Fake::default());
            let descriptor = fake.put_blob(b"0123456789");
            let check = async |prefix: &[u8], good: bool| {
                let mut verifier = Verifier::new(descriptor.digest, Some(10));
                verifier.update(prefix).unwrap();
                let rest = collect(feed(&fake, descriptor.clone()).after(verifier, 4)).await;
                assert_eq!(rest.is_ok(), good, "{prefix:?}");
            };
            check(b"0123", true).await;
            check(b"0124", false).await;
            assert_eq!(fake.opened(), [4, 4]);
        });
    }

    #[test]
    fn an_empty_blob_needs_no_bytes_but_the_right_digest() {
        run(async {
            let fake = Arc::new(Fake::default());
            let descriptor = fake.put_blob(b"");
            assert_eq!(collect(feed(&fake, descriptor.clone()).from_start()).await.unwrap(), b"");
            let wrong = Descriptor { digest: oci::Digest::sha256(b"x"), ..descriptor };
            assert!(matches!(
                collect(feed(&fake, wrong).from_start()).await,
                Err(TransferError::Corrupt { .. })
            ));
        });
    }
}
