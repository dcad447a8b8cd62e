//! Garbage collection: live, deletable, condemned, gone; and the races with those who push.

use futures_util::future::join;
use oci::Digest;

use super::{
    Effect, HOUR, NewBlob, NewManifest, SECOND, Subject, Write, digest, image, new_blob, new_manifest, push,
    repo,
};
use crate::{Garbage, MetaError, RefKind};

/// A blob that nobody came to need is let go and condemned after one grace, not two.
pub async fn a_blob_without_use_goes_after_one_grace(on: Subject) {
    let blob = on.store_blob("team/app", "a layer").await;
    let pushed = on.now();
    on.clock.advance(HOUR);
    assert_eq!(on.collect(pushed).await, (vec![], vec![]), "what is as old as the grace stays");
    let before = pushed.plus(SECOND);
    assert_eq!(
        on.collect(before).await,
        (vec![(repo("team/app"), blob.digest, blob.size)], vec![blob.digest])
    );
    assert_eq!(on.blob("team/app", blob.digest).await, None);
    assert_eq!(on.condemned().await, [blob.id]);
    let earlier = on.store.condemned(on.now().minus(SECOND), 10).await.unwrap();
    assert_eq!(earlier, [], "condemned this moment, not before");
    assert_eq!(on.collect(on.now()).await, (vec![], vec![]), "a second run finds nothing");
    on.does(Write::Forget { ids: vec![blob.id] }).await;
    assert_eq!(on.store.unknown(vec![blob.id]).await.unwrap(), [blob.id]);
}

/// Whoever relies on a blob starts its grace anew: by asking, by pushing, by mounting.
pub async fn use_renews_the_grace(on: Subject) {
    let uses: [fn(&Subject, NewBlob) -> Write; 3] = [
        |_, blob| Write::Renew { repository: repo("team/app"), digest: blob.digest },
        |_, blob| Write::Blob { repository: repo("team/app"), blob },
        |_, blob| Write::Link { repository: repo("team/app"), digest: blob.digest },
    ];
    for (n, relies) in uses.into_iter().enumerate() {
        let blob = on.store_blob("team/app", &format!("layer {n}")).await;
        on.clock.advance(HOUR);
        let before = on.now();
        assert_ne!(on.does(relies(&on, blob)).await, Effect::Absent);
        assert_eq!(on.collect(before).await, (vec![], vec![]));
        let found = on.blob("team/app", blob.digest).await.expect("it is held");
        assert_eq!(found.unreferenced_since, Some(before));
        on.clock.advance(SECOND);
        assert_eq!(on.collect(on.now()).await.1, [blob.digest]);
    }
}

/// No grace is long enough to take what a manifest needs.
pub async fn what_is_needed_stays(on: Subject) {
    let layer = on.store_blob("team/app", "a layer").await;
    let other = on.store_blob("team/app", "foreign").await;
    let mut manifest = image("a manifest", &[layer]);
    manifest.references.push(foreign(other));
    on.store_manifest("team/app", &manifest).await;
    on.clock.advance(HOUR);
    on.does(Write::Renew { repository: repo("team/app"), digest: layer.digest }).await;
    on.clock.advance(HOUR);
    assert_eq!(on.store.garbage(on.now(), 0, 10).await.unwrap(), []);
    assert_eq!(on.collect(on.now()).await, (vec![], vec![]));
    assert!(on.blob("team/app", layer.digest).await.is_some());
    assert!(on.blob("team/app", other.digest).await.is_some());
}

/// A reference that may be to nothing, and holds a blob that is there all the same.
const fn foreign(blob: NewBlob) -> (Digest, RefKind) {
    (blob.digest, RefKind::Foreign)
}

