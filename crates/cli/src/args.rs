//! The arguments. Defaults of the server are not here: they stand under its configuration file.

pub(crate) mod accounts;
pub(crate) mod machines;
pub(crate) mod upstreams;

use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use client::{Host as RegistryHost, ImageRef};
use transfer::PlatformFilter;

use accounts::{
    AuditCommand, GroupCommand, LoginFlags, MemberCommand, PasswordFlags, ProjectCommand, RobotCommand,
    RoleCommand, SecretCommand, SessionFlags, TokenCommand, TwoFactorCommand, UserCommand,
};

use machines::{ClientCommand, DoctorFlags};
use upstreams::{RehearseCommand, UpstreamCommand};

use crate::duration::parse_duration;
use crate::end::{End, parse_host, parse_image};

/// A container registry in one program, and the tools that go with one.
#[derive(Debug, Parser)]
#[command(
    name = "wharf",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 failed, or what was checked is not in order; 2 wrong arguments."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the registry.
    Serve(ServeFlags),
    /// Copy an image, an index or any artifact between registries, folders and archives.
    Copy(CopyFlags),
    /// Show what a tag or digest names.
    Inspect(InspectFlags),
    /// List the tags of a repository.
    Tags(TagsFlags),
    /// List the repositories of a registry.
    Repos(ReposFlags),
    /// Delete a tag, or a manifest by its digest. Asks nothing.
    Delete(DeleteFlags),
    /// Remove what no manifest needs any more. Works beside a running server.
    Gc(GcFlags),
    /// Compare storage with metadata, in both directions. Works beside a running server.
    Check(CheckFlags),
    /// Rebuild metadata that was lost from what is in storage. No server may run meanwhile.
    Rebuild(StoreFlags),
    /// Sign in to a registry, as `docker login` and `podman login` do.
    Login(LoginFlags),
    /// Forget the credential for a registry.
    Logout(SessionFlags),
    /// Show who you are to a registry, and what you may do there.
    Whoami(SessionFlags),
    /// Change your own password.
    Password(PasswordFlags),
    /// Your second factor: a code beside the password.
    #[command(subcommand)]
    TwoFactor(TwoFactorCommand),
    /// The users of a registry.
    #[command(subcommand)]
    User(UserCommand),
    /// Groups of users.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Roles: what their holders may do.
    #[command(subcommand)]
    Role(RoleCommand),
    /// Projects, which hold repositories and other projects.
    #[command(subcommand)]
    Project(ProjectCommand),
    /// Who has which role, in a project or everywhere.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Robots: accounts for machines.
    #[command(subcommand)]
    Robot(RobotCommand),
    /// Your personal access tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// The secret of a robot in the form that Kubernetes, docker or Jenkins takes.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// The journal of who did what.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The registries whose content is to be had here, too.
    #[command(subcommand)]
    Upstream(UpstreamCommand),
    /// Rehearsals, to see that nobody notices.
    #[command(subcommand)]
    Rehearse(RehearseCommand),
    /// The files that make docker, containerd and others pull through a registry.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Check a registry, the way to it and this machine, and say what to do.
    Doctor(DoctorFlags),
    /// What only who is on the server's machine can do.
    #[command(subcommand)]
    Admin(AdminCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Give a user a new password, and let them in again. It is printed this once.
    ResetPassword(ResetPasswordFlags),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ResetPasswordFlags {
    /// The user.
    #[arg(value_name = "USER", default_value = "admin")]
    pub user: String,
    #[command(flatten)]
    pub store: StoreFlags,
}

/// What `wharf serve` was told. What is absent is for the environment, then the file, then the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct ServeFlags {
    /// The configuration file (TOML). None is needed.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder that holds everything.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// An address to listen on, such as 127.0.0.1:5000. May be given several times.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Vec<String>>,
    /// The server's certificate with its chain (PEM).
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Serve whoever can reach it, without authentication, on addresses other than loopback.
    #[arg(long)]
    pub allow_unauthenticated_network: bool,
    /// Whether there are users: auto means as soon as there is one, or an address can be reached over the network.
    #[arg(long, value_name = "MODE")]
    pub auth: Option<AuthMode>,
    /// The log level: error, warn, info, debug or trace, or a filter such as info,http_oci=debug.
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// The form of the log.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// Whether there are users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// As soon as there is one, or an address can be reached over the network.
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// Lines of JSON.
    Json,
}

/// How to reach a registry.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConnectFlags {
    /// Use HTTP without TLS. Registries on this machine are spoken to like that anyway.
    #[arg(long)]
    pub plain_http: bool,
    /// Check certificates. `--tls-verify=false` takes any.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        conflicts_with = "plain_http"
    )]
    pub tls_verify: Option<bool>,
    /// Trust these authorities, too (PEM).
    #[arg(long, value_name = "FILE", conflicts_with = "plain_http")]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Ends are written like this:
  docker://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]   a registry; `docker://` may be left out
  oci:DIR[:TAG|@DIGEST]                           an OCI image layout
  oci-archive:FILE[:TAG|@DIGEST]                  the same in a tar file
  docker-archive:FILE[:NAME:TAG]                  a file of `docker save`
  dir:DIR                                         a flat folder of skopeo's
