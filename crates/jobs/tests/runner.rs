//! What the runner does when runs are missed, are long, or go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jobs::{Job, JobError, Runner, Schedule};
use meta::contract::TestClock;
use meta::{Clock, MetaStore};
use meta_sql::SqliteMeta;
use tokio::sync::watch;

const HOUR: Duration = Duration::from_secs(3_600);

/// How each run of the job goes.
#[derive(Clone, Copy)]
enum Run {
    Ends,
    Lasts,
    Panics,
}

struct Counter {
    run: Run,
    begun: AtomicUsize,
}

impl Job for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn run(&self) -> BoxFuture<'_, Result<(), JobError>> {
        async move {
            self.begun.fetch_add(1, Ordering::SeqCst);
            match self.run {
                Run::Ends => Ok(()),
                Run::Lasts => std::future::pending().await,
                Run::Panics => panic!("a mistake in the job"),
            }
        }
        .boxed()
    }
}

struct World {
    meta: Arc<dyn MetaStore>,
    clock: Arc<TestClock>,
}

/// A runner that was started.
struct Started {
    job: Arc<Counter>,
    stop: watch::Sender<bool>,
    ended: tokio::task::JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(TestClock::new());
        let meta = SqliteMeta::in_memory(Arc::clone(&clock) as Arc<dyn Clock>).expect("a new database opens");
        Self { meta: Arc::new(meta), clock }
    }

    fn start(&self, schedule: Schedule, run: Run) -> Started {
        let job = Arc::new(Counter { run, begun: AtomicUsize::new(0) });
        let (stop, stopped) = watch::channel(false);
        let runner = Runner::new(Arc::clone(&self.meta)).with(schedule, job.clone());
        Started { job, stop, ended: tokio::spawn(runner.run(stopped)) }
    }

    async fn last(&self) -> Option<String> {
        self.meta.setting("job.counter.last").await.expect("it is answered")
    }

    /// A server that is up for a moment, and not when the job is due.
    async fn was_up(&self) {
        let started = self.start(monthly(), Run::Ends);
        for _ in 0..2_000 {
            if self.last().await.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(self.last().await.is_some(), "from its first start on, a run can be missed");
        assert_eq!(started.stop().await, 0);
    }
}

impl Started {
    async fn has_begun(&self, runs: usize) {
        while self.job.begun.load(Ordering::SeqCst) < runs {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Stops it, and says how often the job was begun.
    async fn stop(self) -> usize {
        self.stop.send_replace(true);
        self.ended.await.expect("the runner ends");
        self.job.begun.load(Ordering::SeqCst)
    }
}

/// Never due while a test runs.
fn monthly() -> Schedule {
    Schedule::Cron(Box::new("0 0 1 * *".parse().expect("a pattern")))
}

#[tokio::test]
async fn a_run_that_was_missed_is_made_up_for_also_where_there_was_none_before() {
    let world = World::new();
    world.was_up().await;
    let first = world.last().await;
    world.clock.advance(HOUR * 24 * 40);
    tokio::time::pause();
    let started = world.start(monthly(), Run::Ends);
    started.has_begun(1).await;
    while world.last().await == first {
        tokio::task::yield_now().await;
    }
    started.stop().await;
}

#[tokio::test]
async fn a_long_run_does_not_keep_the_server_from_stopping_and_is_done_again() {
    let world = World::new();
    world.was_up().await;
    let first = world.last().await;
    world.clock.advance(HOUR * 24 * 40);
    tokio::time::pause();
    for _ in 0..2 {
        let started = world.start(monthly(), Run::Lasts);
        started.has_begun(1).await;
        assert_eq!(started.stop().await, 1);
        assert_eq!(world.last().await, first, "what was cut is not remembered as done");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_panics_is_done_again() {
    let started = World::new().start(Schedule::Every(HOUR), Run::Panics);
    started.has_begun(3).await;
    assert!(started.stop().await >= 3);
}