/// The grace of a blob starts when the last manifest of the repository that needs it goes.
pub async fn a_deleted_manifest_starts_the_grace(on: Subject) {
    let shared = on.store_blob("team/app", "shared").await;
    let single = on.store_blob("team/app", "single").await;
    let (first, second) = (image("first", &[shared, single]), new_manifest("second", &[foreign(shared)]));
    on.store_manifest("team/app", &first).await;
    on.store_manifest("team/app", &second).await;
    on.clock.advance(HOUR);
    let dropped = on.drop_manifest("team/app", first.digest).await;
    assert_eq!(dropped, Effect::Dropped { tags: vec![], released: vec![single.digest] });
    let found = on.blob("team/app", single.digest).await.expect("it is still held");
    assert_eq!(found.unreferenced_since, Some(on.now()));
    assert_eq!(on.collect(on.now()).await, (vec![], vec![]));
    on.clock.advance(SECOND);
    assert_eq!(on.collect(on.now()).await.1, [single.digest]);
    on.drop_manifest("team/app", second.digest).await;
    on.clock.advance(SECOND);
    assert_eq!(on.collect(on.now()).await.1, [shared.digest]);
}

/// A blob that only waits for its deletion is live again once a repository links it.
pub async fn a_deletable_blob_is_revived(on: Subject) {
    let blob = on.store_blob("team/a", "a layer").await;
    let revivals = [
        Write::Link { repository: repo("team/b"), digest: blob.digest },
        Write::Blob { repository: repo("team/b"), blob: new_blob("a layer") },
    ];
    on.unlink("team/a", blob.digest).await;
    for revival in revivals {
        on.clock.advance(SECOND);
        assert_eq!(on.does(revival).await, Effect::Blob { id: blob.id });
        let Effect::Condemned { blobs } = on.does(Write::Condemn { before: on.now(), limit: 10 }).await
        else {
            panic!("a collection answers");
        };
        assert_eq!(blobs, []);
        assert_eq!(on.blob("team/b", blob.digest).await.map(|found| found.id), Some(blob.id));
        on.unlink("team/b", blob.digest).await;
    }
    on.clock.advance(SECOND);
    assert_eq!(on.collect(on.now()).await.1, [blob.digest], "its grace began with the last unlink");
}

/// Once condemned, an object serves nobody: a push of the same content brings a new one.
pub async fn a_condemned_blob_never_comes_back(on: Subject) {
    let old = on.store_blob("team/app", "a layer").await;
    on.clock.advance(HOUR);
    on.collect(on.now()).await;
    let link = Write::Link { repository: repo("team/app"), digest: old.digest };
    assert_eq!(on.does(link).await, Effect::Absent);
    let new = on.store_blob("team/app", "a layer").await;
    assert_eq!(on.blob("team/app", old.digest).await.map(|found| found.id), Some(new.id));
    assert_eq!(on.condemned().await, [old.id]);
    on.does(Write::Forget { ids: vec![old.id] }).await;
    assert_eq!(on.blob("team/app", old.digest).await.map(|found| found.id), Some(new.id));
}

/// A blob stays while any repository holds it, and its last grace is the latest of theirs.
pub async fn a_link_outlives_another(on: Subject) {
    let blob = on.store_blob("team/a", "a layer").await;
    on.clock.advance(HOUR);
    on.does(Write::Link { repository: repo("team/b"), digest: blob.digest }).await;
    let later = on.now();
    on.clock.advance(HOUR);
    assert_eq!(on.collect(later).await, (vec![(repo("team/a"), blob.digest, blob.size)], vec![]));
    assert_eq!(on.blob("team/b", blob.digest).await.map(|found| found.id), Some(blob.id));
    assert_eq!(on.collect(later.plus(SECOND)).await.1, [blob.digest]);
}

