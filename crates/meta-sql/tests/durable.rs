//! What the contract cannot ask of every store: files, versions, a full disk, and a writer that panics.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use meta::{
    Batch, Clock, Commit, MetaError, NewManifest, Origin, ReadEvents, ReadManifests, SystemClock, Timestamp,
    Write,
};
use meta_sql::{Config, SqliteMeta};
use oci::{Digest, Reference, RepoName};

fn open(path: &Path) -> Result<SqliteMeta, MetaError> {
    SqliteMeta::open(path, Arc::new(SystemClock), Config::default())
}

fn repository() -> RepoName {
    "team/app".parse().expect("a name")
}

fn manifest(n: usize, padding: usize) -> NewManifest {
    let bytes = Bytes::from(format!("manifest {n} {}", "x".repeat(padding)));
    NewManifest {
        digest: Digest::sha256(&bytes),
        media_type: oci::types::OCI_MANIFEST.parse().expect("a media type"),
        bytes,
        artifact_type: None,
        subject: None,
        annotations: None,
        references: Vec::new(),
    }
}

fn push(manifest: &NewManifest) -> Batch {
    Batch::of(Origin::default(), Write::Manifest { repository: repository(), manifest: manifest.clone() })
}

async fn holds(store: &SqliteMeta, manifest: &NewManifest) -> bool {
    let found = store.manifest(&repository(), &Reference::Digest(manifest.digest)).await;
    found.expect("it is answered").is_some_and(|found| found.bytes == manifest.bytes)
}

#[tokio::test]
async fn a_store_that_is_opened_again_holds_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meta.db");
    let (first, second) = (manifest(1, 10), manifest(2, 10));
    let store = open(&path).expect("a new database");
    assert_eq!(path.metadata().expect("the file").mode() & 0o777, 0o600);
    store.commit(push(&first)).await.expect("it is pushed");
    drop(store);
    let store = open(&path).expect("the same database");
    store.commit(push(&second)).await.expect("it is pushed");
    assert!(holds(&store, &first).await && holds(&store, &second).await);
    let events = store.events(0, 10).await.expect("events");
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 2, 3]);
}

/// What is on disk the moment a commit is answered is enough, without anything that comes later.
#[tokio::test]
async fn a_store_that_was_cut_off_holds_what_was_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meta.db");
    let store = open(&path).expect("a new database");
    for n in 0..20 {
        store.commit(push(&manifest(n, 3_000))).await.expect("it is pushed");
        let copy = folder.path().join("copy.db");
        for suffix in ["", "-wal"] {
            let name = |path: &Path| format!("{}{suffix}", path.display());
            std::fs::copy(name(&path), name(&copy)).expect("files can be copied");
        }
        let copy = open(&copy).expect("the copy opens");
        for n in 0..=n {
            assert!(holds(&copy, &manifest(n, 3_000)).await, "{n}");
        }
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meta.db");
    drop(open(&path).expect("a new database"));
    let database = rusqlite::Connection::open(&path).expect("an SQLite database");
    database.pragma_update(None, "user_version", 99).expect("a version can be set");
    drop(database);
    for _ in 0..2 {
        assert!(matches!(open(&path), Err(MetaError::TooNew { found: 99, known: 1 })));
    }
}

#[test]
fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meta.db");
    std::fs::write(&path, "not a database ".repeat(1_000)).expect("a file");
    assert!(matches!(open(&path), Err(MetaError::Damaged(_))));
    assert!(matches!(open(&folder.path().join("no/folder/meta.db")), Err(MetaError::Failed { .. })));
}

