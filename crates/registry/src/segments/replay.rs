//! Rebuilding metadata from its segments, event by event, into a store that is empty.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use access::{Action, Grant, Target};
use blob::{BlobError, BlobId, BlobKey};
use bytes::Bytes;
use meta::{Batch, Effect, EventKind, NewBlob, Visible, Write};
use oci::{Digest, Manifest, Reference, RepoName, Tag};

use super::chain::chain;
use super::form::{BlobCopy, FormError, Line, ManifestCopy, Reader, verify};
use super::{KEPT, Mark};
use crate::gc::Report;
use crate::push::stored;
use crate::{Registry, RegistryError, administering, origin};

/// A batch with that many writes, or that many bytes of manifests, is committed.
const WRITES: usize = 500;
const BYTES: usize = 8 << 20;

/// How many lost things are kept in mind, in case that they were deleted later anyway. Beyond that they are
/// told of at once.
const LOST: usize = 100_000;

/// Something that is not as it was, or could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayItem {
    /// A segment is not there, though a later one is.
    MissingSegment {
        /// Its number.
        number: u64,
    },
    /// A segment cannot be read, or is not what was written. Nothing of it is used.
    DamagedSegment {
        /// Its number.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// An event in a segment cannot be read, and is left out.
    UnreadableEvent {
        /// The number of the segment.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A manifest was there and is not restored.
    LostManifest {
        /// The repository.
        repository: RepoName,
        /// The manifest.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// A tag pointed to a manifest that is not restored: it is absent, rather than pointing to an older one.
    LostTag {
        /// The repository.
        repository: RepoName,
        /// The tag.
        tag: Tag,
        /// What it pointed to.
        digest: Digest,
    },
}

/// What was rebuilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    /// Segments read.
    pub segments: u64,
    /// Segments that are missing or damaged.
    pub damaged: u64,
    /// Events that could not be read.
    pub unreadable: u64,
    /// Manifests in the store now.
    pub manifests: u64,
    /// Tags in the store now.
    pub tags: u64,
    /// Manifests that were there and are not restored.
    pub lost_manifests: u64,
    /// Tags that were there and are not restored.
    pub lost_tags: u64,
}

/// One rebuild.
struct Replay<'a> {
    registry: &'a Registry,
    grant: Grant,
    report: &'a Report<ReplayItem>,
    summary: ReplaySummary,
    pending: Pending,
    lost_manifests: BTreeMap<(RepoName, Digest), String>,
    lost_tags: BTreeMap<(RepoName, Tag), Digest>,
    /// Objects that gave way to others with the same content. They must not be used again.
    spoiled: HashSet<BlobId>,
    /// The objects of blobs that were damaged and healed, by the last word on each. Those of before may be gone, and
    /// what was pushed with them came to have these.
    healed: HashMap<Digest, BlobCopy>,
}

/// Writes that are not committed, and what they will have changed.
#[derive(Default)]
struct Pending {
    writes: Vec<Write>,
    bytes: usize,
    manifests: HashMap<(RepoName, Digest), bool>,
    objects: HashMap<Digest, BlobId>,
}

/// What restores a blob, and what will be so once that is committed.
#[derive(Default)]
struct BlobWrites {
    writes: Vec<Write>,
    object: Option<(Digest, BlobId)>,
    spoiled: Option<BlobId>,
}

