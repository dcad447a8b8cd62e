//! The writer: one thread with the one connection that writes, so that many batches share one flush.
//!
//! It takes what has queued up while it was busy and puts it into one transaction, each batch in a savepoint: a
//! failed condition undoes its own batch only. Nobody is answered before the transaction is on disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use meta::{Batch, Clock, Committed, MetaError};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::Config;
use crate::connection::BUSY_WAIT;
use crate::error::{Result, explain, repeat};
use crate::sql::Db;
use crate::write;

const WRITING: &str = "changing the metadata";
/// The log of so many times the length that is worth a checkpoint is too long: the writer then waits for readers
/// to leave it, so that it starts from its beginning again. As long as there are moments without a reader, it does
/// so by itself.
const TOO_LONG: i64 = 8;
/// How long the writer waits for readers, each time that the log has grown by a checkpoint's worth.
const RESTART_WAIT: Duration = Duration::from_millis(50);

/// A batch on its way to the writer.
pub(crate) struct Job {
    batch: Batch,
    answer: oneshot::Sender<Result<Committed>>,
}

/// The way to the writer's thread, which ends when this is dropped.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(connection: Connection, clock: Arc<dyn Clock>, config: &Config) -> Result<Self> {
        let (group, log_pages) = (config.group.max(1), config.log_pages.max(1));
        let (queue, jobs) = mpsc::channel(group);
        let thread = std::thread::Builder::new()
            .name("meta-writer".into())
            .spawn(move || Thread { connection, clock, group, log_pages, checked: 0 }.run(jobs))
            .map_err(|error| MetaError::Failed {
                action: "starting the writer",
                reason: error.to_string(),
            })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Commits a batch. Where the caller gives up waiting, the batch may be committed all the same.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<Committed> {
        let stopped =
            || MetaError::Failed { action: WRITING, reason: "the writer has stopped: restart wharf".into() };
        let (answer, committed) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Job { batch, answer }).await.map_err(|_| stopped())?;
        committed.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        // Waited for, so that what is queued is written and the database is closed when the store is gone. Were
        // it to panic, the panic was reported when it happened.
        self.thread.take().map(JoinHandle::join);
    }
}

struct Thread {
    connection: Connection,
    clock: Arc<dyn Clock>,
    group: usize,
    /// So many new pages in the write-ahead log are worth a checkpoint.
    log_pages: i64,
    /// The length of the write-ahead log at its last checkpoint, in pages.
    checked: i64,
}

impl Thread {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut group = Vec::with_capacity(self.group);
        while jobs.blocking_recv_many(&mut group, self.group) > 0 {
            let outcomes = self.commit_group(&group);
            let full = outcomes.iter().any(|outcome| matches!(outcome, Err(MetaError::Full)));
            for (job, outcome) in group.drain(..).zip(outcomes) {
                // The caller may have gone meanwhile; what was committed stays.
                drop(job.answer.send(outcome));
            }
            self.checkpoint(full);
        }
    }

    /// The outcome of each batch; where the transaction fails, all of them share its error.
    fn commit_group(&self, group: &[Job]) -> Vec<Result<Committed>> {
        let outcomes = self.execute("BEGIN IMMEDIATE").and_then(|()| {
            let outcomes = group.iter().map(|job| self.apply(&job.batch)).collect::<Result<Vec<_>>>()?;
            self.execute("COMMIT")?;
            Ok(outcomes)
        });
        outcomes.unwrap_or_else(|error| {
            // Fails where SQLite has rolled back already, which is as good.
            drop(self.execute("ROLLBACK"));
            group.iter().map(|_| Err(repeat(&error))).collect()
        })
    }

    /// Applies one batch in a savepoint. The outer error is of the transaction: it is lost.
    fn apply(&self, batch: &Batch) -> Result<Result<Committed>> {
        self.execute("SAVEPOINT batch")?;
        let db = Db::new(&self.connection, WRITING);
        // A panic is a bug in one batch; the others, and those to come, must not suffer from it. Nothing but
        // the connection is shared, and the savepoint brings that back.
        let outcome = catch_unwind(AssertUnwindSafe(|| write::apply(db, self.clock.now(), batch)))
            .unwrap_or_else(|_| {
                Err(MetaError::Failed {
                    action: WRITING,
                    reason: "a bug in the writer; its log has more".into(),
                })
            });
        if let Err(error) = &outcome {
            if self.connection.is_autocommit() {
                // A full disk or an I/O error: SQLite has rolled back the whole transaction.
                return Err(repeat(error));
            }
            self.execute("ROLLBACK TO batch")?;
        }
        self.execute("RELEASE batch")?;
        Ok(outcome)
    }

    /// Moves the write-ahead log into the database when it has grown, after all have their answers. On a full disk
    /// at once: the log then starts anew, and the deletions that make room find some in it.
    fn checkpoint(&mut self, at_once: bool) {
        if let Err(error) = self.try_checkpoint(at_once) {
            // Nothing is lost: what is committed is in the log, and the next round tries again.
            tracing::warn!(%error, "the write-ahead log of the metadata cannot be moved into the database");
        }
    }

    fn try_checkpoint(&mut self, at_once: bool) -> rusqlite::Result<()> {
        let pragma = |mode: &str| {
            let mut statement = self.connection.prepare_cached(mode)?;
            statement.query_row([], |row| row.get::<_, i64>(1))
        };
        let length = pragma("PRAGMA wal_checkpoint(NOOP)")?;
        if length < self.checked {
            self.checked = 0;
        }
        if length - self.checked < self.log_pages && !at_once {
            return Ok(());
        }
        self.checked = length;
        if length < TOO_LONG * self.log_pages {
            pragma("PRAGMA wal_checkpoint(PASSIVE)")?;
        } else {
            self.connection.busy_timeout(RESTART_WAIT)?;
            let restarted = pragma("PRAGMA wal_checkpoint(RESTART)");
            self.connection.busy_timeout(BUSY_WAIT)?;
            restarted?;
        }
        Ok(())
    }

    fn execute(&self, sql: &'static str) -> Result<()> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(|_| ())
            .map_err(|error| explain(WRITING, &error))
    }
}
