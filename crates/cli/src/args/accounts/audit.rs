//! The arguments of `wharf audit`.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use clap::{Subcommand, ValueEnum};
use oci::ProjectName;

use super::SessionFlags;
use crate::duration::parse_duration;

/// The most records that one search shows: a table is laid out as a whole.
const MOST: i64 = 100_000;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Search the journal.
    Search(AuditSearch),
    /// Write all that matches to standard output.
    Export(AuditExport),
    /// Look whether the journal was tampered with.
    Verify(SessionFlags),
}

#[derive(Debug, clap::Args)]
pub(crate) struct AuditSearch {
    #[command(flatten)]
    pub session: SessionFlags,
    #[command(flatten)]
    pub filters: AuditFilters,
    /// How many records are shown at most.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub limit: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AuditExport {
    #[command(flatten)]
    pub session: SessionFlags,
    #[command(flatten)]
    pub filters: AuditFilters,
    /// The form of the lines.
    #[arg(long, value_name = "FORM", required_unless_present = "json", conflicts_with = "json")]
    pub format: Option<AuditForm>,
}

/// Which records.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct AuditFilters {
    /// In this project and below it.
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<ProjectName>,
    /// From this moment on: 2027-01-31T12:00:00Z, a day (its begin in UTC), or a time ago such as 24h.
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub from: Option<When>,
    /// Before this moment.
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub until: Option<When>,
    /// By this user or robot.
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Actions that begin with this, such as pull.
    #[arg(long, value_name = "ACTION")]
    pub action: Option<String>,
    /// How it ended.
    #[arg(long, value_name = "OUTCOME", value_parser = ["success", "denied", "failed"])]
    pub outcome: Option<String>,
    /// In this repository.
    #[arg(long, value_name = "REPOSITORY")]
    pub repository: Option<String>,
    /// About this digest.
    #[arg(long, value_name = "DIGEST")]
    pub digest: Option<String>,
    /// From this address.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Of the request with this id.
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
    /// With this text anywhere.
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Begin with the oldest.
    #[arg(long)]
    pub oldest_first: bool,
}

/// The form of exported records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditForm {
    /// A line of JSON each.
    Jsonl,
    /// A line of syslog each (RFC 5424).
    Syslog,
}

/// A moment, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// This one.
    At(DateTime<Utc>),
    /// So long before now.
    Ago(Duration),
}

impl When {
    /// The moment that is meant.
    pub fn moment(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(moment) => moment,
            Self::Ago(span) => {
                let span = TimeDelta::from_std(span).ok();
                span.and_then(|span| now.checked_sub_signed(span)).unwrap_or(DateTime::UNIX_EPOCH)
            }
        }
    }
}

fn parse_when(text: &str) -> Result<When, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(When::At(moment.to_utc()));
    }
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(When::At(day.and_time(NaiveTime::MIN).and_utc()));
    }
    parse_duration(text).map(When::Ago).map_err(|_| {
        "write a moment such as 2027-01-31T12:00:00Z, a day such as 2027-01-31, or a time ago such as 24h"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_said_in_three_ways() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let check = |text: &str, expect: Option<i64>| {
            let moment = parse_when(text).ok().map(|when| when.moment(now).timestamp());
            assert_eq!(moment, expect, "{text}");
        };
        check("2027-01-01T00:00:00Z", Some(1_798_761_600));
        check("2027-01-01T01:00:00+01:00", Some(1_798_761_600));
        check("2027-01-01", Some(1_798_761_600));
        check("24h", Some(1_800_000_000 - 86_400));
        check("0s", Some(1_800_000_000));
        for bad in ["", "yesterday", "2027-13-01", "2027-01-01T00:00:00", "-1h", "24h ago"] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            if let Ok(when) = parse_when(&text) {
                when.moment(DateTime::UNIX_EPOCH);
            }
        }
    }
}
