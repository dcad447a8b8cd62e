//! The mounted disk under real programs: `std::fs`, memory maps, and SQLite in WAL mode.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use power_cut::{Disk, Mount, Unsynced};

struct Rig {
    point: tempfile::TempDir,
    mount: Option<Mount>,
}

impl Rig {
    fn new() -> Self {
        let point = tempfile::tempdir().unwrap();
        let mount = Mount::new(Disk::new(), point.path()).unwrap();
        Self { point, mount: Some(mount) }
    }

    fn path(&self) -> &Path {
        self.point.path()
    }

    fn mount(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }

    /// Cuts the power, does what has to happen while it is off, and switches it on again.
    fn cut(&mut self, unsynced: Unsynced, meanwhile: impl FnOnce()) {
        let mount = self.mount.take().unwrap();
        let found = mount.power_off(unsynced);
        meanwhile();
        mount.unmount().unwrap();
        self.mount = Some(Mount::new(found, self.point.path()).unwrap());
    }
}

fn sync_folder(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

#[test]
fn exactly_what_was_not_synced_is_lost() {
    let mut rig = Rig::new();
    let root = rig.path().to_owned();
    fs::create_dir(root.join("kept")).unwrap();
    let mut file = File::create(root.join("kept/file")).unwrap();
    file.write_all(b"durable").unwrap();
    file.sync_data().unwrap();
    file.write_all(b" and not").unwrap();
    fs::write(root.join("kept/empty"), b"never synced").unwrap();
    sync_folder(&root.join("kept"));
    sync_folder(&root);
    fs::write(root.join("kept/later"), b"entry never synced").unwrap();
    fs::hard_link(root.join("kept/file"), root.join("kept/second")).unwrap();
    let mut sync =
        OpenOptions::new().append(true).custom_flags(libc::O_DSYNC).open(root.join("kept/file")).unwrap();
    drop(file);
    rig.cut(Unsynced::Lost, || {
        assert!(sync.write_all(b"x").is_err(), "no power, no write");
        drop(sync);
        assert!(File::open(root.join("kept/file")).is_err(), "no power, no open");
    });
    let mut names: Vec<_> =
        fs::read_dir(root.join("kept")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["empty", "file"]);
    assert_eq!(fs::read(root.join("kept/file")).unwrap(), b"durable");
    assert_eq!(fs::read(root.join("kept/empty")).unwrap(), b"");

    let mut sync =
        OpenOptions::new().append(true).custom_flags(libc::O_SYNC).open(root.join("kept/file")).unwrap();
    sync.write_all(b" at once").unwrap();
    drop(sync);
    rig.cut(Unsynced::Lost, || {});
    assert_eq!(fs::read(root.join("kept/file")).unwrap(), b"durable at once");
}

#[test]
fn programs_find_a_usual_file_system() {
    let rig = Rig::new();
    let root = rig.path();
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(root.join("f")).unwrap();
    file.write_all_at(b"page", 10_000).unwrap();
    file.set_len(20_000).unwrap();
    file.seek(SeekFrom::Start(9_998)).unwrap();
    let mut bytes = [1; 8];
    file.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\0page\0\0");
    assert!(OpenOptions::new().write(true).create_new(true).open(root.join("f")).is_err());

    fs::remove_file(root.join("f")).unwrap();
    file.write_all_at(b"still open", 0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 20_000);
    drop(file);

    for n in 0..2000 {
        File::create(root.join(format!("many-{n}"))).unwrap();
    }
    let mut removed = 0;
    for entry in fs::read_dir(root).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
        removed += 1;
    }
    assert_eq!(removed, 2000, "removing while reading skips nothing");

    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::rename(root.join("a/b"), root.join("b")).unwrap();
    assert!(root.join("b/c").is_dir() && !root.join("a/b").exists());
    std::os::unix::fs::symlink("b/c", root.join("way")).unwrap();
    assert!(root.join("way").is_dir());
    let _listener = UnixListener::bind(root.join("socket")).unwrap();
    UnixStream::connect(root.join("socket")).unwrap();
    File::open(root).unwrap().try_lock().unwrap();
}