impl Registry {
    /// Rebuilds metadata from its segments: the manifests whose blobs are there, and the tags. What was deleted
    /// stays deleted. Nobody else may write meanwhile.
    ///
    /// The metadata must have no repository; entries may be there, for segments restore none. Where this fails half
    /// way, it is to be done again from the start, with new metadata.
    pub async fn replay_segments(
        &self,
        grant: &Grant,
        report: &Report<ReplayItem>,
    ) -> Result<ReplaySummary, RegistryError> {
        administering(grant)?;
        let _no_collection = self.collecting.try_lock().map_err(|_| RegistryError::Collecting)?;
        let _one_at_a_time = self.copying.lock().await;
        if !self.meta.repositories(&Visible::All, None, 1).await?.is_empty() {
            return Err(RegistryError::MetadataNotEmpty);
        }
        let mut replay = Replay {
            registry: self,
            grant: Grant::system("rebuild", Action::Administer, Target::System),
            report,
            summary: ReplaySummary::default(),
            pending: Pending::default(),
            lost_manifests: BTreeMap::new(),
            lost_tags: BTreeMap::new(),
            spoiled: HashSet::new(),
            healed: HashMap::new(),
        };
        let links = self.links().await?;
        let next = links.keys().next_back().map_or(0, |last| last + 1);
        let numbers = chain(&links);
        for number in &numbers {
            replay.find_healed(*number).await?;
        }
        for number in numbers {
            replay.segment(number).await?;
        }
        replay.tell_losses().await;
        // From the first event on: the rebuilt history goes into segments of its own, after the old ones.
        self.remember(Mark { position: 0, next }, "rebuild").await?;
        Ok(replay.summary)
    }
}

