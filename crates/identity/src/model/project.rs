//! What is kept of projects, and what is shown of them.

use access::Settings;
use meta::Timestamp;
use oci::ProjectName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FallbackRecord, yes};
use crate::schema::{Moment, ProjectText};
use crate::time;

/// A project, as kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ProjectRecord {
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public: Option<bool>,
    #[serde(default = "yes")]
    pub(crate) inherit_roles: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) create_on_push: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fallback: Option<FallbackRecord>,
}

impl ProjectRecord {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            public: self.public,
            inherit_roles: self.inherit_roles,
            create_on_push: self.create_on_push,
        }
    }
}

/// A project.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Project {
    /// Its name.
    #[schemars(with = "ProjectText")]
    pub name: ProjectName,
    /// What it is for.
    pub description: String,
    /// Whether anybody may pull; as in the project around it where absent.
    pub public: Option<bool>,
    /// Whether roles from further out count.
    pub inherit_roles: bool,
    /// Whether a push makes the project that it names; as in the project around it where absent.
    pub create_on_push: Option<bool>,
    /// Whether anybody may pull, all things considered.
    pub is_public: bool,
    /// Since when it exists.
    #[serde(with = "time")]
    #[schemars(with = "Moment")]
    pub created: Timestamp,
}

/// What is needed for a new project.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// Its name.
    pub name: ProjectName,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Whether anybody may pull; as in the project around it where absent.
    #[serde(default)]
    pub public: Option<bool>,
    /// Whether roles from further out count.
    #[serde(default = "yes")]
    pub inherit_roles: bool,
    /// Whether a push makes the project that it names; as in the project around it where absent.
    #[serde(default)]
    pub create_on_push: Option<bool>,
}

/// What is to be changed of a project. A setting that is `null` is as in the project around it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProjectPatch {
    /// What it is for.
    pub description: Option<String>,
    /// Whether anybody may pull.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<bool>")]
    pub public: Option<Option<bool>>,
    /// Whether roles from further out count.
    pub inherit_roles: Option<bool>,
    /// Whether a push makes the project that it names.
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<bool>")]
    pub create_on_push: Option<Option<bool>>,
}

/// Tells `null` from absent.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<bool>>, D::Error> {
    Option::<bool>::deserialize(deserializer).map(Some)
}
