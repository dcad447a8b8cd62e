//! Reading response headers, each of bounded length.

use std::fmt;
use std::time::Duration;

use oci::{Digest, MediaType};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};

/// The longest header value that is read. Upload addresses carry a state of up to a few kilobytes.
pub(crate) const LONGEST: usize = 16 << 10;

/// The text of a header.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|text| text.len() <= LONGEST)
}

/// How many bytes the body has, or would have for a HEAD.
pub(crate) fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_LENGTH.as_str())?.parse().ok()
}

/// The media type without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    MediaType::from_content_type(text(headers, CONTENT_TYPE.as_str())?).ok()
}

/// The digest that the registry computed.
pub(crate) fn digest(headers: &HeaderMap) -> Option<Digest> {
    text(headers, "docker-content-digest")?.parse().ok()
}

/// Which bytes of how many a partial answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub first: u64,
    /// The last byte itself belongs to it.
    pub last: u64,
    pub total: Option<u64>,
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from byte {} to {}", self.first, self.last)?;
        self.total.map_or(Ok(()), |total| write!(f, " of {total}"))
    }
}

/// What a partial answer is: `Content-Range: bytes 5-9/10`, or `/*` where the server does not know the whole.
pub(crate) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let (range, total) = text(headers, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total.trim() == "*" { None } else { Some(total.trim().parse().ok()?) };
    Some(ContentRange { first: first.trim().parse().ok()?, last: last.trim().parse().ok()?, total })
}

/// How many bytes there are where none of those that were asked for is: `Content-Range: bytes */10`.
pub(crate) fn unsatisfied(headers: &HeaderMap) -> Option<u64> {
    text(headers, "content-range")?.strip_prefix("bytes */")?.trim().parse().ok()
}

/// How many bytes an upload has: `Range: 0-N` is N + 1. Some registries say `0-0` of an empty upload, so that
/// is nothing.
pub(crate) fn uploaded(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, "range")?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let last: u64 = range.strip_prefix("0-")?.parse().ok()?;
    if last == 0 { Some(0) } else { last.checked_add(1) }
}

/// How long the server asks its clients to stay away.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER.as_str())?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // By the server's own clock: ours may differ.
    let until = httpdate::parse_http_date(value).ok()?;
    let now = httpdate::parse_http_date(text(headers, DATE.as_str())?).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn ranges_are_read() {
        let check = |value: &str, uploaded_bytes: Option<u64>| {
            assert_eq!(uploaded(&headers(&[("range", value)])), uploaded_bytes, "{value}");
        };
        check("0-9", Some(10));
        check("bytes=0-9", Some(10));
        check("0-0", Some(0));
        for bad in ["", "1-9", "0-", "0-x", "-9", &format!("0-{}", u64::MAX)] {
            check(bad, None);
        }
        let check = |value: &str, part: Option<(u64, u64, Option<u64>)>, whole: Option<u64>| {
            let headers = headers(&[("content-range", value)]);
            let read = content_range(&headers).map(|range| (range.first, range.last, range.total));
            assert_eq!((read, unsatisfied(&headers)), (part, whole), "{value}");
        };
        check("bytes 5-9/10", Some((5, 9, Some(10))), None);
        check("bytes 5-9/*", Some((5, 9, None)), None);
        check("bytes */10", None, Some(10));
        for bad in ["", "bytes", "bytes 5/10", "bytes 5-/10", "bytes 5-9", "items 5-9/10", "bytes */*"] {
            check(bad, None, None);
        }
    }

    #[test]
    fn a_pause_is_a_number_or_a_date() {
        let check = |pairs: &[(&'static str, &str)], expect: Option<u64>| {
            assert_eq!(retry_after(&headers(pairs)), expect.map(Duration::from_secs), "{pairs:?}");
        };
        let now = ("date", "Tue, 15 Nov 1994 08:12:31 GMT");
        check(&[("retry-after", "7")], Some(7));
        check(&[("retry-after", "Tue, 15 Nov 1994 08:12:40 GMT"), now], Some(9));
        check(&[("retry-after", "Tue, 15 Nov 1994 08:12:00 GMT"), now], Some(0));
        check(&[("retry-after", "Tue, 15 Nov 1994 08:12:40 GMT")], None);
        check(&[("retry-after", "soon"), now], None);
        check(&[], None);
    }

    proptest! {
        #[test]
        fn no_header_panics(value in "[ -~]{0,40}") {
            let headers = headers(&[("range", &value), ("content-range", &value), ("retry-after", &value),
                ("content-length", &value), ("content-type", &value), ("docker-content-digest", &value)]);
            uploaded(&headers);
            content_range(&headers);
            unsatisfied(&headers);
            retry_after(&headers);
            length(&headers);
            media_type(&headers);
            digest(&headers);
        }
    }
}
