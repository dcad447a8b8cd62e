//! Entries: how the store keeps users, groups, roles, bindings, tokens, robots and projects.
//!
//! The store knows an entry's kind, its name, and which entries own it, and nothing of what its value says: rules
//! of identity are elsewhere. What it does know is that an entry does not outlive any of its owners, and that a
//! project has repositories.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Timestamp;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// A user.
    User,
    /// A group of users.
    Group,
    /// That a user is in a group.
    Membership,
    /// A set of actions with a name.
    Role,
    /// That somebody has a role somewhere.
    Binding,
    /// A token that stands for a user.
    Token,
    /// A user that is a machine.
    Robot,
    /// A project; its name is an [`oci::ProjectName`].
    Project,
    /// A key that the house signs with.
    SigningKey,
    /// A second factor of a user.
    Factor,
    /// Whom the house believes in what it says of users.
    Issuer,
    /// What holds for everybody, or everything in a project.
    Policy,
    /// That a session of a user has ended, which would live longer by what it says of itself.
    EndedSession,
}

impl EntryKind {
    /// All kinds with the names under which they are stored. Names are never reused.
    pub const NAMES: [(Self, &'static str); 13] = [
        (Self::User, "user"),
        (Self::Group, "group"),
        (Self::Membership, "membership"),
        (Self::Role, "role"),
        (Self::Binding, "binding"),
        (Self::Token, "token"),
        (Self::Robot, "robot"),
        (Self::Project, "project"),
        (Self::SigningKey, "signing-key"),
        (Self::Factor, "factor"),
        (Self::Issuer, "issuer"),
        (Self::Policy, "policy"),
        (Self::EndedSession, "ended-session"),
    ];

    /// The stored name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The kind with this stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(kind, _)| *kind)
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text is no name of an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name to keep anything by: use 1 to 512 bytes without control characters")]
pub struct EntryNameError(String);

/// The name of an entry among those of its kind: 1 to 512 bytes without control characters. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryName(Arc<str>);

impl EntryName {
    /// The longest name, in bytes.
    pub const MAX: usize = 512;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EntryName {
    type Err = EntryNameError;

    fn from_str(text: &str) -> Result<Self, EntryNameError> {
        let good = !text.is_empty() && text.len() <= Self::MAX && !text.contains(char::is_control);
        // Whoever sent a book is not shown all of it.
        if good { Ok(Self(text.into())) } else { Err(EntryNameError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<oci::ProjectName> for EntryName {
    /// Each name of a project is one of an entry: it is shorter, and of fewer characters.
    fn from(name: oci::ProjectName) -> Self {
        Self(name.as_str().into())
    }
}

/// An entry to be kept.
#[derive(Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// What it is.
    pub kind: EntryKind,
    /// Its name.
    pub name: EntryName,
    /// What it says: JSON that the store does not read, at most [`NewEntry::VALUE_MAX`] bytes.
    pub value: String,
    /// The entries that it does not outlive, at most [`NewEntry::OWNERS_MAX`]. They must exist.
    pub owners: Vec<(EntryKind, EntryName)>,
}

impl NewEntry {
    /// The longest value, in bytes.
    pub const VALUE_MAX: usize = 256 << 10;

    /// The most owners.
    pub const OWNERS_MAX: usize = 16;
}

impl fmt::Debug for NewEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewEntry")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("value", &Hidden(&self.value))
            .field("owners", &self.owners)
            .finish()
    }
}

/// An entry as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Its name.
    pub name: EntryName,
    /// What it says.
    pub value: String,
    /// How often it was written: 1, 2, 3, ..., one more with each change.
    pub revision: i64,
    /// When it came into being.
    pub created: Timestamp,
    /// When it was last changed.
    pub changed: Timestamp,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("value", &Hidden(&self.value))
            .field("revision", &self.revision)
            .field("created", &self.created)
            .field("changed", &self.changed)
            .finish()
    }
}

/// A value in what a program writes down: it may hold hashes of passwords.
struct Hidden<'a>(&'a str);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_bytes_and_no_control_characters() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<EntryName>().is_ok(), good, "{text:?}");
        for text in ["a", "ann@example.org", "cn=Ann Lee,dc=example", "team/pay", "Zoë 李", &"a".repeat(512)]
        {
            check(text, true);
            assert_eq!(text.parse::<EntryName>().unwrap().as_str(), text);
        }
        let long = "a".repeat(513);
        for text in ["", "a\n", "\0", "a\tb", "\u{7f}", "\u{85}", "\u{1b}[31m", &long, &"é".repeat(257)] {
            check(text, false);
        }
        let error = long.parse::<EntryName>().unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
    }

    #[test]
    fn kinds_are_told_by_their_names() {
        for (kind, name) in EntryKind::NAMES {
            assert_eq!((kind.name(), EntryKind::from_name(name)), (name, Some(kind)));
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
        }
        assert_eq!(EntryKind::from_name("User"), None);
    }

    #[test]
    fn values_are_not_written_down() {
        let name: EntryName = "ann".parse().unwrap();
        let value = r#"{"password":"$argon2id$..."}"#.to_owned();
        let new =
            NewEntry { kind: EntryKind::User, name: name.clone(), value: value.clone(), owners: vec![] };
        let at = Timestamp::from_micros(0);
        let entry = Entry { kind: EntryKind::User, name, value, revision: 1, created: at, changed: at };
        for text in [format!("{new:?}"), format!("{entry:?}")] {
            assert!(text.contains("ann") && !text.contains("argon2"), "{text}");
        }
    }
}
