//! Sites: where else the blobs of this registry are to be had, and which client is sent to which.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::header::VIA;
use http::{HeaderMap, Uri};
use http_kit::Network;
use oci::{Digest, RepoName};

use crate::signed_url::UrlKeys;

/// The longest address of a site, in bytes.
const URL_MAX: usize = 500;

/// Tells the time, in seconds since 1970.
pub type Seconds = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Where a site is, such as `https://cdn.example.com`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteUrl(String);

impl SiteUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is reached by TLS.
    pub fn is_secure(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// The host with its port, where it names one, and the path that stands before all others.
    pub fn parts(&self) -> (&str, &str) {
        let rest = self.0.split_once("://").map_or(self.0.as_str(), |(_, rest)| rest);
        rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash))
    }
}

impl FromStr for SiteUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
        let wrong = || {
            format!(
                "`{shown}` cannot be a site: write where it is, such as https://cdn.example.com, without a slash at the \
                 end, a query or a user"
            )
        };
        let short = Some(text).filter(|text| text.len() <= URL_MAX).ok_or_else(wrong)?;
        let uri: Uri = short.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        let is_bare = !text.contains(['?', '#', '@', '\\']) && !text.ends_with('/');
        if is_http && has_host && is_bare { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }
}

impl fmt::Display for SiteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One place where blobs are to be had.
#[derive(Debug)]
pub struct Site {
    url: SiteUrl,
    /// Whose clients are sent there; everybody where there are none.
    networks: Vec<Network>,
    available: AtomicBool,
    redirects: AtomicU64,
}

impl Site {
    /// A site for the clients of these networks, or for everybody where there are none. Nobody is sent there before it is
    /// known to be available.
    pub fn new(url: SiteUrl, networks: Vec<Network>) -> Self {
        Self { url, networks, available: AtomicBool::new(false), redirects: AtomicU64::new(0) }
    }

    /// Where it is.
    pub const fn url(&self) -> &SiteUrl {
        &self.url
    }

    /// Whether clients are sent there.
    pub fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// Says whether clients are sent there from now on; gives whether they were.
    pub fn set_available(&self, available: bool) -> bool {
        self.available.swap(available, Ordering::Relaxed)
    }

    /// How many were sent there since the start.
    pub fn redirects(&self) -> u64 {
        self.redirects.load(Ordering::Relaxed)
    }

    fn is_for(&self, client: Option<IpAddr>) -> bool {
        let is_in = |client: IpAddr| self.networks.iter().any(|network| network.contains(client));
        self.networks.is_empty() || client.is_some_and(is_in)
    }
}

/// All sites, in the order in which they are looked at.
pub struct Sites {
    keys: Arc<UrlKeys>,
    clock: Seconds,
    lifetime: u64,
    min_bytes: u64,
    sites: Vec<Arc<Site>>,
}

impl fmt::Debug for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sites").field("sites", &self.sites).finish_non_exhaustive()
    }
}

impl Sites {
    /// Sites that blobs of at least so many bytes are read from. What is signed by the keys is good for one to two
    /// lifetimes.
    pub fn new(
        keys: Arc<UrlKeys>,
        clock: Seconds,
        lifetime: Duration,
        min_bytes: u64,
        sites: Vec<Arc<Site>>,
    ) -> Self {
        Self { keys, clock, lifetime: lifetime.as_secs().max(1), min_bytes, sites }
    }

    /// Where a client is sent for a blob of this size, if anywhere.
    pub(crate) fn send(
        &self,
        client: Option<IpAddr>,
        repository: &RepoName,
        digest: &Digest,
        size: u64,
    ) -> Option<String> {
        if size < self.min_bytes {
            return None;
        }
        let site = self.sites.iter().find(|site| site.is_available() && site.is_for(client))?;
        site.redirects.fetch_add(1, Ordering::Relaxed);
        let until = end_of_window((self.clock)(), self.lifetime, digest);
        Some(format!("{}{}", site.url, self.keys.sign(digest, repository, until)))
    }
}

/// Whether a Wharf asks as a mirror or an edge, which says so in `Via`: it may be the very site, and would be sent to itself.
pub(crate) fn is_of_a_wharf(headers: &HeaderMap) -> bool {
    let hops = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    let mut hops = hops.flat_map(|value| value.split(','));
    hops.any(|hop| hop.split_whitespace().nth(1).is_some_and(|by| by.starts_with("wharf-")))
}

