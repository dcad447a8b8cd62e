//! Manifests, tags and referrers.

use std::time::Duration;

use oci::{Algorithm, Annotations, Digest};

use super::{
    Effect, EventKind, HOUR, NewManifest, RefKind, Subject, Write, digest, image, media_type, new_manifest,
    repo, tag,
};
use crate::{ReferrerPage, ReferrerQuery};

const DAY: Duration = Duration::from_secs(86_400);

/// A manifest comes back as it was pushed, by tag and by digest.
pub async fn a_pushed_image_is_read_back(on: Subject) {
    let layer = on.store_blob("team/app", "a layer").await;
    let manifest = image("the manifest", &[layer]);
    assert_eq!(on.store_manifest("team/app", &manifest).await, Effect::Manifest { created: true });
    assert_eq!(on.tag("team/app", "v1", manifest.digest).await, Effect::Tag { before: None });

    let by_tag = on.manifest("team/app", "v1").await.expect("the tag is there");
    let by_digest = on.manifest("team/app", &manifest.digest.to_string()).await;
    assert_eq!(by_tag.digest, manifest.digest);
    assert_eq!(by_tag.media_type, manifest.media_type);
    assert_eq!(by_tag.bytes, manifest.bytes);
    assert_eq!(by_tag.used_day, on.now().day());
    assert_eq!(by_digest, Some(by_tag));
}

/// Nothing is found where nothing was put.
pub async fn what_is_absent_is_not_found(on: Subject) {
    let name = digest("a manifest").to_string();
    for reference in ["v1", &name] {
        assert_eq!(on.manifest("no/where", reference).await, None);
    }
    on.store_manifest("team/app", &new_manifest("another", &[])).await;
    for reference in ["v1", &name] {
        assert_eq!(on.manifest("team/app", reference).await, None);
    }
    assert_eq!(on.blob("team/app", digest("a blob")).await, None);
    for write in [
        Write::Unlink { repository: repo("team/app"), digest: digest("a blob") },
        Write::Renew { repository: repo("team/app"), digest: digest("a blob") },
        Write::Link { repository: repo("no/where"), digest: digest("a blob") },
        Write::DropManifest { repository: repo("team/app"), digest: digest("a blob") },
        Write::DropManifest { repository: repo("no/where"), digest: digest("a blob") },
        Write::DropTag { repository: repo("team/app"), tag: tag("v1") },
        Write::DropTag { repository: repo("no/where"), tag: tag("v1") },
    ] {
        assert_eq!(on.does(write.clone()).await, Effect::Absent, "{write:?}");
    }
    assert_eq!(on.store.tags(&repo("no/where"), None, 10).await.unwrap(), None);
}

/// A second push of a manifest changes its media type at most.
pub async fn the_same_manifest_is_stored_once(on: Subject) {
    let manifest = new_manifest("the manifest", &[]);
    on.store_manifest("team/app", &manifest).await;
    on.store_manifest("team/app", &manifest).await;
    let pushed = [EventKind::RepositoryCreated, EventKind::ManifestPushed];
    assert_eq!(on.event_kinds().await, pushed, "nothing has changed");
    on.clock.advance(DAY);
    let again = NewManifest { media_type: media_type("application/vnd.other+json"), ..manifest.clone() };
    assert_eq!(on.store_manifest("team/app", &again).await, Effect::Manifest { created: false });

    let found = on.manifest("team/app", &manifest.digest.to_string()).await.expect("it is there");
    assert_eq!(found.media_type, again.media_type);
    assert_eq!(found.used_day, on.now().day());
    assert_eq!(on.event_kinds().await, [&pushed[..], &[EventKind::ManifestPushed]].concat());
}

/// The same manifest in two repositories is two manifests: one may go, the other stays.
pub async fn repositories_share_bytes_and_nothing_else(on: Subject) {
    let manifest = new_manifest("the manifest", &[]);
    for name in ["team/a", "team/b"] {
        assert_eq!(on.store_manifest(name, &manifest).await, Effect::Manifest { created: true });
        on.tag(name, "v1", manifest.digest).await;
    }
    on.drop_manifest("team/a", manifest.digest).await;
    assert_eq!(on.manifest("team/a", "v1").await, None);
    assert_eq!(on.manifest("team/b", "v1").await.map(|found| found.bytes), Some(manifest.bytes.clone()));
    on.drop_manifest("team/b", manifest.digest).await;
    assert_eq!(on.store_manifest("team/a", &manifest).await, Effect::Manifest { created: true });
    assert!(on.manifest("team/a", &manifest.digest.to_string()).await.is_some());
}

