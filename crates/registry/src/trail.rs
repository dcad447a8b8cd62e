//! Through which registries of this kind a request has come: one that comes back to where it was is to be seen, and to
//! be answered before it goes round once more.

use std::fmt;
use std::str::FromStr;

/// What the names of registries begin with in a trail.
const MARK: &str = "wharf-";

/// A registry that runs, by a number that it draws when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(u64);

/// What is no name of a registry in a trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that is not the name of a registry in a trail: `wharf-` and 16 hexadecimal digits")]
pub struct NodeIdError;

impl NodeId {
    /// The registry that has drawn this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{:016x}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let digits = text.strip_prefix(MARK).filter(|digits| digits.len() == 16).ok_or(NodeIdError)?;
        let is_ours = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = is_ours.then(|| u64::from_str_radix(digits, 16).ok()).flatten();
        number.map(Self).ok_or(NodeIdError)
    }
}

/// The registries that a request has come through, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    nodes: Vec<NodeId>,
    /// Whether the last of them is a peer, which has asked nobody else before.
    pub from_peer: bool,
}

impl Trail {
    /// The most registries that a request goes through.
    pub const LONGEST: usize = 16;

    /// A trail of these; what is beyond the longest is left out.
    pub fn new(nodes: impl IntoIterator<Item = NodeId>, from_peer: bool) -> Self {
        Self { nodes: nodes.into_iter().take(Self::LONGEST).collect(), from_peer }
    }

    /// Those that it leads through.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// Whether a client asks by itself.
    pub const fn is_direct(&self) -> bool {
        self.nodes.is_empty() && !self.from_peer
    }

    /// Whether it has been at a registry before.
    pub fn has(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    /// Whether it is so long that nobody else is asked.
    pub const fn is_full(&self) -> bool {
        self.nodes.len() >= Self::LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(text.parse::<NodeId>().ok(), expect.map(NodeId), "{text}");
        };
        check("wharf-00000000000000ff", Some(255));
        check(&NodeId(u64::MAX).to_string(), Some(u64::MAX));
        for bad in [
            "",
            "wharf-",
            "wharf-ff",
            "fred",
            "wharf-+00000000000000f",
            "wharf-00000000000000FF",
            "wharf-00000000000000ff0",
            "wharf-0000000000000ä",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn a_trail_has_an_end() {
        let trail = Trail::new((0..100).map(NodeId), false);
        assert_eq!((trail.nodes().len(), trail.is_full()), (Trail::LONGEST, true));
        assert!(trail.has(NodeId(15)) && !trail.has(NodeId(16)));
        assert!(Trail::default().is_direct() && !Trail::new([], true).is_direct());
    }
}
