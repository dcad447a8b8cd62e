//! Rebuilding metadata from segments: everything that can be had comes back, and nothing else.

use std::collections::BTreeMap;

use access::Action;
use blob::BlobKey;
use meta::{EntryKind, EventKind, NewEntry, NewManifest, RefKind, RepositoryKind, Write};
use oci::{Algorithm, Digest, Reference};
use registry::{CheckItem, GcOptions, ReferrersRequest, RegistryError, ReplayItem, ReplaySummary};

use crate::common::{DAY, Deletion, Image, World, assert_refused, index, parse, repo, sees_all, tag, to};

/// What there is: manifests with their repositories, and tags with theirs.
type State = (Vec<(String, Digest)>, BTreeMap<String, Digest>);

async fn state(world: &World) -> State {
    let mut manifests = Vec::new();
    let rows = world.meta.manifest_rows(0, 100_000).await.unwrap();
    manifests.extend(rows.into_iter().map(|row| (row.repository.to_string(), row.record.digest)));
    manifests.sort();
    let mut tags = BTreeMap::new();
    for repository in world.registry.repositories(&sees_all(), None, 1_000).await.unwrap().entries {
        let name = repository.as_str();
        for tag in world.registry.tags(&to(Action::Pull, name), None, 1_000).await.unwrap().entries {
            let digest = world.resolve(name, tag.as_str()).await.expect("a tag points to a manifest");
            tags.insert(format!("{name}:{tag}"), digest);
        }
    }
    (manifests, tags)
}

/// The world as it is rebuilt, where nothing may be amiss.
async fn rebuilt(world: &World) -> World {
    let new = world.forgetful();
    let (_, items) = new.replay().await.expect("it is rebuilt");
    assert_eq!(items, []);
    new
}

async fn write(world: &World) {
    world.registry.write_segments().await.expect("segments are written");
}

#[tokio::test]
async fn everything_comes_back_and_what_was_deleted_does_not() {
    let world = World::new();
    let (kept, deleted) = (Image::of(&["shared", "kept"]), Image::of(&["shared", "deleted"]));
    world.push("team/app", "v1", &kept).await;
    world.push("team/app", "moved", &deleted).await;
    write(&world).await;
    world.push("team/app", "moved", &kept).await;
    world.delete("team/app", &deleted.digest().to_string()).await.unwrap();
    world.push("team/other", "untagged", &kept).await;
    world.delete("team/other", "untagged").await.unwrap();
    let about = Image::of(&["signature"]).about(kept.digest(), "a/signature").annotated("signed");
    world.push("team/app", &about.digest().to_string(), &about).await;
    let list = index(&[(kept.digest(), None), (Digest::sha256(b"absent"), None)]);
    world.push_manifest("team/app", "list", &list).await.unwrap();
    let wide = Digest::of(Algorithm::Sha512, &kept.bytes()).to_string();
    world.push("single", &wide, &kept).await;
    write(&world).await;
    let expect = state(&world).await;

    let new = rebuilt(&world).await;
    assert_eq!(state(&new).await, expect);
    for (repository, reference) in
        [("team/app", "moved"), ("single", &wide), ("team/other", &kept.digest().to_string())]
    {
        new.assert_pulls(repository, reference, &kept).await;
    }
    let request = ReferrersRequest { subject: kept.digest(), artifact_type: None, after: None };
    let grant = to(Action::Pull, "team/app");
    let referrers = |world: World| {
        let (request, grant) = (request.clone(), grant.clone());
        async move { world.registry.referrers(&grant, &request).await.unwrap() }
    };
    assert_eq!(referrers(new.clone()).await, referrers(world.clone()).await);
    assert_eq!(new.check(true).await.0.damaged, 0);
    new.clock.advance(2 * DAY);
    new.collected().await;
    assert_eq!(state(&new).await, expect, "what is needed is needed again");
    new.assert_pulls("team/app", "v1", &kept).await;
    let (summary, items) = new.check(true).await;
    assert_eq!((items, summary.blobs), (vec![], 5), "and the rest was collected");
}

