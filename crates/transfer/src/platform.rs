//! Choosing one platform of an index.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use oci::{Child, Descriptor, ManifestKind, Platform, Role};
use serde::Deserialize;

use crate::{Document, Limits, Source, TransferError, graph, read_small};

/// The most that is read of an image's configuration.
const CONFIG_SIZE: u64 = 8 << 20;

/// A text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a platform: write it as os/architecture or os/architecture/variant, such as linux/arm64"
)]
pub struct PlatformError(String);

/// The platform that somebody asked for, such as `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformFilter {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl PlatformFilter {
    /// How well `platform` fits; smaller is better, `None` is not at all.
    fn rank(&self, platform: &Platform) -> Option<u8> {
        if platform.os != self.os || platform.architecture != self.architecture {
            return None;
        }
        let usual = match self.architecture.as_str() {
            "arm64" => Some("v8"),
            "arm" => Some("v7"),
            _ => None,
        };
        match (&self.variant, platform.variant.as_deref()) {
            (Some(wanted), Some(variant)) if wanted == variant => Some(0),
            // An arm64 image that names no variant is v8.
            (Some(wanted), None) if usual == Some(wanted) => Some(1),
            (Some(_), _) => None,
            (None, None) => Some(0),
            (None, variant) if variant == usual => Some(1),
            (None, Some(_)) => Some(2),
        }
    }
}

impl FromStr for PlatformFilter {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let word = |part: &str| {
            !part.is_empty()
                && part.len() <= 64
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [os, architecture] if word(os) && word(architecture) => {
                Ok(Self { os: os.into(), architecture: architecture.into(), variant: None })
            }
            [os, architecture, variant] if word(os) && word(architecture) && word(variant) => {
                Ok(Self { os: os.into(), architecture: architecture.into(), variant: Some(variant.into()) })
            }
            _ => Err(PlatformError(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for PlatformFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// The manifest for a platform: the best one of an index, or an image itself when its configuration agrees.
pub async fn select_platform(
    source: &Arc<dyn Source>,
    root: Descriptor,
    wanted: &PlatformFilter,
    limits: &Limits,
) -> Result<Descriptor, TransferError> {
    let mut at = root;
    for _ in 0..limits.depth {
        let document = graph::fetch(source.as_ref(), &at, &limits.manifest).await?;
        if document.manifest.kind == ManifestKind::Image {
            check_image(source, &document, wanted).await?;
            return Ok(at);
        }
        let children = document.manifest.children;
        at = best(&children, wanted).cloned().ok_or_else(|| TransferError::NoPlatform {
            wanted: wanted.clone(),
            have: list(&children),
            place: source.place(),
        })?;
    }
    Err(TransferError::Depth { root: at.digest, most: limits.depth })
}

fn best<'a>(children: &'a [Child], wanted: &PlatformFilter) -> Option<&'a Descriptor> {
    children
        .iter()
        .filter_map(|child| Some((wanted.rank(child.descriptor.platform.as_ref()?)?, &child.descriptor)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, descriptor)| descriptor)
}

/// The platforms of an index for a message: at most twenty.
fn list(children: &[Child]) -> String {
    let names: Vec<String> =
        children.iter().filter_map(|child| child.descriptor.platform.as_ref()).map(name).take(20).collect();
    if names.is_empty() { "no platforms at all".into() } else { names.join(", ") }
}

fn name(platform: &Platform) -> String {
    let variant = platform.variant.as_ref().map(|v| format!("/{v}")).unwrap_or_default();
    format!("{}/{}{variant}", platform.os, platform.architecture)
}

/// An image says in its configuration what it is for. Artifacts say nothing and are for every platform.
async fn check_image(
    source: &Arc<dyn Source>,
    document: &Document,
    wanted: &PlatformFilter,
) -> Result<(), TransferError> {
    #[derive(Deserialize)]
    struct Config {
        os: String,
        architecture: String,
        variant: Option<String>,
    }
    let configs = document.manifest.children.iter().filter(|child| child.role == Role::Config);
    for child in configs {
        let bytes = read_small(source, &child.descriptor, CONFIG_SIZE).await?;
        let Ok(Config { os, architecture, variant }) = serde_json::from_slice(&bytes) else { continue };
        let platform = Platform { architecture, os, os_version: None, variant };
        if wanted.rank(&platform).is_none() {
            let (wanted, have) = (wanted.clone(), name(&platform));
            return Err(TransferError::NoPlatform { wanted, have, place: source.place() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
        Platform { architecture, os, os_version: None, variant: parts.next() }
    }

    #[test]
    fn the_best_variant_wins() {
        let check = |wanted: &str, have: &[&str], expect: Option<usize>| {
            let wanted: PlatformFilter = wanted.parse().unwrap();
            let ranks = have.iter().map(|text| wanted.rank(&platform(text))).enumerate();
            let best = ranks.filter_map(|(at, rank)| Some((rank?, at))).min();
            assert_eq!(best.map(|(_, at)| at), expect, "{wanted} of {have:?}");
        };
        check("linux/amd64", &["linux/arm64", "linux/amd64"], Some(1));
        check("linux/amd64", &["windows/amd64", "unknown/unknown"], None);
        check("linux/arm64", &["linux/arm64/v8"], Some(0));
        check("linux/arm64/v8", &["linux/arm64"], Some(0));
        check("linux/arm", &["linux/arm/v5", "linux/arm/v7"], Some(1));
        check("linux/arm/v6", &["linux/arm/v7", "linux/arm/v6"], Some(1));
        check("linux/arm/v6", &["linux/arm"], None);
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back(text in "[a-z0-9/._ -]{0,30}") {
            if let Ok(filter) = text.parse::<PlatformFilter>() {
                prop_assert_eq!(filter.to_string(), text);
            }
        }
    }
}
