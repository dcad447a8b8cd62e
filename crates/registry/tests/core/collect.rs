//! Garbage collection: what goes, when it goes, and what never does.

use std::sync::Arc;
use std::time::Duration;

use access::Action;
use blob::{BlobStore, Open, UploadId};
use oci::{Algorithm, Digest};
use registry::{CheckOptions, GcItem, GcOptions, GcSummary, Lifetimes, Limits, MountFrom, RegistryError};
use tokio::sync::mpsc;

use crate::common::{DAY, Deletion, HOUR, Image, World, administer, assert_refused, repo, to};

/// A world with a grace of a day.
fn world() -> World {
    World::with(Limits::default(), Lifetimes { grace: DAY, ..Lifetimes::default() })
}

/// An image of which the manifest is gone, so that its blobs wait for their end.
async fn released(world: &World) -> Image {
    let image = Image::of(&["a layer"]);
    let digest = world.push("team/app", "v1", &image).await;
    world.delete("team/app", &digest.to_string()).await.unwrap();
    image
}

#[tokio::test]
async fn what_nobody_needs_goes_after_its_grace() {
    let world = world();
    let blob = world.push_blob("team/app", "alone").await;
    let id = world.head_blob("team/app", &blob).await.unwrap();
    world.clock.advance(DAY);
    assert_eq!(world.collected().await, [], "not before");
    world.clock.advance(HOUR);
    let (summary, items) = world.collect(GcOptions::default()).await.unwrap();
    let link = GcItem::Link { repository: repo("team/app"), digest: blob, size: 5 };
    assert_eq!(items, [link, GcItem::Blob { digest: blob, id, size: 5 }]);
    assert_eq!(summary, GcSummary { links: 1, blobs: 1, bytes: 5, ..GcSummary::default() });
    assert_refused!(world.read_blob("team/app", &blob).await, RegistryError::BlobUnknown { .. });
    assert_eq!(world.objects(), 0);
    assert_eq!(world.collected().await, [], "a second run finds nothing");
}

#[tokio::test]
async fn what_is_needed_stays_however_old() {
    let world = world();
    let (kept, gone) = (Image::of(&["shared", "kept"]), Image::of(&["shared", "gone"]));
    world.push("team/app", "kept", &kept).await;
    let digest = world.push("team/app", "gone", &gone).await;
    world.push("team/other", "gone", &gone).await;
    // What was pushed twice was stored twice.
    world.collected().await;
    assert_eq!(world.objects(), 4);
    world.clock.advance(100 * DAY);
    assert_eq!(world.collected().await, []);
    world.delete("team/app", &digest.to_string()).await.unwrap();
    world.clock.advance(2 * DAY);
    let items = world.collected().await;
    assert_eq!(items.len(), 1, "the other repository still needs it: {items:?}");
    assert!(matches!(&items[0], GcItem::Link { digest, .. } if *digest == Digest::sha256(b"gone")));
    world.assert_pulls("team/app", "kept", &kept).await;
    world.assert_pulls("team/other", "gone", &gone).await;
    let blob = world.read_blob("team/app", &Digest::sha256(b"gone")).await;
    assert_refused!(blob, RegistryError::BlobUnknown { .. });
}

#[tokio::test]
async fn a_tag_does_not_keep_and_untagging_does_not_release() {
    let world = world();
    let image = Image::of(&["a layer"]);
    let digest = world.push("team/app", "v1", &image).await.to_string();
    world.delete("team/app", "v1").await.unwrap();
    world.clock.advance(100 * DAY);
    assert_eq!(world.collected().await, []);
    world.assert_pulls("team/app", &digest, &image).await;
}

#[tokio::test]
async fn the_grace_may_be_given_with_the_run() {
    let world = world();
    released(&world).await;
    world.clock.advance(HOUR);
    let shorter = GcOptions { grace: Some(HOUR / 2), dry_run: false };
    let longer = GcOptions { grace: Some(HOUR * 2), dry_run: false };
    assert_eq!(world.collect(longer).await.unwrap().0, GcSummary::default());
    assert_eq!(world.collect(shorter).await.unwrap().0.blobs, 2);
}

