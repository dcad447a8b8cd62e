//! Garbage collection, checks and rebuilds: work that tells of itself while it goes on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_kit::Body;
use registry::{CheckOptions, GcOptions, RegistryError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::call::Call;
use crate::lines;
use crate::problem::Problem;
use crate::reply::{LINES, Reply};

/// How many lines may wait for a slow reader before the work waits, too.
const WAITING: usize = 256;

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GcRequest {
    /// The grace, instead of the configured one.
    grace_seconds: Option<u64>,
    /// Tell what would go, and change nothing.
    dry_run: bool,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CheckRequest {
    /// Read every blob and compute its digest, instead of looking at its size.
    read: bool,
}

pub(crate) async fn gc(call: &Call, request: GcRequest) -> Result<Reply, Problem> {
    let (registry, grant) = (Arc::clone(&call.edge.registry), call.grant()?.clone());
    let options =
        GcOptions { grace: request.grace_seconds.map(Duration::from_secs), dry_run: request.dry_run };
    let summary = move |summary| lines::gc_summary(&summary, options.dry_run);
    Ok(told(
        lines::gc_item,
        summary,
        |report| async move { registry.collect(&grant, options, &{ report }).await },
    ))
}

pub(crate) async fn check(call: &Call, request: CheckRequest) -> Result<Reply, Problem> {
    let (registry, grant) = (Arc::clone(&call.edge.registry), call.grant()?.clone());
    let options = CheckOptions { read: request.read };
    let summary = |summary| lines::check_summary(&summary);
    Ok(told(lines::check_item, summary, |report| async move {
        registry.check(&grant, options, &{ report }).await
    }))
}

pub(crate) async fn rebuild(call: &Call) -> Result<Reply, Problem> {
    if call.edge.shared {
        let message = "a server runs on this store: stop it, then rebuild";
        return Err(Problem::new(StatusCode::CONFLICT, message));
    }
    let (registry, grant) = (Arc::clone(&call.edge.registry), call.grant()?.clone());
    let summary = |summary| lines::replay_summary(&summary);
    Ok(told(lines::replay_item, summary, |report| async move {
        registry.replay_segments(&grant, &{ report }).await
    }))
}

/// Begins some work and tells of it line by line: each item that it reports, and how it ends. The work goes on where
/// the client goes away.
fn told<Item, Summary, Line, Work>(
    item: fn(Item) -> Line,
    summary: impl FnOnce(Summary) -> Line + Send + 'static,
    work: impl FnOnce(mpsc::Sender<Item>) -> Work,
) -> Reply
where
    Item: Send + 'static,
    Summary: Send + 'static,
    Line: Serialize + Send + Sync + 'static,
    Work: Future<Output = Result<Summary, RegistryError>> + Send + 'static,
{
    let (lines, stream) = lines::channel(WAITING);
    let (report, items) = mpsc::channel(WAITING);
    let work = work(report);
    tokio::spawn(async move {
        let (outcome, ()) = join(work, lines.forward(items, item)).await;
        lines.end(outcome.map(summary)).await;
    });
    let mut response = Response::new(Body::stream(stream.map(Ok), None));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(LINES));
    Reply(response)
}
