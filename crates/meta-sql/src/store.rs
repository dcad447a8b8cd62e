//! The store: which connection each question goes to.

use std::path::Path;
use std::sync::Arc;

use blob::BlobId;
use meta::{
    Answer, Batch, BlobRecord, BlobRow, CachedBlob, Clock, Collect, Commit, Committed, Entry, EntryKind,
    EntryName, Event, FallbackUse, Garbage, Inspect, ManifestRecord, ManifestRow, MetaError, MissingBlob,
    ReadBlobs, ReadEntries, ReadEvents, ReadFallbacks, ReadLists, ReadManifests, ReadMirrors, ReferrerPage,
    ReferrerQuery, RepositoryKind, RepositoryRow, Settings, StoredBlob, Timestamp, Totals, Visible,
};
use oci::{Digest, ProjectName, Reference, RepoName, Tag};

use crate::connection::Place;
use crate::error::Result;
use crate::migrate::migrate;
use crate::pool::Pool;
use crate::read::{blobs, collect, entries, events, fallbacks, inspect, lists, manifests, mirrors};
use crate::sql::Db;
use crate::writer::Writer;

/// How the store uses memory and disk.
#[derive(Clone, Debug)]
pub struct Config {
    /// The most batches that share a transaction.
    pub group: usize,
    /// The most look-ups at once: more wait. As many as threads that ask.
    pub lookups: usize,
    /// The most lists and walks at once: more wait.
    pub walks: usize,
    /// The page cache of each connection that reads, in KiB. Little is needed: most pages are read where the file
    /// is mapped.
    pub cache_kib: u32,
    /// The page cache of the connection that writes, in KiB.
    pub writer_cache_kib: u32,
    /// How much of the file look-ups map into memory, so that they read pages without a copy: counted as resident
    /// as far as it was read, and given back when memory is short. SQLite maps 2 GiB at
    /// most, unless it was built to map more.
    pub mmap_bytes: u64,
    /// How many pages of 4 KiB gather in the write-ahead log before they are moved into the database. That costs
    /// two flushes; a start after a crash reads as many.
    pub log_pages: i64,
    /// The size beyond which the database does not grow: the store is full then. `None` for the disk's.
    pub max_bytes: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(4, usize::from);
        Self {
            group: 256,
            lookups: threads,
            walks: 4,
            cache_kib: 512,
            writer_cache_kib: 4_096,
            mmap_bytes: 1 << 40,
            log_pages: 4_000,
            max_bytes: None,
        }
    }
}

/// Metadata in one SQLite database, which this process has for itself.
pub struct SqliteMeta {
    clock: Arc<dyn Clock>,
    writer: Writer,
    lookups: Pool,
    walks: Arc<Pool>,
}

impl SqliteMeta {
    /// Opens the database in this file, and makes it where it is not there.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, config: Config) -> Result<Self> {
        Self::start(Place::File(path.to_owned()), clock, config)
    }

    /// A database that lives in memory and is gone with the store, for tests.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self> {
        Self::start(Place::memory(), clock, Config::default())
    }

    fn start(place: Place, clock: Arc<dyn Clock>, config: Config) -> Result<Self> {
        let mut connection = place.open_writer(&config)?;
        migrate(&mut connection)?;
        Ok(Self {
            writer: Writer::start(connection, Arc::clone(&clock), &config)?,
            lookups: Pool::new(place.clone(), config.clone(), config.lookups, config.mmap_bytes),
            walks: Arc::new(Pool::new(place, config.clone(), config.walks, 0)),
            clock,
        })
    }

    /// Looks something up on this thread: it takes microseconds, less than handing it to another one.
    fn look_up<'a, T: Send + 'a>(
        &'a self,
        action: &'static str,
        read: impl FnOnce(Db<'_>) -> Result<T> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move { read(Db::new(&*self.lookups.take()?, action)) })
    }

    /// Reads something long on a thread that may block.
    fn walk<T: Send + 'static>(
        &self,
        action: &'static str,
        read: impl FnOnce(Db<'_>) -> Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        let pool = Arc::clone(&self.walks);
        Box::pin(async move {
            tokio::task::spawn_blocking(move || read(Db::new(&*pool.take()?, action)))
                .await
                .map_err(|error| MetaError::Failed { action, reason: error.to_string() })?
        })
    }
}

