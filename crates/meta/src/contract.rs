//! The contract suite: what every metadata store must do, as tests that each adapter runs on itself.
//!
//! An adapter writes `meta::contract_tests!((guard, store, clock))` in its tests; the expression is evaluated
//! once for each case: a new store that tells the time by `clock`, and a guard (a temporary folder, say) that is
//! kept until the case ends. A case that is added here is added to the list in the macro, and so to all stores.

mod blobs;
mod collect;
mod commits;
mod entries;
mod fallbacks;
mod lists;
mod manifests;
mod mirrors;
mod projects;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use blob::BlobId;
use bytes::Bytes;
use oci::{Digest, MediaType, Reference, RepoName, Tag};

use crate::{
    Batch, BlobRecord, Clock, Committed, Condition, Effect, Entry, EntryKind, EntryName, Event, EventKind,
    ManifestRecord, MetaError, MetaStore, NewBlob, NewEntry, NewManifest, Origin, RefKind, Timestamp, Write,
};

pub use blobs::*;
pub use collect::*;
pub use commits::*;
pub use entries::*;
pub use fallbacks::*;
pub use lists::*;
pub use manifests::*;
pub use mirrors::*;
pub use projects::*;

/// One test for each case of the contract.
#[macro_export]
macro_rules! contract_tests {
    ($store:expr) => {
        $crate::contract_tests! { @cases $store,
            a_pushed_image_is_read_back
            what_is_absent_is_not_found
            the_same_manifest_is_stored_once
            repositories_share_bytes_and_nothing_else
            digests_of_both_algorithms_are_kept_apart
            a_tag_moves_and_remembers
            a_tag_needs_its_manifest
            a_deleted_manifest_takes_its_tags
            use_is_remembered_by_the_day
            referrers_come_in_pages
            referrers_keep_to_their_repository
            equal_blobs_are_stored_once
            a_repeated_commit_changes_nothing
            of_many_equal_pushes_one_wins
            a_link_needs_a_sound_blob
            a_holder_must_be_visible
            an_unlinked_blob_is_gone_at_once
            a_damaged_blob_is_absent_until_it_is_healed
            healing_is_an_event
            a_manifest_holds_its_blobs
            a_foreign_blob_is_held_once_it_is_there
            missing_blobs_are_all_named
            conditions_hold_or_nothing_happens
            a_failure_spares_its_neighbours
            events_tell_everything_in_order
            settings_are_remembered
            an_entry_is_kept_and_replaced
            an_entry_that_stays_the_same_is_no_event
            an_entry_goes_with_its_owners
            owners_that_own_one_another_go_together
            an_owner_must_exist
            an_entry_has_limits
            an_entry_is_what_its_writer_saw
            of_many_equal_entries_one_is_made
            entries_are_listed_in_bytewise_order
            what_an_entry_owns_is_listed
            a_failed_batch_keeps_no_entry
            a_project_takes_up_what_lies_below_it
            a_project_that_goes_hands_over_what_it_has
            a_project_goes_with_the_one_around_it
            a_project_is_empty_or_not
            a_project_has_the_name_of_one
            tags_are_listed_in_bytewise_order
            repositories_are_listed_as_far_as_visible
            usage_is_folded
            check_walks_over_everything
            a_blob_without_use_goes_after_one_grace
            use_renews_the_grace
            what_is_needed_stays
            a_deleted_manifest_starts_the_grace
            a_deletable_blob_is_revived
            a_condemned_blob_never_comes_back
            a_link_outlives_another
            a_push_and_a_collection_exclude_each_other
            a_dry_run_tells_what_goes
            collection_keeps_to_its_limits
            a_repository_is_marked_as_mirrored
            a_kind_can_be_a_condition
            a_mirrored_manifest_may_lack_its_blobs
            a_tag_is_checked
            an_evicted_blob_is_fetched_anew
            eviction_takes_so_many_links_at_once
            a_hosted_repository_keeps_its_blobs
            eviction_may_take_what_only_mirrors_hold
            usage_follows_evictions
            a_mirrored_repository_is_collected
            what_was_here_is_known
            uses_of_a_fallback_are_added_up
        }
    };
    (@cases $store:expr, $($case:ident)*) => {
        mod contract {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let (_guard, store, clock) = $store;
                    $crate::contract::$case($crate::contract::Subject::new(store, clock)).await;
                }
            )*
        }
    };
}

