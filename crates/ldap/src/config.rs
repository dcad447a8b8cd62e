//! What an administrator sets under `[auth.ldap]`. An empty text means: not set.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::LdapError;
use crate::filter::{Filter, Hole};

/// Where the directory is, and how people and groups are found in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LdapConfig {
    /// `ldaps://host`, or `ldap://host`; with `:port` where it is not 636 or 389.
    pub url: String,
    /// Encrypts an `ldap://` connection before anything is sent on it.
    pub start_tls: bool,
    /// Lets passwords cross a network unencrypted. Without it, that is refused.
    pub allow_plaintext: bool,
    /// The authorities, PEM, that alone may sign the directory's certificate. Empty: those that the system trusts.
    pub ca: PathBuf,
    /// The account that searches. Empty: searches are anonymous.
    pub bind_dn: String,
    /// Its password.
    pub bind_password: Secret,
    /// The entry below which people are.
    pub user_base: String,
    /// What a person's entry matches; `{user}` is the name that was typed.
    pub user_filter: String,
    /// The attribute with the name that Wharf knows a person by.
    pub name_attribute: String,
    /// The attribute with the address for mail.
    pub email_attribute: String,
    /// The attribute with the name that is shown.
    pub display_attribute: String,
    /// The entry below which groups are. Empty: groups are not searched for.
    pub group_base: String,
    /// What a person's groups match; `{dn}` is the person's entry, `{user}` its `name_attribute`.
    pub group_filter: String,
    /// The attribute with a group's name.
    pub group_name_attribute: String,
    /// The attribute of a person's entry that lists groups: `memberOf` in Active Directory. Empty: it is not read.
    pub member_of_attribute: String,
    /// How long connecting, and each operation, may take.
    #[serde(with = "span")]
    pub timeout: Duration,
    /// The most groups of a person.
    pub max_groups: u32,
    /// How many people may be asked for at once.
    pub connections: usize,
}

impl Default for LdapConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            start_tls: false,
            allow_plaintext: false,
            ca: PathBuf::new(),
            bind_dn: String::new(),
            bind_password: Secret::default(),
            user_base: String::new(),
            user_filter: "(&(objectClass=person)(uid={user}))".into(),
            name_attribute: "uid".into(),
            email_attribute: "mail".into(),
            display_attribute: "cn".into(),
            group_base: String::new(),
            group_filter: "(|(member={dn})(uniqueMember={dn})(memberUid={user}))".into(),
            group_name_attribute: "cn".into(),
            member_of_attribute: String::new(),
            timeout: Duration::from_secs(5),
            max_groups: 1_000,
            connections: 4,
        }
    }
}

/// A password that no log shows.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// What may be shown: whether there is one.
    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "***" }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

/// Spans of time as the whole configuration writes them.
mod span {
    use super::*;
    use serde::Deserializer;
    use serde::de::Error;

    const UNITS: [(&str, u64); 3] = [("ms", 1), ("s", 1_000), ("m", 60_000)];

    pub(super) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = span.as_millis();
        match millis % 1_000 {
            0 => serializer.collect_str(&format_args!("{}s", millis / 1_000)),
            _ => serializer.collect_str(&format_args!("{millis}ms")),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let millis =
            number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        let wrong =
            || D::Error::custom(format!("`{text}` is not a span of time: write it like 500ms, 5s or 1m"));
        millis.map(Duration::from_millis).ok_or_else(wrong)
    }
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    None,
    Tls,
    StartTls,
}

/// What the URL and its switches come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) protection: Protection,
}

impl LdapConfig {
    /// Where to connect to, and how; refuses what would show passwords to a network.
    pub(crate) fn address(&self) -> Result<Address, LdapError> {
        let url = self.url.trim_end_matches('/');
        let (scheme, place) = url.split_once("://").unwrap_or_default();
        let (protection, usual) = match (scheme, self.start_tls) {
            ("ldaps", false) => (Protection::Tls, 636),
            ("ldaps", true) => {
                return Err(wrong("start_tls", "an ldaps:// URL is encrypted already: leave it out"));
            }
            ("ldap", true) => (Protection::StartTls, 389),
            ("ldap", false) => (Protection::None, 389),
            _ => return Err(wrong("url", "write ldaps://host or ldap://host")),
        };
        let (host, port) = host_and_port(place)
            .ok_or_else(|| wrong("url", "write ldaps://host or ldaps://host:port, and nothing after it"))?;
        let address = Address { host: host.to_owned(), port: port.unwrap_or(usual), protection };
        if protection == Protection::None && !self.allow_plaintext && !is_loopback(host) {
            let advice = "passwords would cross the network unencrypted: use ldaps://, or set start_tls = true \
                          (or allow_plaintext = true on a network that nobody else reads)";
            return Err(wrong("url", advice));
        }
        Ok(address)
    }

