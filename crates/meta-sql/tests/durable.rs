//! What the contract cannot ask of every store: files, versions, a full disk, and a writer that panics.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use meta::{
    Batch, Clock, Commit, Effect, EntryKind, EventKind, Inspect, MetaError, NewEntry, NewManifest, Origin,
    ReadEvents, ReadLists, ReadManifests, ReadMirrors, RepositoryKind, SystemClock, Timestamp, Visible,
    Write,
};
use meta_sql::{Config, SqliteMeta};
use oci::{Digest, Reference, RepoName, Tag};

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

/// A database as the first version left it, with a repository, a tagged manifest and their events.
fn first_schema(path: &Path, manifest: &NewManifest) {
    let database = rusqlite::Connection::open(path).expect("a new database");
    database.pragma_update(None, "journal_mode", "wal").expect("a log");
    database.execute_batch(include_str!("../migrations/sqlite/0001_initial.sql")).expect("the schema");
    database.pragma_update(None, "user_version", 1).expect("a version can be set");
    database
        .execute_batch(
            "INSERT INTO project VALUES (1, 'team', 10);
            INSERT INTO repository VALUES (2, 1, 'team/app', 'hosted', NULL, 10);
            INSERT INTO setting VALUES ('a', 'b');",
        )
        .expect("rows");
    let digest = manifest.digest.to_stored();
    let insert = |sql: &str, values: &[&dyn rusqlite::ToSql]| database.execute(sql, values).expect("a row");
    insert("INSERT INTO content VALUES (3, ?1, ?2)", &[&digest, &manifest.bytes.as_ref()]);
    insert(
        "INSERT INTO manifest VALUES (4, 2, 3, ?1, ?2, ?3, 10, 0, NULL, NULL, NULL)",
        &[&digest, &(manifest.bytes.len() as i64), &manifest.media_type.as_str()],
    );
    insert("INSERT INTO tag VALUES (2, 'v1', 4, 10, 'ann')", &[]);
    let event = "INSERT INTO event VALUES (?1, 1, ?2, 'team', 'team/app', ?3, ?4, NULL, 'ann', '::1', NULL, NULL, 10)";
    insert(event, &[&1, &"repository.created", &None::<Vec<u8>>, &None::<&str>]);
    insert(event, &[&2, &"manifest.pushed", &digest, &None::<&str>]);
    insert(event, &[&3, &"tag.set", &digest, &"v1"]);
}

#[tokio::test]
async fn the_first_schema_is_brought_to_this_one_with_all_it_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meta.db");
    let (old, new) = (manifest(1, 10), manifest(2, 10));
    first_schema(&path, &old);
    for round in 0..2 {
        let store = open(&path).expect("a database of the first version");
        assert!(holds(&store, &old).await);
        let tag: Tag = "v1".parse().expect("a tag");
        let tags = store.tags(&repository(), None, 10).await.expect("tags");
        assert_eq!(tags, Some(vec![tag.clone()]));
        let kind = store.repository_kind(&repository()).await.expect("its kind");
        assert_eq!(kind, Some(RepositoryKind::Hosted));
        let checked = async || store.checked(&repository(), &tag).await.expect("the tag");
        let events = store.events(0, 3).await.expect("events");
        let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::RepositoryCreated, EventKind::ManifestPushed, EventKind::TagSet]);
        for event in &events {
            assert_eq!((&event.repository, &event.entry), (&Some(repository()), &None));
            assert_eq!((event.origin.actor.as_str(), event.time), ("ann", Timestamp::from_micros(10)));
        }
        assert_eq!(store.events(3, 10).await.expect("events").len(), 2 * round);
        if round == 0 {
            store.commit(push(&new)).await.expect("it is pushed");
            let name = "team".parse().expect("a name");
            let entry = NewEntry { kind: EntryKind::Project, name, value: "{}".into(), owners: Vec::new() };
            let kept = store.commit(Batch::of(Origin::default(), Write::Entry(entry))).await;
            assert_eq!(kept.expect("it is kept").effects, [Effect::Entry { revision: 1 }]);
            assert_eq!(checked().await, Some((old.digest, None)));
            let check = Write::Checked { repository: repository(), tag: tag.clone() };
            store.commit(Batch::of(Origin::default(), check)).await.expect("it is checked");
        }
        assert!(checked().await.is_some_and(|(digest, time)| digest == old.digest && time.is_some()));
        let team = Visible::Projects(vec!["team".into()]);
        assert_eq!(store.repositories(&team, None, 10).await.expect("repositories"), [repository()]);
        assert_eq!(store.self_check().await.expect("it is checked"), [""; 0]);
    }
}

/// The row of an event names the project that the repository lies in, which may be further in than its first part.
#[tokio::test]
async fn an_event_names_the_innermost_project() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meta.db");
    let store = open(&path).expect("a new database");
    let project = |name: &str| NewEntry {
        kind: EntryKind::Project,
        name: name.parse().expect("a name"),
        value: "{}".into(),
        owners: Vec::new(),
    };
    let write = |name: &str, n: usize| Write::Manifest {
        repository: name.parse().expect("a name"),
        manifest: manifest(n, 1),
    };
    for write in [
        write("team/pay/app", 1),
        Write::Entry(project("team/pay")),
        write("team/pay/app", 2),
        write("team/pay/eu/app", 3),
        write("nginx", 4),
    ] {
        store.commit(Batch::of(Origin::default(), write)).await.expect("it is committed");
    }
    drop(store);
    let database = rusqlite::Connection::open(&path).expect("an SQLite database");
    let mut query = database.prepare("SELECT project FROM event ORDER BY position").expect("a query");
    let projects: Vec<String> =
        query.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a row")).collect();
    let expect = ["team", "team", "", "team/pay", "team/pay", "team/pay", "library", "library"];
    assert_eq!(projects, expect);
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
        assert!(matches!(open(&path), Err(MetaError::TooNew { found: 99, known: 4 })));
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
