//! What a record of the journal tells.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time;

/// How many bytes of each text are kept. What is longer is cut between two characters.
pub const FIELD_BYTES: usize = 512;

/// How it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    #[default]
    Success,
    /// It was not allowed.
    Denied,
    /// It was allowed, and did not succeed.
    Failed,
}

impl Outcome {
    /// All outcomes with the names under which they are stored.
    pub const NAMES: [(Self, &'static str); 3] =
        [(Self::Success, "success"), (Self::Denied, "denied"), (Self::Failed, "failed")];

    /// The stored name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, name)| name)
    }

    /// The outcome with this stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(outcome, _)| *outcome)
    }
}

/// Declares the record as it is handed in and as it is read, so that neither has a text that the other lacks.
macro_rules! records {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened, as it is handed to the journal, which adds the number and the time. A text that is
        /// empty is absent.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct NewRecord<'a> {
            $($(#[$doc])* pub $name: &'a str,)*
            /// How it ended.
            pub outcome: Outcome,
            /// The status of the answer; 0 where there was none.
            pub status: u16,
        }

        /// What happened, as the journal has it.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub struct Record {
            /// The version of the record's form; 1.
            pub v: u16,
            /// Its place in the order: 1, 2, 3, ... without gaps.
            pub seq: u64,
            /// When, in microseconds since 1970 UTC; written as RFC 3339.
            #[serde(with = "time")]
            #[schemars(with = "String", extend("format" = "date-time"))]
            pub time: i64,
            $($(#[$doc])* #[serde(default, skip_serializing_if = "String::is_empty")] pub $name: String,)*
            /// How it ended.
            pub outcome: Outcome,
            /// The status of the answer; 0 where there was none.
            #[serde(default, skip_serializing_if = "is_zero")]
            pub status: u16,
        }

        /// How many texts a record has.
        pub const TEXTS: usize = [$(stringify!($name)),*].len();

        impl<'a> NewRecord<'a> {
            /// All texts with their names, in the order in which they are written.
            pub fn texts(&self) -> [(&'static str, &'a str); TEXTS] {
                [$((stringify!($name), self.$name)),*]
            }
        }

        impl Record {
            /// The record without its number and time.
            pub fn content(&self) -> NewRecord<'_> {
                NewRecord { $($name: &self.$name,)* outcome: self.outcome, status: self.status }
            }
        }
    };
}

records! {
    /// Who did it.
    actor,
    /// How the actor was known: `anonymous`, `password`, `token`, `robot`, `socket`, `job`, ...
    via,
    /// What was done, a dotted name: `pull`, `push`, `tag.delete`, `sign-in`, `entry.changed`, ...
    action,
    /// The project in which it was done.
    project,
    /// The repository to which it was done.
    repository,
    /// The tag, or another name by which the artifact was called.
    reference,
    /// The digest of what was pulled, pushed or deleted.
    digest,
    /// What an administrative change was made to.
    entry,
    /// The address from which it was asked for.
    address,
    /// The client, as it calls itself.
    agent,
    /// The id of the request.
    request,
    /// What else there is to say.
    detail,
}

fn is_zero(status: &u16) -> bool {
    *status == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_one_name() {
        for (outcome, name) in Outcome::NAMES {
            assert_eq!((outcome.name(), Outcome::from_name(name)), (name, Some(outcome)));
            assert_eq!(serde_json::to_string(&outcome).unwrap(), format!("\"{name}\""));
        }
        assert_eq!(Outcome::from_name("Success"), None);
    }
}
