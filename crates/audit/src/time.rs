//! Times as the journal writes them: RFC 3339 in UTC, always with six digits of microseconds.

use chrono::{DateTime, Timelike, Utc};
use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};
use std::fmt;

const SECOND: i64 = 1_000_000;
/// The last microsecond of the year 9999: RFC 3339 has no more than four digits for the year.
const LAST: i64 = 253_402_300_799_999_999;
/// `2026-11-02T10:11:12`
const PREFIX: usize = 19;

/// The days since 1970, which files are turned over by.
pub(crate) fn day(micros: i64) -> i64 {
    micros.div_euclid(86_400 * SECOND)
}

/// Writes times, and keeps what is the same for a whole second: each record has a time, and calendars are slow.
#[derive(Default)]
pub(crate) struct Stamp {
    second: Option<i64>,
    prefix: String,
}

impl Stamp {
    /// Appends the time.
    pub fn write(&mut self, micros: i64, line: &mut Vec<u8>) {
        let micros = micros.clamp(0, LAST);
        let (second, mut fraction) = (micros / SECOND, micros % SECOND);
        if self.second != Some(second) {
            self.prefix = text(second * SECOND);
            self.prefix.truncate(PREFIX);
            self.second = Some(second);
        }
        line.extend_from_slice(self.prefix.as_bytes());
        let mut digits = *b".000000Z";
        for digit in digits[1..7].iter_mut().rev() {
            *digit += u8::try_from(fraction % 10).unwrap_or_default();
            fraction /= 10;
        }
        line.extend_from_slice(&digits);
    }
}

/// The time as text.
pub(crate) fn text(micros: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_micros(micros.clamp(0, LAST)).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Reads a time in any form of RFC 3339.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    // A leap second is told as a second with more than 10^9 nanoseconds, which would be a time in the next one.
    (time.nanosecond() < 1_000_000_000).then(|| time.timestamp_micros())
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn serialize<S: Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*micros))
}

/// For `#[serde(deserialize_with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time as RFC 3339 has it")
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<i64, E> {
            parse(value).ok_or_else(|| E::custom("not a time as RFC 3339 has it"))
        }
    }
    deserializer.deserialize_str(Text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(stamp: &mut Stamp, micros: i64) -> String {
        let mut line = Vec::new();
        stamp.write(micros, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn times_are_as_rfc_3339_has_them() {
        let check = |micros: i64, expect: &str| {
            assert_eq!(written(&mut Stamp::default(), micros), expect);
            assert_eq!(text(micros), expect);
        };
        check(0, "1970-01-01T00:00:00.000000Z");
        check(1_793_614_272_000_042, "2026-11-02T10:11:12.000042Z");
        check(-5, "1970-01-01T00:00:00.000000Z");
        check(i64::MAX, "9999-12-31T23:59:59.999999Z");
    }

    proptest! {
        #[test]
        fn every_time_comes_back(micros in proptest::collection::vec(0..=LAST, 1..4)) {
            let mut stamp = Stamp::default();
            for micros in micros {
                for near in [micros, micros.saturating_add(1).min(LAST), micros] {
                    let written = written(&mut stamp, near);
                    prop_assert_eq!(&written, &text(near));
                    prop_assert_eq!(parse(&written), Some(near));
                }
            }
        }
    }
}
