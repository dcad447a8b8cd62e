//! What a registry says about its own limits, for whoever keeps a budget of requests.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::headers;
use crate::host::shorten;

/// The longest value of such a header.
const LONGEST: usize = 200;

/// Is told of each answer of a registry. Called in the way of a request: it must not block.
pub trait Watch: Send + Sync {
    /// The registry itself has answered: neither a token server nor what it redirects to, and with anything but the
    /// question who asks.
    fn answered(&self, answer: &Answered);
}

impl fmt::Debug for dyn Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<watcher>")
    }
}

/// An answer of a registry, as far as it is about the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The HTTP status. A redirect counts: the rest of the answer is from elsewhere.
    pub status: u16,
    /// What it says of its limits, where it does.
    pub limit: Option<RateLimit>,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// How many requests a registry still takes: `ratelimit-limit: 100;w=21600`, `ratelimit-remaining: 76;w=21600`, or the
/// same with `x-` in front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// How many in a window.
    pub limit: Option<u64>,
    /// How many are left of them.
    pub remaining: Option<u64>,
    /// How long a window is.
    pub window_seconds: Option<u64>,
    /// Whom they are counted for: an address, or an account's id.
    pub source: Option<String>,
}

impl Answered {
    pub(crate) fn read(status: u16, headers: &HeaderMap) -> Self {
        Self { status, limit: RateLimit::read(headers), retry_after: headers::retry_after(headers) }
    }
}

impl RateLimit {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let find = |name: &str, other: &str| headers::text(headers, name).or(headers::text(headers, other));
        let limit = find("ratelimit-limit", "x-ratelimit-limit").and_then(quota);
        let remaining = find("ratelimit-remaining", "x-ratelimit-remaining").and_then(quota);
        let window = |quota: Option<(u64, Option<u64>)>| quota.and_then(|(_, window)| window);
        limit.or(remaining)?;
        Some(Self {
            limit: limit.map(|(number, _)| number),
            remaining: remaining.map(|(number, _)| number),
            window_seconds: window(limit).or(window(remaining)),
            source: headers::text(headers, "docker-ratelimit-source").map(shorten),
        })
    }
}

/// The number and the window of `100;w=21600`; of a list, as later drafts have it, those of the first entry that has a
/// window, with the number that stands in front of all.
fn quota(text: &str) -> Option<(u64, Option<u64>)> {
    let text = Some(text).filter(|text| text.len() <= LONGEST)?;
    let (number, _) = text.split_once([',', ';']).unwrap_or((text, ""));
    let window = text.split([',', ';']).find_map(|part| part.trim().strip_prefix("w=")?.trim().parse().ok());
    Some((number.trim().parse().ok()?, window))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn read(pairs: &[(&'static str, &str)]) -> Option<RateLimit> {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        Answered::read(200, &pairs.iter().map(pair).collect()).limit
    }

    #[test]
    fn limits_are_read() {
        let check = |pairs: &[(&'static str, &str)],
                     expect: Option<(Option<u64>, Option<u64>, Option<u64>)>| {
            let read = read(pairs).map(|limit| (limit.limit, limit.remaining, limit.window_seconds));
            assert_eq!(read, expect, "{pairs:?}");
        };
        let (limit, remaining) = ("ratelimit-limit", "ratelimit-remaining");
        let hub = [(limit, "100;w=21600"), (remaining, "76;w=21600")];
        check(&hub, Some((Some(100), Some(76), Some(21600))));
        check(&[(remaining, "0;w=60")], Some((None, Some(0), Some(60))));
        check(&[(limit, "100, 100;w=60, 5000;w=3600")], Some((Some(100), None, Some(60))));
        check(
            &[("x-ratelimit-limit", "5000"), ("x-ratelimit-remaining", " 4999 ")],
            Some((Some(5000), Some(4999), None)),
        );
        check(&[(limit, "7"), ("x-ratelimit-limit", "8")], Some((Some(7), None, None)));
        check(&[(limit, "7;w=soon")], Some((Some(7), None, None)));
        let long = format!("7;{}", "x".repeat(LONGEST));
        for bad in ["", "many", "-1", "18446744073709551616", ";w=60", &long] {
            check(&[(limit, bad)], None);
        }
        check(&[("docker-ratelimit-source", "192.0.2.1")], None);
    }

    #[test]
    fn a_source_is_told_within_bounds() {
        let long = "a".repeat(500);
        let limit = read(&[("ratelimit-limit", "1"), ("docker-ratelimit-source", &long)]).unwrap();
        assert_eq!(limit.source.map(|source| source.len()), Some(120));
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "[ -~]{0,40}", near in "[0-9w=;, ]{0,30}") {
            for text in [&text, &near] {
                read(&[("ratelimit-limit", text), ("ratelimit-remaining", text), ("docker-ratelimit-source", text)]);
            }
        }

        #[test]
        fn what_was_written_is_read(number: u64, window: u64) {
            let text = format!("{number};w={window}");
            prop_assert_eq!(quota(&text), Some((number, Some(window))));
        }
    }
}
