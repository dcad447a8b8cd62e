//! The model alone, without mounting: what a power cut leaves after each kind of change.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use power_cut::{Disk, Error, Ino, Kind, NewNode, PAGE, ROOT, Unsynced};
use proptest::prelude::*;

fn new(kind: Kind) -> NewNode {
    NewNode { kind, mode: 0o644, uid: 0, gid: 0 }
}

/// A disk whose nodes are named by paths of at most two parts.
#[derive(Default)]
struct Paths(Disk);

impl Paths {
    fn parent<'a>(&self, path: &'a str) -> (Ino, &'a OsStr) {
        match path.split_once('/') {
            Some((folder, name)) => (self.ino(folder), OsStr::new(name)),
            None => (ROOT, OsStr::new(path)),
        }
    }

    fn ino(&self, path: &str) -> Ino {
        if path == "." {
            return ROOT;
        }
        let (parent, name) = self.parent(path);
        self.0.lookup(parent, name).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// One step, as in "write a/b 4096 x" or "sync a/b".
    fn step(&mut self, step: &str) -> Result<(), Error> {
        let words: Vec<&str> = step.split(' ').collect();
        let (verb, path) = (words[0], words[1]);
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match verb {
            "file" | "folder" => {
                let kind = if verb == "file" { Kind::File } else { Kind::Folder };
                let (parent, name) = self.parent(path);
                self.0.make(parent, name, &new(kind)).map(drop)
            }
            "write" => self.0.write(self.ino(path), number(2), words[3].as_bytes()),
            "fill" => self.0.write(self.ino(path), number(2), &vec![b'f'; number(3) as usize]),
            "resize" => self.0.resize(self.ino(path), number(2)),
            "allocate" => self.0.allocate(self.ino(path), number(2)..number(3), true),
            "punch" => self.0.punch(self.ino(path), number(2)..number(3)),
            "sync" => self.0.sync(self.ino(path)),
            "rename" => self.0.rename(self.parent(path), self.parent(words[2]), false),
            "link" => {
                let (parent, name) = self.parent(words[2]);
                self.0.link(self.ino(path), parent, name)
            }
            "unlink" => {
                let (parent, name) = self.parent(path);
                self.0.unlink(parent, name)
            }
            "rmdir" => {
                let (parent, name) = self.parent(path);
                self.0.rmdir(parent, name)
            }
            _ => panic!("no such step: {step}"),
        }
    }

    fn run(steps: &str) -> Self {
        let mut paths = Self::default();
        for step in steps.split(',').map(str::trim) {
            paths.step(step).unwrap_or_else(|error| panic!("{step}: {error}"));
        }
        paths
    }
}

/// The tree in one line: folders end in a slash, files show their text with zeros as dots.
fn show(disk: &Disk) -> String {
    let mut shown = Vec::new();
    for (path, attr) in disk.tree() {
        let path = path.to_str().unwrap().trim_start_matches('/').to_owned();
        if attr.kind == Kind::Folder {
            shown.push(format!("{path}/"));
            continue;
        }
        let bytes = disk.read(attr.ino, 0, u64::MAX).unwrap();
        let text: String =
            bytes.iter().map(|byte| if *byte == 0 { '.' } else { char::from(*byte) }).collect();
        shown.push(format!("{path}={text}"));
    }
    shown.sort();
    shown.join(" ")
}

fn check(steps: &str, seen: &str, found: &str) {
    let disk = Paths::run(steps).0;
    assert_eq!(show(&disk), seen, "seen after {steps}");
    assert_eq!(show(&disk.after_cut(Unsynced::Lost)), found, "found after {steps}");
}

#[test]
fn bytes_need_a_sync_of_their_file() {
    check("file a, write a 0 hi, sync .", "a=hi", "a=");
    check("file a, write a 0 hi, sync a, sync .", "a=hi", "a=hi");
    check("file a, write a 0 hi, sync a, sync ., write a 0 HO", "a=HO", "a=hi");
    check("file a, write a 0 hi, sync a, sync ., write a 2 !", "a=hi!", "a=hi");
    check("file a, write a 0 hi, sync a, sync ., resize a 1", "a=h", "a=hi");
    check("file a, write a 0 hi, sync a, sync ., resize a 1, resize a 3", "a=h..", "a=hi");
    check("file a, write a 0 hi, resize a 1, resize a 3, sync a, sync .", "a=h..", "a=h..");
    check("file a, write a 0 hi, sync a, sync ., resize a 0, sync a", "a=", "a=");
    check("file a, write a 0 hello, sync a, sync ., punch a 1 3", "a=h..lo", "a=hello");
    check("file a, write a 0 hello, sync a, sync ., punch a 1 3, sync a", "a=h..lo", "a=h..lo");
}

