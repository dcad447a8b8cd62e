//! How far each limit may be moved: docs/limits.md is this table for people, and a test holds the two together.

use std::time::Duration;

use anyhow::{Result, bail};
use toml::{Table, Value};

use crate::span::Span;

/// A limit of the configuration, with the least and the most it may be set to: a number, or a span of time.
pub(crate) struct Bound {
    pub(crate) key: &'static str,
    pub(crate) least: &'static str,
    pub(crate) most: &'static str,
}

const fn bound(key: &'static str, least: &'static str, most: &'static str) -> Bound {
    Bound { key, least, most }
}

/// Every limit that can be set.
pub(crate) const BOUNDS: &[Bound] = &[
    bound("http.connections", "1", "1000000"),
    bound("http.header_time", "1s", "10m"),
    bound("http.header_bytes", "8192", "393216"),
    bound("http.header_count", "20", "1000"),
    bound("http.idle", "1s", "1h"),
    bound("http.body_rate", "0", "1073741824"),
    bound("http.body_window", "1s", "1h"),
    bound("http.write_stall", "1s", "1h"),
    bound("http.drain", "0s", "7d"),
    bound("auth.password_length", "8", "64"),
    bound("auth.token_days", "0", "3650"),
    bound("auth.robot_days", "0", "3650"),
    bound("auth.tokens_per_user", "1", "10000"),
    bound("auth.robots_per_project", "1", "10000"),
    bound("auth.session_hours", "1", "168"),
    bound("auth.session_idle_minutes", "1", "1440"),
    bound("auth.browser_idle", "1s", "1d"),
    bound("auth.browser_max", "1s", "30d"),
    bound("auth.ldap.recheck", "1s", "1h"),
    bound("audit.keep", "1d", "3650d"),
    bound("audit.keep_bytes", "134217728", "1099511627776"),
    bound("fair.egress_bytes", "0", "1099511627776"),
    bound("fair.ingress_bytes", "0", "1099511627776"),
    bound("fair.max_wait", "1s", "60s"),
    bound("fair.address_bytes", "0", "1099511627776"),
    bound("fair.address_requests", "0", "1000000"),
    bound("fair.address_burst", "0", "1000000"),
    bound("fair.address_transfers", "0", "1000000"),
    bound("fair.identity_bytes", "0", "1099511627776"),
    bound("fair.identity_requests", "0", "1000000"),
    bound("fair.identity_burst", "0", "1000000"),
    bound("fair.identity_transfers", "0", "1000000"),
    bound("fair.project_bytes", "0", "1099511627776"),
    bound("fair.project_requests", "0", "1000000"),
    bound("fair.project_burst", "0", "1000000"),
    bound("fair.project_transfers", "0", "1000000"),
    bound("limits.manifest_bytes", "4194304", "67108864"),
    bound("limits.manifest_depth", "8", "100"),
    bound("limits.manifest_references", "100", "1000000"),
    bound("limits.tags_per_push", "10", "100"),
    bound("limits.page", "1", "10000"),
    bound("limits.referrers_bytes", "65536", "67108864"),
    bound("limits.blob_bytes", "1048576", "17592186044416"),
    bound("limits.free_bytes", "0", "1099511627776"),
    bound("cache.manifest_percent", "0", "50"),
    bound("cache.blobs", "0", "10000000"),
    bound("cache.open_files", "0", "100000"),
    bound("gc.grace", "0s", "3650d"),
    bound("gc.orphan_grace", "1m", "3650d"),
    bound("uploads.open", "1", "1000000"),
    bound("uploads.expire", "1s", "365d"),
    bound("uploads.max_age", "1s", "365d"),
    bound("mirror.max_bytes", "0", "1125899906842624"),
    bound("mirror.free_bytes", "0", "1099511627776"),
    bound("mirror.peer_timeout", "1s", "5m"),
    bound("edge.lifetime", "1s", "7d"),
    bound("edge.min_bytes", "0", "1099511627776"),
    bound("edge.probe_every", "1s", "1h"),
];

/// Refuses a configuration with a limit beyond its bounds.
pub(crate) fn check(config: &Table) -> Result<()> {
    for Bound { key, least, most } in BOUNDS {
        let Some(value) = look_up(config, key) else { bail!("internal: there is no key `{key}`") };
        let (Some(number), Some(low), Some(high)) = (measure(&value), measure(least), measure(most)) else {
            bail!("internal: `{key}` cannot be compared with its bounds");
        };
        if number < low || number > high {
            bail!("`{key}` is {value}, and must be between {least} and {most}");
        }
    }
    Ok(())
}