impl Commit for SqliteMeta {
    fn commit(&self, batch: Batch) -> Answer<'_, Committed> {
        Box::pin(self.writer.commit(batch))
    }
}

impl ReadManifests for SqliteMeta {
    fn manifest<'a>(
        &'a self,
        repository: &'a RepoName,
        reference: &'a Reference,
    ) -> Answer<'a, Option<ManifestRecord>> {
        self.look_up("reading a manifest", move |db| manifests::manifest(db, repository, reference))
    }

    fn referrers<'a>(&'a self, query: &'a ReferrerQuery) -> Answer<'a, ReferrerPage> {
        let query = query.clone();
        self.walk("listing referrers", move |db| manifests::referrers(db, &query))
    }
}

impl ReadBlobs for SqliteMeta {
    fn blob<'a>(&'a self, repository: &'a RepoName, digest: &'a Digest) -> Answer<'a, Option<BlobRecord>> {
        self.look_up("looking up a blob", move |db| blobs::blob(db, repository, digest))
    }

    fn holder<'a>(&'a self, digest: &'a Digest, visible: &'a Visible) -> Answer<'a, Option<RepoName>> {
        self.look_up("looking for a blob's repository", move |db| blobs::holder(db, digest, visible))
    }
}

impl ReadLists for SqliteMeta {
    fn tags<'a>(
        &'a self,
        repository: &'a RepoName,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Option<Vec<Tag>>> {
        let (repository, after) = (repository.clone(), owned(after));
        self.walk("listing tags", move |db| lists::tags(db, &repository, &after, limit))
    }

    fn repositories<'a>(
        &'a self,
        visible: &'a Visible,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<RepoName>> {
        let (visible, after) = (visible.clone(), owned(after));
        self.walk("listing repositories", move |db| lists::repositories(db, &visible, &after, limit))
    }

    fn usage<'a>(
        &'a self,
        visible: &'a Visible,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<RepositoryRow>> {
        let (visible, after) = (visible.clone(), owned(after));
        self.walk("reading usage", move |db| lists::usage(db, &visible, &after, limit))
    }

    fn totals(&self) -> Answer<'_, Totals> {
        self.look_up("reading totals", lists::totals)
    }
}

impl Collect for SqliteMeta {
    fn garbage(&self, before: Timestamp, skip: usize, limit: usize) -> Answer<'_, Vec<Garbage>> {
        self.walk("looking for garbage", move |db| collect::garbage(db, before, skip, limit))
    }

    fn condemned(&self, before: Timestamp, limit: usize) -> Answer<'_, Vec<StoredBlob>> {
        self.walk("listing condemned blobs", move |db| collect::condemned(db, before, limit))
    }

    fn unknown(&self, ids: Vec<BlobId>) -> Answer<'_, Vec<BlobId>> {
        self.walk("looking for unknown objects", move |db| collect::unknown(db, ids))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Inspect for SqliteMeta {
    fn blob_rows(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<BlobRow>> {
        self.walk("walking over blobs", move |db| inspect::blob_rows(db, after, limit))
    }

    fn manifest_rows(&self, after: i64, limit: usize) -> Answer<'_, Vec<ManifestRow>> {
        self.walk("walking over manifests", move |db| inspect::manifest_rows(db, after, limit))
    }

    fn missing_blobs(&self, skip: usize, limit: usize) -> Answer<'_, Vec<MissingBlob>> {
        self.walk("looking for missing blobs", move |db| inspect::missing_blobs(db, skip, limit))
    }

    fn holders<'a>(&'a self, digest: &'a Digest, limit: usize) -> Answer<'a, Vec<RepoName>> {
        let digest = *digest;
        self.walk("looking for a blob's repositories", move |db| inspect::holders(db, &digest, limit))
    }

    fn self_check(&self) -> Answer<'_, Vec<String>> {
        self.walk("checking the database", inspect::self_check)
    }
}

