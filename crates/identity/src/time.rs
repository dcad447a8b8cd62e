//! Moments as people and JSON write them: RFC 3339, UTC, in whole seconds.

use chrono::{DateTime, SecondsFormat, Utc};
use meta::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// The moment as text; empty for what no calendar has.
pub fn text(time: Timestamp) -> String {
    DateTime::<Utc>::from_timestamp_micros(time.micros())
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
        .unwrap_or_default()
}

/// The day of a moment, as `2027-01-31`, in UTC.
pub fn date(time: Timestamp) -> String {
    text(time).chars().take(10).collect()
}

fn parse(text: &str) -> Option<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Timestamp::from_micros(time.timestamp_micros()))
}

/// For `#[serde(with = "time")]`.
pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*time))
}

/// For `#[serde(with = "time")]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let given = std::borrow::Cow::<str>::deserialize(deserializer)?;
    parse(&given).ok_or_else(|| D::Error::custom("a moment is written as 2027-01-31T12:00:00Z"))
}

/// The same for what may be absent.
pub(crate) mod maybe {
    use super::{Deserialize, Deserializer, Error, Serializer, Timestamp, parse, text};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_str(&text(*time)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let given = Option::<String>::deserialize(deserializer)?;
        let wrong = || D::Error::custom("a moment is written as 2027-01-31T12:00:00Z");
        given.map(|given| parse(&given).ok_or_else(wrong)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back() {
        let time = parse("2027-01-31T12:00:00+01:00").unwrap();
        assert_eq!(text(time), "2027-01-31T11:00:00Z");
        assert_eq!(parse("2027-01-31"), None);
    }
}
