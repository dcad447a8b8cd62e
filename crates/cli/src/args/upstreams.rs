//! The arguments of what is done with upstreams.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use client::{Host as RegistryHost, Secret};

use super::ConnectFlags;
use super::accounts::parse_secret;
use crate::duration::parse_duration;
use crate::end::parse_host;

/// Which server: over the network, or that on this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerFlags {
    /// The registry, HOST[:PORT], as who is signed in there. Without it: the server on this machine, by its socket.
    #[arg(long, value_name = "HOST", value_parser = parse_host)]
    pub host: Option<RegistryHost>,
    /// The data folder of the server on this machine. By default the one that `wharf serve` takes.
    #[arg(long, value_name = "DIR", conflicts_with = "host")]
    pub data: Option<PathBuf>,
    /// Its configuration file, which may name the data folder.
    #[arg(long, value_name = "FILE", conflicts_with = "host")]
    pub config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// A code of your second factor. Asked for on a terminal where it is wanted.
    #[arg(long, value_name = "CODE", value_parser = parse_secret, requires = "host")]
    pub otp: Option<Secret>,
    #[command(flatten)]
    pub connect: ConnectFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UpstreamCommand {
    /// List the upstreams, and how they do.
    List(ServerFlags),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RehearseCommand {
    /// Cut an upstream off for a while, and see whether anybody notices. Ctrl-C ends it early.
    Outage(OutageFlags),
}

#[derive(Debug, clap::Args)]
pub(crate) struct OutageFlags {
    /// The upstream's key, as `wharf upstream list` shows it.
    #[arg(value_name = "UPSTREAM")]
    pub upstream: String,
    /// For how long, at most 24h.
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    pub lasts: Duration,
    /// End a rehearsal that goes on, such as one whose command was killed.
    #[arg(long, conflicts_with = "lasts")]
    pub end: bool,
    #[command(flatten)]
    pub server: ServerFlags,
}
