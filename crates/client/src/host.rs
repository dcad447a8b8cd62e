//! Registry hosts: how they are written, where their API is, and which of them belong together.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use crate::ReferenceError;

/// What Docker Hub is called in references.
const HUB: &str = "docker.io";

/// Where Docker Hub's API is.
const HUB_API: &str = "registry-1.docker.io";

/// The host of a registry with its port, as in `host:5000` or `[::1]:5000`. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

impl Host {
    /// Host and port as written, Docker Hub's many names as `docker.io`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Is this Docker Hub, whose repositories of one part are under `library/`?
    pub fn is_docker_hub(&self) -> bool {
        self.as_str() == HUB
    }

    /// The host that answers API requests.
    pub fn api(&self) -> &str {
        if self.is_docker_hub() { HUB_API } else { self.as_str() }
    }

    /// Is it this machine, to which plain HTTP is safe?
    pub fn is_loopback(&self) -> bool {
        let (name, _) = split_port(&self.0);
        name == "localhost" || address(name).is_some_and(|address| address.is_loopback())
    }
}

impl FromStr for Host {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = || ReferenceError::Host(shorten(text));
        let lower = text.to_ascii_lowercase();
        let (name, port) = split_port(&lower);
        let good_port = port.is_none_or(|port| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
        });
        if lower.len() > 261 || !good_port || !(is_dns_name(name) || address(name).is_some()) {
            return Err(wrong());
        }
        Ok(match lower.as_str() {
            "index.docker.io" | HUB_API => Self(HUB.into()),
            _ => Self(lower.into()),
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Do two host names (without ports) belong to one owner, so that one may ask for the other's credentials?
///
/// They do when they are equal or share a registrable domain: one label below a public suffix. `a.github.io`
/// and `b.github.io` do not.
pub(crate) fn same_site(a: &str, b: &str) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    if address(a).is_some() || address(b).is_some() {
        return false;
    }
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    match (known_domain(&a), known_domain(&b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// The registrable domain under a suffix that is really known; of made-up ones nobody can say who owns what.
fn known_domain(host: &str) -> Option<String> {
    let domain = psl::domain(host.as_bytes())?;
    let text = std::str::from_utf8(domain.as_bytes()).ok()?;
    domain.suffix().is_known().then(|| text.to_owned())
}

/// The name and the port of `name:port`, `[v6]:port`, `name` or `[v6]`.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    }
}

fn address(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // All digits in the last label would be read as an address by some, as a name by others.
    let last_is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && !last_is_number
}

/// Outside text in an error message: bounded, and without control characters.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(text.parse::<Host>().ok().as_ref().map(Host::as_str), expect, "{text}");
        };
        check("localhost", Some("localhost"));
        check("Registry.Example.com:443", Some("registry.example.com:443"));
        check("[::1]:5000", Some("[::1]:5000"));
        check("127.0.0.1:80", Some("127.0.0.1:80"));
        check("index.docker.io", Some("docker.io"));
        check("registry-1.docker.io", Some("docker.io"));
        for bad in
            ["", ":5000", "a:", "a:0", "a:65536", "a:+5", "a b", "u@h", "a/b", "::1", "[::1", "1.2.3", "-a"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn loopback_is_this_machine() {
        let check = |text: &str, expect: bool| {
            assert_eq!(text.parse::<Host>().unwrap().is_loopback(), expect, "{text}");
        };
        for text in ["localhost", "localhost:5000", "127.0.0.1", "127.9.8.7:1", "[::1]", "[::1]:5000"] {
            check(text, true);
        }
        for text in ["localhost.example.com", "10.0.0.1", "[::2]:5000", "example.com"] {
            check(text, false);
        }
    }

    #[test]
    fn one_site_is_one_registrable_domain() {
        let check = |a: &str, b: &str, expect: bool| {
            assert_eq!(same_site(a, b), expect, "{a} {b}");
            assert_eq!(same_site(b, a), expect, "{b} {a}");
        };
        check("registry-1.docker.io", "auth.docker.io", true);
        check("registry.gitlab.com", "gitlab.com", true);
        check("registry.example.co.uk", "auth.example.co.uk", true);
        check("one.co.uk", "two.co.uk", false);
        check("a.github.io", "b.github.io", false);
        check("docker.io", "docker.io.evil.com", false);
        check("evildocker.io", "docker.io", false);
        check("127.0.0.1", "127.0.0.2", false);
        check("[::1]", "[::1]", true);
        check("registry.corp", "auth.corp", false);
        check("a.internal.invalidtld", "b.internal.invalidtld", false);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}", other in "[a-z.:\\[\\]0-9-]{0,40}") {
            for text in [&text, &other] {
                if let Ok(host) = text.parse::<Host>() {
                    prop_assert_eq!(host.as_str().parse::<Host>().unwrap(), host);
                }
                same_site(text, "docker.io");
            }
        }
    }
}
