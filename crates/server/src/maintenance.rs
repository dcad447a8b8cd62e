//! The registry's own jobs.

use std::sync::Arc;

use access::{Action, Grant, Target};
use anyhow::Result;
use futures_util::future::{BoxFuture, FutureExt};
use identity::Identity;
use jobs::{Job, JobError, Runner, Schedule};
use mirror::Fallback;
use registry::{GcOptions, Registry, RegistryError};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::fallback::WriteUses;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::users::Tend;

/// How often the notes of pulls are written and usage is folded.
const TEND_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// How often what has changed is copied into a segment.
const COPY_EVERY: std::time::Duration = std::time::Duration::from_secs(600);

/// The runner with all jobs that the configuration asks for.
pub(crate) fn runner(
    config: &Config,
    store: &Store,
    metrics: &Arc<Metrics>,
    identity: Option<&Arc<Identity>>,
    fallback: Option<&Arc<Fallback>>,
) -> Result<Runner> {
    let work = |kind: Kind| -> Arc<dyn Job> {
        Arc::new(Work { kind, registry: Arc::clone(&store.registry), metrics: Arc::clone(metrics) })
    };
    let mut runner = Runner::new(Arc::clone(&store.meta))
        .with(Schedule::Every(TEND_EVERY), work(Kind::Tend))
        .with(Schedule::Every(COPY_EVERY), work(Kind::Segments))
        .with(Schedule::Every(config.upload_sweep()), work(Kind::Uploads));
    if !config.gc.schedule.is_empty() {
        runner = runner.with(Schedule::Cron(Box::new(config.gc.schedule.parse()?)), work(Kind::Collect));
    }
    if let Some(identity) = identity {
        runner = runner.with(Schedule::Every(TEND_EVERY), Arc::new(Tend(Arc::clone(identity))));
    }
    if let Some(fallback) = fallback {
        runner = runner.with(Schedule::Every(TEND_EVERY), Arc::new(WriteUses(Arc::clone(fallback))));
    }
    Ok(runner)
}

/// What a job does.
#[derive(Clone, Copy)]
enum Kind {
    Collect,
    Segments,
    Tend,
    Uploads,
}

struct Work {
    kind: Kind,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
}

impl Work {
    async fn collect(&self) -> Result<(), RegistryError> {
        let grant = Grant::system("gc", Action::Administer, Target::System);
        // Nobody reads the items of a scheduled run: its summary is logged.
        let (report, _) = mpsc::channel(1);
        let summary = self.registry.collect(&grant, GcOptions::default(), &report).await?;
        self.metrics.count_collection(&summary);
        tracing::info!(
            links = summary.links,
            blobs = summary.blobs,
            orphans = summary.orphans,
            uploads = summary.uploads,
            bytes = summary.bytes,
            "garbage collected"
        );
        Ok(())
    }

    async fn expire_uploads(&self) -> Result<(), RegistryError> {
        let count = self.registry.expire_uploads().await?;
        if count > 0 {
            tracing::info!(count, "abandoned uploads removed");
        }
        Ok(())
    }
}

impl Job for Work {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Collect => "gc",
            Kind::Segments => "segments",
            Kind::Tend => "usage",
            Kind::Uploads => "uploads",
        }
    }

    fn run(&self) -> BoxFuture<'_, Result<(), JobError>> {
        async move {
            let outcome = match self.kind {
                Kind::Collect => self.collect().await,
                Kind::Segments => self.registry.write_segments().await.map(|_| ()),
                Kind::Tend => self.registry.tend().await,
                Kind::Uploads => self.expire_uploads().await,
            };
            self.metrics.count_job(self.name(), outcome.is_ok());
            outcome.map_err(|error| {
                let cause =
                    std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                JobError(format!("{error}{cause}"))
            })
        }
        .boxed()
    }
}
