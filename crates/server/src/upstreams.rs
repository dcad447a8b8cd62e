//! The registries whose content is to be had here, too: `[[upstream]]`, of which docs/upstreams.md tells.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access::{Action, Grant};
use anyhow::{Context, Result, anyhow, bail};
use client::{Keyring, Timeouts};
use identity::model::NewProject;
use identity::{Identity, IdentityError};
use meta::SystemClock;
use mirror::{CacheLimits, Figures, Mirror, RemoteSettings, Upstream};
use oci::{ProjectName, RepoName};
use registry::{NodeId, Registry};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use transfer::Retry;

use crate::peers::{self, PeerSection};
use crate::span::Span;
use crate::windows::{self, WindowSection};

/// The least bandwidth of an upstream, in bytes a second: with less, no layer would ever come.
const BANDWIDTH_MIN: u64 = 64 << 10;

/// What Docker Hub is called by its clients, and where its images without a name of two parts are.
const DOCKER_HUB: (&str, &str) = ("docker.io", "library");

/// What all upstreams share: the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MirrorSection {
    /// The most bytes of cached blobs; 0 for all that the disk has.
    pub max_bytes: u64,
    /// How many bytes of the disk the cache leaves free.
    pub free_bytes: u64,
    /// Repositories, or tags of them, whose blobs are not evicted.
    pub pin: Vec<String>,
    /// What this node is called among its peers; empty for what its machine is called.
    pub name: String,
    /// How long a peer's answer may take to begin.
    pub peer_timeout: Span,
    /// The nodes of its tier, itself among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<PeerSection>,
}

impl Default for MirrorSection {
    fn default() -> Self {
        Self {
            max_bytes: 0,
            free_bytes: 1 << 30,
            pin: Vec::new(),
            name: String::new(),
            peer_timeout: Duration::from_secs(10).into(),
            peer: Vec::new(),
        }
    }
}

impl MirrorSection {
    fn limits(&self) -> Result<CacheLimits> {
        let pins =
            self.pin.iter().map(|pin| pin.parse()).collect::<Result<_, _>>().context("`mirror.pin`")?;
        Ok(CacheLimits { max_bytes: self.max_bytes, free_bytes: self.free_bytes, pins })
    }
}

/// One registry of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySection {
    /// Its host, with a port where it needs one.
    pub registry: String,
    /// What stands before the names of its repositories there.
    pub prefix: String,
    /// Who signs in there; empty for nobody in particular.
    pub username: String,
    /// A file with their password or token.
    pub password_file: PathBuf,
    /// Certificates to trust besides the system's authorities, PEM.
    pub ca: PathBuf,
    /// Speaks HTTP without TLS.
    pub plain_http: bool,
    /// An HTTP proxy on the way there; empty for what the environment says.
    pub proxy: String,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Table")]
pub struct UpstreamSection {
    /// The first part of its repositories' names here.
    pub key: String,
    /// Where it is.
    #[serde(flatten)]
    pub first: RegistrySection,
    /// Other registries that have the same, asked in this order where the first cannot be.
    pub also: Vec<RegistrySection>,
    /// What clients call it in `ns`.
    pub namespaces: Vec<String>,
    /// Whether it is meant by names that nobody here has.
    pub pathless: bool,
    /// What stands before its names of a single part.
    pub library: String,
    /// How long a tag is believed.
    pub fresh_for: Span,
    /// How much longer it is given out while it is looked at again.
    pub stale_for: Span,
    /// How long it is believed that something is not there.
    pub absent_for: Span,
    /// How long a client waits where there is an old answer.
    pub patience: Span,
    /// How long an answer may take to begin, and to go on.
    pub timeout: Span,
    /// How many blobs are fetched at once.
    pub downloads: usize,
    /// How many bytes of blobs a second; 0 for any number.
    pub bandwidth: u64,
    /// Times in which other numbers hold.
    pub window: Vec<WindowSection>,
    /// How far the clock of these times is from UTC; empty for none.
    pub offset: String,
    /// Whether everybody may pull, where the project of its name is made.
    pub public: bool,
}

impl TryFrom<Table> for UpstreamSection {
    type Error = toml::de::Error;

