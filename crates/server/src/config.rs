//! The configuration: defaults, then one TOML file, then `WHARF_*` variables, then flags.
//!
//! The names of the variables follow from the names of the keys: `gc.grace` is `WHARF_GC_GRACE`. docs/configuration.md
//! lists every key, and a test holds it against [`Config`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::audit::AuditConfig;
use crate::bounds;
use crate::console::OidcConfig;
use crate::edge::EdgeSection;
use crate::external::{LdapSection, WorkloadSection};
use crate::fair::FairConfig;
use crate::log::{LogConfig, LogFormat};
use crate::memory;
use crate::span::Span;
use crate::upstreams::{MirrorSection, UpstreamSection};

/// All that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder that holds everything.
    pub data: PathBuf,
    /// The addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Lets everyone who reaches an address that is not loopback pull, push and delete.
    pub allow_unauthenticated_network: bool,
    /// TLS on every address.
    pub tls: TlsConfig,
    /// Users, and what they may do.
    pub auth: AuthConfig,
    /// The audit journal.
    pub audit: AuditConfig,
    /// Fair use.
    pub fair: FairConfig,
    /// What is logged.
    pub log: LogConfig,
    /// HTTP connections.
    pub http: HttpConfig,
    /// What a client may ask for.
    pub limits: LimitsConfig,
    /// What is kept in memory.
    pub cache: CacheConfig,
    /// Garbage collection.
    pub gc: GcConfig,
    /// Uploads.
    pub uploads: UploadsConfig,
    /// The cache of upstreams.
    pub mirror: MirrorSection,
    /// Blobs from nearer by.
    pub edge: EdgeSection,
    /// The registries whose content is to be had here, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<UpstreamSection>,
}

/// TLS: both files, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The certificate and its chain, PEM. Empty: no TLS.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Users, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Whether there are users: `on`, `off`, or `auto`.
    pub mode: AuthMode,
    /// The fewest characters of a password.
    pub password_length: usize,
    /// The longest life of a personal access token, in days; 0 for no end.
    pub token_days: u64,
    /// The longest life of a robot, in days; 0 for no end.
    pub robot_days: u64,
    /// The most tokens of one user.
    pub tokens_per_user: usize,
    /// The most robots of one project.
    pub robots_per_project: usize,
    /// Whose sign-in needs a second factor: who has one of these roles, or `all`; `none` or nothing for volunteers.
    pub require_second_factor: Vec<String>,
    /// How long a session lives, in hours.
    pub session_hours: u64,
    /// How long a session may rest before it ends, in minutes.
    pub session_idle_minutes: u64,
    /// How long a browser stays signed in without a request.
    pub browser_idle: Span,
    /// How long a browser stays signed in at all.
    pub browser_max: Span,
    /// Where browsers see this registry: what passkeys are bound to.
    pub public_url: String,
    /// Signing in at an OpenID provider.
    pub oidc: OidcConfig,
    /// People whom an LDAP directory knows.
    pub ldap: LdapSection,
    /// CI jobs and pods, by the tokens of their platforms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workload: Vec<WorkloadSection>,
}

/// Whether there are users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// As soon as there is one, others know some, or an address can be reached over the network.
    #[default]
    Auto,
    /// Yes.
    On,
    /// No: everybody who reaches it may pull, push and delete.
    Off,
}

/// HTTP connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Addresses and networks of proxies whose `X-Forwarded-*` and `Forwarded` headers count.
    pub trusted_proxies: Vec<String>,
    /// The most open connections on each address.
    pub connections: usize,
    /// The longest time for a request's headers, and for a TLS handshake.
    pub header_time: Span,
    /// The most bytes of a request's headers.
    pub header_bytes: usize,
    /// The most headers of a request.
    pub header_count: usize,
    /// How long a connection may be idle.
    pub idle: Span,
    /// The lowest rate of a request's body, in bytes a second over `body_window`.
    pub body_rate: u64,
    /// The time over which the rate is measured.
    pub body_window: Span,
    /// How long a client may take no byte of a response.
    pub write_stall: Span,
    /// How long transfers may go on after the server was told to stop.
    pub drain: Span,
}

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// The most bytes of a manifest.
    pub manifest_bytes: usize,
    /// How deep a manifest's JSON may nest.
    pub manifest_depth: usize,
    /// The most blobs and manifests that a manifest may refer to.
    pub manifest_references: usize,
    /// The most tags that one push may set.
    pub tags_per_push: usize,
    /// The most entries on a page of a list.
    pub page: usize,
    /// The most bytes of annotations on a page of referrers.
    pub referrers_bytes: usize,
    /// The most bytes of a blob.
    pub blob_bytes: u64,
    /// How many bytes of the disk are left for deletions: what adds is refused when fewer are free.
    pub free_bytes: u64,
}

