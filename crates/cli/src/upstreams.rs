//! `wharf upstream`.

use anyhow::Result;
use serde_json::{Value, json};

use crate::accounts::print::{self, Column, cell};
use crate::args::upstreams::UpstreamCommand;
use crate::host::Host;
use crate::out::Out;
use crate::reach;
use crate::text::{count, size};

/// A line for each registry of each upstream; what counts for an upstream as a whole stands with its first one.
const COLUMNS: &[Column] = &[
    Column("key", |row| cell(&row["key"])),
    Column("namespaces", |row| cell(&row["namespaces"])),
    Column("registry", |row| cell(&row["registry"]["host"])),
    Column("state", |row| state(&row["registry"])),
    Column("left", |row| left(&row["registry"])),
    Column("at once", |row| at_once(&row["now"])),
    Column("hits", |row| cell(&row["stats"]["hits"])),
    Column("misses", |row| cell(&row["stats"]["misses"])),
    Column("stale", |row| cell(&row["stats"]["stale"])),
    Column("failures", |row| cell(&row["stats"]["failures"])),
    Column("fetched", |row| row["stats"]["fetched_bytes"].as_u64().map_or_else(|| "-".into(), size)),
];

pub(crate) async fn run(command: UpstreamCommand, host: &dyn Host, out: &mut Out) -> Result<()> {
    let UpstreamCommand::List(flags) = command;
    let upstreams = reach::with(&flags, host, async |mut server| server.upstreams().await).await?;
    let rows = if flags.json { upstreams } else { upstreams.iter().flat_map(rows).collect() };
    print::list(out, flags.json, rows, COLUMNS)?;
    out.finish()
}

fn rows(upstream: &Value) -> Vec<Value> {
    let registries = upstream["registries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |(number, registry): (usize, &Value)| match number {
        0 => json!({
            "key": upstream["key"], "namespaces": upstream["namespaces"], "registry": registry,
            "now": upstream["now"], "stats": upstream["stats"],
        }),
        _ => json!({"registry": registry}),
    };
    registries.iter().enumerate().map(row).collect()
}

/// How a registry of an upstream stands, in words.
pub(crate) fn state(registry: &Value) -> String {
    let closed = &registry["closed"];
    if let Some(reason) = closed["reason"].as_str() {
        return format!("{} ({} s more)", cell(&reason.into()), cell(&closed["wait_seconds"]));
    }
    match registry["failures"].as_u64().unwrap_or(0) {
        0 => "ok".into(),
        failures => format!("{} in a row", count(failures, "failure")),
    }
}

/// What is left of what it allows.
fn left(registry: &Value) -> String {
    match (registry["remaining"].as_u64(), registry["limit"].as_u64()) {
        (Some(remaining), Some(limit)) => format!("{remaining} of {limit}"),
        (Some(remaining), None) => remaining.to_string(),
        _ => "-".into(),
    }
}

/// How many blobs it may send at once now, and how fast.
fn at_once(now: &Value) -> String {
    let Some(downloads) = now["downloads"].as_u64() else { return "-".into() };
    match now["bandwidth"].as_u64() {
        Some(bandwidth) if bandwidth > 0 => format!("{downloads}, {}/s", size(bandwidth)),
        _ => downloads.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_says_how_much_may_come_at_once() {
        let check = |now: Value, expect: &str| assert_eq!(at_once(&now), expect, "{now}");
        check(Value::Null, "-");
        check(json!({"downloads": 16, "bandwidth": 0}), "16");
        check(json!({"downloads": 2, "bandwidth": 1_048_576}), &format!("2, {}/s", size(1_048_576)));
    }

    #[test]
    fn registries_say_how_they_stand() {
        let check = |registry: Value, expect: (&str, &str)| {
            assert_eq!((state(&registry).as_str(), left(&registry).as_str()), expect, "{registry}");
        };
        check(json!({"failures": 0, "closed": null}), ("ok", "-"));
        check(json!({"failures": 2, "remaining": 7, "limit": 100}), ("2 failures in a row", "7 of 100"));
        check(
            json!({"failures": 5, "closed": {"reason": "it has failed too often\u{1b}", "wait_seconds": 3}}),
            ("it has failed too often  (3 s more)", "-"),
        );
    }

    #[test]
    fn an_upstream_has_a_line_for_each_registry() {
        let upstream = json!({
            "key": "hub", "namespaces": ["docker.io"], "stats": {"hits": 1},
            "registries": [{"host": "a"}, {"host": "b"}],
        });
        let rows = rows(&upstream);
        let keys: Vec<_> =
            rows.iter().map(|row| (cell(&row["key"]), cell(&row["registry"]["host"]))).collect();
        assert_eq!(keys, [("hub".into(), "a".into()), ("-".to_owned(), "b".to_owned())]);
    }
}
