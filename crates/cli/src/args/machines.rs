//! The arguments of what is done for machines that pull.

use std::path::PathBuf;

use clap::Subcommand;
use client::{Host as RegistryHost, ImageRef};
use oci::ProjectName;

use super::ConnectFlags;
use super::upstreams::ServerFlags;
use crate::end::{parse_host, parse_image};

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// dockerd: what it pulls from Docker Hub comes from the registry.
    Docker(ClientFlags),
    /// containerd: all that it pulls comes from the registry first.
    Containerd(ClientFlags),
    /// podman, and buildah and skopeo with it.
    Podman(NamespaceFlags),
    /// CRI-O.
    CriO(NamespaceFlags),
    /// Kubernetes on containerd: a ConfigMap with the files, and the files themselves.
    K8s(ClientFlags),
    /// Jenkins: what its controller and its agents with docker need.
    Jenkins(ClientFlags),
}

/// Which registry, and where the files go.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientFlags {
    /// The registry as these machines reach it, HOST[:PORT].
    #[arg(long = "host", value_name = "HOST", default_value = "127.0.0.1:5000", value_parser = parse_host)]
    pub registry: RegistryHost,
    /// The certificate that they are to trust (PEM), where the registry's is not signed by an authority that they know.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The registry speaks HTTP without TLS. On this machine that is assumed, unless there is --ca.
    #[arg(long, conflicts_with = "ca")]
    pub plain_http: bool,
    /// Write the files below this folder, where it has none of another content, instead of printing them.
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
}

/// The same, and what to pull through it: these clients must be told each registry.
#[derive(Debug, clap::Args)]
pub(crate) struct NamespaceFlags {
    #[command(flatten)]
    pub client: ClientFlags,
    /// What is pulled from NAMESPACE comes from the upstream of that key, as in docker.io=dockerhub. May be given several
    /// times. Without it the registry is asked for its upstreams, as who is signed in there; one on this machine by its
    /// socket.
    #[arg(long = "namespace", value_name = "NAMESPACE=KEY", value_parser = parse_namespace)]
    pub namespaces: Vec<Namespace>,
    /// The data folder of the server on this machine that is asked for its upstreams.
    #[arg(long, value_name = "DIR", conflicts_with = "namespaces")]
    pub data: Option<PathBuf>,
}

impl NamespaceFlags {
    /// Who is asked for the upstreams.
    pub fn server(&self) -> ServerFlags {
        let ClientFlags { registry, ca, plain_http, .. } = &self.client;
        let is_local = self.data.is_some() || registry.is_loopback();
        ServerFlags {
            host: (!is_local).then(|| registry.clone()),
            data: self.data.clone(),
            config: None,
            json: false,
            otp: None,
            connect: ConnectFlags { plain_http: *plain_http, tls_verify: None, ca: ca.clone() },
        }
    }
}

/// A registry by its name among clients, and the upstream that has the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// What clients call it.
    pub host: RegistryHost,
    /// What its repositories' names begin with in the registry.
    pub key: ProjectName,
}

fn parse_namespace(text: &str) -> Result<Namespace, String> {
    let (host, key) = text.split_once('=').ok_or("write NAMESPACE=KEY, as in docker.io=dockerhub")?;
    Namespace::new(host, key)
}

impl Namespace {
    /// From what somebody else says.
    pub fn new(host: &str, key: &str) -> Result<Self, String> {
        let host = host.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { host, key: key.parse().map_err(|error| format!("{error}"))? })
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorFlags {
    /// The registry, HOST[:PORT]. Without it only this machine is looked at.
    #[arg(value_name = "HOST", value_parser = parse_host)]
    pub host: Option<RegistryHost>,
    /// Pull the manifest of this image, too.
    #[arg(long, value_name = "HOST/REPOSITORY[:TAG]", value_parser = parse_image)]
    pub image: Option<ImageRef>,
    /// Look at the configuration files below this folder, as if it were the root of the machine.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectFlags,
}
