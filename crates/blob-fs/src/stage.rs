//! An upload as its writer holds it: receives on an async worker while the blocking pool hashes and writes.

use std::mem;
use std::sync::{Arc, Weak};

use blob::{BlobError, Growing, Stage, Staged};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use oci::Digest;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::blocking;
use crate::gather::{Budget, Gather};
use crate::growth::{Growth, Reader};
use crate::sessions::{Sessions, Turn};
use crate::spool::{Spool, hashed};

/// The one stage of an upload.
pub(crate) struct FsStage {
    turn: Turn,
    sessions: Arc<Sessions>,
    work: Work,
    gather: Gather,
    length: u64,
    /// The file is the spool's: that it is closed, which may take long for one that is removed, must not come to
    /// an async worker by the end of a stage.
    growth: Weak<Growth>,
}

/// The file after a write, and how that went. Where the upload has ended, or a thread has panicked, there is none.
type Written = (Option<Box<Spool>>, Result<(), BlobError>);

/// What becomes of an upload whose thread has panicked.
const PANICKED: Written = (None, Err(BlobError::NoUpload));

/// From this size bytes are hashed by a thread of their own while they are written.
const WORTH_A_THREAD: usize = 128 * 1024;

/// Where the file of the upload is.
enum Work {
    /// Here.
    Idle(Box<Spool>),
    /// With the blocking pool, which goes on if this is dropped.
    Running(BoxFuture<'static, Written>),
    /// Nowhere: the upload has ended, or its writing thread has panicked.
    Over,
}

impl FsStage {
    /// A stage over an upload's file.
    pub fn new(spool: Box<Spool>, sessions: Arc<Sessions>, budget: Arc<Budget>) -> Self {
        let (turn, length, growth) = (spool.turn(), spool.written(), Arc::downgrade(spool.growth()));
        Self { turn, sessions, work: Work::Idle(spool), gather: Gather::new(budget), length, growth }
    }

    /// Waits for the thread that writes, if there is one. After a failure the stage is as long as what is written.
    async fn rest(&mut self) -> Result<(), BlobError> {
        let Work::Running(job) = &mut self.work else { return Ok(()) };
        let (spool, outcome) = job.await;
        self.work = match spool {
            Some(spool) => {
                if outcome.is_err() {
                    self.gather.take();
                    self.length = spool.written();
                }
                Work::Idle(spool)
            }
            None => Work::Over,
        };
        outcome
    }

    /// Takes the file, to hand it on.
    async fn spool(&mut self) -> Result<Box<Spool>, BlobError> {
        self.rest().await?;
        match mem::replace(&mut self.work, Work::Over) {
            Work::Idle(spool) => Ok(spool),
            Work::Running(_) | Work::Over => Err(BlobError::NoUpload),
        }
    }

    /// Lets one thread write gathered bytes and, where they are many, another hash them.
    async fn write(&mut self, which: impl FnOnce(&mut Gather) -> Gather) -> Result<(), BlobError> {
        let mut spool = self.spool().await?;
        let gathered = which(&mut self.gather);
        self.work = Work::Running(if gathered.len() < WORTH_A_THREAD {
            running(move || {
                let outcome = spool.append(gathered.pieces());
                (Some(spool), outcome)
            })
        } else {
            write_and_hash(spool, gathered)
        });
        Ok(())
    }
}

/// Lets the blocking pool work on the file. It goes on if the future is dropped.
fn running(work: impl FnOnce() -> Written + Send + 'static) -> BoxFuture<'static, Written> {
    let job = spawn_blocking(work);
    async { job.await.unwrap_or(PANICKED) }.boxed()
}

/// Writes in one thread what another hashes meanwhile. Both go on if the future is dropped.
fn write_and_hash(mut spool: Box<Spool>, gathered: Gather) -> BoxFuture<'static, Written> {
    let (hasher, gathered) = (spool.hasher(), Arc::new(gathered));
    let bytes = gathered.clone();
    let hashing = spawn_blocking(move || hashed(hasher, bytes.pieces()));
    let bytes = gathered.clone();
    let writing = spawn_blocking(move || {
        let outcome = spool.write(bytes.pieces());
        (spool, outcome)
    });
    async move {
        let (Ok(hasher), Ok((mut spool, outcome))) = (hashing.await, writing.await) else { return PANICKED };
        if outcome.is_ok() {
            spool.advance(hasher, gathered.pieces());
        }
        (Some(spool), outcome)
    }
    .boxed()
}

impl Stage for FsStage {
    fn len(&self) -> u64 {
        self.length
    }