#[tokio::test]
async fn asking_for_a_blob_renews_its_grace() {
    let world = world();
    let blob = world.push_blob("team/app", "alone").await;
    for _ in 0..3 {
        world.clock.advance(20 * HOUR);
        world.head_blob("team/app", &blob).await.expect("it is within its grace");
        assert_eq!(world.collected().await, []);
    }
    world.clock.advance(DAY + HOUR);
    assert_eq!(world.collected().await.len(), 2);
    assert_refused!(world.head_blob("team/app", &blob).await, RegistryError::BlobUnknown { .. });
}

#[tokio::test]
async fn asking_often_writes_seldom() {
    let world = world();
    let blob = world.push_blob("team/app", "alone").await;
    let since = async || world.meta.blob(&repo("team/app"), &blob).await.unwrap().unwrap().unreferenced_since;
    let first = since().await;
    world.clock.advance(HOUR);
    world.head_blob("team/app", &blob).await.unwrap();
    assert_eq!(since().await, first, "an eighth of the grace has not passed");
    world.clock.advance(3 * HOUR);
    world.head_blob("team/app", &blob).await.unwrap();
    assert!(since().await > first);
}

/// Where the blobs of a deleted manifest are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The repository still holds them.
    Linked,
    /// No repository holds them.
    Deletable,
    /// They are to be deleted, and the run stopped before it did.
    Condemned,
    /// Their objects are deleted, and the run stopped before it noted that.
    HalfGone,
    Gone,
}

async fn bring_to(world: &World, state: State) -> Image {
    let image = released(world).await;
    let deletion = match state {
        State::Linked => return image,
        State::Deletable => {
            for blob in image.blobs() {
                world.delete_blob("team/app", &blob).await.unwrap();
            }
            return image;
        }
        State::Condemned => Deletion::FailsBefore,
        State::HalfGone => Deletion::FailsAfter,
        State::Gone => Deletion::Works,
    };
    world.clock.advance(2 * DAY);
    world.blobs.set_deletion(deletion);
    let outcome = world.collect(GcOptions::default()).await;
    assert_eq!(outcome.is_ok(), deletion == Deletion::Works, "{outcome:?}");
    world.blobs.set_deletion(Deletion::Works);
    image
}

const STATES: [State; 5] = [State::Linked, State::Deletable, State::Condemned, State::HalfGone, State::Gone];

#[tokio::test]
async fn a_push_is_good_in_every_state() {
    for state in STATES {
        for advance in [HOUR, 2 * DAY] {
            let world = world();
            let image = bring_to(&world, state).await;
            world.push("team/app", "again", &image).await;
            world.clock.advance(advance);
            world.collected().await;
            world.assert_pulls("team/app", "again", &image).await;
            world.clock.advance(2 * DAY);
            world.collected().await;
            world.assert_pulls("team/app", "again", &image).await;
            assert_eq!(world.objects(), 2, "{state:?}: one object for each blob, no more");
            assert_eq!(world.collected().await, [], "{state:?}");
        }
    }
}

#[tokio::test]
async fn a_manifest_alone_is_stored_only_while_its_blobs_are_held() {
    for state in STATES {
        let world = world();
        let image = bring_to(&world, state).await;
        let pushed = world.push_manifest("team/app", "again", &image.bytes()).await;
        if state == State::Linked {
            pushed.unwrap();
            world.clock.advance(2 * DAY);
            world.collected().await;
            world.assert_pulls("team/app", "again", &image).await;
        } else {
            assert_refused!(pushed, RegistryError::ManifestBlobsUnknown { missing, .. } if missing == image.blobs());
        }
    }
}