#[tokio::test]
async fn a_rebuild_is_the_act_of_its_job() {
    let world = World::new();
    world.push("team/app", "v1", &Image::of(&["a layer"])).await;
    write(&world).await;
    let new = rebuilt(&world).await;
    let events = new.meta.events(0, 100).await.unwrap();
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::RepositoryCreated, EventKind::ManifestPushed, EventKind::TagSet]);
    assert!(events.iter().all(|event| event.origin.actor == "job:rebuild"));
}

#[tokio::test]
async fn only_empty_metadata_is_rebuilt() {
    let world = World::new();
    world.push("team/app", "v1", &Image::of(&["a layer"])).await;
    assert_refused!(world.replay().await, RegistryError::MetadataNotEmpty);
    write(&world).await;
    assert_refused!(world.replay().await, RegistryError::MetadataNotEmpty);
    let new = rebuilt(&world).await;
    assert_refused!(new.replay().await, RegistryError::MetadataNotEmpty);
    let (kind, name) = (EntryKind::User, "ann".parse().unwrap());
    let entry = NewEntry { kind, name, value: "{}".into(), owners: Vec::new() };
    let new = world.forgetful();
    new.commit(Write::Entry(entry)).await;
    assert_eq!(new.replay().await.unwrap().0.manifests, 1, "a user is in nobody's way");
    let nothing = World::new().replay().await.unwrap();
    assert_eq!(nothing, (ReplaySummary::default(), vec![]), "nothing is rebuilt from nothing");
}

#[tokio::test]
async fn missing_and_damaged_segments_are_named_and_skipped() {
    let world = World::new();
    for number in 0..5 {
        let image = Image::of(&[&format!("layer {number}")]);
        world.push("team/app", &format!("v{number}"), &image).await;
        write(&world).await;
    }
    world.remove(BlobKey::Segment(1)).await;
    assert!(world.memory.corrupt(BlobKey::Segment(3)));
    let new = world.forgetful();
    let (summary, items) = new.replay().await.unwrap();
    assert_eq!(items[0], ReplayItem::MissingSegment { number: 1 });
    assert!(matches!(&items[1], ReplayItem::DamagedSegment { number: 3, .. }), "{items:?}");
    let expect = ReplaySummary { segments: 3, damaged: 2, manifests: 3, tags: 3, ..ReplaySummary::default() };
    assert_eq!((summary, items.len()), (expect, 2));
    assert_eq!(
        state(&new).await.1.into_keys().collect::<Vec<_>>(),
        ["team/app:v0", "team/app:v2", "team/app:v4"]
    );
    new.push("team/app", "v5", &Image::of(&["layer 5"])).await;
    write(&new).await;
    assert!(world.memory.keys().contains(&BlobKey::Segment(5)), "after the last, not in the gap");
}

#[tokio::test]
async fn a_manifest_without_its_blobs_is_not_restored() {
    // An object that is gone, and one that has lost a part.
    for left in [None, Some("brok")] {
        let world = World::new();
        let (sound, broken) = (Image::of(&["sound"]), Image::of(&["shared", "broken"]));
        world.push("team/app", "stays", &sound).await;
        world.push("team/app", "latest", &sound).await;
        world.push("team/app", "latest", &broken).await;
        write(&world).await;
        let missing = Digest::sha256(b"broken");
        let id = world.head_blob("team/app", &missing).await.unwrap();
        match left {
            None => world.remove(id.into()).await,
            Some(left) => world.replace(id, left).await,
        }

        let new = world.forgetful();
        let (summary, items) = new.replay().await.unwrap();
        let [ReplayItem::LostManifest { digest, reason, .. }, lost_tag] = items.as_slice() else {
            panic!("{items:?}");
        };
        assert_eq!(*digest, broken.digest());
        assert!(reason.contains(&missing.to_string()), "{reason}");
        let (repository, digest) = (repo("team/app"), broken.digest());
        assert_eq!(*lost_tag, ReplayItem::LostTag { repository, tag: tag("latest"), digest });
        assert_eq!((summary.manifests, summary.tags), (1, 1));
        assert_eq!((summary.lost_manifests, summary.lost_tags), (1, 1));
        new.assert_pulls("team/app", "stays", &sound).await;
        assert_eq!(new.resolve("team/app", "latest").await, None, "rather none than an old one");
        new.push("team/app", "latest", &broken).await;
        new.assert_pulls("team/app", "latest", &broken).await;
    }
}

