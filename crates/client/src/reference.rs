//! References to content in a registry, as people write them.

use std::fmt;
use std::str::FromStr;

use oci::{DigestError, NameError, Reference, RepoName};

use crate::host::{Host, shorten};

/// Why a text is not a reference to content in a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not a host.
    #[error(
        "`{0}` is not a registry: write host or host:port, such as registry.example.com or localhost:5000"
    )]
    Host(String),
    /// No repository after the host.
    #[error("`{0}` names no repository: write host[:port]/repository[:tag] or host[:port]/repository@digest")]
    Form(String),
    /// The repository or the tag is malformed.
    #[error("`{text}`: {error}")]
    Name {
        /// What was given.
        text: String,
        /// What is wrong.
        error: NameError,
    },
}

/// A repository in a registry, and a tag or a digest in it where one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// The registry.
    pub host: Host,
    /// The repository.
    pub repository: RepoName,
    /// The tag or digest. Where both are written, the digest decides.
    pub reference: Option<Reference>,
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    /// `[docker://]host[:port]/repository[:tag][@digest]`; Docker Hub's official images may leave out `library/`.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let bare = text.strip_prefix("docker://").unwrap_or(text);
        let (host, path) = bare.split_once('/').ok_or_else(|| ReferenceError::Form(shorten(text)))?;
        let host: Host = host.parse()?;
        let wrong = |error: NameError| ReferenceError::Name { text: shorten(text), error };
        let (path, digest) = match path.split_once('@') {
            Some((path, digest)) => {
                let digest = digest.parse().map_err(|error: DigestError| wrong(error.into()))?;
                (path, Some(Reference::Digest(digest)))
            }
            None => (path, None),
        };
        let (name, tag) = match path.split_once(':') {
            Some((name, tag)) => (name, Some(Reference::Tag(tag.parse().map_err(wrong)?))),
            None => (path, None),
        };
        let official = host.is_docker_hub() && !name.contains('/');
        let name = if official { format!("library/{name}") } else { name.to_owned() };
        let repository = name.parse().map_err(wrong)?;
        Ok(Self { host, repository, reference: digest.or(tag) })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker://{}/{}", self.host, self.repository)?;
        match &self.reference {
            Some(Reference::Tag(tag)) => write!(f, ":{tag}"),
            Some(Reference::Digest(digest)) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn references_are_read_as_people_write_them() {
        let digest = oci::Digest::sha256(b"");
        let check = |text: &str, expect: Option<&str>| {
            let parsed = text.parse::<ImageRef>().map(|reference| reference.to_string());
            assert_eq!(parsed.as_deref().ok(), expect, "{text}: {parsed:?}");
        };
        check("localhost:5000/a/b:v1", Some("docker://localhost:5000/a/b:v1"));
        check("docker://example.com/a", Some("docker://example.com/a"));
        check("docker://docker.io/alpine:3", Some("docker://docker.io/library/alpine:3"));
        check("index.docker.io/user/app", Some("docker://docker.io/user/app"));
        check(&format!("[::1]:5000/a:v1@{digest}"), Some(&format!("docker://[::1]:5000/a@{digest}")));
        for bad in [
            "",
            "a",
            "docker://",
            "docker://host",
            "host/",
            "host/A",
            "host/a:",
            "host/a:.x",
            "host/a@sha256:1",
            "host/a:b:c",
            "user:password@host/a",
            "host//a",
            "host/a/../b",
            "http://host/a",
            "host/a?x=1",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back(text in "[a-z0-9.:/@_-]{0,60}", odd in "\\PC{0,40}") {
            for text in [text, odd] {
                if let Ok(reference) = text.parse::<ImageRef>() {
                    prop_assert_eq!(reference.to_string().parse::<ImageRef>().unwrap(), reference);
                }
            }
        }
    }
}