    /// The parsed filters for people and for groups; and everything else that can be wrong in itself.
    pub(crate) fn filters(&self) -> Result<(Filter, Filter), LdapError> {
        self.check_texts()?;
        self.check_bounds()?;
        let parse = |key, text| Filter::parse(text).map_err(|reason| wrong(key, reason));
        let user = parse("user_filter", &self.user_filter)?;
        if !user.has(Hole::User) || user.has(Hole::Dn) {
            return Err(wrong(
                "user_filter",
                "`{user}` must be in it, for the name that was typed, and `{dn}` not",
            ));
        }
        let group = parse("group_filter", &self.group_filter)?;
        if !group.has(Hole::User) && !group.has(Hole::Dn) {
            return Err(wrong(
                "group_filter",
                "`{dn}` or `{user}` must be in it, or everybody is in every group",
            ));
        }
        Ok((user, group))
    }

    fn check_texts(&self) -> Result<(), LdapError> {
        let needed = [
            ("user_base", &self.user_base),
            ("name_attribute", &self.name_attribute),
            ("group_name_attribute", &self.group_name_attribute),
        ];
        if let Some((key, _)) = needed.iter().find(|(_, text)| text.is_empty()) {
            return Err(wrong(key, "it is needed"));
        }
        let all = [
            ("user_base", &self.user_base),
            ("group_base", &self.group_base),
            ("bind_dn", &self.bind_dn),
            ("name_attribute", &self.name_attribute),
            ("email_attribute", &self.email_attribute),
            ("display_attribute", &self.display_attribute),
            ("group_name_attribute", &self.group_name_attribute),
            ("member_of_attribute", &self.member_of_attribute),
        ];
        if let Some((key, _)) = all.iter().find(|(_, text)| text.len() > 1_024) {
            return Err(wrong(key, "it is longer than 1024 bytes"));
        }
        // A name without a password is an "unauthenticated bind": it succeeds, and proves nothing.
        match (self.bind_dn.is_empty(), self.bind_password.expose().is_empty()) {
            (false, true) => Err(wrong("bind_password", "bind_dn has a name, so its password is needed")),
            (true, false) => {
                Err(wrong("bind_dn", "there is a password, so the name of its account is needed"))
            }
            _ => Ok(()),
        }
    }

    fn check_bounds(&self) -> Result<(), LdapError> {
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.timeout) {
            return Err(wrong("timeout", "write a span from 100ms to 60s"));
        }
        if !(1..=10_000).contains(&self.max_groups) {
            return Err(wrong("max_groups", "write a number from 1 to 10000"));
        }
        if !(1..=100).contains(&self.connections) {
            return Err(wrong("connections", "write a number from 1 to 100"));
        }
        Ok(())
    }
}

fn wrong(key: &'static str, reason: impl Into<String>) -> LdapError {
    LdapError::Config { key, reason: reason.into() }
}