    fn append(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        async move {
            if let Work::Over = self.work {
                return Err(BlobError::NoUpload);
            }
            self.length += bytes.len() as u64;
            self.gather.push(bytes);
            if !self.gather.is_full() {
                return Ok(());
            }
            let end = self.length;
            self.write(|gather| gather.take_aligned(end)).await
        }
        .boxed()
    }

    fn settle(&mut self) -> BoxFuture<'_, Result<(), BlobError>> {
        async move {
            self.rest().await?;
            let settled = match &self.work {
                Work::Idle(spool) => spool.exists() && self.gather.is_empty(),
                Work::Running(_) | Work::Over => false,
            };
            if !settled {
                self.write(Gather::take).await?;
            }
            self.rest().await
        }
        .boxed()
    }

    fn growing(&self) -> Arc<dyn Growing> {
        // An upload that has ended has nothing more to read.
        Arc::new(Reader(self.growth.upgrade().unwrap_or_default()))
    }

    fn verify(&mut self, expected: Digest) -> BoxFuture<'_, Result<(), BlobError>> {
        async move {
            let mut spool = self.spool().await?;
            let gathered = self.gather.take();
            self.work = Work::Running(running(move || {
                let outcome = spool.verify(gathered.pieces(), expected);
                ((!spool.ended()).then_some(spool), outcome)
            }));
            self.rest().await
        }
        .boxed()
    }

    fn commit(mut self: Box<Self>, expected: Digest) -> BoxFuture<'static, Result<Staged, BlobError>> {
        async move {
            let spool = self.spool().await?;
            let gathered = self.gather.take();
            blocking(move || spool.commit(gathered.pieces(), expected)).await
        }
        .boxed()
    }

    fn abort(mut self: Box<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        async move {
            // A write that failed is no reason to keep what is to go.
            let spool = match self.spool().await {
                Ok(spool) => Ok(spool),
                Err(_) => self.spool().await,
            };
            let mut spool = spool?;
            blocking(move || spool.discard()).await
        }
        .boxed()
    }
}

impl Drop for FsStage {
    /// Sees to it that what has arrived is written, though nobody waits for it: a client that lost its connection
    /// goes on from there.
    fn drop(&mut self) {
        let gathered = self.gather.take();
        match mem::replace(&mut self.work, Work::Over) {
            Work::Idle(spool) if spool.exists() && gathered.is_empty() => drop(spool),
            Work::Idle(spool) => {
                self.sessions.leaving(self.turn);
                finish(spool, gathered);
            }
            Work::Running(job) => {
                // Before the job is let go: at its end it frees the upload.
                self.sessions.leaving(self.turn);
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(async move {
                        if let (Some(spool), Ok(())) = job.await {
                            finish(spool, gathered);
                        }
                    });
                }
            }
            Work::Over => {}
        }
    }
}

/// Writes the last bytes of a stage that is no more.
fn finish(mut spool: Box<Spool>, gathered: Gather) {
    // Without a runtime the process is about to end, and the bytes with it.
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn_blocking(move || {
            // Nobody is left to be told. The upload keeps what was written, and the next writer meets the error.
            let _ = spool.append(gathered.pieces());
        });
    }
}
