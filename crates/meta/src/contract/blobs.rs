//! Blobs and the links of repositories to them.

use std::collections::HashSet;

use futures_util::future::join_all;

use super::{
    Batch, Condition, Effect, HOUR, NewBlob, Origin, RefKind, Subject, Write, digest, image, new_blob,
    new_manifest, repo,
};
use crate::{EventKind, MetaError, Visible};

fn store(repository: &str, blob: NewBlob) -> Write {
    Write::Blob { repository: repo(repository), blob }
}

/// The first object of a digest stays, in all repositories; the second is condemned.
pub async fn equal_blobs_are_stored_once(on: Subject) {
    let first = on.store_blob("team/a", "a layer").await;
    let second = new_blob("a layer");
    assert_eq!(on.does(store("team/b", second)).await, Effect::Blob { id: first.id });
    for name in ["team/a", "team/b"] {
        let found = on.blob(name, first.digest).await.expect("both hold it");
        assert_eq!((found.id, found.size), (first.id, first.size));
        assert_eq!(found.unreferenced_since, Some(on.now()));
    }
    assert_eq!(on.condemned().await, [second.id]);
    assert_eq!(on.store.unknown(vec![first.id, second.id]).await.unwrap(), []);
    assert_eq!(on.does(Write::Forget { ids: vec![second.id, first.id] }).await, Effect::Done);
    assert_eq!(on.condemned().await, []);
    assert!(on.blob("team/a", first.digest).await.is_some(), "a live blob is not forgotten");
    assert_eq!(on.store.unknown(vec![first.id, second.id]).await.unwrap(), [second.id]);
}

/// A commit whose answer was lost may be sent once more.
pub async fn a_repeated_commit_changes_nothing(on: Subject) {
    let blob = on.store_blob("team/a", "a layer").await;
    assert_eq!(on.does(store("team/a", blob)).await, Effect::Blob { id: blob.id });
    let loser = new_blob("a layer");
    for _ in 0..2 {
        assert_eq!(on.does(store("team/a", loser)).await, Effect::Blob { id: blob.id });
    }
    assert_eq!(on.condemned().await, [loser.id]);
    on.does(Write::Damaged { id: blob.id }).await;
    on.does(store("team/a", blob)).await;
    assert_eq!(on.blob("team/a", blob.digest).await, None, "the damaged object does not heal itself");
}

/// Of equal blobs pushed at once exactly one object is kept, and all pushers are told which.
pub async fn of_many_equal_pushes_one_wins(on: Subject) {
    let blobs: Vec<_> = (0..64).map(|_| new_blob("a layer")).collect();
    let pushes = blobs.iter().enumerate().map(|(n, blob)| on.does(store(&format!("team/r{}", n % 4), *blob)));
    let effects = join_all(pushes).await;
    let Effect::Blob { id: winner } = effects[0] else { panic!("a blob is stored") };
    assert!(effects.iter().all(|effect| *effect == Effect::Blob { id: winner }));
    let losers: HashSet<_> = on.condemned().await.into_iter().collect();
    let expected: HashSet<_> = blobs.iter().map(|blob| blob.id).filter(|id| *id != winner).collect();
    assert_eq!(losers, expected);
    assert_eq!(on.blob("team/r3", blobs[0].digest).await.map(|found| found.id), Some(winner));
}

/// A mount links what is stored and sound, and creates nothing else.
pub async fn a_link_needs_a_sound_blob(on: Subject) {
    let blob = on.store_blob("team/a", "a layer").await;
    let link = Write::Link { repository: repo("team/b"), digest: blob.digest };
    on.does(Write::Damaged { id: blob.id }).await;
    assert_eq!(on.does(link.clone()).await, Effect::Absent);
    assert_eq!(on.store.tags(&repo("team/b"), None, 1).await.unwrap(), None, "no repository came of it");
    on.does(Write::Sound { id: blob.id }).await;
    assert_eq!(on.does(link).await, Effect::Blob { id: blob.id });
    assert_eq!(on.blob("team/b", blob.digest).await.map(|found| found.id), Some(blob.id));
    assert_eq!(on.store.holders(&blob.digest, 10).await.unwrap().len(), 2);
    assert_eq!(on.store.holders(&blob.digest, 1).await.unwrap().len(), 1);
}

