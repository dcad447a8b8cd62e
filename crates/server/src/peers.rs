//! The nodes of this one's tier: `[[mirror.peer]]`, of which docs/upstreams.md tells. One file does for all of them: a
//! node knows itself by its name.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use client::Timeouts;
use mirror::{PeerSettings, Peers};
use registry::NodeId;
use serde::{Deserialize, Serialize};
use transfer::Retry;

use crate::upstreams::{MirrorSection, RegistrySection};

/// The most nodes of a tier.
const PEERS_MAX: usize = 64;

/// How long a connection to a peer may take: it is near, and the upstream is there, too.
const CONNECT: Duration = Duration::from_secs(1);

/// How long a peer may stand still in the middle of a blob: it goes at the speed of its upstream.
const STALL: Duration = Duration::from_secs(30);

/// A node of the tier, this one among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerSection {
    /// What all nodes call it.
    pub name: String,
    /// Its host, with a port where it needs one.
    pub registry: String,
    /// Who signs in there; empty for nobody in particular.
    pub username: String,
    /// A file with their password or token.
    pub password_file: PathBuf,
    /// Certificates to trust besides the system's authorities, PEM.
    pub ca: PathBuf,
    /// Speaks HTTP without TLS.
    pub plain_http: bool,
}

impl PeerSection {
    fn settings(&self, answer: Duration) -> Result<PeerSettings> {
        let host = self.registry.parse().map_err(|error| anyhow!("`registry`: {error}"))?;
        let section = RegistrySection {
            username: self.username.clone(),
            password_file: self.password_file.clone(),
            ca: self.ca.clone(),
            plain_http: self.plain_http,
            ..RegistrySection::default()
        };
        let timeouts = Timeouts { connect: CONNECT.min(answer), answer, stall: STALL.max(answer) };
        // There is another way, which takes less time than another try.
        let retry = Retry { failures: 0, ..Retry::default() };
        Ok(PeerSettings { name: self.name.clone(), host, client: section.client(timeouts, retry)? })
    }
}

/// The tier of this node, where it has one.
pub(crate) fn open(section: &MirrorSection, node: NodeId) -> Result<Option<Peers>> {
    let peers = &section.peer;
    if peers.is_empty() {
        return Ok(None);
    }
    let own = match section.name.as_str() {
        "" => crate::audit::hostname(),
        name => name.to_owned(),
    };
    check(peers, &own)?;
    let others = peers.iter().filter(|peer| peer.name != own);
    let settings = |peer: &PeerSection| {
        peer.settings(section.peer_timeout.into())
            .with_context(|| format!("the [[mirror.peer]] `{}`", peer.name))
    };
    Ok(Some(Peers::open(&own, others.map(settings).collect::<Result<_>>()?, node)?))
}

/// Refuses names that do not tell the nodes from one another, or this one from none.
fn check(peers: &[PeerSection], own: &str) -> Result<()> {
    if peers.len() > PEERS_MAX {
        bail!("there are {} [[mirror.peer]]: a tier has at most {PEERS_MAX} nodes", peers.len());
    }
    let mut names = HashSet::new();
    for PeerSection { name, .. } in peers {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || name.len() > 253 || !name.bytes().all(is_name) {
            bail!(
                "`{}` cannot be the `name` of a [[mirror.peer]]: give each one such as `node-1`",
                name.escape_debug()
            );
        }
        if !names.insert(name) {
            bail!("two [[mirror.peer]] have the name `{name}`: each needs its own");
        }
    }
    if !peers.iter().any(|peer| peer.name == own) {
        bail!(
            "none of the [[mirror.peer]] is this node, which is called `{}`: name it in `mirror.name`",
            own.escape_debug()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let section: MirrorSection = toml::from_str(text).unwrap();
        match open(&section, NodeId::new(1)) {
            Ok(peers) => format!("{}", peers.is_some()),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_node_knows_itself_among_its_peers() {
        let check = |text: &str, expect: &str| {
            let found = refusal(text);
            assert!(found.contains(expect), "{text}: {found}");
        };
        let peer = |name: &str| format!("[[peer]]\nname = \"{name}\"\nregistry = \"{name}.example:5000\"\n");
        let (a, b) = (peer("a"), peer("b"));
        check("", "false");
        check("name = \"a\"", "false");
        check(&format!("name = \"a\"\n{a}{b}"), "true");
        check(&format!("name = \"a\"\n{a}"), "true");
        check(
            &format!("name = \"c\"\n{a}{b}"),
            "none of the [[mirror.peer]] is this node, which is called `c`",
        );
        check(&format!("name = \"a\"\n{a}{b}{a}"), "two [[mirror.peer]] have the name `a`");
        check(&format!("name = \"a\"\n{a}{}", peer("b c")), "`b c` cannot be the `name`");
        check(&format!("name = \"a\"\n{a}[[peer]]\nname = \"b\""), "the [[mirror.peer]] `b`: `registry`");
        check(&format!("name = \"a\"\n{a}{b}username = \"x\"\n"), "belong together");
        let many: String = (0..65).map(|number| peer(&format!("n{number}"))).collect();
        check(&format!("name = \"n1\"\n{many}"), "at most 64 nodes");
        let own = peer(&crate::audit::hostname());
        check(&own, "true");
    }
}
