//! The upstreams: how they do, and rehearsals of their outages.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mirror::{Closed, Figures, Mirror, Standing, Stats, Upstream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Items;

/// The longest rehearsal, in seconds: a day.
const OUTAGE_MAX: u64 = 86_400;

/// An upstream, and how it does.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Upstream")]
pub(crate) struct UpstreamShown {
    /// What its repositories' names begin with here.
    key: String,
    /// What clients call it in `ns`.
    namespaces: Vec<String>,
    /// Whether names that nobody here has mean it.
    pathless: bool,
    /// Its registries, in the order in which they are asked.
    registries: Vec<RegistryShown>,
    /// How much may come from it at once now.
    now: FiguresShown,
    /// What was done for it since the start.
    stats: StatsShown,
}

/// How much may come from an upstream at once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamFigures")]
struct FiguresShown {
    /// How many blobs are fetched at once.
    downloads: usize,
    /// How many bytes of blobs a second; 0 for any number.
    bandwidth: u64,
}

/// A registry of an upstream.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamRegistry")]
struct RegistryShown {
    /// Its host.
    host: String,
    /// Whether it is asked, and did not fail too often when it was asked last.
    available: bool,
    /// Why it is not asked, where it is not.
    closed: Option<ClosedShown>,
    /// Failures in a row.
    failures: u32,
    /// How many requests it allows, where it says so.
    limit: Option<u64>,
    /// How many of them are left.
    remaining: Option<u64>,
}

/// Why a registry is not asked.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamClosed")]
struct ClosedShown {
    /// In words.
    reason: &'static str,
    /// For how many more seconds.
    wait_seconds: u64,
}

/// What was done for an upstream since the start.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpstreamStats")]
struct StatsShown {
    /// Manifests and blobs that were here when they were asked for.
    hits: u64,
    /// Those that were not here yet.
    misses: u64,
    /// Of the hits, those that may be old, because the upstream could not be asked.
    stale: u64,
    /// Bytes of blobs and manifests that were fetched from it.
    fetched_bytes: u64,
    /// Those of blobs and manifests that peers had.
    peer_bytes: u64,
    /// Of the misses, those that could not be answered, or are nowhere.
    failures: u64,
    /// Manifests that were read there for a project that replaces it.
    fallbacks: u64,
}

/// A rehearsal.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outage {
    /// How long it lasts, at most a day.
    #[schemars(range(min = 1, max = 86_400))]
    seconds: u64,
}

pub(crate) async fn upstreams(call: &Call) -> Result<Items<UpstreamShown>, Problem> {
    let Some(mirror) = mirror(call)? else { return Ok(Items { items: Vec::new() }) };
    Ok(Items { items: mirror.upstreams().iter().map(|upstream| shown(upstream, mirror)).collect() })
}

pub(crate) async fn begin_outage(call: &Call, outage: Outage) -> Result<(), Problem> {
    if !(1..=OUTAGE_MAX).contains(&outage.seconds) {
        return Err(Problem::invalid(&format!("`seconds` is a number from 1 to {OUTAGE_MAX}")));
    }
    named(call)?.cut(Duration::from_secs(outage.seconds));
    Ok(())
}

pub(crate) async fn end_outage(call: &Call) -> Result<(), Problem> {
    named(call)?.cut(Duration::ZERO);
    Ok(())
}

fn mirror(call: &Call) -> Result<Option<&Mirror>, Problem> {
    if !call.edge.shared {
        let message = "no server runs on this data folder, and upstreams do nothing without one: start it";
        return Err(Problem::new(StatusCode::CONFLICT, message));
    }
    Ok(call.edge.mirror.as_deref())
}

/// The upstream in the path.
fn named(call: &Call) -> Result<&Upstream, Problem> {
    let key = call.params.get("upstream");
    let upstreams = mirror(call)?.map(Mirror::upstreams).unwrap_or_default();
    let found = upstreams.iter().map(Arc::as_ref).find(|upstream| upstream.key() == key);
    found.ok_or_else(|| {
        Problem::unknown("there is no upstream of this key: `wharf upstream list` shows those that there are")
    })
}

fn shown(upstream: &Upstream, mirror: &Mirror) -> UpstreamShown {
    let settings = upstream.settings();
    let Stats { hits, misses, stale, fetched_bytes, peer_bytes, failures, fallbacks } =
        mirror.stats(upstream.key());
    let Figures { downloads, bandwidth } = upstream.figures();
    UpstreamShown {
        key: settings.key.clone(),
        namespaces: settings.namespaces.clone(),
        pathless: settings.pathless,
        registries: upstream.standing().into_iter().map(registry).collect(),
        now: FiguresShown { downloads, bandwidth },
        stats: StatsShown { hits, misses, stale, fetched_bytes, peer_bytes, failures, fallbacks },
    }
}

fn registry((host, standing): (String, Standing)) -> RegistryShown {
    let available = standing.is_available();
    let Standing { closed, failures, limit, remaining } = standing;
    let closed = closed.map(|Closed { reason, wait }| ClosedShown {
        reason,
        // Rounded up, so that nobody is told to come at once.
        wait_seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
    });
    RegistryShown { host, available, closed, failures, limit, remaining }
}
