//! Images that stay, however long nobody asks for them.

use std::collections::HashSet;
use std::str::FromStr;

use blob::BlobId;
use oci::{Manifest, Reference, RepoName, Tag};
use registry::{Registry, RegistryError};

/// The most manifests that a pinned tag is followed to: those of an index.
const MANIFESTS: usize = 1_000;

/// A blob that more repositories hold is kept, where any is pinned.
const HOLDERS: usize = 1_000;

/// What is pinned: the repositories of a pattern, in which `*` stands for any text, or a tag of one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// All that these repositories hold.
    Repositories(String),
    /// What a tag needs that is here.
    Tag(RepoName, Tag),
}

/// Why a text is no pin.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` pins nothing: give a repository such as `hub/library/alpine`, with `*` for any text, or with a tag, `hub/library/alpine:3.20`"
)]
pub struct PinError(String);

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let wrong = || PinError(text.chars().take(200).collect());
        let Some((name, tag)) = text.split_once(':') else {
            // What a star may stand for can only be part of a name.
            let example = text.replace('*', "x").parse::<RepoName>();
            return example.map(|_| Self::Repositories(text.to_owned())).map_err(|_| wrong());
        };
        match (name.parse(), tag.parse()) {
            (Ok(name), Ok(tag)) => Ok(Self::Tag(name, tag)),
            _ => Err(wrong()),
        }
    }
}

/// Whether a text is a pattern's.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether a pattern pins what some repository of the blob holds.
pub(crate) async fn is_pinned(registry: &Registry, pins: &[Pin], id: BlobId) -> Result<bool, RegistryError> {
    let patterns: Vec<&str> = pins
        .iter()
        .filter_map(|pin| match pin {
            Pin::Repositories(pattern) => Some(pattern.as_str()),
            Pin::Tag(..) => None,
        })
        .collect();
    if patterns.is_empty() {
        return Ok(false);
    }
    let holders = registry.meta().links_of(id, HOLDERS).await?;
    let is_pinned = |name: &RepoName| patterns.iter().any(|pattern| matches(pattern, name.as_str()));
    Ok(holders.len() == HOLDERS || holders.iter().any(|(name, _)| is_pinned(name)))
}

/// The blobs here that pinned tags need.
pub(crate) async fn of_tags(registry: &Registry, pins: &[Pin]) -> Result<HashSet<BlobId>, RegistryError> {
    let mut blobs = HashSet::new();
    for pin in pins {
        if let Pin::Tag(repository, tag) = pin {
            follow(registry, repository, tag, &mut blobs).await?;
        }
    }
    Ok(blobs)
}

async fn follow(
    registry: &Registry,
    repository: &RepoName,
    tag: &Tag,
    blobs: &mut HashSet<BlobId>,
) -> Result<(), RegistryError> {
    let (mut seen, mut open) = (HashSet::new(), vec![Reference::Tag(tag.clone())]);
    while let Some(reference) = open.pop() {
        // What is looked up may be in memory, and then nobody else would have a turn.
        tokio::task::yield_now().await;
        let Some(record) = registry.meta().manifest(repository, &reference).await? else { continue };
        if seen.len() == MANIFESTS || !seen.insert(record.digest) {
            continue;
        }
        // It was kept, so it can be read.
        let limits = &registry.limits().manifest;
        let Ok(manifest) = Manifest::parse(&record.bytes, Some(&record.media_type), limits) else { continue };
        for child in manifest.children {
            let digest = child.descriptor.digest;
            if child.descriptor.media_type.is_manifest() {
                open.push(Reference::Digest(digest));
            } else if let Some(blob) = registry.meta().blob(repository, &digest).await? {
                blobs.insert(blob.id);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_matched() {
        for (pattern, text, expect) in [
            ("hub/library/alpine", "hub/library/alpine", true),
            ("hub/library/alpine", "hub/library/alpine2", false),
            ("hub/library/alpine", "hub/library/alpin", false),
            ("hub/*", "hub/library/alpine", true),
            ("hub/*", "hub2/library", false),
            ("*", "anything/at/all", true),
            ("*/alpine", "hub/library/alpine", true),
            ("*/alpine", "hub/library/alpine3", false),
            ("hub/*/a*e", "hub/library/alpine", true),
            ("hub/*/a*e", "hub/library/alpina", false),
            ("hub/a*a", "hub/a", false),
            ("hub/*b*b", "hub/b", false),
        ] {
            assert_eq!(matches(pattern, text), expect, "{pattern} {text}");
        }
    }

    #[test]
    fn pins_are_read() {
        let tag = Pin::Tag("hub/a".parse().unwrap(), "v1".parse().unwrap());
        let pattern = |text: &str| Pin::Repositories(text.to_owned());
        for (text, expect) in [
            ("hub/a", Some(pattern("hub/a"))),
            ("hub/a*", Some(pattern("hub/a*"))),
            ("*", Some(pattern("*"))),
            ("hub/a:v1", Some(tag)),
            ("hub/*:v1", None),
            ("hub/a:", None),
            ("", None),
            ("Hub", None),
            ("hub/a@sha256:00", None),
        ] {
            assert_eq!(text.parse::<Pin>().ok(), expect, "{text}");
        }
    }
}
