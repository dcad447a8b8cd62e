//! Which registries of this kind a request has come through (RFC 9110, 7.6.3).

use http::HeaderMap;
use http::header::{HeaderName, VIA};
use registry::{NodeId, Trail};

/// What a peer says of itself: who forges it is only not passed on to another peer.
const PEER: HeaderName = HeaderName::from_static("wharf-peer");

/// The most entries of `Via` that are looked at.
const ENTRIES: usize = 100;

/// The registries of this kind that a request has come through, and whether a peer has sent it.
pub(crate) fn trail(headers: &HeaderMap) -> Trail {
    Trail::new(entries(headers).filter_map(node), headers.contains_key(PEER))
}

/// Whether something else stands between: a proxy, that is, which may change what it passes on.
pub(crate) fn has_others(headers: &HeaderMap) -> bool {
    entries(headers).any(|entry| node(entry).is_none())
}

/// `1.1 name`, each with its comment. What a comment has after a comma is an entry of its own here, and names nobody.
fn entries(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(VIA).iter();
    // What is no text is no registry, and is something all the same.
    values.flat_map(|value| value.to_str().unwrap_or("?").split(',')).take(ENTRIES)
}

fn node(entry: &str) -> Option<NodeId> {
    let mut words = entry.split_ascii_whitespace();
    let _protocol = words.next()?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const A: &str = "wharf-000000000000000a";
    const B: &str = "wharf-000000000000000b";

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (VIA, HeaderValue::from_bytes(value.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn registries_are_found_among_others() {
        let check = |values: &[&str], expect: &[u64], others: bool| {
            let headers = headers(values);
            let expect: Vec<_> = expect.iter().copied().map(NodeId::new).collect();
            assert_eq!(trail(&headers).nodes(), expect, "{values:?}");
            assert_eq!(has_others(&headers), others, "{values:?}");
        };
        check(&[], &[], false);
        check(&[&format!("1.1 {A}")], &[10], false);
        check(&[&format!("1.1 {A}, HTTP/2  {B} (of ours)")], &[10, 11], false);
        check(&[&format!("1.0 fred, 1.1 {A}"), &format!("1.1 {B}")], &[10, 11], true);
        check(&[A], &[], true);
        check(&["1.1 wharf-a", "\u{e4}", ""], &[], true);
        check(&[&vec![format!("1.1 {A}"); 1_000].join(",")], &[10; Trail::LONGEST], false);
    }

    #[test]
    fn a_peer_says_so() {
        let mut headers = headers(&[]);
        assert!(!trail(&headers).from_peer);
        headers.insert(PEER, HeaderValue::from_static("a"));
        assert!(trail(&headers).from_peer);
    }
}
