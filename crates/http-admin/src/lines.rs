//! The lines of an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use registry::{CheckItem, CheckSummary, GcItem, GcSummary, RegistryError, ReplayItem, ReplaySummary};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
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
    async fn write(&self, line: &impl Serialize) {
        // All that lines are made of can be written.
        let Ok(text) = serde_json::to_string(line) else { return };
        // Where the client has gone nobody reads the lines, and the work goes on.
        let _nobody_reads = self.0.send((text + "\n").into()).await;
    }

    /// Writes items as they come, to the last.
    pub(crate) async fn forward<T, L: Serialize>(&self, mut items: mpsc::Receiver<T>, line: fn(T) -> L) {
        while let Some(item) = items.recv().await {
            self.write(&line(item)).await;
        }
    }

    /// Writes the last line.
    pub(crate) async fn end(self, outcome: Result<impl Serialize, RegistryError>) {
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

/// What is told of a garbage collection.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum GcLine {
    /// A repository lets go of a blob.
    Link { repository: String, digest: String, size: u64 },
    /// A blob is deleted.
    Blob { digest: String, object: String, size: u64 },
    /// An object without metadata is deleted.
    Orphan { object: String, size: u64 },
    /// Uploads that nobody goes on with are deleted.
    Upload { count: usize },
    /// The last line.
    Summary { dry_run: bool, links: u64, blobs: u64, orphans: u64, uploads: u64, bytes: u64 },
}

/// What is told of a check.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum CheckLine {
    /// Something that is not as it should be; which of the fields there are depends on its kind.
    Finding(Finding),
    /// The last line.
    Summary { blobs: u64, manifests: u64, read_bytes: u64, damaged: u64, untidy: u64 },
}

/// Something that is not as it should be.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// What kind of thing: `damaged_blob`, `damaged_manifest`, `missing_blob`, `metadata`, `orphan`, `sound_again`.
    kind: &'static str,
    /// Whether it is damage, or untidy only.
    damage: bool,
    /// The same in words, with what to do.
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// The object in storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    /// Who holds the blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    repositories: Option<Vec<String>>,
    /// The manifest that needs the blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

/// What is told of a rebuild.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum RebuildLine {
    /// Something that could not be restored.
    Finding {
        /// What kind of thing: `missing_segment`, `damaged_segment`, `unreadable_event`, `lost_manifest`, `lost_tag`.
        kind: &'static str,
        /// Always so.
        damage: bool,
        /// The same in words.
        message: String,
    },
    /// The last line.
    Summary {
        segments: u64,
        damaged: u64,
        unreadable: u64,
        manifests: u64,
        tags: u64,
        lost_manifests: u64,
        lost_tags: u64,
    },
}

pub(crate) fn gc_item(item: GcItem) -> GcLine {
    match item {
        GcItem::Link { repository, digest, size } => {
            GcLine::Link { repository: repository.to_string(), digest: digest.to_string(), size }
        }
        GcItem::Blob { digest, id, size } => {
            GcLine::Blob { digest: digest.to_string(), object: id.to_string(), size }
        }
        GcItem::Orphan { id, size } => GcLine::Orphan { object: id.to_string(), size },
        GcItem::Uploads { count } => GcLine::Upload { count },
    }
}

pub(crate) fn gc_summary(summary: &GcSummary, dry_run: bool) -> GcLine {
    let GcSummary { links, blobs, orphans, uploads, bytes } = *summary;
    GcLine::Summary { dry_run, links, blobs, orphans, uploads, bytes }
}

pub(crate) fn check_item(item: CheckItem) -> CheckLine {
    let damage = item.is_damage();
    let finding = match item {
        CheckItem::DamagedBlob { digest, id, reason, repositories } => Finding {
            kind: "damaged_blob",
            message: format!(
                "blob {digest} (object {id}) {reason}: it is not served until it is pushed again"
            ),
            digest: Some(digest.to_string()),
            object: Some(id.to_string()),
            repositories: Some(repositories.iter().map(ToString::to_string).collect()),
            ..Finding::default()
        },
        CheckItem::SoundAgain { digest } => Finding {
            kind: "sound_again",
            message: format!("blob {digest} was thought damaged and is sound: it is served again"),
            digest: Some(digest.to_string()),
            ..Finding::default()
        },
        CheckItem::DamagedManifest { repository, digest } => Finding {
            kind: "damaged_manifest",
            message: format!(
                "the bytes of manifest {digest} in {repository} do not have its digest: push it again"
            ),
            repository: Some(repository.to_string()),
            digest: Some(digest.to_string()),
            ..Finding::default()
        },
        CheckItem::MissingBlob { repository, manifest, digest } => Finding {
            kind: "missing_blob",
            message: format!(
                "manifest {manifest} in {repository} needs blob {digest}, which {repository} does not hold: push it again"
            ),
            repository: Some(repository.to_string()),
            manifest: Some(manifest.to_string()),
            digest: Some(digest.to_string()),
            ..Finding::default()
        },
        CheckItem::Orphan { id, size } => Finding {
            kind: "orphan",
            message: format!("object {id} ({size} bytes) has no metadata: garbage collection will remove it"),
            object: Some(id.to_string()),
            size: Some(size),
            ..Finding::default()
        },
        CheckItem::Metadata { message } => Finding {
            kind: "metadata",
            message: format!("the metadata store says: {message}"),
            ..Finding::default()
        },
    };
    CheckLine::Finding(Finding { damage, ..finding })
}

pub(crate) fn check_summary(summary: &CheckSummary) -> CheckLine {
    let CheckSummary { blobs, manifests, read_bytes, damaged, untidy } = *summary;
    CheckLine::Summary { blobs, manifests, read_bytes, damaged, untidy }
}

pub(crate) fn replay_item(item: ReplayItem) -> RebuildLine {
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
    RebuildLine::Finding { kind, damage: true, message }
}

pub(crate) fn replay_summary(summary: &ReplaySummary) -> RebuildLine {
    let ReplaySummary { segments, damaged, unreadable, manifests, tags, lost_manifests, lost_tags } =
        *summary;
    RebuildLine::Summary { segments, damaged, unreadable, manifests, tags, lost_manifests, lost_tags }
}
