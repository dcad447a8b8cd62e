//! Lists, usage, and the walks of `check`.

use blob::BlobId;
use oci::RepoName;

use super::{Effect, NewBlob, RefKind, Subject, Write, image, new_blob, new_manifest, repo, tag};
use crate::{MissingBlob, RepositoryRow, Totals, Visible};

/// Tags come in the order of their bytes, capitals first, page by page.
pub async fn tags_are_listed_in_bytewise_order(on: Subject) {
    let manifest = new_manifest("a manifest", &[]);
    on.store_manifest("team/app", &manifest).await;
    on.store_manifest("team/other", &manifest).await;
    on.tag("team/other", "elsewhere", manifest.digest).await;
    let list = async |after: Option<&str>, limit| {
        let tags = on.store.tags(&repo("team/app"), after, limit).await.unwrap();
        tags.expect("the repository exists").iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(list(None, 10).await.is_empty());
    let sorted = ["1.0", "1.0-rc", "10", "V1", "_x", "a", "v1", "v1.0", "v1_0"];
    for name in ["v1", "V1", "a", "v1_0", "10", "1.0-rc", "_x", "1.0", "v1.0"] {
        on.tag("team/app", name, manifest.digest).await;
    }
    assert_eq!(list(None, 100).await, sorted);
    assert_eq!(list(None, 2).await, sorted[..2]);
    assert_eq!(list(Some("V1"), 3).await, sorted[4..7]);
    assert_eq!(list(Some("b"), 2).await, sorted[6..8], "what the page starts after need not exist");
    assert!(list(Some("zz"), 5).await.is_empty());
    assert!(list(None, 0).await.is_empty());
}

/// Repositories come in the order of their bytes; those of invisible projects do not exist.
pub async fn repositories_are_listed_as_far_as_visible(on: Subject) {
    for name in ["team/b", "team/a", "team-x/a", "alone", "library/c", "other/a"] {
        on.store_blob(name, "a layer").await;
    }
    let list = async |projects: Option<&[&str]>, after: Option<&str>, limit| {
        let visible = projects.map_or(Visible::All, |names| {
            Visible::Projects(names.iter().map(|&name| name.to_owned()).collect())
        });
        let rows = on.store.usage(&visible, after, limit).await.unwrap();
        let names: Vec<RepoName> = on.store.repositories(&visible, after, limit).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>(), names);
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let all = ["alone", "library/c", "other/a", "team-x/a", "team/a", "team/b"];
    assert_eq!(list(None, None, 100).await, all);
    assert_eq!(list(None, Some("other/a"), 2).await, all[3..5]);
    assert_eq!(list(Some(&["team"]), None, 100).await, all[4..]);
    assert_eq!(list(Some(&["library", "team-x"]), None, 100).await, ["alone", "library/c", "team-x/a"]);
    assert_eq!(list(Some(&["library", "team"]), Some("library/c"), 1).await, ["team/a"]);
    assert!(list(Some(&[]), None, 100).await.is_empty());
}

async fn fold(on: &Subject) {
    while on.does(Write::FoldUsage { limit: 2 }).await != (Effect::Folded { deltas: 0 }) {}
}

/// Counters follow pushes and deletions once they are folded.
pub async fn usage_is_folded(on: Subject) {
    let layer = on.store_blob("team/a", "a layer").await;
    on.store_blob("team/b", "a layer").await;
    let manifest = image("a manifest", &[layer]);
    on.store_manifest("team/a", &manifest).await;
    on.store_manifest("team/a", &manifest).await;
    on.tag("team/a", "v1", manifest.digest).await;
    on.tag("team/a", "v2", manifest.digest).await;
    let usage = async || on.store.usage(&Visible::All, None, 10).await.unwrap();
    let row = |name: &str, manifests, tags, bytes| RepositoryRow { name: repo(name), manifests, tags, bytes };

    assert_eq!(usage().await, [row("team/a", 0, 0, 0), row("team/b", 0, 0, 0)]);
    fold(&on).await;
    assert_eq!(usage().await, [row("team/a", 1, 2, 17), row("team/b", 0, 0, 7)]);
    let totals =
        Totals { repositories: 2, manifests: 1, tags: 2, logical_bytes: 24, blobs: 1, stored_bytes: 7 };
    assert_eq!(on.store.totals().await.unwrap(), totals);

    on.drop_manifest("team/a", manifest.digest).await;
    on.unlink("team/a", layer.digest).await;
    on.unlink("team/b", layer.digest).await;
    on.clock.advance(super::SECOND);
    on.collect(on.now()).await;
    fold(&on).await;
    assert_eq!(usage().await, [row("team/a", 0, 0, 0), row("team/b", 0, 0, 0)]);
    assert_eq!(on.store.totals().await.unwrap(), Totals { repositories: 2, ..Totals::default() });
}

/// `check` sees each blob and manifest once, and what is missing.
pub async fn check_walks_over_everything(on: Subject) {
    let mut blobs: Vec<NewBlob> = Vec::new();
    for n in 0..5 {
        blobs.push(on.store_blob("team/a", &format!("layer {n}")).await);
    }
    on.store_blob("team/a", "layer 0").await;
    let foreign = (new_blob("foreign").digest, RefKind::Foreign);
    let needs = (blobs[1].digest, RefKind::Blob);
    for (name, content) in [("team/a", "one"), ("team/b", "two"), ("team/b", "three")] {
        on.store_manifest(name, &new_manifest(content, &[needs, foreign])).await;
    }
    on.does(Write::Damaged { id: blobs[2].id }).await;

    blobs.sort_by_key(|blob| blob.id);
    let mut after: Option<BlobId> = None;
    let mut seen = Vec::new();
    loop {
        let rows = on.store.blob_rows(after, 2).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = Some(last.id);
        seen.extend(rows.iter().map(|row| NewBlob { digest: row.digest, size: row.size, id: row.id }));
        assert!(rows.iter().all(|row| row.damaged == (row.digest == super::digest("layer 2"))));
    }
    assert_eq!(seen, blobs, "each stored blob, and no condemned one");

    let first = on.store.manifest_rows(0, 2).await.unwrap();
    let rest = on.store.manifest_rows(first[1].cursor, 2).await.unwrap();
    let mut contents: Vec<_> = first.iter().chain(&rest).map(|row| row.record.bytes.clone()).collect();
    contents.sort();
    assert_eq!(contents, ["one", "three", "two"]);

    let missing = on.store.missing_blobs(0, 10).await.unwrap();
    let lacks = |content: &str| MissingBlob {
        repository: repo("team/b"),
        manifest: super::digest(content),
        blob: needs.0,
    };
    assert_eq!(missing.len(), 2);
    assert!(["two", "three"].iter().all(|content| missing.contains(&lacks(content))));
    assert_eq!(on.store.missing_blobs(1, 10).await.unwrap(), missing[1..]);
    assert_eq!(on.store.self_check().await.unwrap(), [""; 0]);
    assert_eq!(on.tag("team/a", "v1", super::digest("one")).await, Effect::Tag { before: None });
    assert!(on.manifest("team/a", tag("v1").as_str()).await.is_some());
}
