//! What is kept of users, groups, roles, members, tokens, robots and projects, and how the administration API shows
//! it.
//!
//! What is kept is the JSON value of an entry (crate `meta`): fields may be added, each with a default, and are never
//! given another meaning. Hashes stay in the records; what is shown has none.

mod factor;
mod fallback;
mod project;

use access::{Action, ActionSet, Rights};
use meta::Timestamp;
use oci::ProjectName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{GroupName, RobotName, UserName};
use crate::password::PasswordHash;
use crate::schema::{Moment, ProjectText};
use crate::secret::{Secret, SecretHash};
use crate::time;

pub(crate) use factor::{FactorRecord, OneTimeCode, PasskeyRecord};
pub use factor::{
    NewSession, OneTimeCodeShown, Passkey, RecoveryCodesShown, SecondFactor, Session, TotpStart,
};
pub(crate) use fallback::FallbackRecord;
pub use fallback::{Fallback, MoreDays, NewFallback};
pub(crate) use project::ProjectRecord;
pub use project::{NewProject, Project, ProjectPatch};

/// Where a user's password is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Here.
    #[default]
    Local,
    /// In a directory, by LDAP.
    Ldap,
    /// At an OpenID provider.
    Oidc,
}

impl Source {
    /// The name in records and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ldap => "ldap",
            Self::Oidc => "oidc",
        }
    }
}

/// A user, as kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    #[serde(default)]
    pub(crate) source: Source,
    #[serde(default)]
    pub(crate) email: String,
    #[serde(default)]
    pub(crate) display_name: String,
    #[serde(default)]
    pub(crate) disabled: bool,
    /// How often they have been kept out: what they had opened before stays shut when they are let in again.
    #[serde(default)]
    pub(crate) times_disabled: u32,
    /// The hash of the password (argon2id); none for who cannot sign in with one here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<PasswordHash>,
    #[serde(default)]
    pub(crate) must_change_password: bool,
    /// Groups that the user's directory says they are in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) external_groups: Vec<String>,
    /// Whom the user's OpenID provider means by them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<ProviderSubject>,
}

/// Somebody, in the words of an OpenID provider that never change, whatever name they are called by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderSubject {
    /// The provider.
    pub issuer: String,
    /// Whom it means (`sub`).
    pub subject: String,
}

impl ProviderSubject {
    /// Both in one; no address has a line break.
    pub(crate) fn key(&self) -> String {
        format!("{}\n{}", self.issuer, self.subject)
    }
}

/// A user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct User {
    /// The name that they sign in with.
    pub name: UserName,
    /// Where their password is checked.
    pub source: Source,
    /// Their address.
    pub email: String,
    /// What people call them.
    pub display_name: String,
    /// Whether they are kept out.
    pub disabled: bool,
    /// Whether they must choose a new password before anything else.
    pub must_change_password: bool,
    /// Since when the user is known.
    #[serde(with = "time")]
    #[schemars(with = "Moment")]
    pub created: Timestamp,
}

/// What is needed for a new user.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name that they sign in with.
    pub name: UserName,
    /// Where their password is checked.
    #[serde(default)]
    pub source: Source,
    /// Their first password; without one they cannot sign in with a password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Their address.
    #[serde(default)]
    pub email: String,
    /// What people call them.
    #[serde(default)]
    pub display_name: String,
    /// Whether they must choose another password at once.
    #[serde(default = "yes")]
    pub must_change_password: bool,
}

fn yes() -> bool {
    true
}

/// What is to be changed of a user.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UserPatch {
    /// Their address.
    pub email: Option<String>,
    /// What people call them.
    pub display_name: Option<String>,
    /// Whether they are kept out.
    pub disabled: Option<bool>,
    /// A new password, given by somebody else: it must be changed at the next sign-in.
    pub password: Option<Secret>,
}

/// Somebody's own new password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The one that is to be replaced.
    pub current: Secret,
    /// The new one.
    pub new: Secret,
}

