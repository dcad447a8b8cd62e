//! Names of repositories and projects, tags and references (distribution-spec, "Pulling manifests").

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::digest::shorten;
use crate::{Digest, DigestError};

/// The project of repositories whose name has one part, as Docker has it.
const LIBRARY: &str = "library";

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

/// The name of a repository, such as `team/app`. It lies in a project, which is one of [`RepoName::projects`].
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

    /// The outermost project: the part before the first slash, or `library` for a name of one part, as Docker has it.
    pub fn project(&self) -> &str {
        self.0.split_once('/').map_or(LIBRARY, |(project, _)| project)
    }

    /// All projects that the repository can lie in, innermost first: `team/pay` and `team` for `team/pay/app`.
    /// What would be too long for a project's name is none.
    pub fn projects(&self) -> impl Iterator<Item = &str> {
        outwards(self.innermost()).filter(|name| name.len() <= ProjectName::MAX)
    }

    /// All but the last part.
    fn innermost(&self) -> &str {
        self.0.rsplit_once('/').map_or(LIBRARY, |(project, _)| project)
    }
}

impl FromStr for RepoName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = text.len() <= Self::MAX && text.split('/').all(is_path_component);
        if good { Ok(Self(text.into())) } else { Err(NameError::Repository(shorten(text))) }
    }
}

/// The name of a project, such as `team` or, within that, `team/pay`.
///
/// Cloning is cheap. At most 200 bytes, so that a repository in it has room for a name of its own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectName(Arc<str>);

impl ProjectName {
    /// The longest name, in bytes.
    pub const MAX: usize = 200;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The project that it lies in, if it does.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// The outermost project that it lies in, or itself: its first part.
    pub fn outermost(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(outermost, _)| outermost)
    }

    /// Itself and the projects that it lies in, innermost first.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        outwards(&self.0)
    }

    /// Whether the repository can lie in this project: it does, or in one within it.
    pub fn contains(&self, repository: &RepoName) -> bool {
        let innermost = repository.innermost();
        innermost.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for ProjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = text.len() <= Self::MAX && text.split('/').all(is_path_component);
        if good { Ok(Self(text.into())) } else { Err(NameError::Project(shorten(text))) }
    }
}

/// So that a map of projects is asked by what [`RepoName::projects`] gives.
impl std::borrow::Borrow<str> for ProjectName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A path and those that it lies in, innermost first.
fn outwards(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(outer, _)| outer))
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

    fn project(text: &str) -> ProjectName {
        text.parse().unwrap()
    }

    #[test]
    fn project_names_follow_the_grammar() {
        let check = |text: &str, good: bool| {
            assert_eq!(text.parse::<ProjectName>().is_ok(), good, "{text}");
        };
        for text in ["team", "team/pay", "a.b_c__d-e---f/0", &"a".repeat(200)] {
            check(text, true);
        }
        let long = "a".repeat(201);
        for text in ["", "/", "team/", "/team", "a//b", "Team", "a..b", "-a", "a b", "é", &long] {
            check(text, false);
        }
        let error = "Team".parse::<ProjectName>().unwrap_err().to_string();
        assert!(error.starts_with("`Team` is not a project name: use lowercase"), "{error}");
    }

    #[test]
    fn a_repository_lies_in_projects_innermost_first() {
        let check = |name: &str, expect: &[&str]| {
            let repository: RepoName = name.parse().unwrap();
            let projects: Vec<&str> = repository.projects().collect();
            assert_eq!(projects, expect);
            assert!(projects.iter().all(|name| project(name).contains(&repository)));
        };
        check("nginx", &["library"]);
        check("team/app", &["team"]);
        check("team/pay/app", &["team/pay", "team"]);
        check("a/b/c/d", &["a/b/c", "a/b", "a"]);
        let long = "b".repeat(198);
        check(&format!("a/{long}/app"), &[&format!("a/{long}"), "a"]);
        check(&format!("a/{long}b/app"), &["a"]);
        check(&format!("{}/app", "a".repeat(201)), &[]);
    }

    #[test]
    fn a_project_lies_in_those_before_it() {
        let check = |name: &str, expect: &[&str]| {
            let inner = project(name);
            assert_eq!(inner.ancestors().collect::<Vec<_>>(), expect);
            assert_eq!(inner.parent().as_ref().map(ProjectName::as_str), expect.get(1).copied());
            assert_eq!(Some(project(name).outermost()), expect.last().copied());
        };
        check("team", &["team"]);
        check("team/pay/eu", &["team/pay/eu", "team/pay", "team"]);
    }

    #[test]
    fn a_project_contains_what_lies_below_its_name() {
        let check = |name: &str, repository: &str, expect: bool| {
            assert_eq!(project(name).contains(&repository.parse().unwrap()), expect, "{name} {repository}");
        };
        check("team", "team/app", true);
        check("team", "team/pay/app", true);
        check("team/pay", "team/pay/app", true);
        check("team/pay", "team/pay", false);
        check("team/pay", "team/app", false);
        check("team", "team-x/app", false);
        check("team", "team", false);
        check("library", "nginx", true);
        check("library", "library/nginx", true);
        check("nginx", "nginx", false);
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_unchanged(text in "[a-z0-9A-Z._/-]{0,40}") {
            if let Ok(name) = text.parse::<RepoName>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(!text.contains("..") && !text.contains("//"));
            }
            if let Ok(name) = text.parse::<ProjectName>() {
                prop_assert_eq!(name.as_str(), &text);
                let app: RepoName = format!("{text}/app").parse().unwrap();
                prop_assert!(name.contains(&app) && app.projects().next() == Some(name.as_str()));
            }
            if let Ok(tag) = text.parse::<Tag>() {
                prop_assert_eq!(tag.as_str(), &text);
                prop_assert!(!text.contains('/'));
            }
        }
    }
}
