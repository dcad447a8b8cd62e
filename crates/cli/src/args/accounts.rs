//! The arguments of the commands for accounts: who there is in a registry, and what they may do.

mod audit;
mod factors;

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgGroup, Subcommand, ValueEnum};
use client::{Host as RegistryHost, Secret};
use oci::ProjectName;

use super::ConnectFlags;
use crate::duration::parse_duration;
use crate::end::parse_host;

pub(crate) use audit::{AuditCommand, AuditExport, AuditFilters, AuditForm, AuditSearch, When};
pub(crate) use factors::{RemovePasskey, TwoFactorCommand};

/// Which registry, and how its answer is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionFlags {
    /// HOST[:PORT]
    #[arg(value_name = "HOST", value_parser = parse_host)]
    pub host: RegistryHost,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// A code of your second factor. Asked for on a terminal where it is wanted.
    #[arg(long, value_name = "CODE", value_parser = parse_secret)]
    pub otp: Option<Secret>,
    #[command(flatten)]
    pub connect: ConnectFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LoginFlags {
    #[command(flatten)]
    pub session: SessionFlags,
    /// The user or robot. Asked for on a terminal.
    #[arg(long, short, value_name = "USER")]
    pub user: Option<String>,
    /// Read the password or token from standard input.
    #[arg(long, requires = "user")]
    pub password_stdin: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PasswordFlags {
    #[command(flatten)]
    pub session: SessionFlags,
    /// Who you are. By default who is signed in.
    #[arg(long, short, value_name = "USER")]
    pub user: Option<String>,
    /// Read the current password and the new one, a line each, from standard input.
    #[arg(long)]
    pub password_stdin: bool,
}

/// One of something.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    #[command(flatten)]
    pub session: SessionFlags,
    /// Its name.
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// List the users.
    List(SessionFlags),
    /// Show a user.
    Show(Named),
    /// Make a user, who must choose another password at the first sign-in.
    Create(UserCreate),
    /// Change a user.
    Update(UserUpdate),
    /// Delete a user, with their tokens and roles.
    Delete(Named),
    /// Give a user a new password, and let them in again. It is printed this once.
    ResetPassword(Named),
    /// Turn the second factor of a user off, who has lost it.
    ResetTwoFactor(Named),
    /// List the tokens of a user.
    TokenList(Named),
    /// Revoke a token of a user.
    TokenRevoke(UserToken),
}

/// What is said of a user.
#[derive(Debug, clap::Args)]
pub(crate) struct AboutUser {
    /// Their address.
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// What people call them.
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UserCreate {
    #[command(flatten)]
    pub user: Named,
    #[command(flatten)]
    pub about: AboutUser,
    /// Read their first password from standard input. It is asked for on a terminal otherwise.
    #[arg(long)]
    pub password_stdin: bool,
    /// Give them none: they cannot sign in with a password.
    #[arg(long, conflicts_with = "password_stdin")]
    pub no_password: bool,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)
    .args(["email", "display_name", "disable", "enable", "password_stdin"])))]
pub(crate) struct UserUpdate {
    #[command(flatten)]
    pub user: Named,
    #[command(flatten)]
    pub about: AboutUser,
    #[command(flatten)]
    pub access: AccessFlags,
    /// Read a new password from standard input. They must choose another at the next sign-in.
    #[arg(long)]
    pub password_stdin: bool,
}

/// Whether somebody is kept out.
#[derive(Debug, clap::Args)]
pub(crate) struct AccessFlags {
    /// Keep them out.
    #[arg(long)]
    pub disable: bool,
    /// Let them in again.
    #[arg(long, conflicts_with = "disable")]
    pub enable: bool,
}

