//! Behind a reverse proxy: who the client is and how it reached us, as far as a trusted proxy says so.
//!
//! Anyone can send these fields, so they count only from the proxies in [`TrustedProxies`], and a list of addresses
//! is read from its end, only as far as each address is a trusted proxy's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::{HeaderMap, HeaderName, Uri, header};

use crate::conn::{ConnInfo, PeerAddr};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// A chain of proxies longer than this is taken for an attack on our time.
const HOPS_MAX: usize = 32;
const PREFIX_MAX: usize = 256;
const HOST_MAX: usize = 262;

/// A network: an address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    addr: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address lies in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                same_bits(net.to_bits().into(), ip.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => same_bits(net.to_bits(), ip.to_bits(), 128, self.bits),
            _ => false,
        }
    }
}

fn same_bits(a: u128, b: u128, width: u32, bits: u8) -> bool {
    (a ^ b).checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong = || format!("{text:?} is no network; write one as 10.0.0.0/8, 10.1.2.3, fd00::/8 or ::1");
        let (addr, bits) = text.split_once('/').map_or((text, None), |(addr, bits)| (addr, Some(bits)));
        let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
        let width = if addr.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > width { Err(wrong()) } else { Ok(Network { addr, bits }) }
    }
}

/// The proxies whose word counts. Loopback by default; a process on a unix socket is always trusted, since the
/// socket's permissions let nobody else in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

impl Default for TrustedProxies {
    fn default() -> TrustedProxies {
        let v4 = Network { addr: Ipv4Addr::LOCALHOST.into(), bits: 8 };
        TrustedProxies(vec![v4, Network { addr: Ipv6Addr::LOCALHOST.into(), bits: 128 }])
    }
}

impl TrustedProxies {
    /// Exactly these.
    pub fn new(networks: Vec<Network>) -> TrustedProxies {
        TrustedProxies(networks)
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(ip))
    }
}

/// How a request reached us from its client's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// The client's address; none for a process on a unix socket that names none.
    pub client: Option<IpAddr>,
    /// The path under which the proxy shows us: empty, or like `/registry`, without a slash at its end.
    pub prefix: &'a str,
    /// Whether the client's own connection is encrypted.
    pub secure: bool,
    /// The host, with its port, that a proxy says the client asked for.
    host: Option<&'a str>,
}

impl<'a> Forwarded<'a> {
    /// Reads the fields of a request, as far as they can be trusted.
    ///
    /// `Forwarded` counts only where there is no `X-Forwarded-For`: a proxy that writes the one passes on what its
    /// client sent as the other.
    pub fn of(conn: &ConnInfo, headers: &'a HeaderMap, trusted: &TrustedProxies) -> Forwarded<'a> {
        let mut seen = Forwarded { client: conn.peer.ip(), prefix: "", secure: conn.tls, host: None };
        let believed = match conn.peer {
            PeerAddr::Tcp(addr) => trusted.contains(addr.ip()),
            PeerAddr::Unix { .. } => true,
        };
        if !believed {
            return seen;
        }
        if headers.contains_key(X_FORWARDED_FOR) {
            seen.walk(items(headers, &X_FORWARDED_FOR).map(parse_node), trusted);
        } else {
            let elements = items(headers, &header::FORWARDED);
            seen.walk(elements.map(|element| parse_node(parameter(element, "for")?)), trusted);
        }
        seen.prefix = text(headers, &X_FORWARDED_PREFIX).map_or("", clean_prefix);
        if let Some(proto) = items(headers, &X_FORWARDED_PROTO).next() {
            seen.secure = proto.eq_ignore_ascii_case("https");
        }
        seen.host = items(headers, &X_FORWARDED_HOST).next();
        seen
    }

    /// Where the client sees us, such as `https://registry.example.com/prefix`: as it asked for us. None where it
    /// named no host that could stand in a header of our answer.
    pub fn origin(&self, uri: &Uri, headers: &'a HeaderMap) -> Option<String> {
        let host = self.host.or_else(|| uri.authority().map(|authority| authority.as_str()));
        let host = host.or_else(|| text(headers, &header::HOST)).filter(|host| is_host(host))?;
        let scheme = if self.secure { "https" } else { "http" };
        Some(format!("{scheme}://{host}{}", self.prefix))
    }

    /// Goes from proxy to proxy towards the client. `nodes` come nearest first.
    fn walk(&mut self, nodes: impl Iterator<Item = Option<IpAddr>>, trusted: &TrustedProxies) {
        for node in nodes.take(HOPS_MAX) {
            let Some(ip) = node else { break };
            self.client = Some(ip);
            if !trusted.contains(ip) {
                break;
            }
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The items of a list, the last one first. A quoted comma does not occur in the values we look for.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let fields = headers.get_all(name).iter().rev().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.rsplit(',').map(str::trim))
}

/// One parameter of an element of `Forwarded`.
fn parameter<'a>(element: &'a str, wanted: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
    })
}

