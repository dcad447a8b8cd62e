//! Work that is due by the clock: what runs when, one run of a job at a time, until the server stops.
//!
//! When a job last ran is remembered in the metadata: a run that was missed because the server was down is made
//! up for soon after the next start.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use croner::Cron;
use futures_util::future::{BoxFuture, FutureExt, join_all};
use meta::{Batch, MetaError, MetaStore, Origin, Timestamp, Write};
use tokio::sync::watch;

/// How long after a start a missed run is made up for: the server has more urgent things to do at first.
const MAKE_UP: Duration = Duration::from_secs(60);

/// One kind of work.
pub trait Job: Send + Sync {
    /// The name under which its last run is remembered, and that logs use.
    fn name(&self) -> &'static str;

    /// Does the work once. An error is logged, and the work is done again when it is next due. Where the schedule is
    /// a cron pattern, it is dropped at whatever it waits for when the server stops.
    fn run(&self) -> BoxFuture<'_, Result<(), JobError>>;
}

/// Why a job did not do its work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JobError(pub String);

/// When a job is due.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// Again and again, with this pause. Such a job is short, and its runs are not remembered.
    Every(Duration),
    /// By a cron pattern, in UTC. Such a job may be long: the server does not wait for its end.
    Cron(Box<CronSchedule>),
}

/// A cron pattern of five fields: minute, hour, day of the month, month, day of the week.
#[derive(Clone)]
pub struct CronSchedule(Cron);

/// Why a text is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a schedule: write five fields, as in `30 3 * * 0` for Sundays at 3:30 UTC ({reason})"
)]
pub struct ScheduleError {
    text: String,
    reason: String,
}

impl FromStr for CronSchedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let fail = |reason: String| ScheduleError { text: text.chars().take(80).collect(), reason };
        if text.len() > 200 {
            return Err(fail("it is too long".into()));
        }
        Cron::from_str(text).map(Self).map_err(|error| fail(error.to_string()))
    }
}

impl fmt::Debug for CronSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.pattern)
    }
}

impl CronSchedule {
    /// The first moment after `after` that the pattern names, if it ever names one.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = DateTime::<Utc>::from_timestamp_micros(after.micros())?;
        let next = self.0.find_next_occurrence(&after, false).ok()?;
        Some(Timestamp::from_micros(next.timestamp_micros()))
    }
}

/// Runs jobs until it is told to stop.
pub struct Runner {
    meta: Arc<dyn MetaStore>,
    jobs: Vec<(Schedule, Arc<dyn Job>)>,
}

impl Runner {
    /// A runner without jobs that remembers runs in `meta`.
    pub fn new(meta: Arc<dyn MetaStore>) -> Self {
        Self { meta, jobs: Vec::new() }
    }

    /// The runner, with one more job.
    #[must_use]
    pub fn with(mut self, schedule: Schedule, job: Arc<dyn Job>) -> Self {
        self.jobs.push((schedule, job));
        self
    }

    /// Runs the jobs when they are due. Ends when `stop` becomes true, after the short runs that are under way.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let keepers = self
            .jobs
            .into_iter()
            .map(|(schedule, job)| Keeper { meta: Arc::clone(&self.meta), schedule, job }.keep(stop.clone()));
        join_all(keepers).await;
    }
}

/// Keeps one job to its schedule.
struct Keeper {
    meta: Arc<dyn MetaStore>,
    schedule: Schedule,
    job: Arc<dyn Job>,
}

impl Keeper {
    async fn keep(self, mut stop: watch::Receiver<bool>) {
        let mut first = true;
        loop {
            let pause = if first { self.first_pause().await } else { self.pause() };
            first = false;
            // A pattern that names no moment to come is never due.
            let due = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = stopped(&mut stop) => return,
            }
            let started = self.meta.now();
            match &self.schedule {
                Schedule::Every(_) => self.run_once().await,
                Schedule::Cron(_) => {
                    tokio::select! {
                        () = self.run_once() => {}
                        // Not remembered: it is made up for after the next start.
                        () = stopped(&mut stop) => return,
                    }
                    self.remember(started).await;
                }
            }
        }
    }

    /// How long to wait for the next run.
    fn pause(&self) -> Option<Duration> {
        match &self.schedule {
            Schedule::Every(pause) => Some(*pause),
            Schedule::Cron(cron) => {
                let now = self.meta.now();
                let micros = cron.next(now)?.micros() - now.micros();
                u64::try_from(micros).ok().map(Duration::from_micros)
            }
        }
    }

    /// How long to wait for the first run after a start.
    async fn first_pause(&self) -> Option<Duration> {
        if let Schedule::Cron(cron) = &self.schedule {
            let now = self.meta.now();
            match self.last_run().await {
                Ok(Some(last)) if cron.next(last).is_some_and(|due| due <= now) => return Some(MAKE_UP),
                // From here on it can be missed, also by a server that is never up when it is due.
                Ok(None) => self.remember(now).await,
                Ok(Some(_)) => {}
                Err(error) => {
                    tracing::error!(job = self.job.name(), %error, "cannot read when the job last ran");
                }
            }
        }
        self.pause()
    }

    async fn run_once(&self) {
        let name = self.job.name();
        // A mistake in the job must not end the loop.
        match AssertUnwindSafe(self.job.run()).catch_unwind().await {
            Ok(Ok(())) => tracing::debug!(job = name, "done"),
            Ok(Err(error)) => {
                tracing::error!(job = name, %error, "failed; it is tried again when it is next due");
            }
            Err(_) => {
                tracing::error!(
                    job = name,
                    "panicked, which is a mistake in it; it is tried again when it is next due"
                );
            }
        }
    }

    fn setting(&self) -> String {
        format!("job.{}.last", self.job.name())
    }

    async fn last_run(&self) -> Result<Option<Timestamp>, MetaError> {
        let value = self.meta.setting(&self.setting()).await?;
        Ok(value.and_then(|value| value.parse().ok()).map(Timestamp::from_micros))
    }

    async fn remember(&self, started: Timestamp) {
        let origin = Origin { actor: format!("job:{}", self.job.name()), ..Origin::default() };
        let write = Write::Setting { name: self.setting(), value: started.micros().to_string() };
        if let Err(error) = self.meta.commit(Batch::of(origin, write)).await {
            tracing::error!(job = self.job.name(), %error, "cannot remember that the job ran");
        }
    }
}

/// Returns when the server stops, or has gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_moments() {
        let check = |pattern: &str, after: &str, expect: &str| {
            let schedule: CronSchedule = pattern.parse().unwrap();
            let at = |text: &str| {
                Timestamp::from_micros(text.parse::<DateTime<Utc>>().unwrap().timestamp_micros())
            };
            assert_eq!(schedule.next(at(after)), Some(at(expect)), "{pattern}");
        };
        check("30 3 * * *", "2026-11-24T03:30:00Z", "2026-11-25T03:30:00Z");
        check("30 3 * * 0", "2026-11-24T00:00:00Z", "2026-11-29T03:30:00Z");
        check("0 0 29 2 *", "2026-11-24T00:00:00Z", "2028-02-29T00:00:00Z");
    }

    #[test]
    fn bad_patterns_are_refused() {
        let long = "* ".repeat(200);
        for text in ["", "x", "99 * * * *", "* * *", &long] {
            assert!(text.parse::<CronSchedule>().is_err(), "{text}");
        }
    }
}
