//! Nodes of one tier that help each other: what is missing here is asked of the one among them that it belongs to, so
//! that the upstream is asked for it once by all of them together.
//!
//! Everybody finds out by themselves whose something is: the node whose name, hashed with the digest, gives the most
//! (rendezvous hashing). Where a node goes, only what was its own moves. It is never more than one step: who is asked by
//! a peer asks the upstream.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use client::{ClientError, Host, Repository};
use oci::{Digest, RepoName};
use registry::{NodeId, Trail};

use crate::health::{Asked, Said, Standing};
use crate::link::{Link, Signature};
use crate::turns::{Turn, Turns};

/// The most blobs that come from one peer at once.
const DOWNLOADS_MAX: usize = 64;

/// A node of the tier.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// What all of them call it.
    pub name: String,
    /// Its host.
    pub host: Host,
    /// How to talk to it.
    pub client: client::Settings,
}

/// The nodes of a tier.
#[derive(Default)]
pub struct Peers {
    own: String,
    others: Vec<Arc<Peer>>,
}

/// Another node.
pub(crate) struct Peer {
    name: String,
    link: Link,
    turns: Turns,
}

impl Peers {
    /// The tier of the node `own`. Nothing is sent yet.
    pub fn open(own: &str, others: Vec<PeerSettings>, node: NodeId) -> Result<Self, ClientError> {
        let peer = |settings: PeerSettings| {
            let PeerSettings { name, host, client } = settings;
            let signature = Signature { node, peer: Some(own.to_owned()) };
            let link = Link::open(host, None, client, signature)?;
            Ok(Arc::new(Peer { name, link, turns: Turns::default() }))
        };
        let others = others.into_iter().map(peer).collect::<Result<_, ClientError>>()?;
        Ok(Self { own: own.to_owned(), others })
    }

    /// Whether there are others.
    pub(crate) fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// Whom to ask for something before the upstream: nobody where it is this node's own, or a peer asks for it.
    pub(crate) fn to_ask(&self, digest: &Digest, trail: &Trail) -> Option<Arc<Peer>> {
        if self.is_alone() || trail.from_peer {
            return None;
        }
        let names = self.others.iter().map(|peer| peer.name.as_str());
        let owner = owner(digest, names.chain([self.own.as_str()]))?;
        self.others.iter().find(|peer| peer.name == owner).cloned()
    }

    /// How the others stand.
    pub(crate) fn standing(&self) -> Vec<(String, Standing)> {
        let now = Instant::now();
        self.others.iter().map(|peer| (peer.name.clone(), peer.link.health.standing(now))).collect()
    }
}

impl Peer {
    /// A turn to fetch a blob from it, unless too many wait for theirs.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        self.turns.next(|| DOWNLOADS_MAX).await.ok()
    }

    /// Asks for something of a repository, which is called the same there. `None` where it cannot be had, whatever the
    /// reason: the upstream knows better.
    pub async fn ask<T, F>(
        &self,
        repository: &RepoName,
        trail: &Trail,
        request: impl FnOnce(Arc<Repository>) -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let there = self.link.repository(repository, trail)?;
        self.link.health.admit(Asked::Blobs, Instant::now()).ok()?;
        let outcome = request(there).await;
        self.note(outcome.as_ref().err());
        if let Err(error) = &outcome {
            tracing::debug!(peer = self.name, %repository, %error, "a peer does not give what belongs to it");
        }
        outcome.ok()
    }

    /// Notes how a request went. Who answers, be it that its upstream fails, is well itself.
    pub fn note(&self, error: Option<&ClientError>) {
        let is_silent = error.is_some_and(|error| {
            error.is_outage() && !matches!(error, ClientError::Status { .. } | ClientError::Busy { .. })
        });
        let said = if is_silent { Said::Nothing } else { Said::Something };
        self.link.health.note(Asked::Blobs, said, Instant::now());
    }

    /// Leaves it alone for a while, after it has sent something wrong.
    pub fn distrust(&self) {
        tracing::error!(
            peer = self.name,
            "a peer has sent something that is not what its digest says: it is not asked for a while. Run `wharf check` there"
        );
        self.link.health.note(Asked::Blobs, Said::Wrong, Instant::now());
    }
}

/// The name that something belongs to. All nodes must agree, those of other versions, too: this never changes.
fn owner<'a>(digest: &Digest, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names.max_by_key(|name| (Digest::sha256(format!("{name} {digest}").as_bytes()), *name))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn digests(count: u32) -> impl Iterator<Item = Digest> {
        (0..count).map(|number| Digest::sha256(&number.to_be_bytes()))
    }

    fn of<'a>(digest: &Digest, names: &[&'a str]) -> &'a str {
        owner(digest, names.iter().copied()).unwrap()
    }

    #[test]
    fn everybody_has_their_share() {
        let names = ["a", "b", "c", "d", "e.example", "f", "g", "h"];
        let mut shares: HashMap<&str, u32> = HashMap::new();
        digests(8_000).for_each(|digest| *shares.entry(of(&digest, &names)).or_default() += 1);
        for name in names {
            // Six standard deviations: it is one draw, and always the same.
            assert!((820..=1_180).contains(&shares[name]), "{shares:?}");
        }
    }

    #[test]
    fn nothing_moves_but_what_was_of_who_left() {
        let (before, after) = (["a", "b", "c", "d"], ["a", "b", "d"]);
        let mut moved = 0;
        for digest in digests(2_000) {
            match of(&digest, &before) {
                "c" => moved += 1,
                owner => assert_eq!(of(&digest, &after), owner),
            }
        }
        assert!((400..=600).contains(&moved), "{moved}");
    }

    #[test]
    fn the_order_of_names_is_no_matter() {
        for digest in digests(100) {
            assert_eq!(of(&digest, &["a", "b", "c"]), of(&digest, &["c", "a", "b"]));
        }
        assert_eq!(owner(&Digest::sha256(b""), std::iter::empty()), None);
    }

    /// What versions agree on.
    #[test]
    fn what_belongs_to_whom_never_changes() {
        let owners: String = digests(16).map(|digest| of(&digest, &["a", "b", "c"])).collect();
        assert_eq!(owners, "bcbccccabacccaca");
    }

    #[test]
    fn who_is_asked_by_a_peer_asks_nobody_else() {
        let settings = |name: &str| PeerSettings {
            name: name.into(),
            host: "127.0.0.1:1".parse().unwrap(),
            client: client::Settings { keyring: client::Keyring::empty(), ..client::Settings::default() },
        };
        let peers = Peers::open("a", vec![settings("b"), settings("c")], NodeId::new(1)).unwrap();
        for digest in digests(50) {
            let asked = peers.to_ask(&digest, &Trail::default());
            let expect = Some(of(&digest, &["a", "b", "c"])).filter(|owner| *owner != "a");
            assert_eq!(asked.as_ref().map(|peer| &*peer.name), expect);
            assert!(peers.to_ask(&digest, &Trail::new([], true)).is_none());
            assert!(Peers::default().to_ask(&digest, &Trail::default()).is_none());
        }
    }
}
