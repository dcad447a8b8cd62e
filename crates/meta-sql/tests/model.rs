//! Random writes against the store and against a model of a few maps: they must agree on every answer, and the
//! promises of garbage collection must hold in both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use blob::BlobId;
use meta::contract::TestClock;
use meta::{
    Batch, Clock, Collect, Commit, Condition, Effect, Inspect, MetaError, NewBlob, NewManifest, Origin,
    ReadBlobs, ReadMirrors, RefKind, Timestamp, Write,
};
use meta_sql::SqliteMeta;
use oci::{Digest, RepoName};
use proptest::collection::vec;
use proptest::prelude::*;

const REPOSITORIES: usize = 3;
/// The last of them.
const MIRROR: usize = 2;
const BLOBS: usize = 3;
const MANIFESTS: usize = 4;

/// What somebody does, with numbers for names.
#[derive(Clone, Debug)]
enum Step {
    Push { repository: usize, blob: usize },
    Mount { repository: usize, blob: usize },
    Unlink { repository: usize, blob: usize },
    Renew { repository: usize, blob: usize },
    Evict { blob: usize },
    PushManifest { repository: usize, manifest: usize },
    DropManifest { repository: usize, manifest: usize },
    Damage { blob: usize },
    Wait { seconds: u64 },
    Expire { grace: u64 },
    Condemn { grace: u64 },
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let (repository, blob, manifest) = (0..REPOSITORIES, 0..BLOBS, 0..MANIFESTS);
    let at = (repository.clone(), blob.clone());
    let of = (repository, manifest);
    prop_oneof![
        6 => at.clone().prop_map(|(repository, blob)| Step::Push { repository, blob }),
        2 => at.clone().prop_map(|(repository, blob)| Step::Mount { repository, blob }),
        1 => at.clone().prop_map(|(repository, blob)| Step::Unlink { repository, blob }),
        1 => at.clone().prop_map(|(repository, blob)| Step::Renew { repository, blob }),
        2 => blob.clone().prop_map(|blob| Step::Evict { blob }),
        4 => of.clone().prop_map(|(repository, manifest)| Step::PushManifest { repository, manifest }),
        3 => of.prop_map(|(repository, manifest)| Step::DropManifest { repository, manifest }),
        1 => blob.prop_map(|blob| Step::Damage { blob }),
        3 => (0_u64..5).prop_map(|seconds| Step::Wait { seconds }),
        3 => (0_u64..5).prop_map(|grace| Step::Expire { grace }),
        3 => (0_u64..5).prop_map(|grace| Step::Condemn { grace }),
        1 => Just(Step::Forget),
    ]
}

/// A digest's stored object, live (`None`) or deletable since some moment.
#[derive(Clone, Copy, Debug)]
struct Stored {
    id: BlobId,
    deletable: Option<Timestamp>,
    damaged: bool,
}

/// What the store should remember.
#[derive(Default)]
struct Model {
    stored: BTreeMap<usize, Stored>,
    links: BTreeMap<(usize, usize), Option<Timestamp>>,
    manifests: BTreeSet<(usize, usize)>,
    condemned: BTreeSet<BlobId>,
}

impl Model {
    fn needed(&self, repository: usize, blob: usize) -> bool {
        self.manifests.iter().any(|(r, manifest)| *r == repository && needs(*manifest).contains(&blob))
    }

    fn link(&mut self, repository: usize, blob: usize, now: Timestamp) {
        let since = if self.needed(repository, blob) { None } else { Some(now) };
        self.links.insert((repository, blob), since);
        if let Some(stored) = self.stored.get_mut(&blob) {
            stored.deletable = None;
        }
    }

    fn unlink(&mut self, repository: usize, blob: usize, since: Timestamp) -> bool {
        let was_there = self.links.remove(&(repository, blob)).is_some();
        if was_there && !self.links.keys().any(|(_, other)| *other == blob) {
            self.stored.entry(blob).and_modify(|stored| stored.deletable = Some(since));
        }
        was_there
    }

    fn push(&mut self, repository: usize, blob: usize, id: BlobId, now: Timestamp) -> Effect {
        let new = Stored { id, deletable: None, damaged: false };
        let stored = *self.stored.entry(blob).or_insert(new);
        if stored.damaged {
            self.condemned.insert(stored.id);
            self.stored.insert(blob, new);
        } else if stored.id != id {
            self.condemned.insert(id);
        }
        self.link(repository, blob, now);
        Effect::Blob { id: self.stored[&blob].id }
    }

    /// The blobs that are not there, in the order of the manifest; none where it could be stored. The mirror misses none.
    fn push_manifest(&mut self, repository: usize, manifest: usize) -> Vec<usize> {
        let sound =
            |blob: &usize| self.links.contains_key(&(repository, *blob)) && !self.stored[blob].damaged;
        let missing: Vec<usize> =
            needs(manifest).into_iter().filter(|blob| repository != MIRROR && !sound(blob)).collect();
        if missing.is_empty() {
            self.manifests.insert((repository, manifest));
            for blob in needs(manifest) {
                self.links.entry((repository, blob)).and_modify(|since| *since = None);
            }
        }
        missing
    }

