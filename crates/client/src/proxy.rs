//! The address of an outbound proxy, whose credentials are never shown.

use std::fmt;
use std::str::FromStr;

use reqwest::{Proxy, Url};

use crate::error::PublicUrl;
use crate::{ClientError, Secret};

/// The most characters of the address.
const LONGEST: usize = 2000;

/// The address of an HTTP proxy: `http://[user:password@]host[:port]`, or the same with `https`.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    full: Secret,
    shown: PublicUrl,
}

/// Why a text is not the address of a proxy. The text may hold a password, so it is not in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that is not the address of a proxy: write http://host:port, or http://user:password@host:port")]
pub struct ProxyUrlError;

impl ProxyUrl {
    pub(crate) fn to_proxy(&self) -> Result<Proxy, ClientError> {
        Proxy::all(self.full.expose())
            .map_err(|_| ClientError::Setup(format!("the proxy {} cannot be used", self.shown)))
    }
}

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let url = Some(text).filter(|text| text.len() <= LONGEST).and_then(|text| Url::parse(text).ok());
        let url = url.ok_or(ProxyUrlError)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !bare {
            return Err(ProxyUrlError);
        }
        Ok(Self { full: Secret::new(url.to_string()), shown: url.into() })
    }
}

impl fmt::Display for ProxyUrl {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn proxies_are_named_without_their_password() {
        let check = |text: &str, expect: Option<&str>| {
            let parsed = text.parse::<ProxyUrl>();
            assert_eq!(parsed.as_ref().ok().map(ToString::to_string).as_deref(), expect, "{text}");
            assert!(!format!("{parsed:?}").contains("hunter2"), "{text}");
            assert!(parsed.is_err() || parsed.is_ok_and(|proxy| proxy.to_proxy().is_ok()), "{text}");
        };
        check("http://proxy:3128", Some("http://proxy:3128/"));
        check("https://user:hunter2@proxy.example.com/", Some("https://proxy.example.com/"));
        check("http://[::1]:1", Some("http://[::1]:1/"));
        for bad in [
            "",
            "proxy:3128",
            "user:hunter2@proxy:1",
            "socks5://proxy",
            "http://proxy/x",
            "http://proxy?hunter2",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}", rest in "[a-z:@/?#%0-9]{0,30}") {
            for text in [text, format!("http://{rest}")] {
                if let Ok(proxy) = text.parse::<ProxyUrl>() {
                    prop_assert!(proxy.to_proxy().is_ok());
                }
            }
        }
    }
}
