//! Lists in pages, and what is known of use.

use access::{Action, Listing};
use oci::Tag;
use registry::{Lifetimes, Limits, RegistryError};

use crate::common::{DAY, Image, World, assert_refused, parse, repo, sees, sees_all, to};

/// A world whose pages have at most three entries.
fn world() -> World {
    World::with(Limits { page: 3, ..Limits::default() }, Lifetimes::default())
}

#[tokio::test]
async fn tags_come_in_bytewise_order_a_page_at_a_time() {
    let world = world();
    let image = Image::of(&["a layer"]);
    for name in ["b", "v10", "a", "V1", "v2", "_", "1.0"] {
        world.push("team/app", name, &image).await;
    }
    world.push("team/other", "elsewhere", &image).await;
    let grant = to(Action::Pull, "team/app");
    let check = async |last: Option<&str>, limit: usize, expect: &[&str], more: bool| {
        let page = world.registry.tags(&grant, last, limit).await.unwrap();
        let names: Vec<&str> = page.entries.iter().map(Tag::as_str).collect();
        assert_eq!((names.as_slice(), page.more), (expect, more), "{last:?} {limit}");
    };
    check(None, 10, &["1.0", "V1", "_"], true).await;
    check(Some("_"), 10, &["a", "b", "v10"], true).await;
    check(Some("v10"), 10, &["v2"], false).await;
    check(Some("v10"), 1, &["v2"], false).await;
    check(Some("v2"), 10, &[], false).await;
    check(Some("no such tag"), 2, &["v10", "v2"], false).await;
    check(None, 1, &["1.0"], true).await;
    check(None, 0, &[], true).await;
    let unknown = world.registry.tags(&to(Action::Pull, "team/none"), None, 10).await;
    assert_refused!(unknown, RegistryError::RepositoryUnknown(name) if name == repo("team/none"));
}

#[tokio::test]
async fn a_repository_without_tags_has_an_empty_list() {
    let world = world();
    world.push("team/app", "v1", &Image::of(&["a layer"])).await;
    world.delete("team/app", "v1").await.unwrap();
    let page = world.registry.tags(&to(Action::Pull, "team/app"), None, 10).await.unwrap();
    assert!(page.entries.is_empty() && !page.more);
}

#[tokio::test]
async fn repositories_are_listed_as_far_as_they_may_be_seen() {
    let world = world();
    for name in ["team/b", "other/x", "team/a", "single", "team/a/sub"] {
        world.push_blob(name, "content").await;
    }
    let check = async |listing: Listing, last: Option<&str>, limit: usize, expect: &[&str], more: bool| {
        let page = world.registry.repositories(&listing, last, limit).await.unwrap();
        let names: Vec<&str> = page.entries.iter().map(|name| name.as_str()).collect();
        assert_eq!((names.as_slice(), page.more), (expect, more), "{last:?} {limit}");
    };
    check(sees_all(), None, 10, &["other/x", "single", "team/a"], true).await;
    check(sees_all(), Some("team/a"), 10, &["team/a/sub", "team/b"], false).await;
    check(sees_all(), Some("team"), 1, &["team/a"], true).await;
    check(sees(&["team"]), None, 10, &["team/a", "team/a/sub", "team/b"], false).await;
    check(sees(&["team"]), None, 2, &["team/a", "team/a/sub"], true).await;
    check(sees(&["library", "other"]), None, 10, &["other/x", "single"], false).await;
    check(sees(&[]), None, 10, &[], false).await;
}

#[tokio::test]
async fn usage_is_counted_once_it_is_tended() {
    let world = world();
    let image = Image::of(&["a layer"]);
    let size: u64 = image.contents().map(|content| content.len() as u64).sum();
    let manifest = image.bytes().len() as u64;
    world.push("team/app", "v1", &image).await;
    world.push("team/app", "v2", &image).await;
    world.push("team/other", "v1", &image).await;
    world.registry.tend().await.unwrap();
    let rows = async || {
        let page = world.registry.usage(&sees_all(), None, 10).await.unwrap();
        page.entries.into_iter().map(|row| (row.manifests, row.tags, row.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(rows().await, [(1, 2, size + manifest), (1, 1, size + manifest)]);
    let totals = world.meta.totals().await.unwrap();
    assert_eq!((totals.repositories, totals.manifests, totals.tags), (2, 2, 3));
    assert_eq!((totals.blobs, totals.stored_bytes), (2, size));
    world.delete("team/app", &image.digest().to_string()).await.unwrap();
    world.clock.advance(2 * DAY);
    world.collected().await;
    world.registry.tend().await.unwrap();
    assert_eq!(rows().await, [(0, 0, 0), (1, 1, size + manifest)]);
    assert_eq!(world.registry.usage(&sees(&["nobody"]), None, 10).await.unwrap().entries, []);
}

#[tokio::test]
async fn a_pull_is_noted_by_the_day_and_written_by_tend() {
    let world = world();
    let image = Image::of(&["a layer"]);
    let digest = world.push("team/app", "v1", &image).await;
    let used = async |reference: &str| {
        let record = world.meta.manifest(&repo("team/app"), &parse(reference)).await.unwrap().unwrap();
        record.used_day
    };
    let pushed = used("v1").await;
    world.pull("team/app", "v1").await.unwrap();
    world.clock.advance(3 * DAY);
    world.registry.tend().await.unwrap();
    assert_eq!(used("v1").await, pushed, "nobody has pulled it on another day");
    for reference in ["v1", &digest.to_string(), "v1"] {
        world.pull("team/app", reference).await.unwrap();
    }
    assert_eq!(used("v1").await, pushed, "a pull writes nothing");
    world.registry.tend().await.unwrap();
    assert_eq!(used("v1").await, pushed + 3);
    world.clock.advance(DAY);
    world.pull("team/app", "v1").await.unwrap();
    world.registry.tend().await.unwrap();
    assert_eq!(used(&digest.to_string()).await, pushed + 4);
}
