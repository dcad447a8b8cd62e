//! The contract of metadata stores, on SQLite: on disk, and in memory as other crates' tests use it.

use std::sync::Arc;

use meta::contract::TestClock;
use meta::{Clock, MetaStore};
use meta_sql::{Config, SqliteMeta};

fn clock() -> (Arc<TestClock>, Arc<dyn Clock>) {
    let clock = Arc::new(TestClock::new());
    (Arc::clone(&clock), clock)
}

mod on_disk {
    use super::*;

    fn store() -> (tempfile::TempDir, Arc<dyn MetaStore>, Arc<TestClock>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (set, clock) = clock();
        let store = SqliteMeta::open(&folder.path().join("meta.db"), clock, Config::default());
        (folder, Arc::new(store.expect("a new database opens")), set)
    }

    meta::contract_tests!(store());
}

mod in_memory {
    use super::*;

    fn store() -> ((), Arc<dyn MetaStore>, Arc<TestClock>) {
        let (set, clock) = clock();
        ((), Arc::new(SqliteMeta::in_memory(clock).expect("a new database opens")), set)
    }

    meta::contract_tests!(store());
}