    /// What is not about the upstream as a whole is its first registry's, which refuses keys that it does not know.
    fn try_from(mut table: Table) -> Result<Self, Self::Error> {
        fn take<T: serde::de::DeserializeOwned>(
            table: &mut Table,
            key: &str,
            default: T,
        ) -> Result<T, toml::de::Error> {
            Ok(table.remove(key).map(Value::try_into).transpose()?.unwrap_or(default))
        }
        let seconds = |seconds| Span::from(Duration::from_secs(seconds));
        let is_hub = table.get("registry").and_then(Value::as_str) == Some(DOCKER_HUB.0);
        let registry = table.get("registry").and_then(Value::as_str).unwrap_or_default().to_owned();
        let library = if is_hub { DOCKER_HUB.1 } else { "" };
        Ok(Self {
            key: take(&mut table, "key", String::new())?,
            also: take(&mut table, "also", Vec::new())?,
            namespaces: take(&mut table, "namespaces", vec![registry])?,
            pathless: take(&mut table, "pathless", false)?,
            library: take(&mut table, "library", library.to_owned())?,
            fresh_for: take(&mut table, "fresh_for", seconds(300))?,
            stale_for: take(&mut table, "stale_for", seconds(3_600))?,
            absent_for: take(&mut table, "absent_for", seconds(60))?,
            patience: take(&mut table, "patience", seconds(5))?,
            timeout: take(&mut table, "timeout", seconds(20))?,
            downloads: take(&mut table, "downloads", 16)?,
            bandwidth: take(&mut table, "bandwidth", 0)?,
            window: take(&mut table, "window", Vec::new())?,
            offset: take(&mut table, "offset", String::new())?,
            public: take(&mut table, "public", false)?,
            first: table.try_into()?,
        })
    }
}

impl UpstreamSection {
    /// The project that its repositories lie in.
    fn project(&self) -> Result<ProjectName> {
        let name = self.key.parse().ok().filter(|_| !self.key.contains('/'));
        name.with_context(|| {
            format!(
                "`{}` cannot be the key of an [[upstream]]: give it a short name such as `dockerhub`",
                self.key
            )
        })
    }

    fn open(&self, node: NodeId) -> Result<Upstream> {
        self.project()?;
        let wrong = || format!("the [[upstream]] `{}`", self.key);
        let remotes = std::iter::once(&self.first).chain(&self.also);
        let remotes: Vec<_> =
            remotes.map(|section| self.remote(section)).collect::<Result<_>>().with_context(wrong)?;
        check_bandwidth(self.bandwidth).with_context(wrong)?;
        let usual = Figures { downloads: self.downloads, bandwidth: self.bandwidth };
        let settings = mirror::Settings {
            key: self.key.clone(),
            namespaces: self.namespaces.clone(),
            pathless: self.pathless,
            fresh_for: self.fresh_for.into(),
            stale_for: self.stale_for.into(),
            absent_for: self.absent_for.into(),
            patience: self.patience.into(),
            schedule: windows::schedule(usual, &self.window, &self.offset).with_context(wrong)?,
        };
        Upstream::open(settings, remotes, node, Arc::new(SystemClock)).with_context(wrong)
    }

    fn remote(&self, section: &RegistrySection) -> Result<RemoteSettings> {
        let host = section.registry.parse().map_err(|error| anyhow!("`registry`: {error}"))?;
        let prefix = Some(&section.prefix).filter(|prefix| !prefix.is_empty());
        let prefix = prefix.map(|prefix| prefix.parse::<RepoName>()).transpose().context("`prefix`")?;
        let timeout: Duration = self.timeout.into();
        let timeouts =
            Timeouts { connect: timeout.min(Duration::from_secs(10)), answer: timeout, stall: timeout };
        // What fails more often than this is left to the circuit, and to clients who have another way.
        let retry = Retry { failures: 1, first: Duration::from_millis(200), longest: Duration::from_secs(1) };
        let client = section.client(timeouts, retry)?;
        let library = Some(self.library.clone()).filter(|library| !library.is_empty());
        Ok(RemoteSettings { host, prefix, library, client })
    }
}

