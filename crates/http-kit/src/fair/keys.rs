//! Whom a limit is for.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Whom a request is counted for. What is `None` is not limited by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// The client's address. IPv6 addresses count by their /64, which is what one client has.
    pub address: Option<IpAddr>,
    /// Who the client proved to be.
    pub identity: Option<Arc<str>>,
    /// What the request is about.
    pub project: Option<Arc<str>>,
}

impl Keys {
    /// The address as it is counted.
    pub(super) fn counted_address(&self) -> Option<IpAddr> {
        self.address.map(|address| match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 => v4,
        })
    }
}

/// What kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
    Address,
    Identity,
    Project,
}

/// One thing that a limit holds for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// Everyone together.
    Total,
    Address(IpAddr),
    Identity(Arc<str>),
    Project(Arc<str>),
    /// All keys of a class that there is no room for, together.
    Crowd(Class),
}

impl Key {
    /// The key that stands for this one when there is no room.
    pub(super) fn crowd(&self) -> Key {
        match self {
            Key::Total => Key::Total,
            Key::Address(_) => Key::Crowd(Class::Address),
            Key::Identity(_) => Key::Crowd(Class::Identity),
            Key::Project(_) => Key::Crowd(Class::Project),
            Key::Crowd(class) => Key::Crowd(*class),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_by_what_one_client_has() {
        let check = |address: &str, expect: &str| {
            let keys = Keys { address: Some(address.parse().unwrap()), ..Keys::default() };
            assert_eq!(keys.counted_address(), Some(expect.parse().unwrap()), "{address}");
        };
        check("192.0.2.7", "192.0.2.7");
        check("127.0.0.1", "127.0.0.1");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("2001:db8:1:2::", "2001:db8:1:2::");
        assert_eq!(Keys::default().counted_address(), None);
    }
}