    fn drop_manifest(
        &mut self,
        repository: usize,
        manifest: usize,
        now: Timestamp,
    ) -> Option<BTreeSet<Digest>> {
        self.manifests.remove(&(repository, manifest)).then(|| {
            let held = |blob: &usize| self.links.contains_key(&(repository, *blob));
            let released: Vec<usize> = needs(manifest)
                .into_iter()
                .filter(|blob| held(blob) && !self.needed(repository, *blob))
                .collect();
            for blob in &released {
                self.links.insert((repository, *blob), Some(now));
            }
            released.into_iter().map(digest).collect()
        })
    }

    fn expire(&mut self, before: Timestamp) -> BTreeSet<(RepoName, Digest)> {
        let mut old: Vec<_> = self
            .links
            .iter()
            .filter_map(|(key, since)| since.filter(|since| *since < before).map(|since| (since, *key)))
            .collect();
        old.sort();
        for (since, (repository, blob)) in &old {
            self.unlink(*repository, *blob, *since);
        }
        old.into_iter().map(|(_, (repository, blob))| (repo(repository), digest(blob))).collect()
    }

    /// The ids of the blobs that the mirror holds and nobody else.
    fn cached(&self) -> BTreeSet<BlobId> {
        let holders = |blob: usize| self.links.keys().filter(move |(_, held)| *held == blob);
        let is_cached = |blob: usize| {
            holders(blob).next().is_some() && holders(blob).all(|(repository, _)| *repository == MIRROR)
        };
        self.stored.iter().filter(|(blob, _)| is_cached(**blob)).map(|(_, stored)| stored.id).collect()
    }

    fn evict(&mut self, blob: usize) -> Option<BlobId> {
        let id = self.stored.get(&blob).map(|stored| stored.id).filter(|id| self.cached().contains(id))?;
        self.links.remove(&(MIRROR, blob));
        self.stored.remove(&blob);
        self.condemned.insert(id);
        Some(id)
    }

    fn condemn(&mut self, before: Timestamp) -> BTreeSet<BlobId> {
        let old = |stored: &Stored| stored.deletable.is_some_and(|since| since < before);
        let gone: BTreeSet<BlobId> = self.stored.values().filter(|s| old(s)).map(|s| s.id).collect();
        self.stored.retain(|_, stored| !old(stored));
        self.condemned.extend(&gone);
        gone
    }
}

/// Manifest N needs the blobs whose bits its number has, the last of them besides as one that may be absent.
fn needs(manifest: usize) -> Vec<usize> {
    (0..BLOBS).filter(|blob| manifest & (1 << blob) != 0).collect()
}

fn repo(n: usize) -> RepoName {
    format!("team/r{n}").parse().expect("a name")
}

fn digest(blob: usize) -> Digest {
    Digest::sha256(format!("blob {blob}").as_bytes())
}

fn manifest(n: usize) -> NewManifest {
    let bytes = bytes::Bytes::from(format!("manifest {n}"));
    NewManifest {
        digest: Digest::sha256(&bytes),
        media_type: oci::types::OCI_MANIFEST.parse().expect("a media type"),
        bytes,
        artifact_type: None,
        subject: None,
        annotations: None,
        references: needs(n).into_iter().map(|blob| (digest(blob), RefKind::Blob)).collect(),
    }
}

struct Pair {
    store: SqliteMeta,
    clock: Arc<TestClock>,
    model: Model,
}

impl Pair {
    async fn commit(&self, write: Write) -> Effect {
        let committed = self.store.commit(Batch::of(Origin::default(), write)).await;
        committed.expect("the write is done").effects.remove(0)
    }