impl RegistrySection {
    /// How to talk to it.
    pub(crate) fn client(&self, timeouts: Timeouts, retry: Retry) -> Result<client::Settings> {
        let proxy = Some(&self.proxy).filter(|proxy| !proxy.is_empty());
        Ok(client::Settings {
            plain_http: self.plain_http,
            ca: Some(self.ca.clone()).filter(|ca| !ca.as_os_str().is_empty()),
            keyring: self.keyring()?,
            retry,
            timeouts,
            proxy: proxy.map(|proxy| proxy.parse()).transpose().context("`proxy`")?,
            ..client::Settings::default()
        })
    }

    fn keyring(&self) -> Result<Keyring> {
        match (self.username.is_empty(), self.password_file.as_os_str().is_empty()) {
            (true, true) => Ok(Keyring::empty()),
            (false, false) => Keyring::file(self.username.clone(), self.password_file.clone())
                .context("the `password_file` cannot be used"),
            _ => bail!("`username` and `password_file` belong together: give both, or none"),
        }
    }
}

/// The registry with its upstreams, where there are any. Their cache is kept within its limits from then on.
pub(crate) fn open(
    sections: &[UpstreamSection],
    section: &MirrorSection,
    public_url: &str,
    registry: &Arc<Registry>,
) -> Result<Option<Arc<Mirror>>> {
    // Drawn by the system: who comes back is to be known from all others, and nobody is to guess it.
    let node = NodeId::new(RandomState::new().build_hasher().finish());
    let peers = peers::open(section, node)?;
    if sections.is_empty() {
        return Ok(None);
    }
    check(sections)?;
    let upstreams = sections.iter().map(|section| section.open(node)).collect::<Result<Vec<_>>>()?;
    // What clients call this registry where they reach it at another address.
    let own = public_url.split_once("://").and_then(|(_, rest)| rest.split('/').next()).map(str::to_owned);
    let mirror = Mirror::new(Arc::clone(registry), upstreams, own.into_iter().collect(), node);
    let mirror = match peers {
        Some(peers) => mirror.among(peers),
        None => mirror,
    };
    let (mirror, evicting) = mirror.bounded(section.limits()?);
    // Wherever the end of the process cuts it off, the next one goes on.
    tokio::spawn(evicting);
    Ok(Some(Arc::new(mirror)))
}

/// Makes the projects that say who may pull what upstreams have, where there are none of their names: what somebody has
/// set since stays.
pub(crate) async fn make_projects(sections: &[UpstreamSection], identity: &Identity) -> Result<()> {
    for section in sections {
        let name = section.project()?;
        let new = NewProject {
            description: format!("what {} has", section.first.registry),
            public: Some(section.public),
            inherit_roles: true,
            create_on_push: Some(false),
            name,
        };
        let directory = identity.directory();
        let grant = Grant::system("upstreams", Action::CreateProject, directory.place_of(&new.name));
        match directory.create_project(&grant, new).await {
            Ok(_) | Err(IdentityError::Exists { .. }) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("no project could be made for `{}`", section.key));
            }
        }
    }
    Ok(())
}

/// Refuses what no layer would ever come with.
pub(crate) fn check_bandwidth(bandwidth: u64) -> Result<()> {
    if (1..BANDWIDTH_MIN).contains(&bandwidth) {
        bail!("`bandwidth` must be {BANDWIDTH_MIN} bytes a second or more, or 0 for any");
    }
    Ok(())
}

/// Refuses what two upstreams cannot both have.
fn check(sections: &[UpstreamSection]) -> Result<()> {
    let mut seen = HashSet::new();
    for section in sections {
        if !seen.insert(("key", &section.key)) {
            bail!("two [[upstream]] have the key `{}`: each needs its own", section.key);
        }
        for namespace in &section.namespaces {
            if !seen.insert(("namespace", namespace)) {
                bail!("two [[upstream]] have `{namespace}` in their `namespaces`: give it to one of them");
            }
        }
    }
    if sections.iter().filter(|section| section.pathless).count() > 1 {
        bail!("two [[upstream]] are `pathless`: names without a path can mean only one");
    }
    Ok(())
}
