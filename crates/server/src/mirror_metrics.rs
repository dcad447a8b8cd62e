//! What the metrics tell of upstreams: read from the mirror when they are asked for, so that nothing is counted twice.

use std::fmt;
use std::sync::Arc;

use mirror::{CacheStats, Mirror, Standing, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Reads the metrics of upstreams.
pub(crate) struct MirrorMetrics(pub(crate) Arc<Mirror>);

impl fmt::Debug for MirrorMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MirrorMetrics")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RegistryLabels {
    upstream: String,
    registry: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabels {
    peer: String,
}

/// What is counted for an upstream: the name, what it means, and where it is read.
type Count = (&'static str, &'static str, fn(&Stats) -> u64);

const COUNTS: [Count; 5] = [
    ("mirror_hits", "Manifests and blobs that were here when they were asked for", |stats| stats.hits),
    ("mirror_misses", "Manifests and blobs that were not here yet", |stats| stats.misses),
    ("mirror_stale", "Answers that may be old, because the upstream could not be asked", |stats| stats.stale),
    ("mirror_failures", "Requests that could not be answered, or for what is nowhere", |stats| {
        stats.failures
    }),
    ("fallback_reads", "Manifests that were read for a project that replaces the upstream", |stats| {
        stats.fallbacks
    }),
];

/// What is known of a registry of an upstream; nothing where it does not say.
type Measure = (&'static str, &'static str, fn(&Standing) -> Option<u64>);

const MEASURES: [Measure; 3] = [
    (
        "upstream_available",
        "Whether a registry of an upstream is asked: 0 while it is left alone, or its last requests failed",
        |standing| Some(standing.is_available().into()),
    ),
    ("upstream_limit", "How many requests a registry of an upstream allows", |standing| standing.limit),
    ("upstream_remaining", "How many of them are left", |standing| standing.remaining),
];

impl Collector for MirrorMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let upstreams = self.0.upstreams();
        let stats = |key: &str| (UpstreamLabels { upstream: key.to_owned() }, self.0.stats(key));
        let stats: Vec<_> = upstreams.iter().map(|upstream| stats(upstream.key())).collect();
        for (name, help, read) in COUNTS {
            counters(&mut encoder, (name, help, None), &stats, read)?;
        }
        let fetched = ("mirror_fetched", "Bytes of blobs and manifests that were fetched", Some(Unit::Bytes));
        counters(&mut encoder, fetched, &stats, |stats| stats.fetched_bytes)?;
        let from_peers = ("mirror_peer", "Bytes of blobs and manifests that peers had", Some(Unit::Bytes));
        counters(&mut encoder, from_peers, &stats, |stats| stats.peer_bytes)?;
        peers(&mut encoder, self.0.peers())?;
        let downloads = ConstGauge::new(self.0.downloads() as u64);
        let about = "Blobs on their way here";
        downloads.encode(encoder.encode_descriptor("mirror_downloads", about, None, MetricType::Gauge)?)?;
        cache(&mut encoder, &self.0.cache_stats())?;
        let standings = upstreams.iter().flat_map(|upstream| {
            let of = |registry| RegistryLabels { upstream: upstream.key().to_owned(), registry };
            upstream.standing().into_iter().map(move |(registry, standing)| (of(registry), standing))
        });
        let standings: Vec<_> = standings.collect();
        for (name, help, read) in MEASURES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, standing) in &standings {
                if let Some(value) = read(standing) {
                    ConstGauge::new(value).encode(family.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

/// What is in the cache of all upstreams, and what was evicted from it.
fn cache(encoder: &mut DescriptorEncoder<'_>, stats: &CacheStats) -> fmt::Result {
    let bytes = Some(&Unit::Bytes);
    for (name, help, unit, value) in [
        ("mirror_cached_blobs", "Blobs that only upstreams' repositories hold", None, stats.blobs),
        ("mirror_cached", "Bytes of these blobs", bytes, stats.bytes),
    ] {
        ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)?;
    }
    for (name, help, unit, value) in [
        ("mirror_evicted_blobs", "Blobs that were evicted", None, stats.evicted_blobs),
        ("mirror_evicted", "Bytes of these blobs", bytes, stats.evicted_bytes),
    ] {
        ConstCounter::new(value).encode(encoder.encode_descriptor(
            name,
            help,
            unit,
            MetricType::Counter,
        )?)?;
    }
    Ok(())
}

/// Which nodes of the tier are asked.
fn peers(encoder: &mut DescriptorEncoder<'_>, peers: Vec<(String, Standing)>) -> fmt::Result {
    let help =
        "Whether another node of the tier is asked: 0 while it is left alone, or its last requests failed";
    let mut family = encoder.encode_descriptor("peer_available", help, None, MetricType::Gauge)?;
    for (peer, standing) in peers {
        let value = u64::from(standing.is_available());
        ConstGauge::new(value).encode(family.encode_family(&PeerLabels { peer })?)?;
    }
    Ok(())
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<Unit>),
    stats: &[(UpstreamLabels, Stats)],
    read: fn(&Stats) -> u64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
    for (labels, stats) in stats {
        ConstCounter::new(read(stats)).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}