/// A clock that stands until it is set.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that stands at some moment of the year 2026.
    pub fn new() -> Self {
        Self(AtomicI64::new(1_790_000_000_000_000))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("tests do not last that long");
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

/// The store under test, with short words for what the cases do.
pub struct Subject {
    store: Arc<dyn MetaStore>,
    clock: Arc<TestClock>,
}

impl Subject {
    /// A store, and the clock it goes by.
    pub fn new(store: Arc<dyn MetaStore>, clock: Arc<TestClock>) -> Self {
        Self { store, clock }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, MetaError> {
        self.store.commit(batch).await
    }

    /// Does one thing that must succeed.
    async fn does(&self, write: Write) -> Effect {
        let committed = self.commit(Batch::of(Origin::default(), write)).await.expect("the write is done");
        assert_eq!(committed.effects.len(), 1);
        committed.effects.into_iter().next().expect("an effect for each write")
    }

    async fn store_blob(&self, repository: &str, content: &str) -> NewBlob {
        let blob = new_blob(content);
        self.does(Write::Blob { repository: repo(repository), blob }).await;
        blob
    }

    async fn store_manifest(&self, repository: &str, manifest: &NewManifest) -> Effect {
        self.does(Write::Manifest { repository: repo(repository), manifest: manifest.clone() }).await
    }

    async fn tag(&self, repository: &str, name: &str, digest: Digest) -> Effect {
        self.does(Write::Tag { repository: repo(repository), tag: tag(name), digest }).await
    }

    async fn unlink(&self, repository: &str, digest: Digest) -> Effect {
        self.does(Write::Unlink { repository: repo(repository), digest }).await
    }

    async fn drop_manifest(&self, repository: &str, digest: Digest) -> Effect {
        self.does(Write::DropManifest { repository: repo(repository), digest }).await
    }

    async fn manifest(&self, repository: &str, reference: &str) -> Option<ManifestRecord> {
        let reference: Reference = reference.parse().expect("a reference");
        self.store.manifest(&repo(repository), &reference).await.expect("manifests can be read")
    }

    async fn blob(&self, repository: &str, digest: Digest) -> Option<BlobRecord> {
        self.store.blob(&repo(repository), &digest).await.expect("blobs can be read")
    }

    async fn keep(&self, entry: NewEntry) -> Effect {
        self.does(Write::Entry(entry)).await
    }

    async fn drop_entry(&self, kind: EntryKind, name: &str) -> Effect {
        self.does(Write::DropEntry { kind, name: entry_name(name) }).await
    }

    async fn entry(&self, kind: EntryKind, name: &str) -> Option<Entry> {
        self.store.entry(kind, &entry_name(name)).await.expect("entries can be read")
    }

    async fn events(&self) -> Vec<Event> {
        let events = self.store.events(0, 10_000).await.expect("events can be read");
        let positions: Vec<i64> = events.iter().map(|event| event.position).collect();
        let gapless: Vec<i64> = (1..).take(events.len()).collect();
        assert_eq!(positions, gapless, "positions have no gaps");
        events
    }

    async fn event_kinds(&self) -> Vec<EventKind> {
        self.events().await.into_iter().map(|event| event.kind).collect()
    }

    /// A whole collection with an end of grace, as far as metadata goes: what was expired and condemned.
    async fn collect(&self, before: Timestamp) -> (Vec<(RepoName, Digest, u64)>, Vec<Digest>) {
        let limit = 10_000;
        let Effect::Expired { links } = self.does(Write::ExpireLinks { before, limit }).await else {
            panic!("links expire");
        };
        let Effect::Condemned { blobs } = self.does(Write::Condemn { before, limit }).await else {
            panic!("blobs are condemned");
        };
        (links, blobs.into_iter().map(|blob| blob.digest).collect())
    }

    async fn condemned(&self) -> Vec<BlobId> {
        let blobs = self.store.condemned(self.now(), 10_000).await.expect("condemned blobs can be listed");
        blobs.into_iter().map(|blob| blob.id).collect()
    }
}

fn repo(name: &str) -> RepoName {
    name.parse().expect("a name of a repository")
}

fn tag(name: &str) -> Tag {
    name.parse().expect("a tag")
}

fn entry_name(name: &str) -> EntryName {
    name.parse().expect("a name of an entry")
}

fn new_entry(kind: EntryKind, name: &str, value: &str, owners: &[(EntryKind, &str)]) -> NewEntry {
    let owners = owners.iter().map(|(kind, name)| (*kind, entry_name(name))).collect();
    NewEntry { kind, name: entry_name(name), value: value.to_owned(), owners }
}

fn digest(content: &str) -> Digest {
    Digest::sha256(content.as_bytes())
}

fn media_type(text: &str) -> MediaType {
    text.parse().expect("a media type")
}

fn new_blob(content: &str) -> NewBlob {
    NewBlob { digest: digest(content), size: content.len() as u64, id: BlobId::random() }
}

fn new_manifest(content: &str, references: &[(Digest, RefKind)]) -> NewManifest {
    NewManifest {
        digest: digest(content),
        media_type: media_type("application/vnd.oci.image.manifest.v1+json"),
        bytes: Bytes::copy_from_slice(content.as_bytes()),
        artifact_type: None,
        subject: None,
        annotations: None,
        references: references.to_vec(),
    }
}

/// A manifest that needs these blobs.
fn image(content: &str, blobs: &[NewBlob]) -> NewManifest {
    let references: Vec<_> = blobs.iter().map(|blob| (blob.digest, RefKind::Blob)).collect();
    new_manifest(content, &references)
}

/// The batch by which an image is pushed: under the condition that its blobs are there.
fn push(repository: &str, manifest: &NewManifest) -> Batch {
    let blobs = manifest.references.iter().filter(|(_, kind)| *kind == RefKind::Blob);
    let digests = blobs.map(|(digest, _)| *digest).collect();
    let write = Write::Manifest { repository: repo(repository), manifest: manifest.clone() };
    Batch::of(Origin::default(), write).when(Condition::BlobsLinked { repository: repo(repository), digests })
}
