//! How the texts that have a form of their own look in a schema: names, moments, secrets, sets of actions. The schemas
//! of all else follow from its type.

use std::borrow::Cow;

use access::Action;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::model::{Actions, Principal};
use crate::names::{GroupName, RobotName, UserName};
use crate::secret::Secret;

/// A moment, as `time` writes it.
pub(crate) struct Moment;

/// The name of a project. Its type is of a crate that knows no schemas.
pub(crate) struct ProjectText;

/// Says what a text looks like. It stands where it is used: it is too short to be looked up elsewhere.
macro_rules! texts {
    ($($text:ty: $name:literal, $schema:expr;)+) => {
        $(impl JsonSchema for $text {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        })+
    };
}

texts! {
    Moment: "Moment", json_schema!({"type": "string", "format": "date-time", "examples": ["2027-01-31T12:00:00Z"]});
    ProjectText: "ProjectName", json_schema!({"type": "string", "examples": ["team/pay"]});
    UserName: "UserName", json_schema!({
        "type": "string",
        "maxLength": UserName::MAX,
        "pattern": "^[a-z0-9]([a-z0-9._@-]*[a-z0-9])?$",
        "examples": ["ann"],
    });
    GroupName: "GroupName", json_schema!({
        "type": "string", "minLength": 1, "maxLength": GroupName::MAX, "examples": ["operators"],
    });
    RobotName: "RobotName", json_schema!({
        "type": "string", "pattern": r"^robot\$([^+]+\+)?[a-z0-9._-]+$", "examples": ["robot$team+ci"],
    });
    Principal: "Principal", json_schema!({
        "type": "string", "pattern": "^(user|group):", "examples": ["user:ann"],
    });
    Secret: "Secret", json_schema!({"type": "string", "format": "password"});
    Actions: "Actions", json_schema!({
        "type": "array",
        "items": {"type": "string", "enum": Action::NAMES.map(|(_, name)| name)},
        "examples": [["pull", "push"]],
    });
}