#[test]
fn entries_need_a_sync_of_their_folder() {
    check("file a, write a 0 hi, sync a", "a=hi", "");
    check("folder d, file d/a, sync d", "d/ d/a=", "");
    check("folder d, sync ., file d/a", "d/ d/a=", "d/");
    check("folder d, sync ., file d/a, sync d", "d/ d/a=", "d/ d/a=");
    check("file a, sync ., unlink a", "", "a=");
    check("file a, sync ., unlink a, sync .", "", "");
    check("file a, sync ., link a b", "a= b=", "a=");
    check("folder d, sync ., rmdir d", "", "d/");
    check("file a, write a 0 hi, sync a, sync ., unlink a, file a, write a 0 new", "a=new", "a=hi");
}

#[test]
fn each_side_of_a_rename_lasts_on_its_own() {
    check("file a, sync ., rename a b", "b=", "a=");
    check("file a, sync ., rename a b, sync .", "b=", "b=");
    let moved = "folder d, file a, write a 0 hi, sync a, sync ., rename a d/b";
    check(moved, "d/ d/b=hi", "a=hi d/");
    check(&format!("{moved}, sync d"), "d/ d/b=hi", "a=hi d/ d/b=hi");
    check(&format!("{moved}, sync ."), "d/ d/b=hi", "d/");
    check(&format!("{moved}, sync d, sync ."), "d/ d/b=hi", "d/ d/b=hi");
}

#[test]
fn a_rename_replaces_its_target() {
    let both = "file a, write a 0 old, sync a, file b, write b 0 new, sync b, sync .";
    check(&format!("{both}, rename b a"), "a=new", "a=old b=new");
    check(&format!("{both}, rename b a, sync ."), "a=new", "a=new");
    let unsynced = "file a, write a 0 old, sync a, sync ., file b, write b 0 new, rename b a, sync .";
    check(unsynced, "a=new", "a=");
}

#[test]
fn a_folder_is_never_found_twice() {
    check(
        "folder d, folder e, file e/x, sync e, sync ., rename e d/e, sync d",
        "d/ d/e/ d/e/x=",
        "d/ e/ e/x=",
    );
}

#[test]
fn names_are_checked() {
    let mut paths = Paths::run("file a, folder d, file d/x, folder e");
    let mut refused = |step: &str| paths.step(step).unwrap_err().errno();
    assert_eq!(refused("file a"), libc::EEXIST);
    assert_eq!(refused("unlink d"), libc::EISDIR);
    assert_eq!(refused("rmdir d"), libc::ENOTEMPTY);
    assert_eq!(refused("rename a d"), libc::EISDIR);
    assert_eq!(refused("rename e a"), libc::ENOTDIR);
    assert_eq!(refused("rename e d"), libc::ENOTEMPTY);
    assert_eq!(refused("unlink no"), libc::ENOENT);
    assert_eq!(refused("link d f"), libc::EISDIR);
    let kept = paths.0.rename((ROOT, OsStr::new("e")), (ROOT, OsStr::new("d")), true);
    assert_eq!(kept.unwrap_err().errno(), libc::EEXIST);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let mut paths = Paths::run("file a, fill a 0 8192, sync a, sync .");
    let taken = paths.0.usage().used;
    assert_eq!(taken, 4 * PAGE, "root, file and two pages");
    paths.0.set_limit(taken);
    for step in ["fill a 8192 1", "file b", "link a b", "allocate a 0 999999999999"] {
        assert_eq!(paths.step(step).unwrap_err().errno(), libc::ENOSPC, "{step}");
    }
    paths.step("write a 4096 over").unwrap();
    paths.step("resize a 4096").unwrap();
    assert_eq!(paths.0.usage().used, taken - PAGE);
    paths.step("file b").unwrap();
    paths.step("unlink a").unwrap();
    paths.step("unlink b").unwrap();
    assert_eq!(paths.0.usage().used, PAGE, "an unsynced removal frees the space at once, as it does on ext4");
    assert_eq!(paths.0.after_cut(Unsynced::Lost).usage().used, taken);
}

