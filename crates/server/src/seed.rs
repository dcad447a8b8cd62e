//! Fills a store with manifests that nobody pushed, to measure a large one.

use anyhow::{Context, Result, bail};
use meta::{Batch, MetaStore, NewManifest, Origin, Write};
use oci::{Digest, RepoName, Tag};
use serde_json::{Value, json};

use crate::config::Config;
use crate::store::Store;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// Manifests in all, each with one tag of its own.
    pub manifests: u64,
    /// Repositories that they are spread over.
    pub repositories: u64,
    /// Tags in the first repository, of its first manifest, besides.
    pub tags_in_one: u64,
}

/// How many writes share a transaction.
const AT_ONCE: u64 = 2_000;

/// Manifest `i` is in repository `scale/r{i mod repositories}` under tag `t{i}`, both numbers with seven digits. It
/// is an image without layers whose configuration is the empty JSON document, with the number in an annotation.
pub async fn seed(config: Config, seed: Seed) -> Result<Value> {
    if seed.manifests == 0 || seed.repositories == 0 {
        bail!("a store is seeded with at least one manifest in at least one repository");
    }
    let store = tokio::task::block_in_place(|| Store::open(&config))?;
    let mut next = 0;
    while next < seed.manifests {
        let end = (next + AT_ONCE).min(seed.manifests);
        let mut batch = Batch { origin: origin(), ..Batch::default() };
        for number in next..end {
            batch.writes.extend(manifest(number, seed.repositories)?);
        }
        commit(&*store.meta, batch).await?;
        next = end;
    }
    tags(&*store.meta, seed).await?;
    store.registry.tend().await?;
    Ok(json!({
        "manifests": seed.manifests,
        "repositories": seed.repositories,
        "tags_in_one": seed.tags_in_one,
        "repository": "scale/r{i mod repositories:07}",
        "tag": "t{i:07}",
        "first_manifest": document(0),
    }))
}

async fn tags(meta: &dyn MetaStore, seed: Seed) -> Result<()> {
    let repository: RepoName = "scale/r0000000".parse()?;
    let digest = Digest::sha256(document(0).as_bytes());
    let mut next = 0;
    while next < seed.tags_in_one {
        let end = (next + AT_ONCE).min(seed.tags_in_one);
        let mut batch = Batch { origin: origin(), ..Batch::default() };
        for number in next..end {
            let tag: Tag = format!("x{number:07}").parse()?;
            batch.writes.push(Write::Tag { repository: repository.clone(), tag, digest });
        }
        commit(meta, batch).await?;
        next = end;
    }
    Ok(())
}

async fn commit(meta: &dyn MetaStore, batch: Batch) -> Result<()> {
    meta.commit(batch).await.context("the store refused a batch")?;
    Ok(())
}

fn origin() -> Origin {
    Origin { actor: "seed".into(), ..Origin::default() }
}

fn document(number: u64) -> String {
    let empty = Digest::sha256(b"{}");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{empty}","size":2}},"layers":[],"annotations":{{"number":"{number:07}"}}}}"#,
        oci::types::OCI_MANIFEST,
        oci::types::EMPTY,
    )
}

fn manifest(number: u64, repositories: u64) -> Result<[Write; 2]> {
    let repository: RepoName = format!("scale/r{:07}", number % repositories).parse()?;
    let bytes = document(number).into_bytes();
    let digest = Digest::sha256(&bytes);
    let manifest = NewManifest {
        digest,
        media_type: oci::types::OCI_MANIFEST.parse()?,
        bytes: bytes.into(),
        artifact_type: None,
        subject: None,
        annotations: None,
        references: Vec::new(),
    };
    let tag = format!("t{number:07}").parse()?;
    Ok([Write::Manifest { repository: repository.clone(), manifest }, Write::Tag { repository, tag, digest }])
}