/// The two parts of `host`, `host:port`, `[v6]` and `[v6]:port`.
fn host_and_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(inner) => {
            inner.split_once(']').filter(|(host, _)| host.parse::<std::net::Ipv6Addr>().is_ok())?
        }
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if host.is_empty() || host.len() > 255 || !host.chars().all(is_name) {
        return None;
    }
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
        None => rest.is_empty().then_some((host, None)),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut LdapConfig)) -> LdapConfig {
        let mut config =
            LdapConfig { url: "ldaps://a".into(), user_base: "dc=a".into(), ..LdapConfig::default() };
        change(&mut config);
        config
    }

    #[test]
    fn addresses_are_read() {
        let check = |url: &str, start_tls, host: &str, port, protection| {
            let read = LdapConfig { url: url.into(), start_tls, ..LdapConfig::default() }.address().unwrap();
            assert_eq!(read, Address { host: host.into(), port, protection }, "{url}");
        };
        check("ldaps://ldap.example.org", false, "ldap.example.org", 636, Protection::Tls);
        check("ldaps://ldap.example.org:1636/", false, "ldap.example.org", 1636, Protection::Tls);
        check("ldap://ldap.example.org", true, "ldap.example.org", 389, Protection::StartTls);
        check("ldap://localhost", false, "localhost", 389, Protection::None);
        check("ldap://127.0.0.1:3890", false, "127.0.0.1", 3890, Protection::None);
        check("ldap://[::1]:3890", false, "::1", 3890, Protection::None);
        check("ldaps://[2001:db8::1]", false, "2001:db8::1", 636, Protection::Tls);
    }

    #[test]
    fn addresses_that_cannot_be_meant_are_refused() {
        let check = |url: &str, start_tls, key: &str| {
            let error =
                LdapConfig { url: url.into(), start_tls, ..LdapConfig::default() }.address().unwrap_err();
            assert!(error.to_string().starts_with(&format!("auth.ldap.{key}: ")), "{url}: {error}");
        };
        for url in [
            "",
            "localhost",
            "http://localhost",
            "ldapi:///run/ldap",
            "ldaps://",
            "ldaps://a:0",
            "ldaps://a:b",
        ] {
            check(url, false, "url");
        }
        for url in
            ["ldaps://a:99999", "ldaps://a/dc=b", "ldaps://b@a", "ldaps://[a]", "ldaps://::1", "ldaps://a b"]
        {
            check(url, false, "url");
        }
        check("ldaps://a", true, "start_tls");
        check("ldap://ldap.example.org", false, "url");
        check("ldap://10.0.0.1", false, "url");
        check("ldap://localhost.example.org", false, "url");
    }

    #[test]
    fn plain_text_to_a_network_must_be_asked_for() {
        let config = config(|config| {
            config.url = "ldap://10.0.0.1".into();
            config.allow_plaintext = true;
        });
        assert_eq!(config.address().unwrap().protection, Protection::None);
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        let check = |key: &str, change: fn(&mut LdapConfig)| {
            let error = config(change).filters().unwrap_err().to_string();
            assert!(error.starts_with(&format!("auth.ldap.{key}: ")), "{key}: {error}");
        };
        check("user_base", |config| config.user_base.clear());
        check("name_attribute", |config| config.name_attribute.clear());
        check("bind_password", |config| config.bind_dn = "cn=a".into());
        check("bind_dn", |config| config.bind_password = Secret::new("a"));
        check("bind_dn", |config| config.bind_dn = "a".repeat(2_000));
        check("user_filter", |config| config.user_filter = "(uid=ann)".into());
        check("user_filter", |config| config.user_filter = "(uid={user}".into());
        check("user_filter", |config| config.user_filter = "(|(uid={user})(a={dn}))".into());
        check("group_filter", |config| config.group_filter = "(cn=*)".into());
        check("timeout", |config| config.timeout = Duration::ZERO);
        check("timeout", |config| config.timeout = Duration::from_secs(61));
        check("max_groups", |config| config.max_groups = 0);
        check("connections", |config| config.connections = 101);
        assert!(config(|_| {}).filters().is_ok());
    }

    #[test]
    fn the_file_is_read_and_shows_no_password() {
        let text = "url = 'ldaps://a'\nbind_dn = 'cn=w'\nbind_password = 's3cret'\nuser_base = 'dc=a'\ntimeout = '250ms'";
        let config: LdapConfig = toml::from_str(text).unwrap();
        assert_eq!((config.timeout, config.max_groups), (Duration::from_millis(250), 1_000));
        assert_eq!(config.bind_password.expose(), "s3cret");
        for shown in [format!("{config:?}"), toml::to_string(&config).unwrap()] {
            assert!(shown.contains("***") && !shown.contains("s3cret"), "{shown}");
        }
        assert!(toml::from_str::<LdapConfig>("insecure = true").is_err());
        assert!(toml::from_str::<LdapConfig>("timeout = '5 s'").is_err());
        let again: LdapConfig = toml::from_str(&toml::to_string(&LdapConfig::default()).unwrap()).unwrap();
        assert_eq!(again, LdapConfig::default());
    }
}