impl Replay<'_> {
    async fn tell(&mut self, item: ReplayItem) {
        let count = match &item {
            ReplayItem::MissingSegment { .. } | ReplayItem::DamagedSegment { .. } => {
                &mut self.summary.damaged
            }
            ReplayItem::UnreadableEvent { .. } => &mut self.summary.unreadable,
            ReplayItem::LostManifest { .. } => &mut self.summary.lost_manifests,
            ReplayItem::LostTag { .. } => &mut self.summary.lost_tags,
        };
        *count += 1;
        let _nobody_listens = self.report.send(item).await;
    }

    /// Notes which blobs a segment says were healed. What is wrong with it is told when its events are applied.
    async fn find_healed(&mut self, number: u64) -> Result<(), RegistryError> {
        let object = match self.registry.object(BlobKey::Segment(number), None).await {
            Ok(Ok(object)) => object,
            Ok(Err(_)) | Err(RegistryError::Blobs(BlobError::NotFound)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let found = tokio::task::spawn_blocking(move || healed_in(object)).await;
        self.healed.extend(found.map_err(|error| {
            RegistryError::Blobs(BlobError::io("reading a segment", io::Error::other(error)))
        })?);
        Ok(())
    }

    async fn segment(&mut self, number: u64) -> Result<(), RegistryError> {
        let object = match self.registry.object(BlobKey::Segment(number), None).await {
            Ok(Ok(object)) => object,
            Ok(Err(error)) => return self.damaged(number, &error).await,
            Err(RegistryError::Blobs(BlobError::NotFound)) => {
                self.tell(ReplayItem::MissingSegment { number }).await;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let checked = object.clone();
        let checked = tokio::task::spawn_blocking(move || verify(checked)).await.map_err(io::Error::other);
        if let Err(error) = checked.map_err(FormError::from).flatten() {
            return self.damaged(number, &error).await;
        }
        self.events(number, object).await?;
        self.summary.segments += 1;
        self.flush().await
    }

    async fn damaged(&mut self, number: u64, error: &FormError) -> Result<(), RegistryError> {
        self.tell(ReplayItem::DamagedSegment { number, reason: error.to_string() }).await;
        Ok(())
    }

    /// Applies the events of a segment that is known to be sound.
    async fn events(&mut self, number: u64, object: Bytes) -> Result<(), RegistryError> {
        let mut reader = Reader::new(object);
        if let Err(error) = reader.header() {
            return self.damaged(number, &error).await;
        }
        loop {
            match reader.next::<Line>() {
                Ok(None) => return Ok(()),
                Ok(Some(line)) => {
                    if !self.event(line).await? {
                        let reason = "it does not say what it is about".to_owned();
                        self.tell(ReplayItem::UnreadableEvent { number, reason }).await;
                    }
                }
                Err(FormError::Line(error)) => {
                    let reason = error.to_string();
                    self.tell(ReplayItem::UnreadableEvent { number, reason }).await;
                }
                Err(error) => return self.damaged(number, &error).await,
            }
            if self.pending.writes.len() >= WRITES || self.pending.bytes >= BYTES {
                self.flush().await?;
            }
        }
    }

    /// Applies one event; `false` where it lacks what its kind must have.
    async fn event(&mut self, line: Line) -> Result<bool, RegistryError> {
        let Line { kind, repository, digest, tag, manifest, blob, .. } = line;
        match (kind, digest, tag) {
            // It comes into being with its first manifest.
            (EventKind::RepositoryCreated, _, _) => {}
            (EventKind::ManifestPushed, Some(digest), _) => {
                self.manifest(repository, digest, manifest).await?;
            }
            (EventKind::ManifestDeleted, Some(digest), _) => self.drop_manifest(repository, digest),
            (EventKind::TagSet, Some(digest), Some(tag)) => self.tag(repository, tag, digest).await?,
            (EventKind::TagDeleted, _, Some(tag)) => self.drop_tag(repository, tag),
            (EventKind::BlobDeleted, Some(digest), _) => {
                self.pending.writes.push(Write::Unlink { repository, digest });
            }
            // Without an object it was damaged once more, or deleted, before it was copied. What nothing needed so far
            // comes with the manifest that will.
            (EventKind::BlobHealed, Some(digest), _) => {
                let known = self.known_object(&digest).await?;
                if let Some(copy) = blob.filter(|_| known.is_some()) {
                    let writes = self.blob_writes(&repository, copy).await?;
                    self.take(writes);
                }
            }
            (
                EventKind::ManifestPushed
                | EventKind::ManifestDeleted
                | EventKind::TagSet
                | EventKind::TagDeleted
                | EventKind::BlobDeleted
                | EventKind::BlobHealed
                | EventKind::EntryCreated
                | EventKind::EntryChanged
                | EventKind::EntryDropped,
                ..,
            ) => return Ok(false),
        }
        Ok(true)
    }

    async fn manifest(
        &mut self,
        repository: RepoName,
        digest: Digest,
        copy: Option<ManifestCopy>,
    ) -> Result<(), RegistryError> {
        let mirrored = copy.as_ref().is_some_and(|copy| copy.mirrored);
        match self.manifest_writes(&repository, digest, copy).await? {
            Ok((blobs, write, bytes)) => {
                blobs.into_iter().for_each(|writes| self.take(writes));
                self.pending
                    .writes
                    .extend(mirrored.then(|| Write::Mirror { repository: repository.clone() }));
                self.pending.writes.push(write);
                self.pending.bytes += bytes;
                self.lost_manifests.remove(&(repository.clone(), digest));
                self.pending.manifests.insert((repository, digest), true);
            }
            Err(_) if self.has_manifest(&repository, digest).await? => {}
            Err(reason) if self.lost_manifests.len() < LOST => {
                self.lost_manifests.insert((repository, digest), reason);
            }
            Err(reason) => self.tell(ReplayItem::LostManifest { repository, digest, reason }).await,
        }
        Ok(())
    }

    /// Makes what restores a blob pending.
    fn take(&mut self, blob: BlobWrites) {
        let BlobWrites { writes, object, spoiled } = blob;
        self.pending.writes.extend(writes);
        self.pending.objects.extend(object);
        self.spoiled.extend(spoiled);
    }

    /// What restores the blobs of a manifest, what restores the manifest, and its size; or why it cannot be restored.
    async fn manifest_writes(
        &mut self,
        repository: &RepoName,
        digest: Digest,
        copy: Option<ManifestCopy>,
    ) -> Result<Result<(Vec<BlobWrites>, Write, usize), String>, RegistryError> {
        let Some(copy) = copy else { return Ok(Err("it was gone before it was copied".into())) };
        if Digest::of(digest.algorithm(), &copy.bytes) != digest {
            return Ok(Err("its copy has another digest".into()));
        }
        let manifest = match Manifest::parse(&copy.bytes, Some(&copy.media_type), &KEPT) {
            Ok(manifest) => manifest,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut blobs = copy.blobs;
        let known: HashSet<Digest> = blobs.iter().map(|blob| blob.digest).collect();
        let required = manifest.required_blobs();
        // One that was damaged when the manifest was copied.
        let unknown = required.iter().filter(|digest| !known.contains(digest));
        blobs.extend(unknown.filter_map(|digest| self.healed.get(digest)));
        let mut restored = Vec::new();
        let mut held = HashSet::new();
        for blob in blobs {
            let writes = self.blob_writes(repository, blob).await?;
            if !writes.writes.is_empty() {
                held.insert(blob.digest);
                restored.push(writes);
            }
        }
        // Evicted, or not fetched so far: a mirrored repository fetches it when it is asked for.
        let missing = required.into_iter().filter(|digest| !copy.mirrored && !held.contains(digest));
        let missing: Vec<Digest> = missing.collect();
        if !missing.is_empty() {
            return Ok(Err(format!("the objects of its blobs are gone: {}", crate::error::list(&missing))));
        }
        let bytes = copy.bytes.len();
        let manifest = stored(digest, manifest, copy.bytes);
        Ok(Ok((restored, Write::Manifest { repository: repository.clone(), manifest }, bytes)))
    }

    /// What links a blob in a repository; nothing where its bytes are not there. Of two objects for one digest
    /// the later counts: the earlier was damaged, or collected.
    async fn blob_writes(&self, repository: &RepoName, copy: BlobCopy) -> Result<BlobWrites, RegistryError> {
        let digest = copy.digest;
        let known = self.known_object(&digest).await?;
        let mut found = None;
        for copy in std::iter::once(&copy).chain(self.healed.get(&digest)) {
            if found.is_none() && self.is_there(*copy).await? {
                found = Some(*copy);
            }
        }
        let mut blob = BlobWrites::default();
        let Some(BlobCopy { id, size, .. }) = found else {
            blob.writes.extend(known.map(|_| Write::Link { repository: repository.clone(), digest }));
            return Ok(blob);
        };
        if let Some(earlier) = known.filter(|earlier| *earlier != id) {
            blob.writes.push(Write::Damaged { id: earlier });
            blob.spoiled = Some(earlier);
        }
        blob.object = Some((digest, id));
        blob.writes.push(Write::Blob { repository: repository.clone(), blob: NewBlob { digest, size, id } });
        Ok(blob)
    }

    /// Whether an object has its size, and was not given up.
    async fn is_there(&self, copy: BlobCopy) -> Result<bool, RegistryError> {
        if self.spoiled.contains(&copy.id) {
            return Ok(false);
        }
        match self.registry.blobs.stat(copy.id.into()).await {
            Ok(stat) => Ok(stat.size == copy.size),
            Err(BlobError::NotFound) => Ok(false),
            Err(error) => Err(RegistryError::Blobs(error)),
        }
    }

    /// The object that a digest was restored with.
    async fn known_object(&self, digest: &Digest) -> Result<Option<BlobId>, RegistryError> {
        if let Some(id) = self.pending.objects.get(digest) {
            return Ok(Some(*id));
        }
        let meta = &self.registry.meta;
        let Some(holder) = meta.holder(digest, &Visible::All).await? else { return Ok(None) };
        Ok(meta.blob(&holder, digest).await?.map(|record| record.id))
    }

    async fn has_manifest(&self, repository: &RepoName, digest: Digest) -> Result<bool, RegistryError> {
        if let Some(is_there) = self.pending.manifests.get(&(repository.clone(), digest)) {
            return Ok(*is_there);
        }
        let found = self.registry.meta.manifest(repository, &Reference::Digest(digest)).await?;
        Ok(found.is_some())
    }

    fn drop_manifest(&mut self, repository: RepoName, digest: Digest) {
        let key = (repository.clone(), digest);
        self.lost_manifests.remove(&key);
        self.pending.manifests.insert(key, false);
        self.pending.writes.push(Write::DropManifest { repository, digest });
    }

    async fn tag(&mut self, repository: RepoName, tag: Tag, digest: Digest) -> Result<(), RegistryError> {
        let key = (repository.clone(), tag.clone());
        if self.has_manifest(&repository, digest).await? {
            self.lost_tags.remove(&key);
            self.pending.writes.push(Write::Tag { repository, tag, digest });
            return Ok(());
        }
        self.pending.writes.push(Write::DropTag { repository: repository.clone(), tag: tag.clone() });
        if self.lost_tags.len() < LOST {
            self.lost_tags.insert(key, digest);
        } else {
            self.tell(ReplayItem::LostTag { repository, tag, digest }).await;
        }
        Ok(())
    }

    fn drop_tag(&mut self, repository: RepoName, tag: Tag) {
        self.lost_tags.remove(&(repository.clone(), tag.clone()));
        self.pending.writes.push(Write::DropTag { repository, tag });
    }

    /// Commits what is pending.
    async fn flush(&mut self) -> Result<(), RegistryError> {
        let Pending { writes, .. } = std::mem::take(&mut self.pending);
        if writes.is_empty() {
            return Ok(());
        }
        let is_tag: Vec<bool> = writes.iter().map(|write| matches!(write, Write::DropTag { .. })).collect();
        let ids: Vec<Option<BlobId>> = writes.iter().map(object_in).collect();
        let batch = Batch { origin: origin(&self.grant), conditions: Vec::new(), writes };
        let committed = self.registry.meta.commit(batch).await?;
        for ((effect, id), is_tag) in committed.effects.into_iter().zip(ids).zip(is_tag) {
            self.count(&effect, is_tag);
            if let (Effect::Blob { id: kept }, Some(id)) = (effect, id)
                && kept != id
            {
                self.spoiled.insert(id);
            }
        }
        Ok(())
    }

    fn count(&mut self, effect: &Effect, is_tag: bool) {
        match effect {
            Effect::Manifest { created: true } => self.summary.manifests += 1,
            Effect::Tag { before: None } => self.summary.tags += 1,
            Effect::Dropped { tags, .. } => {
                self.summary.manifests -= 1;
                self.summary.tags -= tags.len() as u64;
            }
            Effect::Done if is_tag => self.summary.tags -= 1,
            _ => {}
        }
    }

    async fn tell_losses(&mut self) {
        for ((repository, digest), reason) in std::mem::take(&mut self.lost_manifests) {
            self.tell(ReplayItem::LostManifest { repository, digest, reason }).await;
        }
        for ((repository, tag), digest) in std::mem::take(&mut self.lost_tags) {
            self.tell(ReplayItem::LostTag { repository, tag, digest }).await;
        }
    }
}

/// The healed blobs that a segment tells of, as far as it can be read.
fn healed_in(object: Bytes) -> HashMap<Digest, BlobCopy> {
    let mut healed = HashMap::new();
    if verify(object.clone()).is_err() {
        return healed;
    }
    let mut reader = Reader::new(object);
    // The first line is the head, which is none of these.
    loop {
        match reader.next::<Line>() {
            Ok(Some(Line { kind: EventKind::BlobHealed, blob: Some(blob), .. })) => {
                healed.insert(blob.digest, blob);
            }
            Ok(Some(_)) | Err(FormError::Line(_)) => {}
            Ok(None) | Err(_) => return healed,
        }
    }
}

/// The object that a write would store.
fn object_in(write: &Write) -> Option<BlobId> {
    if let Write::Blob { blob, .. } = write { Some(blob.id) } else { None }
}