/// A full store refuses, loses nothing that it answered for, and goes on when there is room. A deletion, too, needs
/// some before it gives any.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |max_bytes| {
        let config = Config { max_bytes: Some(max_bytes), ..Config::default() };
        SqliteMeta::open(&folder.path().join("meta.db"), Arc::new(SystemClock), config).expect("a database")
    };
    let store = open(1 << 20);
    // Large and small: the last page may be wanted by any statement, of which some end the whole transaction.
    let manifests: Vec<_> = (0..1_000).map(|n| manifest(n, if n % 5 == 0 { 20_000 } else { 500 })).collect();
    let mut kept = Vec::new();
    for group in manifests.chunks(20) {
        let outcomes = join_all(group.iter().map(|manifest| store.commit(push(manifest)))).await;
        for (manifest, outcome) in group.iter().zip(outcomes) {
            match outcome {
                Ok(_) => kept.push(manifest),
                Err(MetaError::Full) => assert!(!holds(&store, manifest).await),
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(kept.len() > 100 && kept.len() < 900, "{} of 1 MiB were taken", kept.len());
    for manifest in &kept {
        assert!(holds(&store, manifest).await);
    }
    drop(store);
    let store = open((1 << 20) + (128 << 10));
    let gone = kept.split_off(kept.len() / 2);
    for manifest in gone {
        let write = Write::DropManifest { repository: repository(), digest: manifest.digest };
        store.commit(Batch::of(Origin::default(), write)).await.expect("deleting makes room");
    }
    let new = manifest(1_000, 20_000);
    store.commit(push(&new)).await.expect("there is room again");
    assert!(holds(&store, &new).await);
    let events = store.events(0, 10_000).await.expect("events");
    assert!(events.iter().map(|event| event.position).eq(1..=events.len() as i64), "no gaps");
}

/// The write-ahead log stops growing once it is worth a checkpoint; under a reader that stays it must grow, and
/// stops when that one leaves.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meta.db");
    let config = Config { log_pages: 64, ..Config::default() };
    let store = SqliteMeta::open(&path, Arc::new(SystemClock), config).expect("a new database");
    let log_pages = || folder.path().join("meta.db-wal").metadata().expect("the log").len() / 4_096;
    let fill = async |from: usize| {
        for n in from..from + 100 {
            store.commit(push(&manifest(n, 20_000))).await.expect("it is pushed");
        }
    };
    fill(0).await;
    assert!(log_pages() < 128, "{} pages", log_pages());

    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let reader = rusqlite::Connection::open_with_flags_and_vfs(&path, flags, c"unix-excl").expect("a reader");
    reader.execute_batch("BEGIN; SELECT count(*) FROM manifest").expect("a snapshot is held");
    let seen = || reader.query_row("SELECT count(*) FROM manifest", [], |row| row.get::<_, i64>(0));
    assert_eq!(seen().expect("a count"), 100);
    fill(100).await;
    assert_eq!(seen().expect("a count"), 100, "a snapshot stands still");
    let grown = log_pages();
    assert!(grown > 600, "{grown} pages");
    reader.execute_batch("COMMIT").expect("the snapshot is given up");
    fill(200).await;
    fill(300).await;
    assert!(log_pages() <= grown + 128, "{} pages, and {grown} before", log_pages());
}

/// A clock that can be told to panic, as a bug in the middle of a batch would.
struct Faulty(AtomicBool);

impl Clock for Faulty {
    fn now(&self) -> Timestamp {
        assert!(!self.0.load(Ordering::SeqCst), "a bug, for the test");
        Timestamp::from_micros(1)
    }
}

#[tokio::test]
async fn a_panic_in_a_batch_fails_that_batch_only() {
    let clock = Arc::new(Faulty(AtomicBool::new(false)));
    let store = SqliteMeta::in_memory(Arc::clone(&clock) as Arc<dyn Clock>).expect("a store");
    store.commit(push(&manifest(1, 1))).await.expect("it is pushed");
    clock.0.store(true, Ordering::SeqCst);
    assert!(matches!(store.commit(push(&manifest(2, 1))).await, Err(MetaError::Failed { .. })));
    clock.0.store(false, Ordering::SeqCst);
    store.commit(push(&manifest(3, 1))).await.expect("the writer goes on");
    assert!(!holds(&store, &manifest(2, 1)).await && holds(&store, &manifest(3, 1)).await);
}
