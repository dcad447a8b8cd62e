//! Repository names, tags and references (distribution-spec, "Pulling manifests").

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::digest::shorten;
use crate::{Digest, DigestError};

/// Why a text is not a name, a tag or a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a repository name.
    #[error(
        "`{0}` is not a repository name: use lowercase letters and digits, with single `.`, `_`, `__` or dashes between them, in parts separated by `/`, at most 255 characters"
    )]
    Repository(String),
    /// Not a project name.
    #[error(
        "`{0}` is not a project name: use lowercase letters and digits, with single `.`, `_`, `__` or dashes between them, in parts separated by `/`, at most 200 characters"
    )]
    Project(String),
    /// Not a tag.
    #[error(
        "`{0}` is not a tag: use letters, digits, `_`, `.` and `-`, not starting with `.` or `-`, at most 128 characters"
    )]
    Tag(String),
    /// Has the form of a digest, and is none.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// The name of a repository, such as `team/app`.
///
/// Cloning is cheap. At most 255 bytes, the limit that clients and file systems share.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoName(Arc<str>);

impl RepoName {
    /// The longest name, in bytes.
    pub const MAX: usize = 255;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The project: the part before the first slash, or `library` for a name of one part, as Docker has it.
    pub fn project(&self) -> &str {
        self.0.split_once('/').map_or(ProjectName::LIBRARY, |(project, _)| project)
    }

    /// The names of all projects that the repository can lie in, the innermost first: `team/pay` and `team` for
    /// `team/pay/app`.
    pub fn projects(&self) -> impl Iterator<Item = &str> {
        let whole = if self.0.contains('/') { parent(&self.0) } else { Some(ProjectName::LIBRARY) };
        std::iter::successors(whole, |name| parent(name))
    }
}

/// A path without its last part.
fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

impl FromStr for RepoName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = text.len() <= Self::MAX && text.split('/').all(is_path_component);
        if good { Ok(Self(text.into())) } else { Err(NameError::Repository(shorten(text))) }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    // Between two alphanumeric runs stands one separator: `.`, `_`, `__` or dashes.
    bytes.split(|byte| alphanumeric(*byte)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

/// The name of a project, such as `team` or `team/payments`: repositories and projects lie in it whose names begin
/// with it and a slash. Repositories with a name of one part lie in `library`, as Docker has it.
///
/// Cloning is cheap. At most 200 bytes, so that repositories in it still have room for names of their own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectName(Arc<str>);

impl ProjectName {
    /// The longest name, in bytes.
    pub const MAX: usize = 200;

    /// The project of repositories whose name has one part.
    pub const LIBRARY: &str = "library";

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The project that this one lies in.
    pub fn parent(&self) -> Option<&str> {
        parent(&self.0)
    }

    /// Its own name, and those of the projects around it, the innermost first.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(&*self.0), |name| parent(name))
    }

    /// Whether the repository lies in this project or in one below it.
    pub fn contains(&self, repository: &RepoName) -> bool {
        repository.projects().any(|name| name == &*self.0)
    }
}

impl FromStr for ProjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = text.len() <= Self::MAX && text.split('/').all(is_path_component);
        if good { Ok(Self(text.into())) } else { Err(NameError::Project(shorten(text))) }
    }
}

impl std::borrow::Borrow<str> for ProjectName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A tag, such as `v1.2`. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The longest tag, in bytes.
    pub const MAX: usize = 128;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let bytes = text.as_bytes();
        let good = bytes.len() <= Self::MAX
            && bytes.first().copied().is_some_and(word)
            && bytes.iter().all(|byte| word(*byte) || *byte == b'.' || *byte == b'-');
        if good { Ok(Self(text.into())) } else { Err(NameError::Tag(shorten(text))) }
    }
}

/// What a client names a manifest by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By a tag, which may move.
    Tag(Tag),
    /// By its digest.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = NameError;

    /// A text with a colon must be a digest: a colon is legal in no tag.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => fmt::Display::fmt(tag, f),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! text_forms {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_forms!(RepoName);
text_forms!(ProjectName);
text_forms!(Tag);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repository_names_follow_the_grammar() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<RepoName>().is_ok(), good, "{text}");
        for text in ["a", "a/b/c", "a.b_c__d-e---f/0", "library/nginx", &"a".repeat(255)] {
            check(text, true);
        }
        let long = "a".repeat(256);
        for text in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "-a", "a-", "a/../b", "..", "a b",
            "é", &long,
        ] {
            check(text, false);
        }
    }

    #[test]
    fn tags_follow_the_grammar() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<Tag>().is_ok(), good, "{text}");
        for text in ["latest", "V1.0", "_x", "1-2_3.4", &"a".repeat(128)] {
            check(text, true);
        }
        let long = "a".repeat(129);
        for text in ["", ".a", "-a", "a:b", "a/b", "a b", "é", "a\n", &long] {
            check(text, false);
        }
    }

    #[test]
    fn a_reference_with_a_colon_is_a_digest() {
        assert!(matches!("v1".parse(), Ok(Reference::Tag(_))));
        let digest = Digest::sha256(b"").to_string();
        assert!(matches!(digest.parse(), Ok(Reference::Digest(_))));
        assert!(matches!("sha256:bad".parse::<Reference>(), Err(NameError::Digest(_))));
    }

    #[test]
    fn the_project_is_the_first_part() {
        let check =
            |name: &str, project: &str| assert_eq!(name.parse::<RepoName>().unwrap().project(), project);
        check("team/app/web", "team");
        check("nginx", "library");
    }

    #[test]
    fn the_projects_around_a_repository_are_named_innermost_first() {
        let check = |name: &str, expect: &[&str]| {
            assert_eq!(name.parse::<RepoName>().unwrap().projects().collect::<Vec<_>>(), expect, "{name}");
        };
        check("nginx", &["library"]);
        check("team/app", &["team"]);
        check("team/pay/web/app", &["team/pay/web", "team/pay", "team"]);
        let project: ProjectName = "team/pay".parse().unwrap();
        assert_eq!(project.ancestors().collect::<Vec<_>>(), ["team/pay", "team"]);
        assert_eq!(
            (project.parent(), project.contains(&"team/pay/a".parse().unwrap())),
            (Some("team"), true)
        );
        for outside in ["team/pay", "team/payments/a", "pay/a"] {
            assert!(!project.contains(&outside.parse().unwrap()), "{outside}");
        }
        for bad in ["", "Team", "a//b", "a/", "..", &"a".repeat(201)] {
            assert!(bad.parse::<ProjectName>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_unchanged(text in "[a-z0-9A-Z._/-]{0,40}") {
            if let Ok(name) = text.parse::<RepoName>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(!text.contains("..") && !text.contains("//"));
            }
            if let Ok(tag) = text.parse::<Tag>() {
                prop_assert_eq!(tag.as_str(), &text);
                prop_assert!(!text.contains('/'));
            }
        }
    }
}
