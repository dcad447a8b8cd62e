//! Conditional requests (RFC 9110, 13): has the client what we would send, or what it thinks it changes?

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// An entity tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag {
    weak: bool,
    opaque: String,
}

impl ETag {
    /// A tag for exactly these bytes, such as a digest. None when the text cannot stand in a tag.
    pub fn strong(opaque: impl Into<String>) -> Option<ETag> {
        ETag::new(opaque.into(), false)
    }

    /// A tag for bytes that mean the same.
    pub fn weak(opaque: impl Into<String>) -> Option<ETag> {
        ETag::new(opaque.into(), true)
    }

    fn new(opaque: String, weak: bool) -> Option<ETag> {
        opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"').then_some(ETag { weak, opaque })
    }

    /// The `ETag` field.
    pub fn to_header(&self) -> Option<HeaderValue> {
        let weak = if self.weak { "W/" } else { "" };
        HeaderValue::try_from(format!("{weak}\"{}\"", self.opaque)).ok()
    }
}

/// What identifies the representation that a request is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Validators<'a> {
    /// Its tag; none when there is no representation (yet).
    pub etag: Option<&'a ETag>,
    /// When it last changed.
    pub modified: Option<SystemTime>,
}

/// What the conditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Go on.
    Met,
    /// Answer 304: the client has it.
    NotModified,
    /// Answer 412: it is not what the client thinks it is.
    Failed,
}

impl Validators<'_> {
    /// Weighs `If-Match`, `If-Unmodified-Since`, `If-None-Match` and `If-Modified-Since`, in the order that the RFC
    /// gives them.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Precondition {
        let reading = *method == Method::GET || *method == Method::HEAD;
        if headers.contains_key(header::IF_MATCH) {
            if !self.is_listed(headers, header::IF_MATCH, Compare::Strong) {
                return Precondition::Failed;
            }
        } else if self.changed_since(headers, header::IF_UNMODIFIED_SINCE) == Some(true) {
            return Precondition::Failed;
        }
        if headers.contains_key(header::IF_NONE_MATCH) {
            return match self.is_listed(headers, header::IF_NONE_MATCH, Compare::Weak) {
                true if reading => Precondition::NotModified,
                true => Precondition::Failed,
                false => Precondition::Met,
            };
        }
        if reading && self.changed_since(headers, header::IF_MODIFIED_SINCE) == Some(false) {
            return Precondition::NotModified;
        }
        Precondition::Met
    }

    /// Whether a `Range` counts: there is no `If-Range`, or it names exactly this representation.
    pub fn range_applies(&self, headers: &HeaderMap) -> bool {
        let Some(field) = headers.get(header::IF_RANGE) else { return true };
        if let (Some(given), Some(modified)) = (date(field), self.modified) {
            return whole_seconds(given) == whole_seconds(modified);
        }
        self.is_listed(headers, header::IF_RANGE, Compare::Strong) && field != "*"
    }

    fn is_listed(&self, headers: &HeaderMap, name: HeaderName, compare: Compare) -> bool {
        let Some(etag) = self.etag else { return false };
        let mut tags = headers.get_all(name).iter().flat_map(|field| Tags(field.as_bytes()));
        tags.any(|tag| match tag {
            Tag::Any => true,
            Tag::Is { weak, opaque } => {
                opaque == etag.opaque.as_bytes() && (compare == Compare::Weak || !(weak || etag.weak))
            }
        })
    }

    /// None without such a field, or with one that is no date.
    fn changed_since(&self, headers: &HeaderMap, name: HeaderName) -> Option<bool> {
        let given = date(headers.get(name)?)?;
        Some(whole_seconds(self.modified?) > whole_seconds(given))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    Strong,
    Weak,
}

fn date(field: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(field.to_str().ok()?).ok()
}

/// An HTTP date has no fraction, so a file changed half a second later counts as unchanged.
fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).as_ref().map_or(0, Duration::as_secs)
}

#[derive(Debug, PartialEq, Eq)]
enum Tag<'a> {
    Any,
    Is { weak: bool, opaque: &'a [u8] },
}

/// The tags of a list. What is not well formed is passed over up to the next comma, except that a tag without
/// quotes counts: Docker clients send digests so.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        self.0 = self.0.trim_ascii_start();
        while let Some(rest) = self.0.strip_prefix(b",") {
            self.0 = rest.trim_ascii_start();
        }
        if self.0.is_empty() {
            return None;
        }
        let (weak, text) = match self.0.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, self.0),
        };
        let quoted = text.strip_prefix(b"\"").and_then(|inner| split_at_byte(inner, b'"'));
        let (opaque, rest) = match quoted {
            Some((opaque, rest)) => (opaque, &rest[1..]),
            None => split_at_byte(text, b',').unwrap_or((text, b"")),
        };
        self.0 = rest;
        match opaque.trim_ascii_end() {
            b"*" if quoted.is_none() && !weak => Some(Tag::Any),
            unquoted if quoted.is_none() => Some(Tag::Is { weak, opaque: unquoted }),
            _ => Some(Tag::Is { weak, opaque }),
        }
    }
}