/// Digests of one content by two algorithms are two digests.
pub async fn digests_of_both_algorithms_are_kept_apart(on: Subject) {
    let short = new_manifest("the manifest", &[]);
    let long = NewManifest { digest: Digest::of(Algorithm::Sha512, &short.bytes), ..short.clone() };
    on.store_manifest("team/app", &long).await;
    assert_eq!(on.manifest("team/app", &short.digest.to_string()).await, None);
    let found = on.manifest("team/app", &long.digest.to_string()).await.expect("it is there");
    assert_eq!((found.digest, found.bytes), (long.digest, long.bytes));
}

/// Setting a tag tells what it pointed to; setting it to the same again is no event.
pub async fn a_tag_moves_and_remembers(on: Subject) {
    let (old, new) = (new_manifest("old", &[]), new_manifest("new", &[]));
    on.store_manifest("team/app", &old).await;
    on.store_manifest("team/app", &new).await;
    on.tag("team/app", "v1", old.digest).await;
    assert_eq!(on.tag("team/app", "v1", old.digest).await, Effect::Tag { before: Some(old.digest) });
    on.clock.advance(HOUR);
    assert_eq!(on.tag("team/app", "v1", new.digest).await, Effect::Tag { before: Some(old.digest) });
    assert_eq!(on.manifest("team/app", "v1").await.map(|found| found.digest), Some(new.digest));
    assert_eq!(on.does(Write::DropTag { repository: repo("team/app"), tag: tag("v1") }).await, Effect::Done);
    assert_eq!(on.manifest("team/app", "v1").await, None);

    let events = on.events().await;
    let told: Vec<_> = events[3..].iter().map(|event| (event.kind, event.digest, event.before)).collect();
    assert_eq!(
        told,
        [
            (EventKind::TagSet, Some(old.digest), None),
            (EventKind::TagSet, Some(new.digest), Some(old.digest)),
            (EventKind::TagDeleted, Some(new.digest), None),
        ]
    );
}

/// A tag points to a manifest of its repository or does not come into being.
pub async fn a_tag_needs_its_manifest(on: Subject) {
    let manifest = new_manifest("the manifest", &[]);
    assert_eq!(on.tag("team/app", "v1", manifest.digest).await, Effect::Absent);
    assert_eq!(on.store.tags(&repo("team/app"), None, 10).await.unwrap(), None);
    on.store_manifest("team/other", &manifest).await;
    on.store_manifest("team/app", &new_manifest("another", &[])).await;
    assert_eq!(on.tag("team/app", "v1", manifest.digest).await, Effect::Absent);
    assert_eq!(on.manifest("team/app", "v1").await, None);
}

/// Deleting a manifest deletes its tags, names them, and leaves others.
pub async fn a_deleted_manifest_takes_its_tags(on: Subject) {
    let (gone, kept) = (new_manifest("gone", &[]), new_manifest("kept", &[]));
    on.store_manifest("team/app", &gone).await;
    on.store_manifest("team/app", &kept).await;
    for name in ["b", "a"] {
        on.tag("team/app", name, gone.digest).await;
    }
    on.tag("team/app", "c", kept.digest).await;
    let before = on.events().await.len();
    let dropped = Effect::Dropped { tags: vec![tag("a"), tag("b")], released: vec![] };
    assert_eq!(on.drop_manifest("team/app", gone.digest).await, dropped);
    assert_eq!(on.manifest("team/app", &gone.digest.to_string()).await, None);
    assert_eq!(on.store.tags(&repo("team/app"), None, 10).await.unwrap(), Some(vec![tag("c")]));
    let kinds = &on.event_kinds().await[before..];
    assert_eq!(kinds, [EventKind::TagDeleted, EventKind::TagDeleted, EventKind::ManifestDeleted]);
}