/// An address with or without port; none for what is hidden or unknown.
fn parse_node(node: &str) -> Option<IpAddr> {
    let plain = node.trim_start_matches('[').trim_end_matches(']');
    let ip = plain.parse().or_else(|_| node.parse::<SocketAddr>().map(|addr| addr.ip())).ok()?;
    Some(IpAddr::to_canonical(&ip))
}

/// A name or an address, with a port or without.
fn is_host(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !host.is_empty() && host.len() <= HOST_MAX && host.bytes().all(fits)
}

/// Only a plain path: it ends up in links and Locations, where `//host` or `..` would lead elsewhere.
fn clean_prefix(prefix: &str) -> &str {
    let path = prefix.trim_end_matches('/');
    let segment_fits = |segment: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        !segment.is_empty() && segment.bytes().all(fits) && segment != "." && segment != ".."
    };
    match path.strip_prefix('/') {
        Some(inner) if path.len() <= PREFIX_MAX && inner.split('/').all(segment_fits) => path,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const DIRECT: &str = "203.0.113.9";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    /// `expect` is "client prefix".
    #[track_caller]
    fn check(peer: &str, fields: &[(&'static str, &str)], expect: &str) {
        let conn = match peer {
            "unix" => ConnInfo::new(PeerAddr::Unix { uid: 0 }, false),
            _ => ConnInfo::new(PeerAddr::Tcp(SocketAddr::new(peer.parse().unwrap(), 1)), false),
        };
        let headers = headers(fields);
        let trusted = TrustedProxies::new(
            ["127.0.0.0/8", "::1", "10.0.0.0/8"].iter().map(|text| text.parse().unwrap()).collect(),
        );
        let seen = Forwarded::of(&conn, &headers, &trusted);
        let client = seen.client.map_or("none".into(), |ip| ip.to_string());
        assert_eq!(format!("{client} {}", seen.prefix).trim_end(), expect, "{peer} {fields:?}");
    }

    #[test]
    fn nothing_counts_from_a_stranger() {
        let lies = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-prefix", "/evil"),
            ("forwarded", "for=1.1.1.1;proto=https;host=evil"),
        ];
        check(DIRECT, &lies, DIRECT);
    }

    #[test]
    fn x_fields() {
        check("127.0.0.1", &[], "127.0.0.1");
        let one = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-prefix", "/registry/")];
        check("127.0.0.1", &one, "1.1.1.1 /registry");
        check("::1", &one, "1.1.1.1 /registry");
        check("unix", &one, "1.1.1.1 /registry");
        check("unix", &[], "none");
        check("127.0.0.1", &[("x-forwarded-for", "6.6.6.6, 1.1.1.1")], "1.1.1.1");
        check("127.0.0.1", &[("x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.7")], "1.1.1.1");
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "10.0.0.7")];
        check("127.0.0.1", &lines, "1.1.1.1");
        check("127.0.0.1", &[("x-forwarded-for", "1.1.1.1, nonsense")], "127.0.0.1");
        check("127.0.0.1", &[("x-forwarded-for", "[2001:db8::1]:99")], "2001:db8::1");
    }

    #[test]
    fn rfc7239() {
        let one = [("forwarded", "proto=https ;For=\"[2001:db8::1]:4711\";host=\"r.io\"")];
        check("127.0.0.1", &one, "2001:db8::1");
        let chain = [("forwarded", "for=6.6.6.6;host=evil, for=1.1.1.1;proto=https, for=10.0.0.7;host=mid")];
        check("127.0.0.1", &chain, "1.1.1.1");
        check("127.0.0.1", &[("forwarded", "for=unknown;proto=https")], "127.0.0.1");
        check("127.0.0.1", &[("forwarded", ";;=,")], "127.0.0.1");
    }

    #[test]
    fn what_a_client_sends_through_its_proxy_does_not_hide_what_the_proxy_says() {
        let both = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "1.1.1.1")];
        check("127.0.0.1", &both, "1.1.1.1");
        check("127.0.0.1", &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "")], "127.0.0.1");
    }

    #[test]
    fn prefixes() {
        let cases = [
            ("/registry", "/registry"),
            ("/a/b-c_d.e~f/", "/a/b-c_d.e~f"),
            ("/", ""),
            ("", ""),
            ("registry", ""),
            ("//evil.io", ""),
            ("/a//b", ""),
            ("/a/../b", ""),
            ("/a?b", ""),
            ("/a%2f", ""),
            ("/./a", ""),
        ];
        for (given, expect) in cases {
            assert_eq!(clean_prefix(given), expect, "{given}");
        }
        assert_eq!(clean_prefix(&format!("/{}", "x".repeat(256))), "");
    }

    #[test]
    fn networks() {
        let holds = |net: &str, ip: &str| net.parse::<Network>().unwrap().contains(ip.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1") && holds("0.0.0.0/0", "9.9.9.9") && holds("::1", "::1"));
        assert!(holds("10.1.2.3", "::ffff:10.1.2.3") && holds("::/0", "2001:db8::1"));
        assert!(
            !holds("10.0.0.0/8", "11.0.0.1")
                && !holds("10.1.2.3/32", "10.1.2.2")
                && !holds("::/0", "1.1.1.1")
        );
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0/8", "localhost"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_origin_is_what_the_client_asked_for() {
        let check = |peer: &str, fields: &[(&'static str, &str)], expect: Option<&str>| {
            let conn = ConnInfo::new(PeerAddr::Tcp(SocketAddr::new(peer.parse().unwrap(), 1)), false);
            let headers = headers(fields);
            let seen = Forwarded::of(&conn, &headers, &TrustedProxies::default());
            assert_eq!(seen.origin(&Uri::from_static("/v2/"), &headers).as_deref(), expect, "{fields:?}");
        };
        let proxied =
            [("host", "inner:5000"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "outer.example")];
        check("127.0.0.1", &proxied, Some("https://outer.example"));
        check(DIRECT, &proxied, Some("http://inner:5000"));
        check(DIRECT, &[("host", "[::1]:5000")], Some("http://[::1]:5000"));
        for bad in ["", "a b", "a\",realm=\"b", "a/b", "a@b", &"a".repeat(263)] {
            check(DIRECT, &[("host", bad)], None);
        }
        check(DIRECT, &[], None);
    }

    proptest! {
        #[test]
        fn any_field_is_read(field in "[ -~]{0,60}") {
            let fields = headers(&[("forwarded", &field), ("x-forwarded-for", &field), ("x-forwarded-prefix", &field)]);
            let conn = ConnInfo::new(PeerAddr::Unix { uid: 0 }, false);
            let seen = Forwarded::of(&conn, &fields, &TrustedProxies::default());
            prop_assert!(seen.prefix.is_empty() || (seen.prefix.starts_with('/') && !seen.prefix.ends_with('/')));
        }
    }
}
