//! A metadata store with its hottest answers in memory.
//!
//! Only what was found is kept, and no absence but that of a repository, so a push needs little thought for what was
//! asked before it. A commit drops the entries that its writes touch after it is durable and before it is answered. A reader that
//! looked before the commit and would store its answer after it finds its place in the cache taken away: what
//! it read is answered, and not kept. So whoever asks after a commit was answered never sees what was before.
//!
//! A tag is kept apart from the manifest that it names: clients ask for the tag first and for the digest next, and
//! a manifest with many tags takes its room once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blob::BlobId;
use oci::{Digest, ProjectName, Reference, RepoName, Tag};
use quick_cache::Weighter;
use quick_cache::sync::{Cache, GuardResult};

use crate::store::Answer;
use crate::{
    Batch, BlobRecord, BlobRow, CachedBlob, Collect, Commit, Committed, Effect, Entry, EntryKind, EntryName,
    Event, FallbackUse, Garbage, Inspect, ManifestRecord, ManifestRow, MetaError, MetaStore, MissingBlob,
    ReadBlobs, ReadEntries, ReadEvents, ReadFallbacks, ReadLists, ReadManifests, ReadMirrors, ReferrerPage,
    ReferrerQuery, RepositoryKind, RepositoryRow, Settings, StoredBlob, Timestamp, Totals, Visible, Write,
};

/// How much to keep in memory.
#[derive(Clone, Copy, Debug)]
pub struct CacheSize {
    /// The most bytes of manifests and tags, what the cache itself needs included. A quarter is for tags.
    pub manifest_bytes: u64,
    /// The most blob records, and as many kinds of repositories; each takes about 300 bytes.
    pub blobs: usize,
}

impl Default for CacheSize {
    fn default() -> Self {
        Self { manifest_bytes: 32 << 20, blobs: 20_000 }
    }
}

type TagKey = (RepoName, Tag);
type DigestKey = (RepoName, Digest);

/// Weighs by the bytes that differ and a flat sum for the rest and the cache's own book-keeping.
#[derive(Clone)]
struct ByBytes;

impl Weighter<TagKey, Digest> for ByBytes {
    fn weight(&self, (repository, tag): &TagKey, _digest: &Digest) -> u64 {
        (repository.as_str().len() + tag.as_str().len()) as u64 + 200
    }
}

impl Weighter<DigestKey, ManifestRecord> for ByBytes {
    fn weight(&self, (repository, _): &DigestKey, record: &ManifestRecord) -> u64 {
        (repository.as_str().len() + record.bytes.len()) as u64 + 400
    }
}

/// A [`MetaStore`] that answers for hot manifests and blobs from memory.
pub struct CachedMeta {
    inner: Arc<dyn MetaStore>,
    kept: Arc<Kept>,
}

/// What is kept in memory.
struct Kept {
    tags: Cache<TagKey, Digest, ByBytes>,
    manifests: Cache<DigestKey, ManifestRecord, ByBytes>,
    blobs: Cache<DigestKey, BlobRecord>,
    /// Also that a repository is not there: whoever asks for a name that may be an upstream's asks for that each time.
    kinds: Cache<RepoName, Option<RepositoryKind>>,
    /// How many commits have dropped something.
    drops: AtomicU64,
}

impl CachedMeta {
    /// Puts a cache in front of `inner`, which nobody else may change.
    pub fn new(inner: Arc<dyn MetaStore>, size: CacheSize) -> Self {
        Self { inner, kept: Arc::new(Kept::new(size)) }
    }

    async fn by_digest(
        &self,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Option<ManifestRecord>, MetaError> {
        let key = (repository.clone(), *digest);
        let guard = match self.kept.manifests.get_value_or_guard_async(&key).await {
            Ok(record) => return Ok(Some(record)),
            Err(guard) => guard,
        };
        let found = self.inner.manifest(repository, &Reference::Digest(*digest)).await?;
        if let Some(record) = &found {
            // Refused where a commit took the place away: see the head of this file.
            let _refused = guard.insert(record.clone());
        }
        Ok(found)
    }

    async fn by_tag(&self, repository: &RepoName, tag: &Tag) -> Result<Option<ManifestRecord>, MetaError> {
        let reference = Reference::Tag(tag.clone());
        let key = (repository.clone(), tag.clone());
        let guard = match self.kept.tags.get_value_or_guard_async(&key).await {
            Ok(digest) => match self.by_digest(repository, &digest).await? {
                // Deleted since its tag was looked up, which may name another one by now.
                None => return self.inner.manifest(repository, &reference).await,
                found => return Ok(found),
            },
            Err(guard) => guard,
        };
        let drops = self.kept.drops.load(Ordering::SeqCst);
        let found = self.inner.manifest(repository, &reference).await?;
        if let Some(record) = &found {
            let _refused = guard.insert(record.digest);
            self.kept.keep(repository, record, drops);
        }
        Ok(found)
    }
}

impl Kept {
    fn new(size: CacheSize) -> Self {
        let tag_bytes = size.manifest_bytes / 4;
        let manifest_bytes = size.manifest_bytes - tag_bytes;
        // Estimates of how many fit, for the caches' own tables.
        let expected = |bytes: u64, each: u64| usize::try_from(bytes / each).unwrap_or(usize::MAX);
        Self {
            tags: Cache::with_weighter(expected(tag_bytes, 300), tag_bytes, ByBytes),
            manifests: Cache::with_weighter(expected(manifest_bytes, 2_000), manifest_bytes, ByBytes),
            blobs: Cache::new(size.blobs),
            kinds: Cache::new(size.blobs),
            drops: AtomicU64::new(0),
        }
    }