impl AccessFlags {
    /// What is to be so from now on, where anything is said.
    pub fn disabled(&self) -> Option<bool> {
        (self.disable || self.enable).then_some(self.disable)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct UserToken {
    #[command(flatten)]
    pub user: Named,
    /// The token's id, as `token-list` shows it.
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List the groups.
    List(SessionFlags),
    /// Make a group, or change what is said of it.
    Create(GroupCreate),
    /// Delete a group, with its roles.
    Delete(Named),
    /// List the users in a group.
    Members(Named),
    /// Put a user into a group.
    Add(GroupUser),
    /// Take a user out of a group.
    Remove(GroupUser),
}

#[derive(Debug, clap::Args)]
pub(crate) struct GroupCreate {
    #[command(flatten)]
    pub group: Named,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// The name that a directory or an OpenID provider has for it: its members there are members here.
    #[arg(long, value_name = "NAME")]
    pub external: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GroupUser {
    #[command(flatten)]
    pub group: Named,
    /// The user.
    #[arg(value_name = "USER")]
    pub user: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// List the roles, with what they allow.
    List(SessionFlags),
    /// Define a role, or change it.
    Define(RoleDefine),
    /// Delete a role: who had it, has it no more.
    Delete(Named),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RoleDefine {
    #[command(flatten)]
    pub role: Named,
    /// Something that it allows, such as pull. May be given several times.
    #[arg(long = "action", value_name = "ACTION", required = true)]
    pub actions: Vec<String>,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// List the projects that you may see.
    List(SessionFlags),
    /// Show a project.
    Show(OneProject),
    /// Make a project.
    Create(ProjectCreate),
    /// Change the settings of a project.
    Update(ProjectUpdate),
    /// Delete a project that is empty.
    Delete(OneProject),
    /// Show or change which registry a project replaces: what is missing here is read there, for a while.
    Fallback(ProjectFallback),
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("what").args(["upstream", "extend", "off", "report"])))]
pub(crate) struct ProjectFallback {
    #[command(flatten)]
    pub project: OneProject,
    /// The upstream that is this registry, by its key: from now on, what is missing here is read there.
    #[arg(long, value_name = "KEY")]
    pub upstream: Option<String>,
    /// The path there, such as team-a; the project's own name by default, '' for none.
    #[arg(long, value_name = "PATH", requires = "upstream")]
    pub prefix: Option<String>,
    /// For how many days, 30 by default.
    #[arg(long, value_name = "DAYS", requires = "upstream")]
    pub days: Option<u64>,
    /// Keep what is read there as the project's own.
    #[arg(long, requires = "upstream")]
    pub keep: bool,
    /// Read it so many days longer; from now on, where it is off.
    #[arg(long, value_name = "DAYS")]
    pub extend: Option<u64>,
    /// Read it no longer.
    #[arg(long)]
    pub off: bool,
    /// List who still depends on it: who read what there, how often, and when last.
    #[arg(long)]
    pub report: bool,
}

/// One project.
#[derive(Debug, clap::Args)]
pub(crate) struct OneProject {
    #[command(flatten)]
    pub session: SessionFlags,
    /// The project, such as team or team/app.
    #[arg(value_name = "PROJECT")]
    pub name: ProjectName,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ProjectCreate {
    #[command(flatten)]
    pub project: OneProject,
    #[command(flatten)]
    pub settings: ProjectSettings,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)
    .args(["description", "public", "inherit_roles", "create_on_push"])))]
pub(crate) struct ProjectUpdate {
    #[command(flatten)]
    pub project: OneProject,
    #[command(flatten)]
    pub settings: ProjectSettings,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ProjectSettings {
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Whether anybody may pull.
    #[arg(long, value_name = "WHETHER")]
    pub public: Option<Inheritable>,
    /// Whether roles from further out count.
    #[arg(long, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub inherit_roles: Option<bool>,
    /// Whether a push makes the project that it names.
    #[arg(long, value_name = "WHETHER")]
    pub create_on_push: Option<Inheritable>,
}

/// A setting that may be left to the project around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Inheritable {
    True,
    False,
    /// As in the project around it.
    Inherit,
}

impl Inheritable {
    /// As the API has it.
    pub const fn value(self) -> Option<bool> {
        match self {
            Self::True => Some(true),
            Self::False => Some(false),
            Self::Inherit => None,
        }
    }
}

/// Where something is.
#[derive(Debug, clap::Args)]
pub(crate) struct PlaceFlags {
    /// In this project; in the registry as a whole otherwise.
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<ProjectName>,
}

/// Everything of a kind in a place.
#[derive(Debug, clap::Args)]
pub(crate) struct AllIn {
    #[command(flatten)]
    pub session: SessionFlags,
    #[command(flatten)]
    pub place: PlaceFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List who has which role.
    List(AllIn),
    /// Give a role.
    Add(MemberFlags),
    /// Take a role away.
    Remove(MemberFlags),
}

#[derive(Debug, clap::Args)]
pub(crate) struct MemberFlags {
    #[command(flatten)]
    pub session: SessionFlags,
    /// Who: user:NAME or group:NAME.
    #[arg(value_name = "MEMBER", value_parser = parse_principal)]
    pub principal: String,
    /// Which role.
    #[arg(value_name = "ROLE")]
    pub role: String,
    #[command(flatten)]
    pub place: PlaceFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RobotCommand {
    /// List the robots.
    List(AllIn),
    /// Show a robot.
    Show(OneRobot),
    /// Make a robot. Its secret is printed this once.
    Create(RobotCreate),
    /// Change a robot.
    Update(RobotUpdate),
    /// Delete a robot.
    Delete(OneRobot),
    /// Give a robot a new secret, which is printed this once.
    Rotate(RobotRotate),
}

/// One robot.
#[derive(Debug, clap::Args)]
pub(crate) struct OneRobot {
    #[command(flatten)]
    pub session: SessionFlags,
    /// The robot's name within its project, such as ci.
    #[arg(value_name = "ROBOT")]
    pub name: String,
    #[command(flatten)]
    pub place: PlaceFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RobotCreate {
    #[command(flatten)]
    pub robot: OneRobot,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// What it may do: PROJECT=ACTION,ACTION in a project and below it, *=ACTION everywhere. May be given several
    /// times; without it: pull, in its own project.
    #[arg(long, value_name = "PROJECT=ACTIONS", value_parser = parse_allow)]
    pub allow: Vec<Allow>,
    /// When it ends, such as 90d. By default as late as the registry permits.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub expires: Option<Duration>,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)
    .args(["description", "allow", "disable", "enable"])))]
