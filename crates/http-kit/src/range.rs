//! `Range` requests (RFC 9110, 14): one range of bytes, or the whole.

use http::{HeaderMap, HeaderValue, header};

/// What to send of a representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// All of it, status 200: no range was asked for, or one that may be ignored (several ranges, other units,
    /// not well formed).
    Whole,
    /// A part of it, status 206.
    Part {
        /// The part's first byte.
        offset: u64,
        /// How many bytes it has; never zero.
        len: u64,
    },
    /// Nothing: status 416.
    Unsatisfiable,
}

impl ByteRange {
    /// What a request asks for of a representation of `total` bytes. Whether `If-Range` lets the range count is
    /// [`crate::ETag::range_applies`].
    pub fn of(headers: &HeaderMap, total: u64) -> ByteRange {
        let mut fields = headers.get_all(header::RANGE).iter();
        match (fields.next(), fields.next()) {
            (Some(field), None) => {
                field.to_str().map_or(ByteRange::Whole, |text| ByteRange::parse(text, total))
            }
            _ => ByteRange::Whole,
        }
    }

    /// The same for the text of the field.
    pub fn parse(field: &str, total: u64) -> ByteRange {
        let Some(spec) = strip_unit(field) else { return ByteRange::Whole };
        let Some((first, last)) = spec.split_once('-') else { return ByteRange::Whole };
        match (Number::parse(first), Number::parse(last)) {
            (Number::Absent, Number::Is(count)) => suffix(count, total),
            (Number::Is(first), Number::Absent) => between(first, u64::MAX, total),
            (Number::Is(first), Number::Is(last)) if first <= last => between(first, last, total),
            // RFC 9110 lets a server ignore what is backwards; a client that counts wrong is better told.
            (Number::Is(_), Number::Is(_)) => ByteRange::Unsatisfiable,
            _ => ByteRange::Whole,
        }
    }

    /// The `Content-Range` that belongs to a 206 or 416.
    pub fn content_range(self, total: u64) -> Option<HeaderValue> {
        let text = match self {
            ByteRange::Whole => return None,
            ByteRange::Part { offset, len } => format!("bytes {offset}-{}/{total}", offset + len - 1),
            ByteRange::Unsatisfiable => format!("bytes */{total}"),
        };
        HeaderValue::try_from(text).ok()
    }
}

/// A position; one too large for us lies beyond any end.
enum Number {
    Absent,
    Is(u64),
    Malformed,
}

impl Number {
    fn parse(digits: &str) -> Number {
        match digits {
            "" => Number::Absent,
            _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Number::Is(digits.parse().unwrap_or(u64::MAX))
            }
            _ => Number::Malformed,
        }
    }
}

fn strip_unit(field: &str) -> Option<&str> {
    let (unit, spec) = field.trim().split_once('=')?;
    unit.eq_ignore_ascii_case("bytes").then_some(spec.trim())
}

fn suffix(count: u64, total: u64) -> ByteRange {
    match (count, total) {
        (0, _) => ByteRange::Unsatisfiable,
        // The end of nothing is nothing, which no Content-Range can say.
        (_, 0) => ByteRange::Whole,
        _ => {
            let len = count.min(total);
            ByteRange::Part { offset: total - len, len }
        }
    }
}

fn between(first: u64, last: u64, total: u64) -> ByteRange {
    if first >= total {
        // Clients that always ask for what follows the bytes they have ask so of what is empty.
        return if (first, total) == (0, 0) { ByteRange::Whole } else { ByteRange::Unsatisfiable };
    }
    ByteRange::Part { offset: first, len: last.min(total - 1) - first + 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ByteRange::{Part, Unsatisfiable, Whole};
    use super::*;

    #[track_caller]
    fn check(field: &str, total: u64, expect: ByteRange) {
        assert_eq!(ByteRange::parse(field, total), expect, "{field} of {total}");
    }

    #[test]
    fn ranges() {
        check("bytes=0-0", 10, Part { offset: 0, len: 1 });
        check("bytes=2-5", 10, Part { offset: 2, len: 4 });
        check("bytes=2-", 10, Part { offset: 2, len: 8 });
        check("bytes=-3", 10, Part { offset: 7, len: 3 });
        check("bytes=-30", 10, Part { offset: 0, len: 10 });
        check("bytes=9-99999999999999999999999", 10, Part { offset: 9, len: 1 });
        check("Bytes = 0-1 ", 10, Whole);
        check(" BYTES=0-1", 10, Part { offset: 0, len: 2 });
        check("bytes=10-", 10, Unsatisfiable);
        check("bytes=99999999999999999999999-", 10, Unsatisfiable);
        check("bytes=-0", 10, Unsatisfiable);
        check("bytes=0-", 0, Whole);
        check("bytes=0-9", 0, Whole);
        check("bytes=1-", 0, Unsatisfiable);
        check("bytes=-1", 0, Whole);
        check("bytes=5-2", 10, Unsatisfiable);
        check("bytes=0-1,3-4", 10, Whole);
        check("bytes=+1-2", 10, Whole);
        check("bytes=-", 10, Whole);
        check("bytes=", 10, Whole);
        check("bytes", 10, Whole);
        check("lines=0-1", 10, Whole);
        check("", 10, Whole);
    }

    #[test]
    fn content_ranges() {
        let text = |range: ByteRange| range.content_range(10).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(text(Part { offset: 2, len: 4 }).unwrap(), "bytes 2-5/10");
        assert_eq!(text(Unsatisfiable).unwrap(), "bytes */10");
        assert_eq!(text(Whole), None);
    }

    #[test]
    fn two_fields_are_ignored() {
        let mut headers = HeaderMap::new();
        headers.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        assert_eq!(ByteRange::of(&headers, 10), Part { offset: 0, len: 2 });
        headers.append(header::RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(ByteRange::of(&headers, 10), Whole);
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_nor_outside(field in "(bytes=)?[0-9]{0,22}-?[0-9]{0,22},?", total: u64) {
            if let Part { offset, len } = ByteRange::parse(&field, total) {
                prop_assert!(len > 0 && offset.checked_add(len).is_some_and(|end| end <= total));
            }
        }

        #[test]
        fn any_text_is_answered(field: String, total: u64) {
            ByteRange::parse(&field, total);
        }

        #[test]
        fn a_part_is_what_was_asked(first in 0..1000u64, more in 0..1000u64, total in 1..2000u64) {
            let range = ByteRange::parse(&format!("bytes={first}-{}", first + more), total);
            if first < total {
                prop_assert_eq!(range, Part { offset: first, len: (more + 1).min(total - first) });
            } else {
                prop_assert_eq!(range, Unsatisfiable);
            }
        }
    }
}
