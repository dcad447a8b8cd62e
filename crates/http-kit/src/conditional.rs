//! Conditional requests (RFC 9110, 13): has the client what we would send, or what it thinks it changes?

use http::{HeaderMap, HeaderName, header};

/// The entity tag of what a request would get: it stands for exactly these bytes, as their digest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag<'a>(pub &'a str);

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

impl ETag<'_> {
    /// Weighs `If-Match` and `If-None-Match` of a GET or HEAD, in the order that the RFC gives them. Dates are passed
    /// over: what is named by its digest has none.
    pub fn check(self, headers: &HeaderMap) -> Precondition {
        if headers.contains_key(header::IF_MATCH)
            && !self.is_listed(headers, header::IF_MATCH, Compare::Strong)
        {
            Precondition::Failed
        } else if self.is_listed(headers, header::IF_NONE_MATCH, Compare::Weak) {
            Precondition::NotModified
        } else {
            Precondition::Met
        }
    }

    /// Whether a `Range` counts: there is no `If-Range`, or it names exactly these bytes.
    pub fn range_applies(self, headers: &HeaderMap) -> bool {
        headers
            .get(header::IF_RANGE)
            .is_none_or(|field| field != "*" && self.is_listed(headers, header::IF_RANGE, Compare::Strong))
    }

    fn is_listed(self, headers: &HeaderMap, name: HeaderName, compare: Compare) -> bool {
        let mut tags = headers.get_all(name).iter().flat_map(|field| Tags(field.as_bytes()));
        tags.any(|tag| match tag {
            Tag::Any => true,
            Tag::Is { weak, opaque } => opaque == self.0.as_bytes() && (compare == Compare::Weak || !weak),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    Strong,
    Weak,
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
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::Precondition::{Failed, Met, NotModified};
    use super::*;

    fn map(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    /// Against the tag "sha256:abc".
    #[track_caller]
    fn check(fields: &[(HeaderName, &str)], expect: Precondition) {
        assert_eq!(ETag("sha256:abc").check(&map(fields)), expect, "{fields:?}");
    }

    #[test]
    fn none_match() {
        let field = |text| [(header::IF_NONE_MATCH, text)];
        for hit in
            [r#""sha256:abc""#, r#"W/"sha256:abc""#, r#""x","sha256:abc""#, "sha256:abc", "*", r#", "y" , *"#]
        {
            check(&field(hit), NotModified);
        }
        for miss in [r#""sha256:ab""#, r#""*""#, "", r#""sha256:abc"#, "sha256:abcd", r#""x, sha256:abc""#] {
            check(&field(miss), Met);
        }
        check(&[(header::IF_NONE_MATCH, "x"), (header::IF_NONE_MATCH, "sha256:abc")], NotModified);
    }

    #[test]
    fn matches() {
        let field = |text| [(header::IF_MATCH, text)];
        check(&field(r#""sha256:abc""#), Met);
        check(&field("*"), Met);
        check(&field(r#"W/"sha256:abc""#), Failed);
        check(&field(r#""other""#), Failed);
        check(&field(""), Failed);
        check(&[(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")], NotModified);
        check(&[(header::IF_MATCH, "x"), (header::IF_NONE_MATCH, "*")], Failed);
    }

    #[test]
    fn dates_are_passed_over() {
        for name in [header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE] {
            check(&[(name, "Sun, 06 Nov 1994 08:49:37 GMT")], Met);
        }
    }

    #[test]
    fn if_range() {
        let applies = |field| ETag("a").range_applies(&map(&[(header::IF_RANGE, field)]));
        assert!(ETag("a").range_applies(&HeaderMap::new()) && applies(r#""a""#));
        for other in [r#"W/"a""#, r#""b""#, "*", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert!(!applies(other), "{other}");
        }
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
