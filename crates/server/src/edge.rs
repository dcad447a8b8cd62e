//! Blobs from nearer by, `[edge]`: sites that clients are sent to, and being such a site. docs/edge.md tells of it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::mirror::Mirror;
use anyhow::{Context, Result, anyhow, bail};
use http_oci::{ByUrl, OciEdge, Seconds, Site, SiteUrl, Sites, UrlKey, UrlKeys};
use meta::{Clock, SystemClock};
use serde::{Deserialize, Serialize};

use crate::probes::Probe;
use crate::span::Span;
use crate::upstreams::UpstreamSection;

/// The most bytes of a file with keys.
const FILE_MAX: u64 = 16 << 10;

/// The most keys: one that signs, and those that others sign with, or did.
const KEYS_MAX: usize = 16;

/// The most sites.
const SITES_MAX: usize = 100;

/// The most networks of a site.
const NETWORKS_MAX: usize = 1_000;

/// Sites, and being one. Without keys there is neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EdgeSection {
    /// A file with the keys of signed addresses: 64 hexadecimal digits a line, the key that signs first.
    pub key_file: PathBuf,
    /// The key of the upstream whose signed addresses are answered here; empty where they are this registry's own.
    pub upstream: String,
    /// How long an address is good at least; at most twice as long.
    pub lifetime: Span,
    /// Blobs with fewer bytes come from here.
    pub min_bytes: u64,
    /// How often sites are asked whether they work.
    pub probe_every: Span,
    /// Where clients are sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub site: Vec<SiteSection>,
}

/// A site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSection {
    /// Where it is.
    pub url: String,
    /// Whose clients are sent there; everybody where there are none.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Whether it is asked from here whether it works.
    #[serde(default = "yes")]
    pub probe: bool,
    /// Certificates to trust besides the system's authorities when it is asked, PEM.
    #[serde(default)]
    pub ca: PathBuf,
}

const fn yes() -> bool {
    true
}

impl Default for EdgeSection {
    fn default() -> Self {
        Self {
            key_file: PathBuf::new(),
            upstream: String::new(),
            lifetime: Duration::from_secs(3_600).into(),
            min_bytes: 64 << 10,
            probe_every: Duration::from_secs(10).into(),
            site: Vec::new(),
        }
    }
}

/// What the section comes to.
#[derive(Default)]
pub(crate) struct Edge {
    pub(crate) sites: Option<Arc<Sites>>,
    pub(crate) by_url: Option<Arc<ByUrl>>,
    /// The sites by themselves, for the metrics.
    pub(crate) all: Vec<Arc<Site>>,
}

impl Edge {
    /// The registry that sends clients to the sites, and answers signed addresses.
    pub(crate) fn around(self, oci: OciEdge) -> OciEdge {
        let oci = match self.sites {
            Some(sites) => oci.sending_to(sites),
            None => oci,
        };
        match self.by_url {
            Some(by_url) => oci.answering(by_url),
            None => oci,
        }
    }
}

impl EdgeSection {
    /// Refuses what cannot work, by what can be told without a network.
    pub(crate) fn check(&self, upstreams: &[UpstreamSection]) -> Result<()> {
        if self.key_file.as_os_str().is_empty() && (!self.site.is_empty() || !self.upstream.is_empty()) {
            bail!(
                "`edge.key_file` is missing: addresses are signed with its first key. `openssl rand -hex 32` makes one"
            );
        }
        if self.site.len() > SITES_MAX {
            bail!("there are more than {SITES_MAX} [[edge.site]]");
        }
        let mut seen = HashSet::new();
        if let Some(site) = self.site.iter().find(|site| !seen.insert(&site.url)) {
            bail!("two [[edge.site]] have the url `{}`: give its networks in one", site.url);
        }
        self.check_upstream(upstreams)
    }