/// A mirrored repository is one again, with its manifests: what was evicted or never fetched is no loss.
#[tokio::test]
async fn a_mirrored_repository_comes_back_without_what_it_lacks() {
    for collected in [false, true] {
        let world = World::new();
        let image = Image::of(&["kept", "evicted", "never fetched"]);
        let (kept, evicted) = (Digest::sha256(b"kept"), Digest::sha256(b"evicted"));
        let repository = || repo("hub/app");
        for content in ["kept", "evicted"] {
            world.push_blob("hub/app", content).await;
        }
        world.commit(Write::Mirror { repository: repository() }).await;
        let reference = Reference::Digest(image.digest());
        let other = World::new();
        other.push("team/app", "v1", &image).await;
        let record = other.meta.manifest(&repo("team/app"), &reference).await.unwrap().unwrap();
        let references = image.blobs().into_iter().map(|digest| (digest, RefKind::Blob)).collect();
        let manifest = NewManifest {
            digest: record.digest,
            media_type: record.media_type,
            bytes: record.bytes,
            artifact_type: None,
            subject: None,
            annotations: None,
            references,
        };
        world.commit(Write::Manifest { repository: repository(), manifest }).await;
        world.commit(Write::Tag { repository: repository(), tag: tag("v1"), digest: image.digest() }).await;
        write(&world).await;
        let record = world.meta.blob(&repository(), &evicted).await.unwrap().unwrap();
        world.commit(Write::Evict { ids: vec![record.id], limit: 10 }).await;
        if collected {
            world.clock.advance(2 * DAY);
            assert_eq!(world.collected().await.len(), 1);
        }
        let new = rebuilt(&world).await;
        assert_eq!(state(&new).await, state(&world).await);
        let kind = new.meta.repository_kind(&repository()).await.unwrap();
        assert_eq!(kind, Some(RepositoryKind::Mirrored));
        assert_eq!(new.read_blob("hub/app", &kept).await.unwrap(), b"kept");
        assert_eq!(
            new.head_blob("hub/app", &evicted).await.is_ok(),
            !collected,
            "its object was still there"
        );
        new.clock.advance(2 * DAY);
        new.collected().await;
        assert_eq!(new.check(true).await.1, []);
    }
}

#[tokio::test]
async fn what_was_deleted_and_collected_is_no_loss() {
    let world = World::new();
    let (kept, deleted) = (Image::of(&["kept"]), Image::of(&["deleted"]));
    world.push("team/app", "v1", &deleted).await;
    write(&world).await;
    world.push("team/app", "v1", &kept).await;
    write(&world).await;
    world.delete("team/app", &deleted.digest().to_string()).await.unwrap();
    world.clock.advance(2 * DAY);
    assert!(!world.collected().await.is_empty());
    write(&world).await;
    let expect = state(&world).await;
    assert_eq!(state(&rebuilt(&world).await).await, expect);

    // It was gone before the first segment was written.
    let world = World::new();
    world.push("team/app", "v1", &deleted).await;
    world.delete("team/app", &deleted.digest().to_string()).await.unwrap();
    world.push("team/app", "v1", &kept).await;
    write(&world).await;
    assert_eq!(state(&rebuilt(&world).await).await, state(&world).await);
}

#[tokio::test]
async fn a_blob_that_was_collected_and_pushed_again_has_its_new_object() {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    for _ in 0..3 {
        world.push("team/app", "v1", &image).await;
        write(&world).await;
        world.delete("team/app", &image.digest().to_string()).await.unwrap();
        world.clock.advance(2 * DAY);
        world.collected().await;
    }
    world.push("team/app", "v1", &image).await;
    write(&world).await;
    let new = rebuilt(&world).await;
    new.assert_pulls("team/app", "v1", &image).await;
    new.clock.advance(2 * DAY);
    new.collected().await;
    new.assert_pulls("team/app", "v1", &image).await;
}