fn split_at_byte(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    bytes.iter().position(|byte| *byte == at).map(|position| bytes.split_at(position))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Precondition::{Failed, Met, NotModified};
    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn map(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    /// Against the strong tag "sha256:abc", changed at THEN.
    #[track_caller]
    fn check(method: Method, fields: &[(HeaderName, &str)], expect: Precondition) {
        let etag = ETag::strong("sha256:abc").unwrap();
        let modified = httpdate::parse_http_date(THEN).ok().map(|then| then + Duration::from_millis(500));
        let validators = Validators { etag: Some(&etag), modified };
        assert_eq!(validators.check(&method, &map(fields)), expect, "{method} {fields:?}");
    }

    #[test]
    fn none_match() {
        let field = |text| [(header::IF_NONE_MATCH, text)];
        for hit in
            [r#""sha256:abc""#, r#"W/"sha256:abc""#, r#""x","sha256:abc""#, "sha256:abc", "*", r#", "y" , *"#]
        {
            check(Method::GET, &field(hit), NotModified);
            check(Method::HEAD, &field(hit), NotModified);
            check(Method::PUT, &field(hit), Failed);
        }
        for miss in [r#""sha256:ab""#, r#""*""#, "", r#""sha256:abc"#, "sha256:abcd", r#""x, sha256:abc""#] {
            check(Method::GET, &field(miss), Met);
        }
        check(
            Method::GET,
            &[(header::IF_NONE_MATCH, "x"), (header::IF_NONE_MATCH, "sha256:abc")],
            NotModified,
        );
        check(Method::GET, &[(header::IF_NONE_MATCH, "x"), (header::IF_MODIFIED_SINCE, AFTER)], Met);
    }

    #[test]
    fn matches() {
        let field = |text| [(header::IF_MATCH, text)];
        check(Method::PUT, &field(r#""sha256:abc""#), Met);
        check(Method::PUT, &field("*"), Met);
        check(Method::PUT, &field(r#"W/"sha256:abc""#), Failed);
        check(Method::PUT, &field(r#""other""#), Failed);
        check(Method::GET, &[(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")], NotModified);
    }

    #[test]
    fn dates() {
        for (since, changed) in [(BEFORE, true), (THEN, false), (AFTER, false)] {
            let (modified, unmodified) = if changed { (Met, Failed) } else { (NotModified, Met) };
            check(Method::GET, &[(header::IF_MODIFIED_SINCE, since)], modified);
            check(Method::PUT, &[(header::IF_MODIFIED_SINCE, since)], Met);
            check(Method::PUT, &[(header::IF_UNMODIFIED_SINCE, since)], unmodified);
        }
        check(Method::GET, &[(header::IF_MODIFIED_SINCE, "yesterday")], Met);
    }

    #[test]
    fn absent_matches_nothing() {
        let absent = Validators::default();
        assert_eq!(absent.check(&Method::PUT, &map(&[(header::IF_NONE_MATCH, "*")])), Met);
        assert_eq!(absent.check(&Method::PUT, &map(&[(header::IF_MATCH, "*")])), Failed);
    }

    #[test]
    fn if_range() {
        let strong = ETag::strong("a").unwrap();
        let weak = ETag::weak("a").unwrap();
        let modified = httpdate::parse_http_date(THEN).ok();
        let applies = |etag, field| {
            Validators { etag: Some(etag), modified }.range_applies(&map(&[(header::IF_RANGE, field)]))
        };
        assert!(Validators::default().range_applies(&HeaderMap::new()));
        assert!(applies(&strong, r#""a""#) && applies(&strong, THEN));
        assert!(!applies(&weak, r#"W/"a""#) && !applies(&strong, r#"W/"a""#) && !applies(&strong, r#""b""#));
        assert!(!applies(&strong, BEFORE) && !applies(&strong, AFTER) && !applies(&strong, "*"));
    }

    #[test]
    fn tags_in_headers() {
        assert_eq!(ETag::strong("a").unwrap().to_header().unwrap(), r#""a""#);
        assert_eq!(ETag::weak("a").unwrap().to_header().unwrap(), r#"W/"a""#);
        assert_eq!(ETag::strong("a\"b").or(ETag::strong("a b")), None);
    }

    proptest! {
        #[test]
        fn any_list_is_read_to_its_end(list: Vec<u8>) {
            prop_assert!(Tags(&list).count() <= list.len());
        }

        #[test]
        fn a_tag_is_found_in_any_list(before in "[!#-~]{0,9}", tag in "[!#-~]{1,9}", after in "[!#-~]{0,9}") {
            let list = format!("\"{before}\" , W/\"{tag}\",\"{after}\"");
            let wanted = Tag::Is { weak: true, opaque: tag.as_bytes() };
            prop_assert!(Tags(list.as_bytes()).any(|found| found == wanted));
        }
    }
}