    /// Drops what the writes may have changed.
    fn invalidate(&self, writes: &[Write], effects: &[Effect]) {
        // Tags are checked all the time, and when is not kept here.
        if writes.iter().all(|write| matches!(write, Write::Checked { .. })) {
            return;
        }
        self.drops.fetch_add(1, Ordering::SeqCst);
        for (write, effect) in writes.iter().zip(effects) {
            if let Some(repository) = write.may_create() {
                self.kinds.remove(repository);
            }
            match (write, effect) {
                (
                    Write::Blob { repository, blob: crate::NewBlob { digest, .. } }
                    | Write::Link { repository, digest }
                    | Write::Renew { repository, digest }
                    | Write::Unlink { repository, digest },
                    _,
                ) => self.drop_blob(repository, digest),
                (Write::Manifest { repository, manifest }, _) => {
                    self.drop_manifest(repository, &manifest.digest);
                }
                (Write::Used { uses }, _) => {
                    uses.iter().for_each(|(repository, digest, _)| self.drop_manifest(repository, digest));
                }
                (Write::Tag { repository, tag, .. } | Write::DropTag { repository, tag }, _) => {
                    self.drop_tag(repository, tag);
                }
                (Write::DropManifest { repository, digest }, effect) => {
                    self.drop_manifest(repository, digest);
                    if let Effect::Dropped { tags, released } = effect {
                        tags.iter().for_each(|tag| self.drop_tag(repository, tag));
                        released.iter().for_each(|digest| self.drop_blob(repository, digest));
                    }
                }
                (Write::Evict { .. }, Effect::Evicted { links, .. }) => {
                    links.iter().for_each(|(repository, digest)| self.drop_blob(repository, digest));
                }
                (Write::ExpireLinks { .. }, Effect::Expired { links }) => {
                    links.iter().for_each(|(repository, digest, _)| self.drop_blob(repository, digest));
                }
                // Any number of repositories may hold the blob, and it is a rare thing.
                (Write::Damaged { .. } | Write::Sound { .. }, _) => self.blobs.clear(),
                // A condemned blob has no links, so nothing of it is kept here; nor is the rest.
                (
                    Write::ExpireLinks { .. }
                    | Write::Mirror { .. }
                    | Write::Evict { .. }
                    | Write::Checked { .. }
                    | Write::Condemn { .. }
                    | Write::Forget { .. }
                    | Write::FallbackUsed { .. }
                    | Write::FoldUsage { .. }
                    | Write::Setting { .. }
                    | Write::Entry(_)
                    | Write::DropEntry { .. },
                    _,
                ) => {}
            }
        }
    }

    fn drop_tag(&self, repository: &RepoName, tag: &Tag) {
        self.tags.remove(&(repository.clone(), tag.clone()));
    }

    fn drop_manifest(&self, repository: &RepoName, digest: &Digest) {
        self.manifests.remove(&(repository.clone(), *digest));
    }

    fn drop_blob(&self, repository: &RepoName, digest: &Digest) {
        self.blobs.remove(&(repository.clone(), *digest));
    }

    /// Drops everything.
    fn clear(&self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        self.tags.clear();
        self.manifests.clear();
        self.blobs.clear();
        self.kinds.clear();
    }

    fn manifest(&self, repository: &RepoName, reference: &Reference) -> Option<ManifestRecord> {
        let digest = match reference {
            Reference::Tag(tag) => self.tags.get(&(repository.clone(), tag.clone()))?,
            Reference::Digest(digest) => *digest,
        };
        self.manifests.get(&(repository.clone(), digest))
    }

