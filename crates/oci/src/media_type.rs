//! Media types: bounded, opaque texts, and the few that mean something to a registry.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::digest::shorten;

/// Why a text is not a media type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a media type: write it as type/subtype (RFC 6838), at most 255 characters")]
pub struct MediaTypeError(String);

/// A media type such as `application/vnd.oci.image.manifest.v1+json`, without parameters. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaType(Arc<str>);

impl MediaType {
    /// The longest media type, in bytes.
    pub const MAX: usize = 255;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The media type of a `Content-Type` header: its parameters are dropped.
    pub fn from_content_type(header: &str) -> Result<Self, MediaTypeError> {
        header.split(';').next().unwrap_or_default().trim().parse()
    }
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    /// RFC 6838 section 4.2: two names of letters, digits and `!#$&-^_.+`, with one slash between them.
    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        let name = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let good = text.len() <= Self::MAX && text.split_once('/').is_some_and(|(a, b)| name(a) && name(b));
        if good { Ok(Self(text.into())) } else { Err(MediaTypeError(shorten(text))) }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for MediaType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for MediaType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The media types that a registry must tell apart.
pub mod types {
    /// An OCI image manifest, which also carries every other artifact.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// The OCI artifact manifest of the 1.1 release candidates; old signatures still use it.
    pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
    /// A Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// A Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// The empty JSON document that stands for "no configuration".
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// Layers that the image-spec calls non-distributable: a registry need not hold them.
    pub const NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.";
    /// Docker's name for the same.
    pub const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_type_slash_subtype() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<MediaType>().is_ok(), good, "{text}");
        for text in [types::OCI_INDEX, "a/b", "application/vnd.x+json"] {
            check(text, true);
        }
        let long = format!("a/{}", "b".repeat(255));
        for text in ["", "a", "a/", "/b", "a/b/c", "a/b; c", "a/\n", "é/b", &long] {
            check(text, false);
        }
        assert_eq!(MediaType::from_content_type("a/b; charset=utf-8").unwrap().as_str(), "a/b");
    }
}
