//! The lines of an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use registry::{CheckItem, CheckSummary, GcItem, GcSummary, RegistryError, ReplayItem, ReplaySummary};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Where lines are written.
pub(crate) struct Writer(mpsc::Sender<Bytes>);

/// Where they are read, for a response.
pub(crate) struct Lines(mpsc::Receiver<Bytes>);

/// A pair of both; a writer waits while `waiting` lines are unread.
pub(crate) fn channel(waiting: usize) -> (Writer, Lines) {
    let (sender, receiver) = mpsc::channel(waiting);
    (Writer(sender), Lines(receiver))
}

impl Stream for Lines {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.poll_recv(cx)
    }
}

impl Writer {
    async fn write(&self, value: &Value) {
        // Where the client has gone nobody reads the lines, and the work goes on.
        let _nobody_reads = self.0.send(format!("{value}\n").into()).await;
    }

    /// Writes items as they come, to the last.
    pub(crate) async fn forward<T>(&self, mut items: mpsc::Receiver<T>, line: fn(T) -> Value) {
        while let Some(item) = items.recv().await {
            self.write(&line(item)).await;
        }
    }

    /// Writes the last line.
    pub(crate) async fn end(self, outcome: Result<Value, RegistryError>) {
        match outcome {
            Ok(summary) => self.write(&summary).await,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, cause, "an administration request failed");
                let message = if cause.is_empty() { error.to_string() } else { format!("{error} ({cause})") };
                self.write(&json!({"type": "error", "message": message})).await;
            }
        }
    }
}

pub(crate) fn gc_item(item: GcItem) -> Value {
    match item {
        GcItem::Link { repository, digest, size } => {
            json!({"type": "link", "repository": repository, "digest": digest, "size": size})
        }
        GcItem::Blob { digest, id, size } => {
            json!({"type": "blob", "digest": digest, "object": id.to_string(), "size": size})
        }
        GcItem::Orphan { id, size } => json!({"type": "orphan", "object": id.to_string(), "size": size}),
        GcItem::Uploads { count } => json!({"type": "upload", "count": count}),
    }
}

pub(crate) fn gc_summary(summary: &GcSummary, dry_run: bool) -> Value {
    json!({
        "type": "summary",
        "dry_run": dry_run,
        "links": summary.links,
        "blobs": summary.blobs,
        "orphans": summary.orphans,
        "uploads": summary.uploads,
        "bytes": summary.bytes,
    })
}

pub(crate) fn check_item(item: CheckItem) -> Value {
    let damage = item.is_damage();
    let mut line = match item {
        CheckItem::DamagedBlob { digest, id, reason, repositories } => json!({
            "kind": "damaged_blob", "digest": digest, "object": id.to_string(), "repositories": repositories,
            "message": format!("blob {digest} (object {id}) {reason}: it is not served until it is pushed again"),
        }),
        CheckItem::SoundAgain { digest } => json!({
            "kind": "sound_again", "digest": digest,
            "message": format!("blob {digest} was thought damaged and is sound: it is served again"),
        }),
        CheckItem::DamagedManifest { repository, digest } => json!({
            "kind": "damaged_manifest", "repository": repository, "digest": digest,
            "message": format!("the bytes of manifest {digest} in {repository} do not have its digest: push it again"),
        }),
        CheckItem::MissingBlob { repository, manifest, digest } => json!({
            "kind": "missing_blob", "repository": repository, "manifest": manifest, "digest": digest,
            "message": format!("manifest {manifest} in {repository} needs blob {digest}, which {repository} does not hold: push it again"),
        }),
        CheckItem::Orphan { id, size } => json!({
            "kind": "orphan", "object": id.to_string(), "size": size,
            "message": format!("object {id} ({size} bytes) has no metadata: garbage collection will remove it"),
        }),
        CheckItem::Metadata { message } => json!({
            "kind": "metadata", "message": format!("the metadata store says: {message}"),
        }),
    };
    line["type"] = "finding".into();
    line["damage"] = damage.into();
    line
}

pub(crate) fn check_summary(summary: &CheckSummary) -> Value {
    json!({
        "type": "summary",
        "blobs": summary.blobs,
        "manifests": summary.manifests,
        "read_bytes": summary.read_bytes,
        "damaged": summary.damaged,
        "untidy": summary.untidy,
    })
}

pub(crate) fn replay_item(item: ReplayItem) -> Value {
    let (kind, message) = match item {
        ReplayItem::MissingSegment { number } => {
            ("missing_segment", format!("segment {number} is not there"))
        }
        ReplayItem::DamagedSegment { number, reason } => {
            ("damaged_segment", format!("segment {number} is damaged, and nothing of it is used: {reason}"))
        }
        ReplayItem::UnreadableEvent { number, reason } => {
            ("unreadable_event", format!("an event in segment {number} cannot be read: {reason}"))
        }
        ReplayItem::LostManifest { repository, digest, reason } => {
            ("lost_manifest", format!("manifest {digest} of {repository} is not restored: {reason}"))
        }
        ReplayItem::LostTag { repository, tag, digest } => {
            ("lost_tag", format!("tag {tag} of {repository} is not restored: it pointed to {digest}"))
        }
    };
    json!({"type": "finding", "kind": kind, "damage": true, "message": message})
}

pub(crate) fn replay_summary(summary: &ReplaySummary) -> Value {
    json!({
        "type": "summary",
        "segments": summary.segments,
        "damaged": summary.damaged,
        "unreadable": summary.unreadable,
        "manifests": summary.manifests,
        "tags": summary.tags,
        "lost_manifests": summary.lost_manifests,
        "lost_tags": summary.lost_tags,
    })
}