impl ReadEvents for SqliteMeta {
    fn events(&self, after: i64, limit: usize) -> Answer<'_, Vec<Event>> {
        self.walk("reading events", move |db| events::events(db, after, limit))
    }
}

impl ReadEntries for SqliteMeta {
    fn entry<'a>(&'a self, kind: EntryKind, name: &'a EntryName) -> Answer<'a, Option<Entry>> {
        self.look_up("reading an entry", move |db| entries::entry(db, kind, name))
    }

    fn entries<'a>(
        &'a self,
        kind: EntryKind,
        after: Option<&'a EntryName>,
        limit: usize,
    ) -> Answer<'a, Vec<Entry>> {
        let after = owned(after.map(EntryName::as_str));
        self.walk("listing entries", move |db| entries::entries(db, kind, &after, limit))
    }

    /// Few belong to one, and whoever signs in waits for them.
    fn owned<'a>(
        &'a self,
        owner: (EntryKind, &'a EntryName),
        kind: EntryKind,
        after: Option<&'a EntryName>,
        limit: usize,
    ) -> Answer<'a, Vec<Entry>> {
        let after = after.map_or("", EntryName::as_str);
        self.look_up("reading what an entry owns", move |db| entries::owned(db, owner, kind, after, limit))
    }
}

impl ReadMirrors for SqliteMeta {
    fn repository_kind<'a>(&'a self, repository: &'a RepoName) -> Answer<'a, Option<RepositoryKind>> {
        self.look_up("looking up a repository", move |db| mirrors::repository_kind(db, repository))
    }

    fn checked<'a>(
        &'a self,
        repository: &'a RepoName,
        tag: &'a Tag,
    ) -> Answer<'a, Option<(Digest, Option<Timestamp>)>> {
        self.look_up("looking up when a tag was checked", move |db| mirrors::checked(db, repository, tag))
    }

    fn cached_blobs(&self, after: Option<BlobId>, limit: usize) -> Answer<'_, Vec<CachedBlob>> {
        self.walk("walking over cached blobs", move |db| mirrors::cached_blobs(db, after, limit))
    }

    fn is_needed<'a>(&'a self, repository: &'a RepoName, digest: &'a Digest) -> Answer<'a, bool> {
        self.look_up("looking up who needs a blob", move |db| mirrors::is_needed(db, repository, digest))
    }

    fn links_of(&self, id: BlobId, limit: usize) -> Answer<'_, Vec<(RepoName, RepositoryKind)>> {
        self.walk("looking for a blob's repositories", move |db| mirrors::links_of(db, id, limit))
    }
}

impl ReadFallbacks for SqliteMeta {
    fn had<'a>(&'a self, repository: &'a RepoName, reference: &'a Reference) -> Answer<'a, bool> {
        self.look_up("looking up what was here", move |db| fallbacks::had(db, repository, reference))
    }

    fn fallback_uses<'a>(&'a self, project: &'a ProjectName, limit: usize) -> Answer<'a, Vec<FallbackUse>> {
        let project = project.clone();
        self.walk("listing uses of a fallback", move |db| fallbacks::uses(db, &project, limit))
    }
}

impl Settings for SqliteMeta {
    fn setting<'a>(&'a self, name: &'a str) -> Answer<'a, Option<String>> {
        self.look_up("reading a setting", move |db| events::setting(db, name))
    }
}

/// From before the first name, where the list starts there: no name is empty.
fn owned(after: Option<&str>) -> String {
    after.unwrap_or_default().to_owned()
}