/// Either the push comes first and keeps its blobs, or the collection does and the push is refused: never a
/// manifest without its blobs. Tried in both orders, and at once.
pub async fn a_push_and_a_collection_exclude_each_other(on: Subject) {
    let setup = async |n: usize| -> NewManifest {
        let blob = on.store_blob("team/app", &format!("layer {n}")).await;
        on.clock.advance(SECOND);
        image(&format!("manifest {n}"), &[blob])
    };
    let pushed_first = setup(0).await;
    on.commit(push("team/app", &pushed_first)).await.expect("the blob is there");
    assert_eq!(on.collect(on.now()).await, (vec![], vec![]));

    let collected_first = setup(1).await;
    assert_eq!(on.collect(on.now()).await.0.len(), 1);
    let refused = on.commit(push("team/app", &collected_first)).await;
    assert!(matches!(refused, Err(MetaError::BlobsMissing(_))), "{refused:?}");

    for n in 2..40 {
        let manifest = setup(n).await;
        let (pushed, (expired, _)) = join(on.commit(push("team/app", &manifest)), on.collect(on.now())).await;
        assert_eq!(pushed.is_ok(), expired.is_empty(), "one of the two, not both: {pushed:?}");
    }
    assert_eq!(on.store.missing_blobs(0, 10).await.unwrap(), []);
}

/// A dry run names exactly what a run then takes.
pub async fn a_dry_run_tells_what_goes(on: Subject) {
    for n in 0..6 {
        let layer = on.store_blob(&format!("team/r{}", n % 2), &format!("layer {n}")).await;
        if n == 3 {
            on.store_manifest("team/r1", &image("a manifest", &[layer])).await;
        }
    }
    let shared = on.store_blob("team/r1", "layer 0").await;
    let unlinked = on.store_blob("team/r1", "unlinked").await;
    on.unlink("team/r1", unlinked.digest).await;
    on.clock.advance(SECOND);
    let before = on.now();
    let young = on.store_blob("team/r0", "layer 5").await;

    let all = on.store.garbage(before, 0, 100).await.unwrap();
    let mut paged = Vec::new();
    loop {
        let page = on.store.garbage(before, paged.len(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        paged.extend(page);
    }
    assert_eq!(paged, all);

    let (mut links, mut blobs) = (Vec::new(), Vec::new());
    for garbage in all {
        match garbage {
            Garbage::Link { repository, digest, size, .. } => links.push((repository, digest, size)),
            Garbage::Blob { digest, .. } => blobs.push(digest),
        }
    }
    let (expired, mut condemned) = on.collect(before).await;
    assert_eq!(expired, links);
    condemned.sort();
    blobs.sort();
    assert_eq!(condemned, blobs);
    assert!(links.len() == 6 && blobs.len() == 5, "{links:?} {blobs:?}");
    assert!(blobs.contains(&shared.digest) && !blobs.contains(&young.digest));
    assert_eq!(on.store.garbage(before, 0, 100).await.unwrap(), []);
}

/// A batch of a collection is no larger than it was asked to be, and the oldest go first.
pub async fn collection_keeps_to_its_limits(on: Subject) {
    for n in 0..5 {
        on.store_blob("team/app", &format!("layer {n}")).await;
        on.clock.advance(SECOND);
    }
    let before = on.now();
    let digests: Vec<_> = (0..5).map(|n| digest(&format!("layer {n}"))).collect();
    let mut expired = Vec::new();
    for expect in [2, 2, 1, 0] {
        let Effect::Expired { links } = on.does(Write::ExpireLinks { before, limit: 2 }).await else {
            panic!("links expire");
        };
        assert_eq!(links.len(), expect);
        expired.extend(links.into_iter().map(|(_, digest, _)| digest));
    }
    assert_eq!(expired, digests);
    let mut condemned = Vec::new();
    for expect in [2, 2, 1, 0] {
        let Effect::Condemned { blobs } = on.does(Write::Condemn { before, limit: 2 }).await else {
            panic!("blobs are condemned");
        };
        assert_eq!(blobs.len(), expect);
        condemned.extend(blobs.into_iter().map(|blob| blob.digest));
    }
    assert_eq!(condemned, digests);
    assert_eq!(on.store.condemned(on.now(), 3).await.unwrap().len(), 3);
}
