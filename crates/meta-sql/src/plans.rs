//! The plans of the queries that must stay fast on a large store: by an index, in its order.
//!
//! Without statistics SQLite plans by the schema alone, so the plans on an empty database are those of a full one.

use std::sync::Arc;

use meta::SystemClock;
use rusqlite::Connection;

use crate::connection::Place;
use crate::migrate::migrate;
use crate::read::{blobs, collect, entries, events, fallbacks, inspect, lists, manifests, mirrors};
use crate::store::{Config, SqliteMeta};
use crate::write;

fn database() -> Connection {
    let mut connection = Place::memory().open_writer(&Config::default()).expect("a database in memory");
    migrate(&mut connection).expect("the schema");
    connection
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect(sql);
    for at in 1..=statement.parameter_count() {
        statement.raw_bind_parameter(at, 1).expect("a value");
    }
    let mut rows = statement.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = rows.next().expect("a plan") {
        plan.push(row.get(3).expect("a line"));
    }
    plan
}

#[test]
fn nothing_is_scanned_or_sorted() {
    let connection = database();
    let check = |sql: &str| {
        for line in plan(&connection, sql) {
            let bounded =
                ["SCAN v VIRTUAL TABLE", "SCAN CONSTANT ROW"].iter().any(|kind| line.starts_with(kind));
            let scan = line.starts_with("SCAN") && !bounded;
            assert!(!scan && !line.contains("TEMP B-TREE"), "{line}: {sql}");
        }
    };
    for sql in [
        manifests::BY_TAG,
        manifests::BY_DIGEST,
        manifests::REFERRERS,
        blobs::BLOB,
        blobs::HOLDER,
        lists::REPOSITORY,
        lists::TAGS,
        lists::REPOSITORIES,
        lists::USAGE,
        lists::TOTALS,
        collect::LINKS,
        collect::LINK_COUNT,
        collect::CONDEMNED,
        collect::KNOWN,
        inspect::BLOB_ROWS,
        inspect::MANIFEST_ROWS,
        inspect::HOLDERS,
        entries::ENTRY,
        entries::ENTRIES,
        entries::OWNED,
        mirrors::KIND,
        mirrors::CHECKED,
        mirrors::IS_NEEDED,
        mirrors::LIVE,
        mirrors::LINKS_OF,
        fallbacks::HAD_TAG,
        fallbacks::HAD_DIGEST,
        fallbacks::USES,
        events::EVENTS,
        events::SETTING,
    ] {
        check(sql);
    }
    write::HOT.iter().for_each(|sql| check(sql));
}

#[test]
fn look_ups_read_four_tables_at_most() {
    let connection = database();
    let check = |sql: &str, expect: &[&str]| {
        let plan = plan(&connection, sql);
        assert_eq!(plan.len(), expect.len(), "{plan:?}");
        for expect in expect {
            assert!(plan.iter().any(|line| line.contains(expect)), "{expect} is not in {plan:?}");
        }
    };
    check(
        manifests::BY_TAG,
        &["r USING COVERING INDEX", "t USING PRIMARY KEY", "m USING INTEGER", "c USING INTEGER"],
    );
    check(manifests::BY_DIGEST, &["r USING COVERING INDEX", "m USING INDEX", "c USING INTEGER"]);
    check(entries::ENTRY, &["entry USING INDEX"]);
    check(
        entries::OWNED,
        &[
            "o USING COVERING INDEX",
            "x USING PRIMARY KEY (owner_id=? AND kind=? AND name>?)",
            "e USING INTEGER",
        ],
    );
    check(write::project::TAKE_UP, &["INDEX sqlite_autoindex_repository_1 (name>? AND name<?)"]);
    check(write::project::HAND_OVER, &["INDEX repository_project (project_id=?)"]);
    check(blobs::BLOB, &["r USING COVERING INDEX", "b USING INDEX blob_digest", "l USING PRIMARY KEY"]);
}

#[tokio::test]
async fn a_store_in_memory_is_nobody_elses() {
    let open = || SqliteMeta::in_memory(Arc::new(SystemClock)).expect("a store");
    let (one, other) = (open(), open());
    let write = meta::Write::Setting { name: "a".into(), value: "b".into() };
    meta::Commit::commit(&one, meta::Batch::of(meta::Origin::default(), write)).await.expect("it is set");
    assert!(meta::Settings::setting(&one, "a").await.expect("it is read").is_some());
    assert!(meta::Settings::setting(&other, "a").await.expect("it is read").is_none());
}