/// The last day of use only grows, and only where the manifest is.
pub async fn use_is_remembered_by_the_day(on: Subject) {
    let manifest = new_manifest("the manifest", &[]);
    on.store_manifest("team/app", &manifest).await;
    let today = on.now().day();
    for (day, expect) in [(today + 3, today + 3), (today + 1, today + 3), (today + 4, today + 4)] {
        let uses =
            vec![(repo("team/app"), manifest.digest, day), (repo("no/where"), manifest.digest, day + 9)];
        on.does(Write::Used { uses }).await;
        let found = on.manifest("team/app", &manifest.digest.to_string()).await.expect("it is there");
        assert_eq!(found.used_day, expect);
    }
}

fn referrer(content: &str, subject: Digest, artifact_type: &str) -> NewManifest {
    let annotations = Annotations::from([("name".to_owned(), content.to_owned())]);
    NewManifest {
        subject: Some(subject),
        artifact_type: Some(artifact_type.to_owned()),
        annotations: Some(annotations),
        ..new_manifest(content, &[])
    }
}

async fn ask(on: &Subject, query: &ReferrerQuery) -> ReferrerPage {
    on.store.referrers(query).await.expect("referrers can be read")
}

/// Referrers come in the order of their digests, filtered, limited by number and by bytes, to be gone on with.
pub async fn referrers_come_in_pages(on: Subject) {
    let subject = digest("a subject that nobody pushed");
    let mut all: Vec<_> =
        (0..7).map(|n| referrer(&format!("r{n}"), subject, if n < 4 { "a/sbom" } else { "a/sig" })).collect();
    for manifest in &all {
        on.store_manifest("team/app", manifest).await;
    }
    all.sort_by_key(|manifest| manifest.digest);
    let query = ReferrerQuery {
        repository: repo("team/app"),
        subject,
        artifact_type: None,
        after: None,
        limit: 100,
        bytes: 10_000,
    };

    let page = ask(&on, &query).await;
    let digests: Vec<_> = page.descriptors.iter().map(|found| found.digest).collect();
    assert_eq!(digests, all.iter().map(|manifest| manifest.digest).collect::<Vec<_>>());
    assert!(!page.more);
    let first = &page.descriptors[0];
    assert_eq!((&first.artifact_type, &first.annotations), (&all[0].artifact_type, &all[0].annotations));
    assert_eq!((&first.media_type, first.size), (&all[0].media_type, all[0].bytes.len() as u64));

    let filter = ReferrerQuery { artifact_type: Some("a/sig".into()), ..query.clone() };
    assert_eq!(ask(&on, &filter).await.descriptors.len(), 3);

    let (by_number, by_bytes) =
        (ReferrerQuery { limit: 2, ..query.clone() }, ReferrerQuery { bytes: 1, ..query.clone() });
    for (query, each) in [(by_number, 2), (by_bytes, 1)] {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = ask(&on, &ReferrerQuery { after, ..query.clone() }).await;
            found.extend(page.descriptors.iter().map(|found| found.digest));
            after = found.last().copied();
            assert_eq!(page.more, found.len() < all.len());
            assert!(page.descriptors.len() <= each);
            if !page.more {
                break;
            }
            assert_eq!(page.descriptors.len(), each);
        }
        assert_eq!(found, digests);
    }
}

/// A manifest refers in its repository only; one that went refers no more.
pub async fn referrers_keep_to_their_repository(on: Subject) {
    let subject = digest("the subject");
    let manifest = referrer("a signature", subject, "a/sig");
    on.store_manifest("team/app", &manifest).await;
    let child = new_manifest("an index", &[(subject, RefKind::Manifest)]);
    on.store_manifest("team/app", &child).await;
    let ask_in = async |name: &str| {
        let query = ReferrerQuery {
            repository: repo(name),
            subject,
            artifact_type: None,
            after: None,
            limit: 10,
            bytes: 10_000,
        };
        ask(&on, &query).await.descriptors.len()
    };
    assert_eq!(ask_in("team/app").await, 1);
    assert_eq!(ask_in("team/other").await, 0);
    on.drop_manifest("team/app", manifest.digest).await;
    assert_eq!(ask_in("team/app").await, 0);
}
