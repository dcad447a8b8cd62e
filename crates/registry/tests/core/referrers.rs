//! Referrers: by their subject, by the fallback tag, filtered, and in pages.

use access::Action;
use oci::{Descriptor, Digest};
use registry::{Lifetimes, Limits, ReferrersRequest};

use crate::common::{Image, World, index, parse, repo, to};

const SUBJECT: &[u8] = b"what it is all about";

async fn all(world: &World, subject: Digest, artifact_type: Option<&str>) -> (Vec<Descriptor>, usize) {
    let mut request =
        ReferrersRequest { subject, artifact_type: artifact_type.map(str::to_owned), after: None };
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = world.registry.referrers(&to(Action::Pull, "team/app"), &request).await.unwrap();
        pages += 1;
        request.after = page.entries.last().map(|descriptor| descriptor.digest);
        found.extend(page.entries);
        if !page.more {
            return (found, pages);
        }
    }
}

async fn digests(world: &World, artifact_type: Option<&str>) -> Vec<Digest> {
    let (found, _) = all(world, Digest::sha256(SUBJECT), artifact_type).await;
    let mut digests: Vec<Digest> = found.into_iter().map(|descriptor| descriptor.digest).collect();
    digests.sort_unstable();
    digests
}

fn sorted(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort_unstable();
    digests
}

/// Pushes `count` manifests about the subject, by their digests.
async fn push_about(world: &World, count: usize, artifact_type: &str) -> Vec<Digest> {
    let mut pushed = Vec::new();
    for number in 0..count {
        let note = format!("{artifact_type} {number}");
        let image = Image::of(&["a layer"]).about(Digest::sha256(SUBJECT), artifact_type).annotated(&note);
        pushed.push(world.push("team/app", &image.digest().to_string(), &image).await);
    }
    pushed
}

#[tokio::test]
async fn referrers_are_found_before_and_after_their_subject() {
    let world = World::new();
    assert_eq!(all(&world, Digest::sha256(SUBJECT), None).await, (vec![], 1), "an unknown repository, too");
    let subject = Image::of(&["subject"]);
    let about = Image::of(&["a layer"]).about(subject.digest(), "a/signature").annotated("signed");
    let pushed = world.push("team/app", "sig", &about).await;
    world.push("team/app", "v1", &subject).await;
    world.push("team/other", "sig", &about.clone().annotated("elsewhere")).await;
    let (found, _) = all(&world, subject.digest(), None).await;
    let [descriptor] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((descriptor.digest, descriptor.size), (pushed, about.bytes().len() as u64));
    assert_eq!(descriptor.artifact_type.as_deref(), Some("a/signature"));
    let annotations = descriptor.annotations.as_ref().unwrap();
    assert_eq!(annotations.get("note").map(String::as_str), Some("signed"));
    world.delete("team/app", &pushed.to_string()).await.unwrap();
    assert_eq!(all(&world, subject.digest(), None).await.0, []);
}

#[tokio::test]
async fn referrers_are_filtered_by_their_type() {
    let world = World::new();
    let signatures = push_about(&world, 2, "a/signature").await;
    let reports = push_about(&world, 3, "a/report").await;
    assert_eq!(digests(&world, Some("a/signature")).await, sorted(signatures.clone()));
    assert_eq!(digests(&world, Some("a/report")).await, sorted(reports.clone()));
    assert_eq!(digests(&world, Some("a/other")).await, []);
    assert_eq!(digests(&world, None).await, sorted([signatures, reports].concat()));
}

#[tokio::test]
async fn referrers_come_in_pages() {
    for (count, page, pages) in [(7, 3, 3), (6, 3, 2), (1, 3, 1)] {
        let world = World::with(Limits { page, ..Limits::default() }, Lifetimes::default());
        let pushed = push_about(&world, count, "a/report").await;
        push_about(&world, 2, "a/signature").await;
        let (found, seen) = all(&world, Digest::sha256(SUBJECT), Some("a/report")).await;
        let found: Vec<Digest> = found.into_iter().map(|descriptor| descriptor.digest).collect();
        assert_eq!((found, seen), (sorted(pushed), pages));
    }
}

#[tokio::test]
async fn a_page_has_so_many_annotations_and_no_more() {
    let limits = Limits { referrers_bytes: 100, ..Limits::default() };
    let world = World::with(limits, Lifetimes::default());
    let pushed = push_about(&world, 12, "a/report").await;
    let (found, pages) = all(&world, Digest::sha256(SUBJECT), None).await;
    assert_eq!(found.len(), pushed.len());
    assert!(pages > 1, "{pages}");
}

