//! Segments: copies of metadata in the blob store, from which it can be rebuilt.
//!
//! A segment is a page of events; with a pushed manifest go its bytes and the objects of its blobs. A job writes
//! what has come since the last time and then remembers how far it got. A crash between the two leaves a segment
//! that is not remembered: the next run writes the same events once more, under the next free number. Each names
//! the one that it goes on from, so that a rebuild reads the history that was kept and not what it left behind,
//! be that by a crash or because metadata was restored from a backup.
//!
//! What is not copied: blobs that no manifest of their repository has needed, those that came to a mirrored one later
//! than the manifest (they are fetched again), use, and who did what before a rebuild. The segments still tell the
//! latter to whoever reads them. Entries are not copied either: hashes of passwords have no place among the blobs, and
//! an event that lacks its value would restore nobody.

mod chain;
mod form;
mod replay;

use access::{Action, Grant, Target};
use blob::{BlobError, BlobKey};
use meta::{Batch, Event, EventKind, RepositoryKind, Write};
use oci::{Digest, Manifest, ManifestLimits, Reference, RepoName, Role};

use crate::{Registry, RegistryError, origin};
use form::{BlobCopy, Draft, FormError, Line, ManifestCopy, SEGMENT_MAX};

pub use replay::{ReplayItem, ReplaySummary};

/// The most events in a segment.
const EVENTS: usize = 500;

/// A segment with that many bytes takes no more events.
const ENOUGH: usize = 8 << 20;

/// Up to which event everything is in segments.
const POSITION: &str = "segments.position";

/// The number of the next segment.
const NEXT: &str = "segments.next";

/// Manifests in the house were within the limits when they came; what counts here is that no stack overflows.
const KEPT: ManifestLimits = ManifestLimits { size: usize::MAX, references: usize::MAX, depth: 128 };

/// How far the segments got.
#[derive(Clone, Copy)]
struct Mark {
    position: i64,
    next: u64,
}

/// The next segment in the making.
struct Drafted {
    draft: Draft,
    /// The event that it goes up to.
    position: i64,
    /// Whether there may be more.
    is_full: bool,
}

impl Registry {
    /// Copies what has happened since the last time into segments. Says how many were written.
    pub async fn write_segments(&self) -> Result<u64, RegistryError> {
        let _one_at_a_time = self.copying.lock().await;
        let mut mark = self.mark().await?;
        let mut written = 0;
        loop {
            let Drafted { draft, position, is_full } = self.draft(mark.position).await?;
            if position == mark.position {
                return Ok(written);
            }
            mark.position = position;
            // Without lines where all events tell of entries: these are done with, too.
            if !draft.is_empty() {
                let object = packed(draft, mark.next.checked_sub(1)).await?;
                let number = self.free_number(mark.next).await?;
                self.blobs.write(BlobKey::Segment(number), object).await.map_err(storing)?;
                mark.next = number + 1;
                written += 1;
            }
            self.remember(mark, "segments").await?;
            // What came meanwhile is for the next time: a run must end on a busy registry, too.
            if !is_full {
                return Ok(written);
            }
        }
    }

    /// Whether the blob store has segments, and this metadata has never written any: then metadata was lost, and
    /// all objects look like orphans.
    pub async fn is_metadata_lost(&self) -> Result<bool, RegistryError> {
        if self.meta.setting(NEXT).await?.is_some() {
            return Ok(false);
        }
        match self.blobs.stat(BlobKey::Segment(0)).await {
            Ok(_) => Ok(true),
            Err(BlobError::NotFound) => Ok(false),
            Err(error) => Err(RegistryError::Blobs(error)),
        }
    }

    /// Where the segments stand. A mark is made before the first segment is: whoever has none never wrote one.
    async fn mark(&self) -> Result<Mark, RegistryError> {
        if self.is_metadata_lost().await? {
            return Err(RegistryError::MetadataLost);
        }
        let Some(next) = self.meta.setting(NEXT).await? else {
            let mark = Mark { position: 0, next: 0 };
            self.remember(mark, "segments").await?;
            return Ok(mark);
        };
        let position = self.meta.setting(POSITION).await?.unwrap_or_default();
        let damaged = |name: &str| {
            let what = format!("the setting {name} is not a number");
            RegistryError::Meta(meta::MetaError::Damaged(what))
        };
        Ok(Mark {
            position: position.parse().map_err(|_| damaged(POSITION))?,
            next: next.parse().map_err(|_| damaged(NEXT))?,
        })
    }