/// The text of the value under a dotted key.
pub(crate) fn look_up(config: &Table, key: &str) -> Option<String> {
    let (sections, name) = key.rsplit_once('.')?;
    let mut table = config;
    for section in sections.split('.') {
        table = table.get(section)?.as_table()?;
    }
    match table.get(name)? {
        Value::Integer(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// A number as it is, a span in milliseconds.
fn measure(text: &str) -> Option<u128> {
    text.parse().ok().or_else(|| text.parse::<Span>().ok().map(|span| Duration::from(span).as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::upstreams::UpstreamSection;

    fn defaults() -> Table {
        Table::try_from(Config::default()).unwrap()
    }

    #[test]
    fn the_defaults_are_within_bounds_and_beyond_is_refused() {
        check(&defaults()).unwrap();
        let mut config = Config::default();
        config.limits.page = 0;
        let error = check(&Table::try_from(config).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "`limits.page` is 0, and must be between 1 and 10000");
    }

    #[test]
    fn every_limit_has_bounds() {
        for section in ["http", "auth", "fair", "limits", "cache", "uploads", "mirror", "edge"] {
            let table = defaults();
            for (name, value) in table[section].as_table().unwrap() {
                let key = format!("{section}.{name}");
                let bounded = BOUNDS.iter().any(|bound| bound.key == key);
                // The crate `ldap` bounds its own.
                let is_section = value.is_array() || value.is_table();
                let is_word =
                    ["auth.mode", "auth.public_url", "edge.key_file", "edge.upstream", "mirror.name"]
                        .contains(&&*key);
                assert!(bounded || is_section || is_word, "{key}");
            }
        }
    }

    /// The rows of docs/limits.md that begin with a key in backquotes: key, default, least, most.
    fn documented() -> Vec<[String; 4]> {
        let text = include_str!("../../../docs/limits.md");
        let cells = |line: &str| -> Vec<String> {
            line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
        };
        let rows = text.lines().filter(|line| line.starts_with("| `") && line.contains('.')).map(cells);
        rows.map(|row| [row[1].clone(), row[2].clone(), row[3].clone(), row[4].clone()]).collect()
    }

    #[test]
    fn the_manual_tells_the_limits() {
        let rows = documented();
        assert_eq!(rows.len(), BOUNDS.len());
        for ([key, default, least, most], bound) in rows.iter().zip(BOUNDS) {
            assert_eq!((key.as_str(), least.as_str(), most.as_str()), (bound.key, bound.least, bound.most));
            assert_eq!(Some(default.clone()), look_up(&defaults(), key), "{key}");
        }
    }

    #[test]
    fn the_manual_tells_every_key() {
        let text = include_str!("../../../docs/configuration.md");
        let ldap = include_str!("../../../docs/ldap.md");
        for name in defaults()["auth"]["ldap"].as_table().unwrap().keys() {
            assert!(ldap.contains(&format!("| `{name}` |")), "auth.ldap.{name}");
        }
        assert!(text.contains("| `auth.workload` |") && text.contains("| `upstream` |"));
        // Its keys have a page of their own.
        let upstreams = include_str!("../../../docs/upstreams.md");
        let section: UpstreamSection = toml::from_str("registry = \"docker.io\"").unwrap();
        for name in Table::try_from(section).unwrap().keys() {
            assert!(upstreams.contains(&format!("`{name}`")), "upstream.{name}");
        }
        for (key, value) in defaults() {
            match value {
                Value::Table(section) => {
                    for (name, value) in section {
                        // The keys of `auth.ldap` have a page of their own.
                        let section = value.as_table().filter(|_| name != "ldap");
                        let keys = section.into_iter().flat_map(Table::keys);
                        let keys: Vec<String> = keys.map(|inner| format!("{key}.{name}.{inner}")).collect();
                        let keys = if keys.is_empty() { vec![format!("{key}.{name}")] } else { keys };
                        for key in keys {
                            assert!(text.contains(&format!("| `{key}` |")), "{key}");
                        }
                    }
                }
                _ => assert!(text.contains(&format!("| `{key}` |")), "{key}"),
            }
        }
    }
}
