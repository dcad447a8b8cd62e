//! Batches: their conditions, their isolation from one another, and the events that tell of them.

use futures_util::future::join_all;

use super::{
    Batch, Condition, Effect, EventKind, HOUR, NewBlob, Origin, Subject, Write, digest, image, new_blob,
    new_manifest, push, repo, tag,
};
use crate::{Clock, MetaError};

/// A push is told of all blobs that are missing, not of the first.
pub async fn missing_blobs_are_all_named(on: Subject) {
    let here = on.store_blob("team/app", "here").await;
    let elsewhere = on.store_blob("team/other", "elsewhere").await;
    let nowhere = new_blob("nowhere");
    let manifest = image("a manifest", &[nowhere, here, elsewhere]);
    match on.commit(push("team/app", &manifest)).await {
        Err(MetaError::BlobsMissing(missing)) => assert_eq!(missing, [nowhere.digest, elsewhere.digest]),
        other => panic!("{other:?}"),
    }
    assert_eq!(on.manifest("team/app", &manifest.digest.to_string()).await, None);
}

/// Where a condition does not hold, no write of the batch leaves a trace.
pub async fn conditions_hold_or_nothing_happens(on: Subject) {
    let manifest = new_manifest("a manifest", &[]);
    on.store_manifest("team/app", &manifest).await;
    on.tag("team/app", "v1", manifest.digest).await;
    let events = on.events().await.len();

    let tag_is =
        |name: &str, digest| Condition::TagIs { repository: repo("team/app"), tag: tag(name), digest };
    let exists = |name: &str, digest| Condition::ManifestExists { repository: repo(name), digest };
    let batch = |condition: &Condition| {
        let write = Write::Blob { repository: repo("new/one"), blob: new_blob("a layer") };
        let then = Write::Manifest { repository: repo("new/one"), manifest: new_manifest("another", &[]) };
        Batch::of(Origin::default(), write).then(then).when(condition.clone())
    };
    for condition in [
        tag_is("v1", None),
        tag_is("v1", Some(digest("another"))),
        tag_is("v2", Some(manifest.digest)),
        exists("team/app", digest("another")),
        exists("no/where", manifest.digest),
    ] {
        match on.commit(batch(&condition)).await {
            Err(MetaError::Conflict(told)) => assert_eq!(*told, condition),
            other => panic!("{condition:?}: {other:?}"),
        }
        assert_eq!(on.store.tags(&repo("new/one"), None, 1).await.unwrap(), None);
        assert_eq!(on.events().await.len(), events);
    }
    for condition in
        [tag_is("v1", Some(manifest.digest)), tag_is("v2", None), exists("team/app", manifest.digest)]
    {
        assert!(on.commit(batch(&condition)).await.is_ok(), "{condition:?}");
    }
}

/// Batches that share a flush do not share a failure, be it of a condition or of a write after others.
pub async fn a_failure_spares_its_neighbours(on: Subject) {
    let blob = on.store_blob("team/app", "a layer").await;
    let manifest = |n: usize| image(&format!("manifest {n}"), &[blob]);
    let batches = (0..60).map(|n| {
        let (repository, digest) = (repo("team/app"), manifest(n).digest);
        let batch = push("team/app", &manifest(n)).then(Write::Tag {
            repository: repository.clone(),
            tag: tag(&format!("v{n}")),
            digest,
        });
        // An object has one digest for ever.
        let taken = NewBlob { digest, ..blob };
        on.commit(match n % 3 {
            0 => batch.when(Condition::ManifestExists { repository: repo("no/where"), digest }),
            1 => batch.then(Write::Blob { repository, blob: taken }),
            _ => batch,
        })
    });
    let outcomes = join_all(batches).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_ok(), n % 3 == 2, "{n}: {outcome:?}");
        let found = on.manifest("team/app", &format!("v{n}")).await;
        assert_eq!(found.map(|found| found.digest), outcome.as_ref().ok().map(|_| manifest(n).digest));
    }
    assert_eq!(on.events().await.len(), 1 + 2 * 20);
}

/// An event carries who, where, what, before and when.
pub async fn events_tell_everything_in_order(on: Subject) {
    let origin = Origin {
        actor: "ann".into(),
        address: Some("2001:db8::1".parse().expect("an address")),
        agent: Some("docker/29".into()),
        request: Some("r-1".into()),
    };
    let manifest = new_manifest("a manifest", &[]);
    let (repository, digest) = (repo("team/app"), manifest.digest);
    let batch = Batch::of(origin.clone(), Write::Manifest { repository: repository.clone(), manifest })
        .then(Write::Tag { repository: repository.clone(), tag: tag("v1"), digest });
    let committed = on.commit(batch).await.expect("the batch is committed");
    assert_eq!(committed.effects, [Effect::Manifest { created: true }, Effect::Tag { before: None }]);
    assert_eq!(committed.time, on.now());
    on.clock.advance(HOUR);
    on.store_blob("team/app", "a layer").await;
    on.unlink("team/app", super::digest("a layer")).await;

    let events = on.events().await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [EventKind::RepositoryCreated, EventKind::ManifestPushed, EventKind::TagSet, EventKind::BlobDeleted]
    );
    for event in &events[..3] {
        assert_eq!((&event.origin, event.time, event.version), (&origin, committed.time, 1));
        assert_eq!((&event.repository, &event.entry), (&Some(repository.clone()), &None));
    }
    assert_eq!((events[0].digest, &events[0].tag), (None, &None));
    assert_eq!((events[1].digest, &events[1].tag), (Some(digest), &None));
    assert_eq!((events[2].digest, &events[2].tag), (Some(digest), &Some(tag("v1"))));
    assert_eq!(events[3].digest, Some(super::digest("a layer")));
    assert_eq!((&events[3].origin, events[3].time), (&Origin::default(), on.clock.now()));
    assert_eq!(on.store.events(2, 1).await.unwrap(), events[2..3]);
    assert_eq!(on.store.events(4, 10).await.unwrap(), []);
}

/// A setting keeps its last value.
pub async fn settings_are_remembered(on: Subject) {
    let read = async || on.store.setting("gc.cursor").await.unwrap();
    assert_eq!(read().await, None);
    for value in ["1", "zwei\n'"] {
        on.does(Write::Setting { name: "gc.cursor".into(), value: value.into() }).await;
        assert_eq!(read().await.as_deref(), Some(value));
    }
}