    fn check_upstream(&self, upstreams: &[UpstreamSection]) -> Result<()> {
        if self.upstream.is_empty() {
            return Ok(());
        }
        let Some(upstream) = upstreams.iter().find(|upstream| upstream.key == self.upstream) else {
            bail!("`edge.upstream` is `{}`, and there is no [[upstream]] with that key", self.upstream);
        };
        if std::iter::once(&upstream.first).chain(&upstream.also).any(|registry| !registry.prefix.is_empty())
        {
            bail!(
                "the [[upstream]] `{}` has a `prefix`, and cannot be `edge.upstream`: signed addresses name repositories \
                 as they are called there",
                self.upstream
            );
        }
        Ok(())
    }

    /// Reads the keys, and begins to ask the sites.
    pub(crate) fn open(&self, mirror: Option<&Arc<Mirror>>) -> Result<Edge> {
        if self.key_file.as_os_str().is_empty() {
            return Ok(Edge::default());
        }
        let keys = Arc::new(read_keys(&self.key_file)?);
        let clock: Seconds = Arc::new(|| u64::try_from(SystemClock.now().micros()).unwrap_or(0) / 1_000_000);
        let by_url = self.by_url(ByUrl::new(Arc::clone(&keys), Arc::clone(&clock)), mirror);
        let all = self.site.iter().map(|site| self.open_site(site, &keys)).collect::<Result<Vec<_>>>()?;
        let sites = (!all.is_empty())
            .then(|| Arc::new(Sites::new(keys, clock, self.lifetime.into(), self.min_bytes, all.clone())));
        Ok(Edge { sites, by_url: Some(Arc::new(by_url)), all })
    }

    fn by_url(&self, by_url: ByUrl, mirror: Option<&Arc<Mirror>>) -> ByUrl {
        let Some(mirror) = mirror.filter(|_| !self.upstream.is_empty()) else { return by_url };
        let (mirror, key) = (Arc::clone(mirror), self.upstream.clone());
        let can_be_asked = move || {
            let upstream = mirror.upstreams().iter().find(|upstream| upstream.key() == key);
            // Not whether it answered when it was asked last: where nobody is sent here, nobody would find out.
            upstream.is_some_and(|upstream| {
                upstream.standing().iter().any(|(_, standing)| standing.closed.is_none())
            })
        };
        by_url.behind(self.upstream.clone(), Arc::new(can_be_asked))
    }

    fn open_site(&self, section: &SiteSection, keys: &UrlKeys) -> Result<Arc<Site>> {
        let url: SiteUrl =
            section.url.parse().map_err(|error| anyhow!("in `url` of an [[edge.site]]: {error}"))?;
        let wrong = || format!("the [[edge.site]] {url}");
        if section.networks.len() > NETWORKS_MAX {
            bail!("{}: it has more than {NETWORKS_MAX} `networks`", wrong());
        }
        let parse = |text: &String| text.parse().map_err(|error| anyhow!("`networks`: {error}"));
        let networks = section.networks.iter().map(parse).collect::<Result<_>>().with_context(wrong)?;
        if !url.is_secure() {
            tracing::warn!(site = %url, "whoever sees an address on its way can read that blob: give the site TLS");
        }
        let site = Arc::new(Site::new(url.clone(), networks));
        if section.probe {
            let key = keys.ids().next().unwrap_or_default().to_owned();
            let probe = Probe::new(Arc::clone(&site), key, &section.ca).with_context(wrong)?;
            // Wherever the end of the process cuts it off, the next one asks again.
            tokio::spawn(probe.run(self.probe_every.into()));
        } else {
            site.set_available(true);
        }
        Ok(site)
    }
}

/// The keys in a file, one a line. What is wrong is told by the number of its line: it may be most of a key.
fn read_keys(file: &Path) -> Result<UrlKeys> {
    let name = file.display();
    let wrong = || format!("cannot read {name}, the `edge.key_file`");
    if std::fs::metadata(file).with_context(wrong)?.len() > FILE_MAX {
        bail!("{}: it is larger than {FILE_MAX} bytes", wrong());
    }
    let text = std::fs::read_to_string(file).with_context(wrong)?;
    keys(&text).with_context(|| format!("in {name}, the `edge.key_file`"))
}