#[tokio::test]
async fn of_two_objects_the_later_one_counts() {
    let world = World::new();
    let (first, second) = (Image::of(&["a layer"]), Image::of(&["a layer"]).annotated("second"));
    let layer = Digest::sha256(b"a layer");
    world.push("team/a", "v1", &first).await;
    write(&world).await;
    let damaged = world.head_blob("team/a", &layer).await.unwrap();
    assert!(world.memory.corrupt(damaged.into()));
    assert_eq!(world.check(true).await.0.damaged, 1);
    world.push("team/b", "v1", &second).await;
    let healed = world.head_blob("team/b", &layer).await.unwrap();
    assert_ne!(healed, damaged);
    // The damaged object is condemned, and still there.
    write(&world).await;
    let new = rebuilt(&world).await;
    for _ in 0..2 {
        assert_eq!(new.head_blob("team/a", &layer).await.unwrap(), healed);
        new.assert_pulls("team/a", "v1", &first).await;
        new.assert_pulls("team/b", "v1", &second).await;
        new.clock.advance(2 * DAY);
        new.collected().await;
    }
    assert_eq!(new.check(true).await.1, []);
}

/// The manifest was there all the time, so nothing but the healing tells of the object that it has now.
#[tokio::test]
async fn a_manifest_whose_blob_was_healed_is_restored_with_the_new_object() {
    for collected in [false, true] {
        let world = World::new();
        let image = Image::of(&["a layer"]);
        let layer = Digest::sha256(b"a layer");
        world.push("team/app", "v1", &image).await;
        write(&world).await;
        let damaged = world.head_blob("team/app", &layer).await.unwrap();
        assert!(world.memory.corrupt(damaged.into()));
        assert_eq!(world.check(true).await.0.damaged, 1);
        world.push("team/app", "v1", &image).await;
        write(&world).await;
        let healed = world.head_blob("team/app", &layer).await.unwrap();
        if collected {
            world.clock.advance(2 * DAY);
            world.collected().await;
        }
        let new = rebuilt(&world).await;
        assert_eq!(state(&new).await, state(&world).await);
        assert_eq!(new.head_blob("team/app", &layer).await.unwrap(), healed);
        new.clock.advance(2 * DAY);
        new.collected().await;
        new.assert_pulls("team/app", "v1", &image).await;
        assert_eq!(new.check(true).await.1, []);
    }
}

#[tokio::test]
async fn a_blob_that_was_damaged_when_it_was_copied_and_is_sound_again_is_restored() {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    let layer = Digest::sha256(b"a layer");
    world.push("team/app", "v1", &image).await;
    let id = world.head_blob("team/app", &layer).await.unwrap();
    assert!(world.memory.corrupt(id.into()));
    assert_eq!(world.check(true).await.0.damaged, 1);
    write(&world).await;
    world.replace(id, "a layer").await;
    assert!(matches!(world.check(true).await.1.as_slice(), [CheckItem::SoundAgain { .. }]));
    write(&world).await;
    let new = rebuilt(&world).await;
    assert_eq!(state(&new).await, state(&world).await);
    new.assert_pulls("team/app", "v1", &image).await;
}