/// Only a repository that the asker may see is named.
pub async fn a_holder_must_be_visible(on: Subject) {
    let blob = on.store_blob("team/app", "a layer").await;
    let ask = async |visible: Visible| on.store.holder(&blob.digest, &visible).await.unwrap();
    let projects = |names: &[&str]| Visible::Projects(names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(ask(Visible::All).await, Some(repo("team/app")));
    assert_eq!(ask(projects(&["other", "team"])).await, Some(repo("team/app")));
    for names in [&[][..], &["other"], &["tea"], &["team/app"], &["te\"am", "'"]] {
        assert_eq!(ask(projects(names)).await, None, "{names:?}");
    }
    assert_eq!(on.store.holder(&digest("another"), &Visible::All).await.unwrap(), None);
}

/// What a client deletes is gone from that repository at once, and stays in others.
pub async fn an_unlinked_blob_is_gone_at_once(on: Subject) {
    let blob = on.store_blob("team/a", "a layer").await;
    on.store_blob("team/b", "a layer").await;
    assert_eq!(on.unlink("team/a", blob.digest).await, Effect::Done);
    assert_eq!(on.unlink("team/a", blob.digest).await, Effect::Absent);
    assert_eq!(on.blob("team/a", blob.digest).await, None);
    assert!(on.blob("team/b", blob.digest).await.is_some());
}

/// A damaged blob is served to nobody; the next push of its digest heals it everywhere.
pub async fn a_damaged_blob_is_absent_until_it_is_healed(on: Subject) {
    let bad = on.store_blob("team/a", "a layer").await;
    let manifest = image("a manifest", &[bad]);
    on.store_manifest("team/a", &manifest).await;
    assert_eq!(on.does(Write::Damaged { id: bad.id }).await, Effect::Done);
    assert_eq!(on.does(Write::Damaged { id: new_blob("x").id }).await, Effect::Absent);
    assert_eq!(on.blob("team/a", bad.digest).await, None);
    assert_eq!(on.store.holder(&bad.digest, &Visible::All).await.unwrap(), None);
    let needs = Condition::BlobsLinked { repository: repo("team/a"), digests: vec![bad.digest] };
    let batch = Batch::of(Origin::default(), Write::FoldUsage { limit: 1 }).when(needs);
    assert!(
        matches!(on.commit(batch).await, Err(MetaError::BlobsMissing(digests)) if digests == [bad.digest])
    );

    let good = new_blob("a layer");
    assert_eq!(on.does(store("team/b", good)).await, Effect::Blob { id: good.id });
    for name in ["team/a", "team/b"] {
        assert_eq!(on.blob(name, bad.digest).await.map(|found| found.id), Some(good.id));
    }
    assert_eq!(on.blob("team/a", bad.digest).await.and_then(|found| found.unreferenced_since), None);
    assert_eq!(on.condemned().await, [bad.id]);
}

/// Whoever copies metadata must learn of another object of a blob, and that one is sound again.
pub async fn healing_is_an_event(on: Subject) {
    let bad = on.store_blob("team/a", "a layer").await;
    let healed = async || {
        let mut events = on.events().await;
        events.retain(|event| event.kind == EventKind::BlobHealed);
        events.into_iter().map(|event| (event.repository, event.digest)).collect::<Vec<_>>()
    };
    on.does(Write::Sound { id: bad.id }).await;
    on.does(store("team/b", new_blob("a layer"))).await;
    assert_eq!(healed().await, [], "it was not damaged");
    on.does(Write::Damaged { id: bad.id }).await;
    on.does(store("team/b", new_blob("a layer"))).await;
    let expect = (Some(repo("team/b")), Some(bad.digest));
    assert_eq!(healed().await, std::slice::from_ref(&expect));
    let good = on.blob("team/a", bad.digest).await.expect("it is healed").id;
    on.unlink("team/a", bad.digest).await;
    on.does(Write::Damaged { id: good }).await;
    on.does(Write::Sound { id: good }).await;
    assert_eq!(healed().await, [expect.clone(), expect]);
}

/// A blob is unreferenced until a manifest of its repository needs it.
pub async fn a_manifest_holds_its_blobs(on: Subject) {
    let blob = on.store_blob("team/a", "a layer").await;
    on.store_blob("team/b", "a layer").await;
    on.store_manifest("team/a", &image("a manifest", &[blob])).await;
    let since = async |name: &str| on.blob(name, blob.digest).await.expect("it is held").unreferenced_since;
    assert_eq!(since("team/a").await, None);
    assert_eq!(since("team/b").await, Some(on.now()));
    let unreferenced = |name: &str| {
        let condition = Condition::BlobUnreferenced { repository: repo(name), digest: blob.digest };
        Batch::of(Origin::default(), Write::FoldUsage { limit: 1 }).when(condition)
    };
    assert!(matches!(on.commit(unreferenced("team/a")).await, Err(MetaError::Conflict(_))));
    assert!(on.commit(unreferenced("team/b")).await.is_ok());
    assert!(on.commit(unreferenced("no/where")).await.is_ok());
    on.clock.advance(HOUR);
    on.store_blob("team/a", "a layer").await;
    assert_eq!(since("team/a").await, None, "a push of a needed blob does not make it unneeded");
}

/// A foreign blob may come later or never; where it came, the manifest holds it.
pub async fn a_foreign_blob_is_held_once_it_is_there(on: Subject) {
    let (early, late) = (on.store_blob("team/a", "early").await, new_blob("late"));
    let references = [early, late, new_blob("never")].map(|blob| (blob.digest, RefKind::Foreign));
    let manifest = new_manifest("a manifest", &references);
    on.store_manifest("team/a", &manifest).await;
    on.does(store("team/a", late)).await;
    for blob in [early, late] {
        let found = on.blob("team/a", blob.digest).await.expect("it is held");
        assert_eq!(found.unreferenced_since, None);
    }
    let Effect::Dropped { mut released, .. } = on.drop_manifest("team/a", manifest.digest).await else {
        panic!("the manifest goes");
    };
    released.sort();
    let mut expected = [early.digest, late.digest];
    expected.sort();
    assert_eq!(released, expected);
    assert_eq!(on.store.missing_blobs(0, 10).await.unwrap(), []);
}