/// The end of the window that an address of a digest given out now is good for: one to two lifetimes away, and the same
/// for all who ask in one lifetime. Windows of one digest begin at another time than those of the next, or all that is
/// cached would be fetched anew in the same second.
fn end_of_window(now: u64, lifetime: u64, digest: &Digest) -> u64 {
    let shift =
        digest.as_bytes().iter().take(7).fold(0, |shift, byte| shift << 8 | u64::from(*byte)) % lifetime;
    let beat = now.saturating_add(shift) / lifetime;
    beat.saturating_add(2).saturating_mul(lifetime) - shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signed_url::UrlKey;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn site(url: &str, networks: &[&str]) -> Arc<Site> {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        let site = Site::new(url.parse().unwrap(), networks);
        site.set_available(true);
        Arc::new(site)
    }

    fn sites(sites: Vec<Arc<Site>>) -> Sites {
        let keys = Arc::new(UrlKeys::new(vec![UrlKey::new(&[1; 32])]).unwrap());
        Sites::new(keys, Arc::new(|| 1_000_000), Duration::from_secs(3_600), 100, sites)
    }

    /// The host to which a client is sent.
    fn host(sites: &Sites, client: &str, size: u64) -> Option<String> {
        let client = (!client.is_empty()).then(|| client.parse().unwrap());
        let url = sites.send(client, &"team/app".parse().unwrap(), &Digest::sha256(b"a blob"), size)?;
        let (host, rest) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
        assert!(rest.contains("edge/v1/sha256/"), "{url}");
        Some(host.to_owned())
    }

    #[test]
    fn addresses_of_sites_are_read() {
        let check = |text: &str, expect: Option<(&str, &str)>| {
            let site: Result<SiteUrl, _> = text.parse();
            assert_eq!(site.as_ref().ok().map(SiteUrl::parts), expect, "{text}");
        };
        check("https://cdn.example.com", Some(("cdn.example.com", "")));
        check("http://127.0.0.1:8080", Some(("127.0.0.1:8080", "")));
        check("https://[::1]:8443/a/b", Some(("[::1]:8443", "/a/b")));
        let long = format!("https://{}", "a".repeat(URL_MAX));
        for bad in [
            "",
            "cdn.example.com",
            "ftp://cdn.example.com",
            "https://",
            "https:///a",
            "https://cdn.example.com/",
            "https://cdn.example.com?a=b",
            "https://cdn.example.com#a",
            "https://user@cdn.example.com",
            "https://cdn.example.com/a b",
            "https://cdn.example.com\r\nx: y",
            &long,
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn the_first_site_that_fits_is_the_one() {
        let inner = site("https://inner", &["10.0.0.0/8", "fd00::/8"]);
        let outer = site("https://outer", &[]);
        let both = sites(vec![Arc::clone(&inner), Arc::clone(&outer)]);
        let check = |client: &str, expect: Option<&str>| {
            assert_eq!(host(&both, client, 100).as_deref(), expect, "{client}");
        };
        check("10.1.2.3", Some("inner"));
        check("::ffff:10.1.2.3", Some("inner"));
        check("fd00::1", Some("inner"));
        check("192.0.2.1", Some("outer"));
        check("", Some("outer"));
        assert_eq!((inner.redirects(), outer.redirects()), (3, 2));
        inner.set_available(false);
        check("10.1.2.3", Some("outer"));
        outer.set_available(false);
        check("10.1.2.3", None);
        inner.set_available(true);
        check("192.0.2.1", None);
        check("", None);
        assert_eq!(host(&both, "10.1.2.3", 99), None, "a small one comes from here");
        assert_eq!((inner.redirects(), outer.redirects()), (3, 3));
    }

    #[test]
    fn a_wharf_is_known_by_what_it_says() {
        let check = |value: &'static str, expect: bool| {
            let headers = HeaderMap::from_iter([(VIA, http::HeaderValue::from_static(value))]);
            assert_eq!(is_of_a_wharf(&headers), expect, "{value}");
        };
        check("1.1 wharf-00aa", true);
        check("1.0 fred, HTTP/2 wharf-00aa (of ours)", true);
        check("1.1 proxy (wharf-00aa)", false);
        check("1.1 wharfinger.example.com", false);
        check("wharf-00aa", false);
        check(",, ,", false);
    }

    #[test]
    fn all_who_ask_in_a_window_get_the_same_and_each_digest_has_its_own() {
        let digest = |n: u32| Digest::sha256(&n.to_be_bytes());
        let ends: HashSet<u64> = (0..3_600).map(|second| end_of_window(second, 3_600, &digest(1))).collect();
        assert!(ends.len() <= 2, "{ends:?}");
        let offsets: HashSet<u64> = (0..100).map(|n| end_of_window(0, 3_600, &digest(n)) % 3_600).collect();
        assert!(offsets.len() > 80, "{offsets:?}");
    }

    proptest! {
        #[test]
        fn one_to_two_lifetimes_are_left(now in 0..u64::MAX / 4, lifetime in 1..700_000_u64, content: Vec<u8>) {
            let left = end_of_window(now, lifetime, &Digest::sha256(&content)) - now;
            prop_assert!(left > lifetime && left <= 2 * lifetime, "{left}");
        }

        #[test]
        fn no_address_of_a_site_panics(text: String, near in "https?://[a-z@:/?#.\\[\\]0-9]{0,20}") {
            for text in [text, near] {
                if let Ok(site) = text.parse::<SiteUrl>() {
                    prop_assert!(!site.parts().0.is_empty());
                }
            }
        }
    }
}
