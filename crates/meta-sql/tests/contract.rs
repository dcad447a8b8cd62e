//! The contract of metadata stores, on SQLite: on disk, and in memory as other crates' tests use it.

use std::sync::Arc;

use meta::contract::TestClock;
use meta::{CacheSize, CachedMeta, Clock, MetaStore};
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

    pub(super) fn store() -> ((), Arc<dyn MetaStore>, Arc<TestClock>) {
        let (set, clock) = clock();
        ((), Arc::new(SqliteMeta::in_memory(clock).expect("a new database opens")), set)
    }

    meta::contract_tests!(store());
}

/// With its hottest answers in memory.
mod cached {
    use super::*;

    fn store() -> ((), Arc<CachedMeta>, Arc<TestClock>) {
        let ((), store, clock) = super::in_memory::store();
        ((), Arc::new(CachedMeta::new(store, CacheSize::default())), clock)
    }

    meta::contract_tests!(store());
}