pub(crate) struct RobotUpdate {
    #[command(flatten)]
    pub robot: OneRobot,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// What it may do from now on, all of it: PROJECT=ACTION,ACTION or *=ACTION. May be given several times.
    #[arg(long, value_name = "PROJECT=ACTIONS", value_parser = parse_allow)]
    pub allow: Vec<Allow>,
    #[command(flatten)]
    pub access: AccessFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RobotRotate {
    #[command(flatten)]
    pub robot: OneRobot,
    /// How long the old secret stays good, too.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    pub overlap: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// List your tokens.
    List(SessionFlags),
    /// Make a token. Its secret is printed this once.
    Create(TokenCreate),
    /// Revoke a token.
    Revoke(TokenRevoke),
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenCreate {
    #[command(flatten)]
    pub session: SessionFlags,
    /// What you call it.
    #[arg(long, value_name = "TEXT")]
    pub label: String,
    /// When it ends, such as 90d. By default as late as the registry permits.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub expires: Option<Duration>,
    /// What it is good for: PROJECT=ACTION,ACTION in a project and below it, *=ACTION everywhere. May be given several
    /// times; without it: all that you may do.
    #[arg(long, value_name = "PROJECT=ACTIONS", value_parser = parse_allow)]
    pub allow: Vec<Allow>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenRevoke {
    #[command(flatten)]
    pub session: SessionFlags,
    /// The token's id, as `list` shows it.
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// A Secret of the type kubernetes.io/dockerconfigjson.
    K8s(K8sFlags),
    /// A config.json for docker, podman and skopeo.
    Docker(SecretFlags),
    /// A user name with password for Jenkins, in the form of Configuration as Code.
    Jenkins(JenkinsFlags),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SecretFlags {
    #[command(flatten)]
    pub robot: OneRobot,
    #[command(flatten)]
    pub origin: SecretOrigin,
}

/// From where the secret comes: the registry shows it only when it is new.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SecretOrigin {
    /// Make the robot, which may pull in its own project.
    #[arg(long)]
    pub create: bool,
    /// Give the robot a new secret. The old one stays good for a day.
    #[arg(long)]
    pub rotate: bool,
    /// Read the secret from standard input.
    #[arg(long)]
    pub secret_stdin: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct K8sFlags {
    #[command(flatten)]
    pub secret: SecretFlags,
    /// The Secret's namespace. By default the one that it is applied to.
    #[arg(long, value_name = "NS", value_parser = parse_label)]
    pub namespace: Option<String>,
    /// The Secret's name.
    #[arg(id = "object", long = "name", value_name = "NAME", default_value = "registry", value_parser = parse_label)]
    pub name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct JenkinsFlags {
    #[command(flatten)]
    pub secret: SecretFlags,
    /// The credential's id.
    #[arg(id = "object", long = "name", value_name = "ID", default_value = "registry", value_parser = parse_label)]
    pub name: String,
}

/// What may be done where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allow {
    /// In this project and below; everywhere without one.
    pub project: Option<ProjectName>,
    /// The names of actions, which the registry knows.
    pub actions: Vec<String>,
}

/// Any text, which no debug output shows.
pub(super) fn parse_secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

fn parse_allow(text: &str) -> Result<Allow, String> {
    let (project, actions) = text.split_once('=').ok_or("write PROJECT=ACTION,ACTION or *=ACTION")?;
    let project = match project {
        "*" => None,
        name => Some(name.parse::<ProjectName>().map_err(|error| error.to_string())?),
    };
    let actions: Vec<String> = actions.split(',').map(str::to_owned).collect();
    if actions.iter().any(String::is_empty) {
        return Err("name the actions after `=`, as in team=pull,push".into());
    }
    Ok(Allow { project, actions })
}

fn parse_principal(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some(("user" | "group", name)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("write user:NAME or group:NAME".into()),
    }
}

/// A name in Kubernetes (RFC 1123), which is legal elsewhere, too.
fn parse_label(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(fits) && text.bytes().last().is_some_and(fits);
    if ends && text.len() <= 63 && text.bytes().all(|byte| fits(byte) || byte == b'-') {
        return Ok(text.to_owned());
    }
    Err("1 to 63 lowercase letters, digits and dashes, starting and ending with a letter or digit".into())
}

#[cfg(test)]
mod tests;