    /// Keeps a manifest that was read under another key than its own, when there had been so many `drops`.
    fn keep(&self, repository: &RepoName, record: &ManifestRecord, drops: u64) {
        let key = (repository.clone(), record.digest);
        let place = self.manifests.get_value_or_guard(&key, Some(Duration::ZERO));
        // Once it has the place, a commit that drops the key takes that away; one before has been counted.
        if let GuardResult::Guard(guard) = place
            && self.drops.load(Ordering::SeqCst) == drops
        {
            let _refused = guard.insert(record.clone());
        }
    }
}

impl Commit for CachedMeta {
    fn commit(&self, batch: Batch) -> Answer<'_, Committed> {
        let (inner, kept) = (Arc::clone(&self.inner), Arc::clone(&self.kept));
        Box::pin(async move {
            // To its end, also where the caller gives up: the store commits all the same.
            let whole = tokio::spawn(async move {
                let writes = batch.writes.clone();
                let outcome = inner.commit(batch).await;
                match &outcome {
                    Ok(committed) => kept.invalidate(&writes, &committed.effects),
                    Err(
                        MetaError::Conflict(_)
                        | MetaError::BlobsMissing(_)
                        | MetaError::OwnerMissing { .. }
                        | MetaError::EntryInvalid { .. }
                        | MetaError::TooNew { .. },
                    ) => {}
                    // Nobody can tell how far it went: what is kept may be old.
                    Err(MetaError::Full | MetaError::Damaged(_) | MetaError::Failed { .. }) => kept.clear(),
                }
                outcome
            });
            whole.await.unwrap_or_else(|error| {
                Err(MetaError::Failed { action: "changing the metadata", reason: error.to_string() })
            })
        })
    }
}

impl ReadManifests for CachedMeta {
    fn manifest<'a>(
        &'a self,
        repository: &'a RepoName,
        reference: &'a Reference,
    ) -> Answer<'a, Option<ManifestRecord>> {
        if let Some(record) = self.kept.manifest(repository, reference) {
            return Box::pin(std::future::ready(Ok(Some(record))));
        }
        match reference {
            Reference::Tag(tag) => Box::pin(self.by_tag(repository, tag)),
            Reference::Digest(digest) => Box::pin(self.by_digest(repository, digest)),
        }
    }

    fn referrers<'a>(&'a self, query: &'a ReferrerQuery) -> Answer<'a, ReferrerPage> {
        self.inner.referrers(query)
    }
}

impl ReadBlobs for CachedMeta {
    fn blob<'a>(&'a self, repository: &'a RepoName, digest: &'a Digest) -> Answer<'a, Option<BlobRecord>> {
        let key = (repository.clone(), *digest);
        if let Some(record) = self.kept.blobs.get(&key) {
            return Box::pin(std::future::ready(Ok(Some(record))));
        }
        Box::pin(async move {
            let guard = match self.kept.blobs.get_value_or_guard_async(&key).await {
                Ok(record) => return Ok(Some(record)),
                Err(guard) => guard,
            };
            let found = self.inner.blob(repository, digest).await?;
            if let Some(record) = found {
                // Refused where a commit took the place away: see the head of this file.
                let _refused = guard.insert(record);
            }
            Ok(found)
        })
    }

    fn holder<'a>(&'a self, digest: &'a Digest, visible: &'a Visible) -> Answer<'a, Option<RepoName>> {
        self.inner.holder(digest, visible)
    }
}

impl ReadLists for CachedMeta {
    fn tags<'a>(
        &'a self,
        repository: &'a RepoName,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Option<Vec<Tag>>> {
        self.inner.tags(repository, after, limit)
    }

    fn repositories<'a>(
        &'a self,
        visible: &'a Visible,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<RepoName>> {
        self.inner.repositories(visible, after, limit)
    }

    fn usage<'a>(
        &'a self,
        visible: &'a Visible,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<RepositoryRow>> {
        self.inner.usage(visible, after, limit)
    }

    fn totals(&self) -> Answer<'_, Totals> {
        self.inner.totals()
    }
}

impl Collect for CachedMeta {
    fn garbage(&self, before: Timestamp, skip: usize, limit: usize) -> Answer<'_, Vec<Garbage>> {
        self.inner.garbage(before, skip, limit)
    }

    fn condemned(&self, before: Timestamp, limit: usize) -> Answer<'_, Vec<StoredBlob>> {
        self.inner.condemned(before, limit)
    }

    fn unknown(&self, ids: Vec<BlobId>) -> Answer<'_, Vec<BlobId>> {
        self.inner.unknown(ids)
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }
}

impl Inspect for CachedMeta {
    fn blob_rows(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<BlobRow>> {
        self.inner.blob_rows(after, limit)
    }

    fn manifest_rows(&self, after: i64, limit: usize) -> Answer<'_, Vec<ManifestRow>> {
        self.inner.manifest_rows(after, limit)
    }