#[tokio::test]
async fn an_object_that_gave_way_to_another_is_not_used_again() {
    let world = World::new();
    let (first, second) = (Image::of(&["a layer"]), Image::of(&["a layer"]).annotated("second"));
    world.push("team/app", "v1", &first).await;
    write(&world).await;
    world.delete("team/app", &first.digest().to_string()).await.unwrap();
    for blob in first.blobs() {
        world.delete_blob("team/app", &blob).await.unwrap();
    }
    write(&world).await;
    // A crash keeps the objects, which are condemned. The next push brings others.
    world.clock.advance(2 * DAY);
    world.blobs.set_deletion(Deletion::FailsBefore);
    assert_refused!(world.collect(GcOptions::default()).await, RegistryError::Blobs(_));
    world.blobs.set_deletion(Deletion::Works);
    for image in [&first, &second] {
        world.push("team/app", "latest", image).await;
        write(&world).await;
    }
    // The rebuilt metadata knows the old objects already when it meets the others.
    let new = rebuilt(&world).await;
    assert_eq!(state(&new).await, state(&world).await);
    new.clock.advance(2 * DAY);
    new.collected().await;
    new.assert_pulls("team/app", "latest", &second).await;
    assert_eq!(new.objects(), 2);
}

#[tokio::test]
async fn what_was_rebuilt_can_be_lost_again() {
    let world = World::new();
    let images: Vec<Image> = (0..3).map(|number| Image::of(&[&format!("layer {number}")])).collect();
    world.push("team/app", "v0", &images[0]).await;
    world.push("team/app", "latest", &images[0]).await;
    write(&world).await;
    let second = rebuilt(&world).await;
    second.push("team/app", "v1", &images[1]).await;
    second.push("team/app", "latest", &images[1]).await;
    // Lost before it was written again: what the old segments tell is still there.
    let third = rebuilt(&second).await;
    third.assert_pulls("team/app", "latest", &images[0]).await;
    third.push("team/app", "v2", &images[2]).await;
    third.push("team/app", "latest", &images[2]).await;
    third.delete("team/app", &images[0].digest().to_string()).await.unwrap();
    write(&third).await;
    let fourth = rebuilt(&third).await;
    assert_eq!(state(&fourth).await, state(&third).await);
    assert_eq!(fourth.meta.manifest(&repo("team/app"), &parse("v0")).await.unwrap(), None);
    fourth.assert_pulls("team/app", "latest", &images[2]).await;
}

/// A life of pushes, deletions, collections and crashes, decided by a seed; in the end the rebuilt metadata is
/// what it was.
async fn live(seed: u64) {
    let world = World::new();
    for choice in test_kit::random::bytes(seed, 300).chunks_exact(2) {
        let [choice, number] = [choice[0] % 16, choice[1] % 12];
        let repository = format!("team/{}", number % 3);
        let image = Image::of(&["shared", &format!("layer {}", number / 2)]).annotated(&number.to_string());
        let tag = format!("v{}", choice % 4);
        match choice {
            0..=6 => {
                world.push(&repository, &tag, &image).await;
            }
            7 | 8 => {
                let _absent_or_not = world.delete(&repository, &image.digest().to_string()).await;
            }
            9 => {
                let _absent_or_not = world.delete(&repository, &tag).await;
            }
            10 => {
                let _needed_or_not = world.delete_blob(&repository, &image.blobs()[0]).await;
            }
            11 | 12 => {
                world.clock.advance(DAY);
                world.collected().await;
            }
            13 => forget_last(&world).await,
            _ => write(&world).await,
        }
    }
    write(&world).await;
    let expect = state(&world).await;
    let new = rebuilt(&world).await;
    assert_eq!(state(&new).await, expect, "seed {seed}");
    assert_eq!(new.check(true).await.0.damaged, 0, "seed {seed}");
    new.clock.advance(2 * DAY);
    new.collected().await;
    write(&new).await;
    assert_eq!(state(&rebuilt(&new).await).await, expect, "seed {seed}");
}

/// Writes segments and forgets that, as a crash does.
async fn forget_last(world: &World) {
    let names = ["segments.position", "segments.next"];
    let mut before = Vec::new();
    for name in names {
        before.push((name.to_owned(), world.meta.setting(name).await.unwrap().unwrap_or_else(|| "0".into())));
    }
    write(world).await;
    for (name, value) in before {
        world.commit(meta::Write::Setting { name, value }).await;
    }
}

#[tokio::test]
async fn a_rebuilt_life_is_the_life_that_was() {
    for seed in 1..=10 {
        live(seed).await;
    }
}