Where DST has no tag, it gets the one of SRC. Digests stay as they are: nothing is converted.
Credentials are those of `wharf login`, `docker login` and `podman login`.
The digest is printed to standard output at the end, all else to standard error.")]
pub(crate) struct CopyFlags {
    /// From where.
    #[arg(value_name = "SRC")]
    pub source: End,
    /// To where.
    #[arg(value_name = "DST")]
    pub target: End,
    /// Copy only what is for this platform, such as linux/arm64 or linux/arm/v7, instead of all platforms.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<PlatformFilter>,
    /// Copy signatures, SBOMs and whatever else refers to it, too, and what refers to those.
    #[arg(long)]
    pub referrers: bool,
    /// Leave out manifests that an index or a list of referrers names but the source has not got.
    #[arg(long)]
    pub sparse: bool,
    /// Copy foreign layers, too, where the source holds them.
    #[arg(long)]
    pub foreign_layers: bool,
    /// How many blobs move at once.
    #[arg(long, value_name = "N", default_value = "6", value_parser = parse_jobs)]
    pub jobs: NonZeroU8,
    #[command(flatten)]
    pub connect: ConnectFlags,
    #[command(flatten)]
    pub source_connect: SourceFlags,
    #[command(flatten)]
    pub target_connect: TargetFlags,
    /// Say nothing but the digest, and errors.
    #[arg(long, short)]
    pub quiet: bool,
}

/// How to reach the registry of SRC, where it is not like the other.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceFlags {
    /// Use HTTP without TLS for SRC.
    #[arg(long)]
    pub src_plain_http: bool,
    /// Check certificates of SRC. `--src-tls-verify=false` takes any.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        conflicts_with = "src_plain_http"
    )]
    pub src_tls_verify: Option<bool>,
    /// Trust these authorities for SRC, too (PEM).
    #[arg(long, value_name = "FILE", conflicts_with = "src_plain_http")]
    pub src_ca: Option<PathBuf>,
}

/// How to reach the registry of DST, where it is not like the other.
#[derive(Debug, clap::Args)]
pub(crate) struct TargetFlags {
    /// Use HTTP without TLS for DST.
    #[arg(long)]
    pub dest_plain_http: bool,
    /// Check certificates of DST. `--dest-tls-verify=false` takes any.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        conflicts_with = "dest_plain_http"
    )]
    pub dest_tls_verify: Option<bool>,
    /// Trust these authorities for DST, too (PEM).
    #[arg(long, value_name = "FILE", conflicts_with = "dest_plain_http")]
    pub dest_ca: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectFlags {
    /// What to look at, written as for `wharf copy`.
    #[arg(value_name = "REF")]
    pub end: End,
    /// Of an index, look at what is for this platform.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<PlatformFilter>,
    /// Print the manifest byte for byte.
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TagsFlags {
    /// HOST[:PORT]/REPOSITORY
    #[arg(value_name = "REPOSITORY", value_parser = parse_image)]
    pub repository: ImageRef,
    /// Print a JSON array.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReposFlags {
    /// HOST[:PORT]
    #[arg(value_name = "REGISTRY", value_parser = parse_host)]
    pub registry: RegistryHost,
    /// Print a JSON array.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteFlags {
    /// HOST[:PORT]/REPOSITORY:TAG deletes the tag; HOST[:PORT]/REPOSITORY@DIGEST the manifest with all its tags.
    #[arg(value_name = "REF", value_parser = parse_image)]
    pub image: ImageRef,
    #[command(flatten)]
    pub connect: ConnectFlags,
}

/// Which store.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreFlags {
    /// The data folder of the server. By default the one that `wharf serve` takes.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The server's configuration file, which may name the data folder.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print lines of JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GcFlags {
    #[command(flatten)]
    pub store: StoreFlags,
    /// Keep what has been unused for less than this, such as 24h, 90m or 7d. The server has a default.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub grace: Option<Duration>,
    /// Say what would go, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckFlags {
    #[command(flatten)]
    pub store: StoreFlags,
    /// Read every blob and verify its digest, too.
    #[arg(long)]
    pub read: bool,
}

fn parse_jobs(text: &str) -> Result<NonZeroU8, String> {
    text.parse().ok().filter(|jobs: &NonZeroU8| jobs.get() <= 64).ok_or("a number from 1 to 64".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Args::try_parse_from(line.split(' ')).map(|args| args.command)
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn serve_hides_no_value_of_the_file() {
        let Command::Serve(flags) = parse("wharf serve").unwrap() else { panic!("another command") };
        assert_eq!(flags, ServeFlags::default());
        let line = "wharf serve --config c --data d --listen a:1 --listen b:2 --tls-cert t --tls-key k \
             --allow-unauthenticated-network --log debug --log-format json";
        let Command::Serve(flags) = parse(line).unwrap() else { panic!("another command") };
        assert_eq!(flags.listen, Some(vec!["a:1".into(), "b:2".into()]));
        assert_eq!((flags.log_format, flags.allow_unauthenticated_network), (Some(LogFormat::Json), true));
    }

    #[test]
    fn certificates_are_checked_unless_told() {
        let check = |line: &str, expect: Option<bool>| {
            let Command::Tags(flags) = parse(line).unwrap() else { panic!("another command") };
            assert_eq!(flags.connect.tls_verify, expect, "{line}");
        };
        check("wharf tags example.com/a", None);
        check("wharf tags --tls-verify example.com/a", Some(true));
        check("wharf tags --tls-verify=false example.com/a", Some(false));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for line in [
            "wharf",
            "wharf nothing",
            "wharf copy a",
            "wharf copy example.com/a alpine",
            "wharf copy --jobs 0 example.com/a example.com/b",
            "wharf copy --jobs 65 example.com/a example.com/b",
            "wharf copy --platform linux example.com/a example.com/b",
            "wharf copy --src-plain-http --src-tls-verify example.com/a example.com/b",
            "wharf copy --dest-plain-http --dest-ca f example.com/a example.com/b",
            "wharf inspect --raw --json example.com/a",
            "wharf tags oci:dir",
            "wharf gc --data d --grace soon",
            "wharf serve --log-format xml",
        ] {
            let code = parse(line).map(|_| ()).unwrap_err().exit_code();
            assert_eq!(code, 2, "{line}");
        }
    }
}
