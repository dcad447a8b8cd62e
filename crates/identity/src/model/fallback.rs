//! What is kept of the registries that projects replace, and what is shown of them.

use std::time::Duration;

use meta::Timestamp;
use oci::ProjectName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{Moment, ProjectText};
use crate::time;

/// For how long, in days, where nobody says.
const DAYS: u64 = 30;

/// Which registry a project replaces, as kept. It is over when `until` is: that is how it is turned off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FallbackRecord {
    pub(crate) upstream: String,
    pub(crate) prefix: String,
    #[serde(with = "time")]
    pub(crate) since: Timestamp,
    #[serde(with = "time")]
    pub(crate) until: Timestamp,
    #[serde(default)]
    pub(crate) keep: bool,
}

/// What a project says of the registry that it replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fallback {
    /// The project that says so: this one, or one around it.
    #[schemars(with = "ProjectText")]
    pub project: ProjectName,
    /// The key of the upstream that is this registry.
    pub upstream: String,
    /// What stands there before the names of what is in the project.
    pub prefix: String,
    /// Since when.
    #[serde(with = "time")]
    #[schemars(with = "Moment")]
    pub since: Timestamp,
    /// When it ends.
    #[serde(with = "time")]
    #[schemars(with = "Moment")]
    pub until: Timestamp,
    /// Whether what is read there is kept as the project's own.
    pub keep: bool,
    /// Whether what is not here is read there now.
    pub active: bool,
    /// How many days are left, rounded up.
    pub days_left: u64,
}

impl Fallback {
    pub(crate) fn new(project: ProjectName, record: &FallbackRecord, now: Timestamp) -> Self {
        let FallbackRecord { upstream, prefix, since, until, keep } = record.clone();
        let left = u64::try_from(until.micros().saturating_sub(now.micros())).unwrap_or(0);
        let day = Duration::from_hours(24).as_micros();
        let days_left = u64::try_from(u128::from(left).div_ceil(day)).unwrap_or(u64::MAX);
        Self { project, upstream, prefix, since, until, keep, active: now < until, days_left }
    }
}

/// Which registry a project is to replace.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFallback {
    /// The key of the upstream that is this registry.
    pub upstream: String,
    /// What stands there before the names of what is in the project: the project's own name where absent, nothing where
    /// empty.
    #[serde(default)]
    pub prefix: Option<String>,
    /// For how many days.
    #[serde(default = "days")]
    #[schemars(range(min = 1, max = 365))]
    pub days: u64,
    /// Whether what is read there is kept as the project's own.
    #[serde(default)]
    pub keep: bool,
}

fn days() -> u64 {
    DAYS
}

/// How much longer a registry is to be read.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoreDays {
    /// How many days more: from its end, or from now where that is over.
    #[schemars(range(min = 1, max = 365))]
    pub days: u64,
}