#[test]
fn a_file_without_a_name_lasts_until_its_user_goes() {
    let mut paths = Paths::run("file a, fill a 0 4096");
    let ino = paths.ino("a");
    paths.0.hold(ino).unwrap();
    paths.step("unlink a").unwrap();
    assert_eq!(paths.0.read(ino, 0, 1).unwrap(), b"f");
    assert_eq!(paths.0.usage().used, 3 * PAGE);
    paths.0.forget(ino, 1).unwrap();
    assert_eq!(paths.0.usage().used, PAGE);
}

#[test]
fn what_a_failed_sync_lost_is_not_saved_by_the_next() {
    let mut paths = Paths::run("file a, sync ., write a 0 hi");
    paths.0.set_syncs_fail(true);
    assert_eq!(paths.step("sync a").unwrap_err().errno(), libc::EIO);
    paths.0.set_syncs_fail(false);
    paths.step("sync a").unwrap();
    assert_eq!(show(&paths.0), "a=hi");
    assert_eq!(show(&paths.0.after_cut(Unsynced::Lost)), "a=");
    paths.step("write a 0 hi").unwrap();
    paths.step("resize a 2").unwrap();
    paths.step("sync a").unwrap();
    assert_eq!(show(&paths.0.after_cut(Unsynced::Lost)), "a=hi");
}

#[test]
fn some_of_what_was_not_synced_may_survive() {
    let mut paths = Paths::run("file a, fill a 0 8192, sync a, sync .");
    paths.0.write(paths.ino("a"), 0, &[b'n'; 8192]).unwrap();
    paths.step("file b").unwrap();
    let mut seen = BTreeMap::new();
    for seed in 0..200 {
        let found = paths.0.after_cut(Unsynced::Some { seed });
        assert_eq!(
            show(&found),
            show(&paths.0.after_cut(Unsynced::Some { seed })),
            "equal seeds, equal disks"
        );
        let bytes = found.read(paths.ino("a"), 0, 8192).unwrap();
        let kinds: Vec<u8> = bytes.chunks(PAGE as usize).map(|page| page[0]).collect();
        assert!(bytes.chunks(PAGE as usize).all(|page| page.iter().all(|byte| *byte == page[0])));
        let has_b = found.lookup(ROOT, OsStr::new("b")).is_ok();
        *seen.entry((kinds, has_b)).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 8, "each page old or new, the entry there or not: {seen:?}");
}

fn any_step() -> impl Strategy<Value = String> {
    let path = || prop::sample::select(vec!["a", "b", "d/a", "d/b"]);
    prop_oneof![
        path().prop_map(|path| format!("file {path}")),
        (path(), 0..9000_u64, 1..9000_u64).prop_map(|(path, at, len)| format!("fill {path} {at} {len}")),
        (path(), 0..9000_u64).prop_map(|(path, size)| format!("resize {path} {size}")),
        path().prop_map(|path| format!("unlink {path}")),
        (path(), path()).prop_map(|(from, to)| format!("rename {from} {to}")),
        (path(), path()).prop_map(|(from, to)| format!("link {from} {to}")),
        path().prop_map(|path| format!("sync {path}")),
        Just("sync d".to_owned()),
        Just("sync .".to_owned()),
    ]
}

proptest! {
    /// Whatever was done: after a sync of everything both kinds of cut find what was seen, and what was found has
    /// the space that it takes.
    #[test]
    fn a_full_sync_saves_everything(steps in prop::collection::vec(any_step(), 0..40), seed: u64) {
        let mut paths = Paths::run("folder d");
        for step in &steps {
            let target = step.split(' ').nth(1).unwrap_or_default();
            let (parent, name) = paths.parent(target);
            let makes = step.starts_with("file ");
            if makes || target == "." || paths.0.lookup(parent, name).is_ok() {
                // A refused step must leave no trace, which the comparison below would show.
                let _ = paths.step(step);
            }
        }
        let found = paths.0.after_cut(Unsynced::Some { seed });
        prop_assert_eq!(show(&found), show(&found.after_cut(Unsynced::Lost)), "a found disk is durable");
        prop_assert_eq!(found.usage().used, found.after_cut(Unsynced::Lost).usage().used);
        for (_, attr) in paths.0.tree() {
            paths.0.sync(attr.ino).unwrap();
        }
        paths.0.sync(ROOT).unwrap();
        let seen = show(&paths.0);
        let lost = paths.0.after_cut(Unsynced::Lost);
        prop_assert_eq!(&seen, &show(&lost));
        prop_assert_eq!(paths.0.usage(), lost.usage());
        prop_assert_eq!(seen, show(&paths.0.after_cut(Unsynced::Some { seed })));
    }
}