    async fn remember(&self, mark: Mark, job: &'static str) -> Result<(), RegistryError> {
        let grant = Grant::system(job, Action::Administer, Target::System);
        let set = |name: &str, value: String| Write::Setting { name: name.to_owned(), value };
        let batch = Batch::of(origin(&grant), set(POSITION, mark.position.to_string()))
            .then(set(NEXT, mark.next.to_string()));
        self.meta.commit(batch).await?;
        Ok(())
    }

    /// The events after a position, as many as fit.
    async fn draft(&self, after: i64) -> Result<Drafted, RegistryError> {
        let events = self.meta.events(after, EVENTS).await?;
        let count = events.len();
        let mut drafted = Drafted { draft: Draft::new(), position: after, is_full: count == EVENTS };
        for (at, event) in events.into_iter().enumerate() {
            drafted.position = event.position;
            let (manifest, blob) = (self.copy_of(&event).await?, self.healed(&event).await?);
            let Some(line) = Line::new(event, manifest, blob) else { continue };
            drafted.draft.push(&line).map_err(packing)?;
            if drafted.draft.len() >= ENOUGH {
                drafted.is_full |= at + 1 < count;
                break;
            }
        }
        Ok(drafted)
    }

    /// The manifest that an event tells of, if it is still there.
    async fn copy_of(&self, event: &Event) -> Result<Option<ManifestCopy>, RegistryError> {
        let (EventKind::ManifestPushed, Some(repository), Some(digest)) =
            (event.kind, &event.repository, &event.digest)
        else {
            return Ok(None);
        };
        let reference = Reference::Digest(*digest);
        let Some(record) = self.meta.manifest(repository, &reference).await? else { return Ok(None) };
        let mut blobs = Vec::new();
        if let Ok(manifest) = Manifest::parse(&record.bytes, Some(&record.media_type), &KEPT) {
            for digest in blobs_of(&manifest) {
                blobs.extend(self.object_of(repository, digest).await?);
            }
        }
        let mirrored = self.meta.repository_kind(repository).await? == Some(RepositoryKind::Mirrored);
        Ok(Some(ManifestCopy { media_type: record.media_type, bytes: record.bytes, blobs, mirrored }))
    }

    /// The object of the blob that an event says was healed.
    async fn healed(&self, event: &Event) -> Result<Option<BlobCopy>, RegistryError> {
        match (event.kind, &event.repository, event.digest) {
            (EventKind::BlobHealed, Some(repository), Some(digest)) => {
                self.object_of(repository, digest).await
            }
            _ => Ok(None),
        }
    }

    async fn object_of(
        &self,
        repository: &RepoName,
        digest: Digest,
    ) -> Result<Option<BlobCopy>, RegistryError> {
        let found = self.meta.blob(repository, &digest).await?;
        Ok(found.map(|record| BlobCopy { digest, id: record.id, size: record.size }))
    }

    /// The first number from `next` on that no segment has.
    async fn free_number(&self, next: u64) -> Result<u64, RegistryError> {
        let mut number = next;
        loop {
            match self.blobs.stat(BlobKey::Segment(number)).await {
                Ok(_) => number += 1,
                Err(BlobError::NotFound) => return Ok(number),
                Err(error) => return Err(RegistryError::Blobs(error)),
            }
        }
    }
}

/// All blobs that a manifest refers to, the foreign ones too, each once.
fn blobs_of(manifest: &Manifest) -> Vec<Digest> {
    let blobs = manifest.children.iter().filter(|child| child.role != Role::Manifest);
    let mut digests: Vec<Digest> = blobs.map(|child| child.descriptor.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}

/// Compressing takes long enough to be in the way of others.
async fn packed(draft: Draft, previous: Option<u64>) -> Result<bytes::Bytes, RegistryError> {
    let packed = tokio::task::spawn_blocking(move || draft.pack(previous)).await;
    let object = packed.map_err(std::io::Error::other).map_err(FormError::from).flatten().map_err(packing)?;
    // Never write what could not be read.
    if object.len() as u64 > SEGMENT_MAX { Err(packing(FormError::TooLarge)) } else { Ok(object) }
}

fn packing(error: FormError) -> RegistryError {
    RegistryError::Blobs(BlobError::io("packing a segment", std::io::Error::other(error)))
}

fn storing(error: BlobError) -> RegistryError {
    match error {
        BlobError::Full => RegistryError::Full,
        error => RegistryError::Blobs(error),
    }
}