#[test]
fn a_full_disk_says_so_until_there_is_room() {
    let rig = Rig::new();
    let path = rig.path().join("f");
    let mut file = File::create(&path).unwrap();
    let room = rig.mount().usage().used + 16 * 4096;
    rig.mount().adjust(|disk| disk.set_limit(room));
    let error = file.write_all(&[7; 40 * 4096]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    rig.mount().adjust(|disk| disk.set_limit(room * 10));
    file.set_len(0).unwrap();
    file.write_all_at(&[7; 40 * 4096], 0).unwrap();
    file.sync_all().unwrap();
    rig.mount().adjust(|disk| disk.set_syncs_fail(true));
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
}

/// What the process that writes rows is told: the database's path, and SQLite's `synchronous` setting.
const PATH_OF_CHILD: &str = "POWER_CUT_TEST_DATABASE";
const SYNCHRONOUS_OF_CHILD: &str = "POWER_CUT_TEST_SYNCHRONOUS";

/// Run by [`Rows`] in a process of its own, which dies with the power. (A process that maps files of a file system
/// which it serves itself could wait for itself.)
#[test]
fn writes_rows_when_asked() {
    let Some(path) = std::env::var_os(PATH_OF_CHILD) else { return };
    let database = rusqlite::Connection::open(Path::new(&path)).unwrap();
    database.pragma_update(None, "journal_mode", "wal").unwrap();
    database.pragma_update(None, "synchronous", std::env::var(SYNCHRONOUS_OF_CHILD).unwrap()).unwrap();
    database.pragma_update(None, "wal_autocheckpoint", 20).unwrap();
    database.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, fill BLOB)").unwrap();
    let word = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(word("PRAGMA integrity_check"), "ok");
    let mut row: i64 = word("SELECT CAST(coalesce(max(n), 0) AS TEXT) FROM t").parse().unwrap();
    println!("row {row}");
    loop {
        row += 1;
        let fill = vec![row as u8; 1 + (row * 977 % 9000) as usize];
        if database.execute("INSERT INTO t VALUES (?1, ?2)", (row, fill)).is_err() {
            return;
        }
        println!("row {row}");
    }
}

/// A process that writes rows, and the last row that it said was there.
struct Rows {
    child: Child,
    found: i64,
    output: std::io::Lines<BufReader<ChildStdout>>,
}

impl Rows {
    fn start(path: &Path, synchronous: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writes_rows_when_asked", "--exact", "--nocapture"])
            .env(PATH_OF_CHILD, path)
            .env(SYNCHRONOUS_OF_CHILD, synchronous)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut rows = Self { child, found: 0, output };
        rows.found = rows.next().expect("the database opens");
        rows
    }

    fn next(&mut self) -> Option<i64> {
        self.output.by_ref().map_while(Result::ok).find_map(|line| line.split_once("row ")?.1.parse().ok())
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn sqlite_loses_nothing_that_it_committed() {
    let mut rig = Rig::new();
    let path = rig.path().join("db");
    let mut committed = 0;
    for round in 0..12_u64 {
        let mut rows = Rows::start(&path, "full");
        let found = rows.found;
        assert!(
            found >= committed,
            "round {round}: row {committed} was committed, the last found is {found}"
        );
        for _ in 0..30 + round {
            committed = rows.next().expect("the process goes on");
        }
        let unsynced = if round % 2 == 0 { Unsynced::Lost } else { Unsynced::Some { seed: round } };
        rig.cut(unsynced, || rows.kill());
    }
    assert!(committed > 300);
}

#[test]
fn sqlite_without_syncs_loses_rows() {
    let mut rig = Rig::new();
    let path = rig.path().join("db");
    let mut rows = Rows::start(&path, "off");
    for _ in 0..30 {
        rows.next().expect("the process goes on");
    }
    rig.cut(Unsynced::Lost, || rows.kill());
    let rows = Rows::start(&path, "off");
    assert_eq!(rows.found, 0, "nothing was synced");
    rows.kill();
}
