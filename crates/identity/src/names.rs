//! The names of users, robots and groups.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use oci::ProjectName;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a user's name.
    #[error(
        "`{0}` is not a user name: use 1 to 64 lowercase letters, digits, `.`, `_`, `-` and `@`, starting and ending with a letter or digit"
    )]
    User(String),
    /// Not a robot's name.
    #[error(
        "`{0}` is not a robot name: write `robot$project+name` for the robot of a project or `robot$name` for one of the system, where the name is 1 to 64 lowercase letters, digits, `.`, `_` and `-`"
    )]
    Robot(String),
    /// Not a group's name.
    #[error(
        "`{0}` is not a group name: use 1 to 255 characters, not only spaces, and none that cannot be seen, such as a line break"
    )]
    Group(String),
}

/// The name of a person who signs in, such as `ada` or `ada@example.com`. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

impl UserName {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        let good = bytes.len() <= Self::MAX
            && bytes.first().copied().is_some_and(is_alphanumeric)
            && bytes.last().copied().is_some_and(is_alphanumeric)
            && bytes.iter().all(|byte| is_alphanumeric(*byte) || b"._-@".contains(byte));
        if good { Ok(Self(text.into())) } else { Err(NameError::User(shorten(text))) }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a robot, such as `robot$team/app+ci` of a project, or `robot$backup` of the system.
///
/// A dollar sign is legal in no user's name, so that no person can pose as a robot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RobotName {
    project: Option<ProjectName>,
    name: Arc<str>,
}

impl RobotName {
    /// The longest last part, in bytes.
    pub const MAX: usize = 64;
    /// What every robot's name begins with.
    pub const PREFIX: &str = "robot$";

    /// The name of a robot of a project, or of the system.
    pub fn new(project: Option<ProjectName>, name: &str) -> Result<Self, NameError> {
        let good = |byte: u8| is_alphanumeric(byte) || b"._-".contains(&byte);
        if (1..=Self::MAX).contains(&name.len()) && name.bytes().all(good) {
            Ok(Self { project, name: name.into() })
        } else {
            Err(NameError::Robot(shorten(name)))
        }
    }

    /// The project that it belongs to; a robot of the system belongs to none.
    pub fn project(&self) -> Option<&ProjectName> {
        self.project.as_ref()
    }

    /// The last part, which is its own within the project.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for RobotName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = || NameError::Robot(shorten(text));
        let rest = text.strip_prefix(Self::PREFIX).ok_or_else(fail)?;
        let (project, name) = match rest.split_once('+') {
            Some((project, name)) => (Some(project.parse().map_err(|_| fail())?), name),
            None => (None, rest),
        };
        Self::new(project, name).map_err(|_| fail())
    }
}

impl fmt::Display for RobotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PREFIX)?;
        if let Some(project) = &self.project {
            write!(f, "{project}+")?;
        }
        f.write_str(&self.name)
    }
}

/// The name of a group, which may come from elsewhere: `cn=Ops,dc=example` of LDAP, `/staff/ops` of OpenID Connect.
/// It means nothing to Wharf, and capitals differ from small letters. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(Arc<str>);

impl GroupName {
    /// The longest name, in characters.
    pub const MAX: usize = 255;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = text.chars().take(Self::MAX + 1).count() <= Self::MAX
            && !text.trim().is_empty()
            && !text.chars().any(is_invisible);
        if good { Ok(Self(text.into())) } else { Err(NameError::Group(shorten(text))) }
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// What controls a terminal or turns the direction of writing: a name with that could look like another's.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The first characters of a text from outside, without those that fool terminals.
pub(crate) fn printable(text: &str, longest: usize) -> String {
    let shown = |c| if is_invisible(c) { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(longest).map(shown).collect()
}

/// What an error shows of a text that may be long, or made to fool a terminal.
fn shorten(text: &str) -> String {
    let mut short = printable(text, 80);
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

macro_rules! text_forms {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
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

text_forms!(UserName);
text_forms!(RobotName);
text_forms!(GroupName);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn user_names_follow_the_grammar() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<UserName>().is_ok(), good, "{text}");
        for text in ["a", "0", "ada", "ada.lovelace_2-x", "ada@example.com", &"a".repeat(64)] {
            check(text, true);
        }
        let long = "a".repeat(65);
        for text in
            ["", "Ada", "-a", "a-", ".a", "a@", "robot$a", "a b", "a/b", "a+b", "a:b", "é", "a\n", &long]
        {
            check(text, false);
        }
    }

    #[test]
    fn robot_names_follow_the_grammar() {
        let check = |text: &str, expect: Option<(Option<&str>, &str)>| {
            let name = text.parse::<RobotName>().ok();
            let parts = name.as_ref().map(|name| (name.project().map(ProjectName::as_str), name.name()));
            assert_eq!(parts, expect, "{text}");
            assert!(name.is_none_or(|name| name.to_string() == text));
        };
        check("robot$ci", Some((None, "ci")));
        check("robot$team+ci", Some((Some("team"), "ci")));
        check("robot$team/app+ci.2_x-y", Some((Some("team/app"), "ci.2_x-y")));
        let long = format!("robot$team+{}", "a".repeat(65));
        for text in [
            "",
            "ci",
            "robot$",
            "robot$+ci",
            "robot$team+",
            "robot$a+b+c",
            "robot$a/b",
            "Robot$ci",
            "robot$CI",
            "robot$Team+ci",
            "robot$team/+ci",
            "robot$a$b",
            &long,
        ] {
            check(text, None);
        }
    }

    #[test]
    fn group_names_are_what_can_be_seen() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<GroupName>().is_ok(), good, "{text}");
        for text in ["a", "Ops", "cn=Ops Team,ou=x\\,y,dc=example", "/staff/ops", "運用", &"é".repeat(255)]
        {
            check(text, true);
        }
        let long = "é".repeat(256);
        for text in ["", " ", "\t", "a\nb", "a\0", "a\u{202e}b", "\u{feff}a", "a\u{85}", &long] {
            check(text, false);
        }
        assert_ne!("Ops".parse::<GroupName>().unwrap(), "ops".parse().unwrap());
    }

    #[test]
    fn a_message_says_what_is_allowed_and_stays_short() {
        let error = "Ada\u{1b}[2J".parse::<UserName>().unwrap_err().to_string();
        assert!(error.starts_with("`Ada\u{fffd}[2J` is not a user name: use 1 to 64 lowercase"), "{error}");
        let error = "robot$".repeat(1_000).parse::<RobotName>().unwrap_err().to_string();
        assert!(error.len() < 500, "{error}");
    }

    #[test]
    fn names_are_stored_as_text() {
        let json = r#"["ada@example.com","robot$team/app+ci","cn=\"Ops\""]"#;
        let names: (UserName, RobotName, GroupName) = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&names).unwrap(), json);
        serde_json::from_str::<UserName>(r#""Ada""#).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_unchanged(text in "(robot\\$)?[a-zA-Z0-9@+$/._ -]{0,70}|\\PC{0,40}") {
            if let Ok(name) = text.parse::<UserName>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.parse::<RobotName>().is_err());
            }
            if let Ok(name) = text.parse::<RobotName>() {
                prop_assert_eq!(name.to_string(), text.clone());
            }
            if let Ok(name) = text.parse::<GroupName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
