//! The ends of a copy, as they are written on the command line.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use client::{Host, ImageRef, ReferenceError, Repository, Settings};
use layout::{Kind, LayoutError, LocalRef};
use oci::Reference;
use transfer::{Source, Target};

use crate::args::ConnectFlags;

/// A registry, a folder or an archive, and what is meant in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In a registry.
    Registry(ImageRef),
    /// On this machine.
    Local(LocalRef),
}

/// Why a text names no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Local(#[from] LayoutError),
    #[error(
        "`{0}` could be on several registries: name one, as in docker.io/library/alpine:3, or a local end, as in oci:DIR"
    )]
    Ambiguous(String),
    #[error("`{0}:` is not known here: use docker://, oci:, oci-archive:, docker-archive: or dir:")]
    Scheme(String),
}

/// What other tools accept, and this one does not.
const FOREIGN: [&str; 6] = ["containers-storage", "docker-daemon", "ostree", "sif", "tarball", "https"];

impl FromStr for End {
    type Err = EndError;

    fn from_str(text: &str) -> Result<Self, EndError> {
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        if scheme.is_some_and(|scheme| Kind::ALL.iter().any(|kind| kind.name() == scheme)) {
            return Ok(Self::Local(text.parse()?));
        }
        if let Some(scheme) = scheme.filter(|scheme| FOREIGN.contains(scheme)) {
            return Err(EndError::Scheme(scheme.to_owned()));
        }
        Ok(Self::Registry(parse_image(text)?))
    }
}

/// A reference to a registry. Without `docker://` its host must look like one.
pub(crate) fn parse_image(text: &str) -> Result<ImageRef, EndError> {
    if text.starts_with("docker://") {
        return Ok(text.parse()?);
    }
    let host = text.split_once('/').map(|(host, _)| host);
    let is_host = |host: &str| host == "localhost" || host.contains(['.', ':']);
    match host {
        Some(host) if is_host(host) => Ok(text.parse()?),
        _ => Err(EndError::Ambiguous(text.chars().take(120).filter(|c| !c.is_control()).collect())),
    }
}

/// A registry alone, with or without `docker://`.
pub(crate) fn parse_host(text: &str) -> Result<Host, ReferenceError> {
    text.strip_prefix("docker://").unwrap_or(text).trim_end_matches('/').parse()
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(image) => image.fmt(f),
            Self::Local(local) => local.fmt(f),
        }
    }
}

impl End {
    /// The tag or digest that is named.
    pub const fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Registry(image) => image.reference.as_ref(),
            Self::Local(local) => local.reference(),
        }
    }

    /// Do things here have tags?
    pub const fn has_tags(&self) -> bool {
        match self {
            Self::Registry(_) => true,
            Self::Local(local) => matches!(local.kind(), Kind::Oci | Kind::OciArchive),
        }
    }

    /// Is there room for what refers to an image?
    pub const fn has_referrers(&self) -> bool {
        match self {
            Self::Registry(_) => true,
            Self::Local(local) => !matches!(local.kind(), Kind::DockerArchive | Kind::Dir),
        }
    }

    /// Is there room for one image only?
    pub const fn is_single(&self) -> bool {
        matches!(self, Self::Local(local) if matches!(local.kind(), Kind::DockerArchive))
    }

    /// Opens it to read from.
    pub async fn source(&self, settings: &Settings) -> Result<Arc<dyn Source>> {
        Ok(match self {
            Self::Registry(image) => Arc::new(Repository::open(&image.host, &image.repository, settings)?),
            Self::Local(local) => local.source().await?,
        })
    }

    /// Opens it to write to.
    pub async fn target(&self, settings: &Settings) -> Result<Arc<dyn Target>> {
        Ok(match self {
            Self::Registry(image) => Arc::new(Repository::open(&image.host, &image.repository, settings)?),
            Self::Local(local) => local.target().await?,
        })
    }
}

impl ConnectFlags {
    /// The same, where what `own` says of one end goes before what is said of both.
    pub fn with(&self, own: Self) -> Self {
        let says_tls = own.tls_verify.is_some() || own.ca.is_some();
        Self {
            plain_http: own.plain_http || (self.plain_http && !says_tls),
            tls_verify: own.tls_verify.or(self.tls_verify),
            ca: own.ca.or_else(|| self.ca.clone()),
        }
    }

    /// How to talk to a registry.
    pub fn settings(&self) -> Settings {
        Settings {
            plain_http: self.plain_http,
            tls_verify: self.tls_verify,
            ca: self.ca.clone(),
            ..Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_are_told_apart() {
        let check = |text: &str, expect: Option<&str>| {
            let parsed = text.parse::<End>().map(|end| end.to_string());
            assert_eq!(parsed.as_deref().ok(), expect, "{text}: {parsed:?}");
        };
        check("docker://host/a", Some("docker://host/a"));
        check("localhost/a", Some("docker://localhost/a"));
        check("localhost:5000/a:v1", Some("docker://localhost:5000/a:v1"));
        check("docker.io/alpine", Some("docker://docker.io/library/alpine"));
        check("oci:a:v1", Some("oci:a:v1"));
        check("oci-archive:a.tar", Some("oci-archive:a.tar"));
        check("docker-archive:a.tar", Some("docker-archive:a.tar"));
        check("dir:a", Some("dir:a"));
        for bad in
            ["alpine", "alpine:3", "library/alpine", "", "containers-storage:a", "https://host/a", "oci:"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn registries_are_read_with_and_without_scheme() {
        for text in ["localhost:5000", "docker://localhost:5000", "docker://localhost:5000/"] {
            assert_eq!(parse_host(text).unwrap().as_str(), "localhost:5000", "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back(text in "(docker://|oci:|dir:)?[a-z0-9:/@.]{0,40}", odd in "\\PC{0,30}") {
            for text in [text, odd] {
                if let Ok(end) = text.parse::<End>() {
                    prop_assert_eq!(end.to_string().parse::<End>().unwrap(), end);
                }
            }
        }
    }
}