#[tokio::test]
async fn a_mount_brings_back_what_is_still_held_and_nothing_else() {
    for state in STATES {
        let world = world();
        let image = bring_to(&world, state).await;
        let (push, pull) = (to(Action::Push, "team/new"), to(Action::Pull, "team/app"));
        for blob in image.blobs() {
            let mounted = world.registry.mount(&push, &blob, MountFrom::Repository(&pull)).await.unwrap();
            assert_eq!(mounted, state == State::Linked, "{state:?}");
        }
        if state == State::Linked {
            world.push_manifest("team/new", "v1", &image.bytes()).await.unwrap();
            world.clock.advance(2 * DAY);
            world.collected().await;
            world.assert_pulls("team/new", "v1", &image).await;
        }
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_goes_and_touches_nothing() {
    let lifetimes = Lifetimes { grace: DAY, upload_idle: Duration::ZERO, ..Lifetimes::default() };
    let world = World::with(Limits::default(), lifetimes);
    for number in 0..150 {
        let image = Image::of(&["shared", &format!("layer {number}")]);
        let digest = world.push("team/app", "v1", &image).await;
        if number % 3 == 0 {
            world.push("team/other", "v1", &image).await;
        }
        if number % 2 == 0 {
            world.delete("team/app", &digest.to_string()).await.unwrap();
        }
    }
    let unlinked = world.push_blob("team/app", "unlinked").await;
    world.delete_blob("team/app", &unlinked).await.unwrap();
    world.orphan("an orphan").await;
    let grant = to(Action::Push, "team/app");
    drop(world.registry.start_upload(&grant, Algorithm::Sha256).await.unwrap());
    world.clock.advance(2 * DAY);

    let dry = GcOptions { dry_run: true, grace: None };
    let (told, mut foretold) = world.collect(dry).await.unwrap();
    assert_eq!(world.collect(dry).await.unwrap().0, told, "it has changed nothing");
    let before = world.objects();
    let (done, mut gone) = world.collect(GcOptions::default()).await.unwrap();
    assert_eq!(told, done);
    assert!(done.links > 70 && done.blobs > 50 && done.orphans == 1 && done.uploads == 1, "{done:?}");
    foretold.sort_by_key(|item| format!("{item:?}"));
    gone.sort_by_key(|item| format!("{item:?}"));
    assert_eq!(foretold, gone);
    assert_eq!(before - world.objects(), usize::try_from(done.blobs + done.orphans).unwrap());
    assert_eq!(world.collect(dry).await.unwrap(), (GcSummary::default(), vec![]));
}

#[tokio::test]
async fn an_orphan_goes_after_its_grace_and_not_before() {
    let world = world();
    let (first, second) = (world.orphan("one").await, world.orphan("three").await);
    assert_eq!(world.collected().await, [], "a commit may be under way");
    world.clock.advance(HOUR / 2);
    assert_eq!(world.collected().await, []);
    world.clock.advance(HOUR);
    let (summary, items) = world.collect(GcOptions::default()).await.unwrap();
    assert_eq!(items, [GcItem::Orphan { id: first, size: 3 }, GcItem::Orphan { id: second, size: 5 }]);
    assert_eq!((summary.orphans, summary.bytes), (2, 8));
    assert_eq!(world.objects(), 0);
    assert_eq!(world.collected().await, []);
}

#[tokio::test]
async fn a_sweep_goes_on_where_the_last_one_ended() {
    let world = world();
    let kept = Image::of(&["kept"]);
    world.push("team/app", "v1", &kept).await;
    // Old enough that nothing can come before it any more.
    world.clock.advance(30 * DAY);
    assert_eq!(world.collected().await, []);
    let swept = world.meta.setting("gc.swept").await.unwrap().expect("it is remembered");
    assert!(world.head_blob("team/app", &kept.blobs()[0]).await.unwrap().to_string() <= swept);
    let late = world.orphan("late").await;
    assert!(late.to_string() > swept);
    assert_eq!(world.collected().await, [GcItem::Orphan { id: late, size: 4 }]);
    world.assert_pulls("team/app", "v1", &kept).await;
}

#[tokio::test]
async fn a_sweep_does_not_pass_over_what_an_open_upload_may_leave() {
    let world = world();
    let mut open =
        world.blobs.stage(UploadId::random(), "team/app", Open::New(Algorithm::Sha256)).await.unwrap();
    open.append("it takes its time".into()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let kept = Image::of(&["kept"]);
    world.push("team/app", "v1", &kept).await;
    world.clock.advance(HOUR / 2);
    assert_eq!(world.collected().await, []);
    // It ends, its commit never comes, and its id is older than what was swept.
    let late = open.commit(Digest::sha256(b"it takes its time")).await.unwrap().id;
    assert!(world.head_blob("team/app", &kept.blobs()[0]).await.unwrap() > late);
    world.clock.advance(2 * HOUR);
    assert_eq!(world.collected().await, [GcItem::Orphan { id: late, size: 17 }]);
    world.assert_pulls("team/app", "v1", &kept).await;
}

#[tokio::test]
async fn a_sweep_comes_back_to_an_orphan_that_is_young() {
    let world = world();
    let orphan = world.orphan("its commit may be under way").await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let kept = Image::of(&["kept"]);
    world.push("team/app", "v1", &kept).await;
    world.clock.advance(HOUR / 2);
    assert_eq!(world.collected().await, []);
    world.clock.advance(HOUR);
    assert_eq!(world.collected().await, [GcItem::Orphan { id: orphan, size: 27 }]);
}

#[tokio::test]
async fn only_one_collection_runs_at_a_time() {
    let world = world();
    for number in 0..3 {
        world.push_blob("team/app", &format!("blob {number}")).await;
    }
    world.clock.advance(2 * DAY);
    // Nobody takes what the first one reports, so it waits at its second item.
    let (report, mut items) = mpsc::channel(1);
    let registry = Arc::clone(&world.registry);
    let first =
        tokio::spawn(async move { registry.collect(&administer(), GcOptions::default(), &report).await });
    let mut seen = vec![items.recv().await.expect("the first item")];
    for dry_run in [true, false] {
        let second = world.collect(GcOptions { dry_run, grace: None }).await;
        assert_refused!(second, RegistryError::Collecting);
    }
    while let Some(item) = items.recv().await {
        seen.push(item);
    }
    assert_eq!(first.await.unwrap().unwrap().blobs, 3);
    assert_eq!(seen.len(), 6);
    assert_eq!(world.collected().await, [], "it is free again");
}

#[tokio::test]
async fn a_run_goes_on_when_nobody_listens_any_more() {
    let world = world();
    released(&world).await;
    world.clock.advance(2 * DAY);
    let (report, items) = mpsc::channel(1);
    drop(items);
    let summary = world.registry.collect(&administer(), GcOptions::default(), &report).await.unwrap();
    assert_eq!((summary.blobs, world.objects()), (2, 0));
}

#[tokio::test]
async fn abandoned_uploads_go() {
    let lifetimes = Lifetimes { upload_idle: Duration::ZERO, ..Lifetimes::default() };
    let world = World::with(Limits::default(), lifetimes);
    let grant = to(Action::Push, "team/app");
    let start = async || world.registry.start_upload(&grant, Algorithm::Sha256).await.unwrap();
    let (abandoned, held) = (start().await, start().await);
    let id = abandoned.id();
    drop(abandoned);
    assert_eq!(world.collected().await, [GcItem::Uploads { count: 1 }]);
    let resumed = world.registry.resume_upload(&grant, id).await;
    assert_refused!(resumed, RegistryError::UploadUnknown(_));
    assert_eq!(world.registry.expire_uploads().await.unwrap(), 0, "who is writing is spared");
    drop(held);
    assert_eq!(world.registry.expire_uploads().await.unwrap(), 1);
}

#[tokio::test]
async fn only_who_administers_collects_and_checks_and_rebuilds() {
    let world = world();
    for grant in [to(Action::DeleteArtifact, "team/app"), to(Action::Push, "team/app")] {
        let (report, _items) = mpsc::channel(1);
        let refused = world.registry.collect(&grant, GcOptions::default(), &report).await;
        assert_refused!(refused, RegistryError::WrongGrant { needed: Action::Administer, .. });
        let (report, _items) = mpsc::channel(1);
        let refused = world.registry.check(&grant, CheckOptions::default(), &report).await;
        assert_refused!(refused, RegistryError::WrongGrant { needed: Action::Administer, .. });
        let (report, _items) = mpsc::channel(1);
        let refused = world.registry.replay_segments(&grant, &report).await;
        assert_refused!(refused, RegistryError::WrongGrant { needed: Action::Administer, .. });
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_deleted_does_not_keep_the_others() {
    let world = World::new();
    for number in 0..250 {
        world.push_blob("team/app", &format!("blob {number}")).await;
    }
    let stuck = world.head_blob("team/app", &Digest::sha256(b"blob 7")).await.unwrap();
    world.blobs.set_stuck(Some(stuck.into()));
    world.clock.advance(2 * DAY);
    assert_refused!(world.collect(GcOptions::default()).await, RegistryError::Blobs(_));
    assert_eq!(world.objects(), 1);
    world.blobs.set_stuck(None);
    assert_eq!(world.collected().await.len(), 1);
    assert_eq!(world.objects(), 0);
}