fn keys(text: &str) -> Result<UrlKeys> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut keys = Vec::new();
    for (at, line) in lines {
        let bytes = hex::decode(line).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let bytes = bytes.with_context(|| {
            format!("line {} must hold 64 hexadecimal digits, as `openssl rand -hex 32` makes them", at + 1)
        })?;
        keys.push(UrlKey::new(&bytes));
    }
    if keys.len() > KEYS_MAX {
        bail!("there are more than {KEYS_MAX} keys: take away those that nobody signs with any more");
    }
    if keys.is_empty() {
        bail!("there is no key: `openssl rand -hex 32` makes one");
    }
    UrlKeys::new(keys).context("a key is there twice: each belongs on one line")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0101010101010101010101010101010101010101010101010101010101010101";
    const TWO: &str = "0202020202020202020202020202020202020202020202020202020202020202";

    #[test]
    fn a_file_holds_keys_and_remarks() {
        let check = |text: &str, expect: &[&str]| {
            assert_eq!(keys(text).unwrap().ids().collect::<Vec<_>>(), expect, "{text}");
        };
        check(ONE, &["72cd6e84"]);
        check(&format!("# since May\n{TWO}\r\n\n  {ONE}  \n# end"), &["75877bb4", "72cd6e84"]);
        check(&ONE.to_uppercase(), &["72cd6e84"]);
        let fail = |text: &str, expect: &str| {
            let error = format!("{:#}", keys(text).unwrap_err());
            assert!(error.contains(expect) && !error.contains("0101"), "{text}: {error}");
        };
        fail("", "no key");
        fail("# nothing", "no key");
        fail(&ONE[1..], "line 1 must hold 64");
        fail(&format!("{ONE}\n{ONE} x"), "line 2 must hold 64");
        fail(&format!("{ONE}\n{ONE}"), "twice");
        let many: String = (0..17).map(|n| format!("{n:064x}\n")).collect();
        fail(&many, "more than 16");
    }

    fn section(text: &str) -> EdgeSection {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn mistakes_are_told_before_anything_is_served() {
        let upstream = |text: &str| -> UpstreamSection { toml::from_str(text).unwrap() };
        let upstreams = [
            upstream("key = \"region\"\nregistry = \"r.example\""),
            upstream("key = \"part\"\nregistry = \"r.example\"\nprefix = \"a\""),
        ];
        let check = |text: &str, expect: &str| {
            let outcome = section(text).check(&upstreams).map_err(|error| error.to_string());
            assert!(
                outcome.as_ref().err().is_some_and(|error| error.contains(expect)),
                "{text}: {outcome:?}"
            );
        };
        check("site = [{url = \"https://a\"}]", "`edge.key_file` is missing");
        check("upstream = \"region\"", "`edge.key_file` is missing");
        check("key_file = \"k\"\nupstream = \"regoin\"", "no [[upstream]] with that key");
        check("key_file = \"k\"\nupstream = \"part\"", "has a `prefix`");
        check("key_file = \"k\"\nsite = [{url = \"https://a\"}, {url = \"https://a\"}]", "two [[edge.site]]");
        for good in ["", "key_file = \"k\"", "key_file = \"k\"\nupstream = \"region\""] {
            section(good).check(&upstreams).unwrap();
        }
        assert!(toml::from_str::<EdgeSection>("site = [{networks = []}]").is_err());
        assert!(toml::from_str::<EdgeSection>("site = [{url = \"https://a\", network = []}]").is_err());
    }

    #[tokio::test]
    async fn a_site_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, ONE).unwrap();
        let check = |site: &str, expect: &str| {
            let mut section = section(&format!("site = [{{{site}}}]"));
            section.key_file = file.clone();
            let outcome = section.open(None).map(drop).map_err(|error| format!("{error:#}"));
            assert!(
                outcome.as_ref().err().is_some_and(|error| error.contains(expect)),
                "{site}: {outcome:?}"
            );
        };
        check("url = \"a.example\"", "`a.example` cannot be a site");
        check("url = \"https://a/\"", "without a slash at the end");
        check("url = \"https://a\", networks = [\"10.0.0.0/33\"]", "https://a: `networks`: \"10.0.0.0/33\"");
        check("url = \"https://a\", ca = \"/nothing/there\"", "https://a");
    }
}