/// What is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// The most memory for hot manifests, in percent of what the machine or the container has.
    pub manifest_percent: u64,
    /// The most records of hot blobs (not their content, which the kernel caches).
    pub blobs: usize,
    /// The most files of hot blobs that are kept open.
    pub open_files: usize,
}

/// Garbage collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GcConfig {
    /// When it runs: a cron pattern in UTC. Empty: only on demand.
    pub schedule: String,
    /// How long a blob that no manifest needs is kept.
    pub grace: Span,
    /// How long an object that a crash left without metadata is kept.
    pub orphan_grace: Span,
}

/// Uploads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UploadsConfig {
    /// The most uploads that may be open at once.
    pub open: usize,
    /// How long an upload may rest before it is abandoned.
    pub expire: Span,
    /// How long an upload may take in all.
    pub max_age: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("wharf-data"),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5000))],
            allow_unauthenticated_network: false,
            tls: TlsConfig::default(),
            auth: AuthConfig::default(),
            audit: AuditConfig::default(),
            fair: FairConfig::default(),
            log: LogConfig::default(),
            http: HttpConfig::default(),
            limits: LimitsConfig::default(),
            cache: CacheConfig::default(),
            gc: GcConfig::default(),
            uploads: UploadsConfig::default(),
            mirror: MirrorSection::default(),
            edge: EdgeSection::default(),
            upstream: Vec::new(),
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        let limits = identity::Limits::default();
        Self {
            mode: AuthMode::Auto,
            password_length: limits.password.min_length,
            token_days: limits.token_days.unwrap_or(0),
            robot_days: limits.robot_days.unwrap_or(0),
            tokens_per_user: limits.tokens_per_user,
            robots_per_project: limits.robots_per_project,
            require_second_factor: Vec::new(),
            session_hours: limits.session_life.as_secs() / 3_600,
            session_idle_minutes: limits.session_idle.as_secs() / 60,
            browser_idle: limits.browser.idle.into(),
            browser_max: limits.browser.longest.into(),
            public_url: String::new(),
            oidc: OidcConfig::default(),
            ldap: LdapSection::default(),
            workload: Vec::new(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        let limits = http_kit::Limits::default();
        Self {
            trusted_proxies: vec!["127.0.0.0/8".into(), "::1".into()],
            connections: limits.connections,
            header_time: limits.header_time.into(),
            header_bytes: limits.header_bytes,
            header_count: limits.header_count,
            idle: limits.idle.into(),
            body_rate: limits.body_rate,
            body_window: limits.body_window.into(),
            write_stall: limits.write_stall.into(),
            drain: limits.drain.into(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let limits = registry::Limits::default();
        Self {
            manifest_bytes: limits.manifest.size,
            manifest_depth: limits.manifest.depth,
            manifest_references: limits.manifest.references,
            tags_per_push: limits.tags_per_push,
            page: limits.page,
            referrers_bytes: limits.referrers_bytes,
            blob_bytes: limits.blob,
            free_bytes: 128 << 20,
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        let open_files = blob_fs::Options::default().open_files;
        Self { manifest_percent: 3, blobs: meta::CacheSize::default().blobs, open_files }
    }
}

impl Default for GcConfig {
    fn default() -> Self {
        let times = registry::Lifetimes::default();
        Self { schedule: "30 3 * * *".into(), grace: times.grace.into(), orphan_grace: times.orphan.into() }
    }
}

impl Default for UploadsConfig {
    fn default() -> Self {
        let times = registry::Lifetimes::default();
        let open = blob_fs::Options::default().max_uploads;
        Self { open, expire: times.upload_idle.into(), max_age: times.upload_age.into() }
    }
}

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the command line sets, over everything else.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The data folder.
    pub data: Option<PathBuf>,
    /// The addresses.
    pub listen: Vec<SocketAddr>,
    /// The certificate.
    pub tls_certificate: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// Allowed in so many words.
    pub allow_unauthenticated_network: bool,
    /// Whether there are users.
    pub auth: Option<AuthMode>,
    /// The log level.
    pub log_level: Option<String>,
    /// The log format.
    pub log_format: Option<LogFormat>,
}

impl Config {
    /// Reads the file (where one is named, it must be there), the environment and the overrides, and holds the whole
    /// against the limits.
    pub fn load(file: Option<&Path>, environment: Environment<'_>, overrides: Overrides) -> Result<Self> {
        let mut table = match file {
            Some(file) => read(file)?,
            None => Table::new(),
        };
        let defaults = Table::try_from(Self::default()).context("the defaults cannot be written as TOML")?;
        overlay(&mut table, &defaults, "WHARF", environment)?;
        let source = file.map_or_else(
            || "the environment".to_owned(),
            |file| format!("{} or the environment", file.display()),
        );
        let mut config: Self = table.try_into().with_context(|| format!("in {source}"))?;
        config.apply(overrides);
        bounds::check(&Table::try_from(&config).context("the configuration cannot be written as TOML")?)?;
        Ok(config)
    }

    fn apply(&mut self, overrides: Overrides) {
        let Overrides {
            data,
            listen,
            tls_certificate,
            tls_key,
            allow_unauthenticated_network,
            auth,
            log_level,
            log_format,
        } = overrides;
        if let Some(data) = data {
            self.data = data;
        }
        if !listen.is_empty() {
            self.listen = listen;
        }
        if let Some(certificate) = tls_certificate {
            self.tls.certificate = certificate;
        }
        if let Some(key) = tls_key {
            self.tls.key = key;
        }
        self.allow_unauthenticated_network |= allow_unauthenticated_network;
        if let Some(mode) = auth {
            self.auth.mode = mode;
        }
        if let Some(level) = log_level {
            self.log.level = level;
        }
        if let Some(format) = log_format {
            self.log.format = format;
        }
    }

    /// Refuses what a server must not be started with.
    pub(crate) fn check_serving(&self) -> Result<()> {
        if self.listen.is_empty() {
            bail!("`listen` names no address: give at least one, such as 127.0.0.1:5000");
        }
        let is_off = self.auth.mode == AuthMode::Off && !self.allow_unauthenticated_network;
        if let Some(address) = self.network_address().filter(|_| is_off) {
            bail!(
                "{address} can be reached over the network, and authentication is off: everyone could push and \
                 delete. Listen on 127.0.0.1, leave authentication on, or say --allow-unauthenticated-network if \
                 that is what you want"
            );
        }
        if let Some(name) = self.fair.projects.keys().find(|name| name.parse::<oci::ProjectName>().is_err()) {
            bail!("`{name}` in `fair.projects` is not the name of a project");
        }
        if self.allow_unauthenticated_network && self.auth.mode == AuthMode::On {
            bail!(
                "authentication cannot be on where everyone is let in: take --allow-unauthenticated-network away"
            );
        }
        self.auth.check_pages()?;
        self.edge.check(&self.upstream)?;
        if self.tls.certificate.as_os_str().is_empty() != self.tls.key.as_os_str().is_empty() {
            bail!("TLS needs both `tls.certificate` and `tls.key`");
        }
        Ok(())
    }

    /// An address that can be reached from elsewhere.
    pub(crate) fn network_address(&self) -> Option<&SocketAddr> {
        self.listen.iter().find(|address| !address.ip().to_canonical().is_loopback())
    }

    /// Whether TLS is on.
    pub fn has_tls(&self) -> bool {
        !self.tls.certificate.as_os_str().is_empty()
    }

    /// The bounds on connections.
    pub fn http_limits(&self) -> http_kit::Limits {
        http_kit::Limits {
            connections: self.http.connections,
            header_time: self.http.header_time.into(),
            header_bytes: self.http.header_bytes,
            header_count: self.http.header_count,
            idle: self.http.idle.into(),
            body_rate: self.http.body_rate,
            body_window: self.http.body_window.into(),
            write_stall: self.http.write_stall.into(),
            drain: self.http.drain.into(),
            ..http_kit::Limits::default()
        }
    }

    /// How much metadata is kept in this machine's memory.
    pub fn cache_size(&self) -> meta::CacheSize {
        let manifest_bytes = memory::limit() / 100 * self.cache.manifest_percent;
        meta::CacheSize { manifest_bytes, blobs: self.cache.blobs }
    }

    /// The bounds on what a client may ask of the core.
    pub const fn registry_limits(&self) -> registry::Limits {
        registry::Limits {
            manifest: oci::ManifestLimits {
                size: self.limits.manifest_bytes,
                references: self.limits.manifest_references,
                depth: self.limits.manifest_depth,
            },
            tags_per_push: self.limits.tags_per_push,
            page: self.limits.page,
            referrers_bytes: self.limits.referrers_bytes,
            blob: self.limits.blob_bytes,
        }
    }

    /// The times after which unused things go.
    pub fn lifetimes(&self) -> registry::Lifetimes {
        registry::Lifetimes {
            grace: self.gc.grace.into(),
            upload_idle: self.uploads.expire.into(),
            upload_age: self.uploads.max_age.into(),
            orphan: self.gc.orphan_grace.into(),
        }
    }

    /// How often abandoned uploads are looked for.
    pub fn upload_sweep(&self) -> Duration {
        Duration::from(self.uploads.expire).clamp(Duration::from_secs(2), Duration::from_secs(600)) / 2
    }
}

fn read(file: &Path) -> Result<Table> {
    /// A configuration is a page of text.
    const LARGEST: u64 = 1 << 20;
    let size = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    if size > LARGEST {
        bail!("{} is larger than {LARGEST} bytes: it cannot be the configuration", file.display());
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", file.display()))
}

/// Puts the variables of the environment over `table`, for each key that `defaults` has.
fn overlay(table: &mut Table, defaults: &Table, prefix: &str, environment: Environment<'_>) -> Result<()> {
    for (key, default) in defaults {
        let name = format!("{prefix}_{}", key.to_uppercase());
        if let Value::Table(defaults) = default {
            let section = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(section) = section else { bail!("`{key}` must be a section") };
            overlay(section, defaults, &name, environment)?;
        } else if let Some(text) = environment(&name) {
            let value = parse_as(default, &text).with_context(|| format!("the variable {name}"))?;
            table.insert(key.clone(), value);
        }
    }
    Ok(())
}

/// Reads a text as a value of the same type as `like`. Lists are separated by commas.
fn parse_as(like: &Value, text: &str) -> Result<Value> {
    Ok(match like {
        Value::Integer(_) => Value::Integer(text.trim().parse().context("is not a number")?),
        Value::Boolean(_) => Value::Boolean(text.trim().parse().context("is neither true nor false")?),
        Value::Array(_) => {
            Value::Array(text.split(',').map(|part| Value::String(part.trim().to_owned())).collect())
        }
        _ => Value::String(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads a configuration that a server is to be started with.
    fn load(file: &str, variables: &[(&str, &str)], overrides: Overrides) -> Result<Config> {
        let config = load_only(file, variables, overrides)?;
        config.check_serving()?;
        Ok(config)
    }

    fn load_only(file: &str, variables: &[(&str, &str)], overrides: Overrides) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wharf.toml");
        std::fs::write(&path, file).unwrap();
        let environment =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Config::load(Some(&path), &environment, overrides)
    }

    #[test]
    fn each_layer_is_over_the_one_before() {
        let file = "data = \"/a\"\n[gc]\ngrace = \"1h\"\n[limits]\npage = 5\n";
        let config = load(file, &[], Overrides::default()).unwrap();
        assert_eq!((config.data.to_str(), config.limits.page), (Some("/a"), 5));
        let variables =
            [("WHARF_DATA", "/b"), ("WHARF_GC_GRACE", "2h"), ("WHARF_LISTEN", "127.0.0.1:1, [::1]:2")];
        let config = load(file, &variables, Overrides::default()).unwrap();
        assert_eq!((config.data.to_str(), config.listen.len()), (Some("/b"), 2));
        assert_eq!(Duration::from(config.gc.grace), Duration::from_secs(7_200));
        let overrides = Overrides { data: Some("/c".into()), ..Overrides::default() };
        assert_eq!(load(file, &variables, overrides).unwrap().data.to_str(), Some("/c"));
    }

    #[test]
    fn mistakes_are_named() {
        let check = |file: &str, variables: &[(&str, &str)], expect: &str| {
            let error = format!("{:#}", load(file, variables, Overrides::default()).unwrap_err());
            assert!(error.contains(expect), "{error}");
        };
        check("x = 1", &[], "unknown field");
        check("[gc]\ngrase = \"1h\"", &[], "grase");
        check("= 1", &[], "is not TOML");
        check("gc = 1", &[], "must be a section");
        check("", &[("WHARF_LIMITS_PAGE", "x")], "WHARF_LIMITS_PAGE");
        check("[gc]\ngrace = \"soon\"", &[], "soon");
        check("listen = []", &[], "names no address");
        check("listen = [\"0.0.0.0:5000\"]\n[auth]\nmode = \"off\"", &[], "--allow-unauthenticated-network");
        check("allow_unauthenticated_network = true\n[auth]\nmode = \"on\"", &[], "cannot be on");
        check("[fair.projects.Team]\nbytes = 1", &[], "not the name of a project");
        check("[auth]\npassword_length = 7", &[], "between 8 and 64");
        check("[tls]\nkey = \"a\"", &[], "both");
        for file in ["listen = [\"0.0.0.0:5000\"]\n[auth]\nmode = \"off\"", "[tls]\nkey = \"a\""] {
            assert!(
                load_only(file, &[], Overrides::default()).is_ok(),
                "a collection needs no address: {file}"
            );
        }
        let allowed = "listen = [\"0.0.0.0:5000\"]\nallow_unauthenticated_network = true";
        assert!(load(allowed, &[], Overrides::default()).is_ok());
    }

    #[test]
    fn the_defaults_come_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
    }
}