    async fn take(&mut self, step: Step) {
        let now = self.clock.now();
        let before = |grace| now.minus(Duration::from_secs(grace));
        let (store, model) = (&self.store, &mut self.model);
        match step {
            Step::Push { repository, blob } => {
                let new = NewBlob { digest: digest(blob), size: 9, id: BlobId::random() };
                let expect = model.push(repository, blob, new.id, now);
                assert_eq!(
                    self.commit(Write::Blob { repository: repo(repository), blob: new }).await,
                    expect
                );
            }
            Step::Mount { repository, blob } => {
                let sound = model.stored.get(&blob).copied().filter(|stored| !stored.damaged);
                let expect = sound.map_or(Effect::Absent, |stored| {
                    model.link(repository, blob, now);
                    Effect::Blob { id: stored.id }
                });
                let write = Write::Link { repository: repo(repository), digest: digest(blob) };
                assert_eq!(self.commit(write).await, expect);
            }
            Step::Unlink { repository, blob } => {
                let expect = if model.unlink(repository, blob, now) { Effect::Done } else { Effect::Absent };
                let write = Write::Unlink { repository: repo(repository), digest: digest(blob) };
                assert_eq!(self.commit(write).await, expect);
            }
            Step::Renew { repository, blob } => {
                let link = model.links.get_mut(&(repository, blob));
                let expect = link.map_or(Effect::Absent, |since| {
                    *since = since.map(|_| now);
                    Effect::Done
                });
                let write = Write::Renew { repository: repo(repository), digest: digest(blob) };
                assert_eq!(self.commit(write).await, expect);
            }
            Step::Evict { blob } => {
                let ids = model.stored.get(&blob).map_or_else(Vec::new, |stored| vec![stored.id]);
                let expect = model.evict(blob);
                let Effect::Evicted { links, blobs } = self.commit(Write::Evict { ids, limit: 10 }).await
                else {
                    panic!("blobs are evicted");
                };
                assert_eq!(blobs.iter().map(|blob| blob.id).collect::<Vec<_>>(), Vec::from_iter(expect));
                let links_expected = expect.map(|_| (repo(MIRROR), digest(blob)));
                assert_eq!(links, Vec::from_iter(links_expected));
            }
            Step::PushManifest { repository, manifest: n } => {
                let missing: Vec<Digest> =
                    model.push_manifest(repository, n).into_iter().map(digest).collect();
                let write = Write::Manifest { repository: repo(repository), manifest: manifest(n) };
                let digests = needs(n).into_iter().map(digest).collect();
                let needs = Condition::BlobsLinked { repository: repo(repository), digests };
                let conditions = if repository == MIRROR { Vec::new() } else { vec![needs] };
                let batch = Batch { conditions, ..Batch::of(Origin::default(), write) };
                match store.commit(batch).await {
                    Ok(_) => assert_eq!(missing, []),
                    Err(MetaError::BlobsMissing(digests)) => assert_eq!(digests, missing),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::DropManifest { repository, manifest: n } => {
                let expect = model.drop_manifest(repository, n, now);
                let write = Write::DropManifest { repository: repo(repository), digest: manifest(n).digest };
                let found = match self.commit(write).await {
                    Effect::Dropped { released, .. } => Some(released.into_iter().collect()),
                    effect => {
                        assert_eq!(effect, Effect::Absent);
                        None
                    }
                };
                assert_eq!(found, expect);
            }
            Step::Damage { blob } => {
                if let Some(stored) = model.stored.get_mut(&blob) {
                    stored.damaged = true;
                    let id = stored.id;
                    self.commit(Write::Damaged { id }).await;
                }
            }
            Step::Wait { seconds } => self.clock.advance(Duration::from_secs(seconds)),
            Step::Expire { grace } => {
                let expect = model.expire(before(grace));
                let effect = self.commit(Write::ExpireLinks { before: before(grace), limit: 100 }).await;
                let Effect::Expired { links } = effect else { panic!("{effect:?}") };
                let links: BTreeSet<_> = links.into_iter().map(|(name, digest, _)| (name, digest)).collect();
                assert_eq!(links, expect);
            }
            Step::Condemn { grace } => {
                let expect = model.condemn(before(grace));
                let effect = self.commit(Write::Condemn { before: before(grace), limit: 100 }).await;
                let Effect::Condemned { blobs } = effect else { panic!("{effect:?}") };
                assert_eq!(blobs.iter().map(|blob| blob.id).collect::<BTreeSet<_>>(), expect);
            }
            Step::Forget => {
                let ids = std::mem::take(&mut model.condemned).into_iter().collect();
                self.commit(Write::Forget { ids }).await;
            }
        }
    }

    /// The store answers as the model does, and keeps the promises that both make.
    async fn agree(&self) {
        for repository in 0..REPOSITORIES {
            for blob in 0..BLOBS {
                let found = self.store.blob(&repo(repository), &digest(blob)).await.expect("it is answered");
                let link = self.model.links.get(&(repository, blob));
                let stored = self.model.stored.get(&blob).filter(|stored| !stored.damaged);
                let expect = link.and_then(|since| stored.map(|stored| (stored.id, *since)));
                assert_eq!(found.map(|found| (found.id, found.unreferenced_since)), expect);
                if let Some(since) = link {
                    assert!(self.model.stored.contains_key(&blob), "what is linked is stored");
                    assert_eq!(since.is_none(), self.model.needed(repository, blob));
                }
            }
        }
        let condemned = self.store.condemned(self.clock.now(), 1_000).await.expect("it is answered");
        assert_eq!(condemned.iter().map(|blob| blob.id).collect::<BTreeSet<_>>(), self.model.condemned);
        let cached = self.store.cached_blobs(None, 1_000).await.expect("it is answered");
        assert_eq!(cached.iter().map(|blob| blob.id).collect::<BTreeSet<_>>(), self.model.cached());
        let stored = self.store.blob_rows(None, 1_000).await.expect("it is answered");
        let mut ids: Vec<BlobId> = self.model.stored.values().map(|stored| stored.id).collect();
        ids.sort();
        assert_eq!(stored.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn store_and_model_agree(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let clock = Arc::new(TestClock::new());
            let store = SqliteMeta::in_memory(Arc::clone(&clock) as Arc<dyn Clock>).expect("a store");
            let mut pair = Pair { store, clock, model: Model::default() };
            pair.commit(Write::Mirror { repository: repo(MIRROR) }).await;
            for step in steps {
                pair.take(step).await;
                pair.agree().await;
            }
            assert_eq!(pair.store.self_check().await.expect("it is checked"), [""; 0]);
        });
    }
}