/// A group, as kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct GroupRecord {
    #[serde(default)]
    pub(crate) description: String,
    /// The name that a directory or an OpenID provider has for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) external: Option<String>,
}

/// A group of users.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The name that a directory or an OpenID provider has for it: its members there are members here.
    #[serde(default)]
    pub external: Option<String>,
}

/// That a user is in a group, as kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    pub(crate) user: UserName,
    pub(crate) group: GroupName,
}

/// A role, as kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RoleRecord {
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) actions: Vec<String>,
}

/// A role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// What it allows.
    pub actions: Actions,
    /// Whether every registry has it, so that it cannot be changed.
    #[serde(default, skip_deserializing)]
    pub built_in: bool,
}

/// A set of actions, in JSON an array of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(pub ActionSet);

impl From<ActionSet> for Actions {
    fn from(actions: ActionSet) -> Self {
        Self(actions)
    }
}

impl Serialize for Actions {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Action::name))
    }
}

impl<'de> Deserialize<'de> for Actions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let actions = names.iter().map(|name| name.parse::<Action>()).collect::<Result<_, _>>();
        actions.map(Self).map_err(serde::de::Error::custom)
    }
}

/// Who can be given a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A user.
    User(UserName),
    /// All members of a group.
    Group(GroupName),
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
        }
    }
}

impl std::str::FromStr for Principal {
    type Err = crate::IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |message: String| crate::IdentityError::Invalid(message);
        match text.split_once(':') {
            Some(("user", name)) => {
                Ok(Self::User(name.parse().map_err(|error| invalid(format!("{error}")))?))
            }
            Some(("group", name)) => {
                Ok(Self::Group(name.parse().map_err(|error| invalid(format!("{error}")))?))
            }
            _ => Err(invalid("a member is written as user:NAME or group:NAME".into())),
        }
    }
}

impl Serialize for Principal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A role that somebody has somewhere, as kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BindingRecord {
    /// `user:NAME` or `group:NAME`.
    pub(crate) principal: String,
    /// In which project; everywhere where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<ProjectName>,
    pub(crate) role: String,
}

/// A role that somebody has.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Member {
    /// Who.
    pub principal: Principal,
    /// Which role.
    pub role: String,
    /// In which project it was given; absent for the whole registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ProjectText>")]
    pub project: Option<ProjectName>,
}

/// What may be done where: in a project with all that is below it, or everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// Where; absent for everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ProjectText>")]
    pub project: Option<ProjectName>,
    /// What.
    pub actions: Actions,
}

/// All of some permissions.
pub(crate) fn rights(permissions: &[Permission]) -> Rights {
    let mut rights = Rights::default();
    for permission in permissions {
        rights.give(permission.project.as_ref(), permission.actions.0);
    }
    rights
}

/// A personal access token, as kept under its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) user: UserName,
    pub(crate) label: String,
    pub(crate) hash: SecretHash,
    #[serde(with = "time::maybe", default)]
    pub(crate) expires: Option<Timestamp>,
    /// What the token is good for; all that its user may do where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) permissions: Option<Vec<Permission>>,
}

/// A personal access token.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Token {
    /// Its id: the first part of its text.
    pub id: String,
    /// Whose it is.
    pub user: UserName,
    /// What its user calls it.
    pub label: String,
    /// Since when it exists.
    #[serde(with = "time")]
    #[schemars(with = "Moment")]
    pub created: Timestamp,
    /// When it ends; never where absent.
    #[serde(with = "time::maybe")]
    #[schemars(with = "Option<Moment>")]
    pub expires: Option<Timestamp>,
    /// What it is good for; all that its user may do where absent.
    pub permissions: Option<Vec<Permission>>,
    /// The day on which it was last used.
    pub last_used: Option<String>,
}