    fn missing_blobs(&self, skip: usize, limit: usize) -> Answer<'_, Vec<MissingBlob>> {
        self.inner.missing_blobs(skip, limit)
    }

    fn holders<'a>(&'a self, digest: &'a Digest, limit: usize) -> Answer<'a, Vec<RepoName>> {
        self.inner.holders(digest, limit)
    }

    fn self_check(&self) -> Answer<'_, Vec<String>> {
        self.inner.self_check()
    }
}

impl ReadEvents for CachedMeta {
    fn events(&self, after: i64, limit: usize) -> Answer<'_, Vec<Event>> {
        self.inner.events(after, limit)
    }
}

impl ReadEntries for CachedMeta {
    fn entry<'a>(&'a self, kind: EntryKind, name: &'a EntryName) -> Answer<'a, Option<Entry>> {
        self.inner.entry(kind, name)
    }

    fn entries<'a>(
        &'a self,
        kind: EntryKind,
        after: Option<&'a EntryName>,
        limit: usize,
    ) -> Answer<'a, Vec<Entry>> {
        self.inner.entries(kind, after, limit)
    }

    fn owned<'a>(
        &'a self,
        owner: (EntryKind, &'a EntryName),
        kind: EntryKind,
        after: Option<&'a EntryName>,
        limit: usize,
    ) -> Answer<'a, Vec<Entry>> {
        self.inner.owned(owner, kind, after, limit)
    }
}

impl ReadMirrors for CachedMeta {
    fn repository_kind<'a>(&'a self, repository: &'a RepoName) -> Answer<'a, Option<RepositoryKind>> {
        if let Some(kind) = self.kept.kinds.get(repository) {
            return Box::pin(std::future::ready(Ok(kind)));
        }
        Box::pin(async move {
            let guard = match self.kept.kinds.get_value_or_guard_async(repository).await {
                Ok(kind) => return Ok(kind),
                Err(guard) => guard,
            };
            let found = self.inner.repository_kind(repository).await?;
            // Refused where a commit took the place away: see the head of this file.
            let _refused = guard.insert(found);
            Ok(found)
        })
    }

    fn checked<'a>(
        &'a self,
        repository: &'a RepoName,
        tag: &'a Tag,
    ) -> Answer<'a, Option<(Digest, Option<Timestamp>)>> {
        self.inner.checked(repository, tag)
    }

    fn cached_blobs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<CachedBlob>> {
        self.inner.cached_blobs(after, limit)
    }

    fn is_needed<'a>(&'a self, repository: &'a RepoName, digest: &'a Digest) -> Answer<'a, bool> {
        self.inner.is_needed(repository, digest)
    }

    fn links_of(&self, id: BlobId, limit: usize) -> Answer<'_, Vec<(RepoName, RepositoryKind)>> {
        self.inner.links_of(id, limit)
    }
}

impl ReadFallbacks for CachedMeta {
    fn had<'a>(&'a self, repository: &'a RepoName, reference: &'a Reference) -> Answer<'a, bool> {
        self.inner.had(repository, reference)
    }

    fn fallback_uses<'a>(&'a self, project: &'a ProjectName, limit: usize) -> Answer<'a, Vec<FallbackUse>> {
        self.inner.fallback_uses(project, limit)
    }
}

impl Settings for CachedMeta {
    fn setting<'a>(&'a self, name: &'a str) -> Answer<'a, Option<String>> {
        self.inner.setting(name)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A manifest that was read by its tag while somebody else deleted it must not be kept under its digest.
    #[test]
    fn what_was_read_before_a_commit_is_not_kept_after_it() {
        let kept = Kept::new(CacheSize::default());
        let repository: RepoName = "team/app".parse().unwrap();
        let bytes = Bytes::from_static(b"a manifest");
        let digest = Digest::sha256(&bytes);
        let media_type = "a/b".parse().unwrap();
        let record = ManifestRecord { digest, media_type, bytes, used_day: 0 };
        let by_digest = || kept.manifest(&repository, &Reference::Digest(digest));

        let before = kept.drops.load(Ordering::SeqCst);
        let deleted = Effect::Dropped { tags: Vec::new(), released: Vec::new() };
        kept.invalidate(&[Write::DropManifest { repository: repository.clone(), digest }], &[deleted]);
        kept.keep(&repository, &record, before);
        assert!(by_digest().is_none());
        let before = kept.drops.load(Ordering::SeqCst);
        let tag = "v1".parse().unwrap();
        kept.invalidate(&[Write::Checked { repository: repository.clone(), tag }], &[Effect::Done]);
        kept.keep(&repository, &record, before);
        assert!(by_digest().is_some());
    }
}
