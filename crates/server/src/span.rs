//! Spans of time as people write them: `500ms`, `30s`, `10m`, `24h`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(Duration);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let millis = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| millis);
        let span =
            number.parse::<u64>().ok().zip(millis).and_then(|(number, millis)| number.checked_mul(*millis));
        span.map(|millis| Self(Duration::from_millis(millis))).ok_or_else(|| {
            format!("`{text}` is not a span of time: write it like 500ms, 30s, 10m, 24h or 7d")
        })
    }
}

impl fmt::Display for Span {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let fits = UNITS.iter().rev().find(|(_, millis)| total != 0 && total % millis == 0);
        let (name, millis) = fits.unwrap_or(&UNITS[1]);
        write!(f, "{}{name}", total / millis)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        let check = |text: &str, millis: u64| {
            let span: Span = text.parse().unwrap();
            assert_eq!(Duration::from(span), Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string(), text);
        };
        check("0s", 0);
        check("1500ms", 1_500);
        check("90s", 90_000);
        check("23h", 23 * 3_600_000);
        check("7d", 7 * 86_400_000);
        for text in
            ["", "5", "s", "-1s", "1.5h", "5 s", "1y", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
