//! Metrics, in the OpenMetrics text form.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use http_oci::{Observation, Operation};
use meta::Totals;
use mirror::Mirror;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use registry::GcSummary;

use crate::edge::Edge;
use crate::edge_metrics::EdgeMetrics;
use crate::mirror_metrics::MirrorMetrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    job: &'static str,
    outcome: &'static str,
}

/// All metrics of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    seconds: Family<EndpointLabels, Histogram>,
    jobs: Family<JobLabels, Counter<u64, AtomicU64>>,
    collected_blobs: Counter<u64, AtomicU64>,
    collected_bytes: Counter<u64, AtomicU64>,
    repositories: Gauge<i64, AtomicI64>,
    manifests: Gauge<i64, AtomicI64>,
    tags: Gauge<i64, AtomicI64>,
    logical_bytes: Gauge<i64, AtomicI64>,
    blobs: Gauge<i64, AtomicI64>,
    stored_bytes: Gauge<i64, AtomicI64>,
    lost_records: Gauge<i64, AtomicI64>,
}

fn histogram() -> Histogram {
    Histogram::new([0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0])
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("wharf"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            jobs: Family::default(),
            collected_blobs: Counter::default(),
            collected_bytes: Counter::default(),
            repositories: Gauge::default(),
            manifests: Gauge::default(),
            tags: Gauge::default(),
            logical_bytes: Gauge::default(),
            blobs: Gauge::default(),
            stored_bytes: Gauge::default(),
            lost_records: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    /// The same, with those of upstreams where there are any.
    #[must_use]
    pub(crate) fn with_mirror(mut self, mirror: Option<&Arc<Mirror>>) -> Self {
        if let Some(mirror) = mirror {
            self.registry.register_collector(Box::new(MirrorMetrics(Arc::clone(mirror))));
        }
        self
    }

    /// The same, with those of sites and signed addresses where there are keys.
    #[must_use]
    pub(crate) fn with_edge(mut self, edge: &Edge) -> Self {
        if let Some(by_url) = &edge.by_url {
            let (sites, by_url) = (edge.all.clone(), Arc::clone(by_url));
            self.registry.register_collector(Box::new(EdgeMetrics { sites, by_url }));
        }
        self
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("requests", "Requests answered, by endpoint and status", self.requests.clone());
        r.register_with_unit(
            "request_duration",
            "Time to answer a request, the sending of its body left out",
            Unit::Seconds,
            self.seconds.clone(),
        );
        r.register("jobs", "Runs of jobs, by their outcome", self.jobs.clone());
        r.register("gc_blobs", "Blobs that garbage collection deleted", self.collected_blobs.clone());
        r.register_with_unit(
            "gc_deleted",
            "Bytes that garbage collection freed",
            Unit::Bytes,
            self.collected_bytes.clone(),
        );
        r.register("repositories", "Repositories", self.repositories.clone());
        r.register("manifests", "Manifests, counted in each repository", self.manifests.clone());
        r.register("tags", "Tags", self.tags.clone());
        r.register_with_unit(
            "logical_size",
            "Bytes as repositories count them, before deduplication",
            Unit::Bytes,
            self.logical_bytes.clone(),
        );
        r.register("blobs", "Blobs stored", self.blobs.clone());
        r.register(
            "audit_lost_records",
            "Records that could not be written into the audit journal since the start",
            self.lost_records.clone(),
        );
        r.register_with_unit(
            "stored_size",
            "Bytes of the blobs stored, after deduplication",
            Unit::Bytes,
            self.stored_bytes.clone(),
        );
    }

    /// All of them as text.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(crate) fn set_totals(&self, totals: &Totals) {
        let set = |gauge: &Gauge<i64, AtomicI64>, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.repositories, totals.repositories);
        set(&self.manifests, totals.manifests);
        set(&self.tags, totals.tags);
        set(&self.logical_bytes, totals.logical_bytes);
        set(&self.blobs, totals.blobs);
        set(&self.stored_bytes, totals.stored_bytes);
    }

    pub(crate) fn set_lost_records(&self, lost: u64) {
        self.lost_records.set(i64::try_from(lost).unwrap_or(i64::MAX));
    }

    pub(crate) fn count_job(&self, job: &'static str, succeeded: bool) {
        let outcome = if succeeded { "succeeded" } else { "failed" };
        self.jobs.get_or_create(&JobLabels { job, outcome }).inc();
    }

    pub(crate) fn count_collection(&self, summary: &GcSummary) {
        self.collected_blobs.inc_by(summary.blobs + summary.orphans);
        self.collected_bytes.inc_by(summary.bytes);
    }
}

impl Metrics {
    /// Counts a request.
    pub(crate) fn observe(&self, observation: &Observation<'_>) {
        let endpoint = observation.operation.map_or("none", Operation::name);
        let (status, took) = (observation.status.as_u16(), observation.took);
        self.requests.get_or_create(&RequestLabels { endpoint, status }).inc();
        self.seconds.get_or_create(&EndpointLabels { endpoint }).observe(seconds(took));
    }
}

fn seconds(took: Duration) -> f64 {
    took.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_observed_is_told() {
        let metrics = Metrics::new();
        metrics.observe(&Observation {
            operation: Some(Operation::GetBlob),
            status: http::StatusCode::OK,
            took: Duration::from_millis(2),
            subject: None,
            context: &access::Context::default(),
            method: &http::Method::GET,
            repository: None,
            reference: None,
            digest: None,
            replaced: None,
            signed_in: false,
            claimed: None,
            why: None,
        });
        metrics.set_totals(&Totals { blobs: 7, ..Totals::default() });
        metrics.count_job("gc", true);
        let text = metrics.encode().unwrap();
        for line in [
            "wharf_requests_total{endpoint=\"blob_get\",status=\"200\"} 1",
            "wharf_request_duration_seconds_count{endpoint=\"blob_get\"} 1",
            "wharf_blobs 7",
            "wharf_jobs_total{job=\"gc\",outcome=\"succeeded\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