#[tokio::test]
async fn what_the_fallback_tag_records_is_merged() {
    let world = World::new();
    let listed = push_about(&world, 2, "a/signature").await;
    // Clients of old recorded these in an index under the fallback tag: one that is listed by its own subject, two
    // that say nothing of a subject, and one that is gone.
    let old = Image::of(&["old"]);
    let untyped = Image::of(&["untyped"]);
    for image in [&old, &untyped] {
        world.push("team/app", &image.digest().to_string(), image).await;
    }
    let gone = Digest::sha256(b"gone");
    let recorded = index(&[
        (listed[0], Some("a/signature")),
        (old.digest(), Some("a/report")),
        (untyped.digest(), None),
        (gone, Some("a/report")),
    ]);
    let tag = Digest::sha256(SUBJECT).fallback_tag();
    world.push_manifest("team/app", tag.as_str(), &recorded).await.unwrap();

    let expect = [listed.clone(), vec![old.digest(), untyped.digest()]].concat();
    assert_eq!(digests(&world, None).await, sorted(expect));
    assert_eq!(digests(&world, Some("a/report")).await, [old.digest()]);
    assert_eq!(digests(&world, Some("a/signature")).await, sorted(listed));
    world.delete("team/app", &old.digest().to_string()).await.unwrap();
    assert_eq!(digests(&world, Some("a/report")).await, []);
}

#[tokio::test]
async fn the_fallback_tag_comes_with_the_last_page() {
    let world = World::with(Limits { page: 2, ..Limits::default() }, Lifetimes::default());
    let listed = push_about(&world, 5, "a/signature").await;
    let old = Image::of(&["old"]);
    world.push("team/app", "old", &old).await;
    let tag = Digest::sha256(SUBJECT).fallback_tag();
    let recorded = index(&[(old.digest(), Some("a/report"))]);
    world.push_manifest("team/app", tag.as_str(), &recorded).await.unwrap();
    let (found, pages) = all(&world, Digest::sha256(SUBJECT), None).await;
    assert_eq!((found.len(), pages), (6, 3));
    assert_eq!(found.last().map(|descriptor| descriptor.digest), Some(old.digest()));
    assert_eq!(sorted(found[..5].iter().map(|descriptor| descriptor.digest).collect()), sorted(listed));
}

#[tokio::test]
async fn a_fallback_tag_that_is_no_index_is_ignored() {
    let world = World::new();
    let tag = Digest::sha256(SUBJECT).fallback_tag();
    world.push("team/app", tag.as_str(), &Image::of(&["a layer"])).await;
    assert_eq!(digests(&world, None).await, []);
    let listed = push_about(&world, 1, "a/signature").await;
    assert_eq!(digests(&world, None).await, listed);
    assert!(world.meta.manifest(&repo("team/app"), &parse(tag.as_str())).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_recorded_often_is_given_once() {
    let world = World::new();
    let old = Image::of(&["old"]);
    world.push("team/app", "old", &old).await;
    let tag = Digest::sha256(SUBJECT).fallback_tag();
    let recorded = index(&[(old.digest(), Some("a/report")); 50]);
    world.push_manifest("team/app", tag.as_str(), &recorded).await.unwrap();
    assert_eq!(digests(&world, None).await, [old.digest()]);
}

#[tokio::test]
async fn what_is_recorded_is_read_up_to_a_bound() {
    let world = World::new();
    let mut recorded = Vec::new();
    for number in 0..3 {
        let large = Image::of(&["large"]).annotated(&format!("{number}{}", " ".repeat(2 << 20)));
        recorded.push(world.push("team/app", &format!("large-{number}"), &large).await);
    }
    let gone = Digest::sha256(b"gone");
    recorded.insert(0, gone);
    let behind = Digest::sha256(b"gone, but nobody looks");
    recorded.push(behind);
    let tag = Digest::sha256(SUBJECT).fallback_tag();
    let list: Vec<_> = recorded.iter().map(|digest| (*digest, None)).collect();
    world.push_manifest("team/app", tag.as_str(), &index(&list)).await.unwrap();
    assert_eq!(digests(&world, None).await, sorted(recorded[1..].to_vec()));
}