/// What is needed for a new personal access token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What its user calls it.
    pub label: String,
    /// When it ends; as late as the policy allows where absent.
    #[serde(with = "time::maybe", default)]
    #[schemars(with = "Option<Moment>")]
    pub expires: Option<Timestamp>,
    /// What it is good for; all that its user may do where absent.
    #[serde(default)]
    pub permissions: Option<Vec<Permission>>,
}

/// Something with a secret that is shown this once.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}WithSecret")]
pub struct Shown<T> {
    /// What it is.
    #[serde(flatten)]
    pub about: T,
    /// The secret.
    #[serde(serialize_with = "expose")]
    #[schemars(with = "Secret")]
    pub secret: Secret,
}

fn expose<S: serde::Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// A secret of a robot, as kept. While one takes the place of another, both are good.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RobotSecret {
    pub(crate) hash: SecretHash,
    #[serde(with = "time")]
    pub(crate) created: Timestamp,
    /// When it ends because another took its place.
    #[serde(with = "time::maybe", default)]
    pub(crate) until: Option<Timestamp>,
}

impl RobotSecret {
    /// Whether it is still good.
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// A robot, as kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RobotRecord {
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) disabled: bool,
    #[serde(with = "time::maybe", default)]
    pub(crate) expires: Option<Timestamp>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) secrets: Vec<RobotSecret>,
}

/// A robot: an account for a machine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Robot {
    /// The name that it signs in with.
    pub name: RobotName,
    /// What it is for.
    pub description: String,
    /// Whether it is kept out.
    pub disabled: bool,
    /// Since when it exists.
    #[serde(with = "time")]
    #[schemars(with = "Moment")]
    pub created: Timestamp,
    /// When it ends; never where absent.
    #[serde(with = "time::maybe")]
    #[schemars(with = "Option<Moment>")]
    pub expires: Option<Timestamp>,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// How many secrets are good now: two while one takes the place of another.
    pub secrets: usize,
    /// The day on which it was last used.
    pub last_used: Option<String>,
}

/// What is needed for a new robot.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRobot {
    /// The part of its name after the project.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// When it ends; as late as the policy allows where absent.
    #[serde(with = "time::maybe", default)]
    #[schemars(with = "Option<Moment>")]
    pub expires: Option<Timestamp>,
    /// What it may do. Where absent: pull, in its own project.
    #[serde(default)]
    pub permissions: Option<Vec<Permission>>,
}

/// What is to be changed of a robot.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RobotPatch {
    /// What it is for.
    pub description: Option<String>,
    /// Whether it is kept out.
    pub disabled: Option<bool>,
    /// What it may do.
    pub permissions: Option<Vec<Permission>>,
}

/// How a robot's secret is to be replaced.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// How long the old secret stays good, in seconds.
    pub overlap_seconds: u64,
}

impl Default for Rotation {
    /// A day: time enough to hand the new secret to all that use it.
    fn default() -> Self {
        Self { overlap_seconds: 86_400 }
    }
}

/// Who somebody is, and what they may do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Whoami {
    /// Their name.
    pub name: String,
    /// How they proved it.
    pub via: &'static str,
    /// What they may do, where.
    pub permissions: Vec<Permission>,
    /// How it stands with their second factor.
    pub second_factor: SecondFactor,
}

impl Whoami {
    /// What is to be told of somebody.
    pub fn of(subject: &access::Subject, second_factor: SecondFactor) -> Self {
        let rights = subject.rights();
        let everywhere = (!rights.system.is_empty()).then_some((None, rights.system));
        let mut places: Vec<(Option<ProjectName>, ActionSet)> =
            rights.projects.iter().map(|(name, actions)| (Some(name.clone()), *actions)).collect();
        places.sort_by(|(one, _), (other, _)| one.cmp(other));
        let permissions = everywhere.into_iter().chain(places);
        let permissions =
            permissions.map(|(project, actions)| Permission { project, actions: actions.into() });
        Self {
            name: subject.actor().to_string(),
            via: subject.via(),
            permissions: permissions.collect(),
            second_factor,
        }
    }
}
