//! A full disk: pushes are refused with a message, nothing that was stored is lost, and pushes work again as soon as
//! there is room.

use std::path::PathBuf;

use chaos_kit::{Answer, Blob, Http, Program, Server, Site, Worker, verify};
use power_cut::{Disk, Mount};
use tempfile::TempDir;

/// More blobs than fit into the room that the tests leave.
const MANY: u64 = 200;

struct Rig {
    /// Declared first, because a file system in use cannot be unmounted.
    server: Server,
    site: Site,
    mount: Mount,
    _work: TempDir,
}

impl Rig {
    /// A server that keeps so many bytes of the disk free for deletions.
    fn keeping(bytes: u64) -> Self {
        let work = tempfile::tempdir().expect("a temporary folder can be made");
        let data = work.path().join("data");
        std::fs::create_dir(&data).expect("a folder can be made");
        let mount = Mount::new(Disk::new(), &data).expect("the disk can be mounted");
        let server = Server::new(Program::Wharf(wharf()), work.path(), &data).expect("a port is free");
        let mut server = server.with("WHARF_LIMITS_FREE_BYTES", &bytes.to_string());
        server.start().expect("the server starts");
        assert!(server.wait_until_ready(), "{}", server.log());
        let site = Site::new(server.address(), 22);
        Self { server, site, mount, _work: work }
    }

    fn leave_room(&self, bytes: u64) {
        let used = self.mount.usage().used;
        self.mount.adjust(|disk| disk.set_limit(used + bytes));
    }

    fn push_images(&self, seed: u64) {
        let mut worker = Worker::new(&self.site, seed);
        for _ in 0..5 {
            let pushed = worker.push_image();
            assert!(pushed.is_ok_and(|taken| taken), "{:?}", self.site.ledger.take_faults());
        }
    }

    #[track_caller]
    fn nothing_is_lost(&self) {
        let compared = verify(&self.site);
        assert_eq!(self.site.ledger.take_faults(), Vec::<String>::new());
        assert!(compared.is_ok());
    }
}

#[test]
fn a_full_disk_refuses_blobs_until_there_is_room() {
    let mut rig = Rig::keeping(0);
    rig.push_images(1);
    rig.leave_room(1 << 20);
    let mut http = Http::new(rig.site.address);
    let mut refused = 0;
    for seed in 0..MANY {
        let answer = push(&mut http, &Blob::new(seed, 64 << 10));
        if !answer.ok() {
            assert_refusal(&answer);
            refused += 1;
        }
    }
    assert!(refused > 0, "{MANY} blobs fit where they cannot");
    rig.nothing_is_lost();

    rig.leave_room(64 << 20);
    assert!(push(&mut http, &Blob::new(MANY, 64 << 10)).ok());
    rig.push_images(2);
    rig.server.kill().expect("the server can be killed");
    rig.server.start().expect("the server starts");
    assert!(rig.server.wait_until_ready(), "{}", rig.server.log());
    rig.nothing_is_lost();
    assert_eq!(rig.server.check(), Ok(()));
}

#[test]
fn a_disk_without_any_room_refuses_manifests_until_there_is_room() {
    let rig = Rig::keeping(0);
    rig.push_images(1);
    let mut http = Http::new(rig.site.address);
    let mut refused = 0;
    rig.leave_room(0);
    for note in 0..MANY {
        let answer = put_index(&mut http, note);
        if !answer.ok() {
            assert_refusal(&answer);
            refused += 1;
        }
    }
    assert!(refused > 0, "{MANY} manifests fit where they cannot");
    rig.nothing_is_lost();
    rig.leave_room(64 << 20);
    let answer = put_index(&mut http, MANY);
    assert!(answer.ok(), "{} {}", answer.status, answer.text());
    rig.push_images(2);
    rig.nothing_is_lost();
    assert_eq!(rig.server.check(), Ok(()));
}

/// What a server keeps free is enough to delete and collect in, so that nobody has to give it room first.
#[test]
fn room_can_be_made_on_a_full_disk() {
    const KEPT: u64 = 8 << 20;
    let rig = Rig::keeping(KEPT);
    rig.push_images(1);
    rig.leave_room(KEPT + (2 << 20));
    let mut http = Http::new(rig.site.address);
    let mut taken = Vec::new();
    let refusal = loop {
        let blob = Blob::new(taken.len() as u64, 64 << 10);
        let answer = push(&mut http, &blob);
        if !answer.ok() {
            break answer;
        }
        taken.push(blob);
        assert!(taken.len() < 100, "100 blobs fit where they cannot");
    };
    assert_eq!(refusal.status, 507, "{}", refusal.text());
    assert_refusal(&refusal);
    assert_eq!(put_index(&mut http, 0).status, 507);
    assert!(taken.len() > 10, "{} blobs were taken", taken.len());
    rig.nothing_is_lost();

    for blob in &taken {
        let path = format!("/v2/full/blobs/{}", blob.digest);
        let answer = http.send("DELETE", &path, &[], b"").expect("the server answers");
        assert!(answer.ok(), "{} {}", answer.status, answer.text());
    }
    rig.server.collect("0s").expect("a collection needs no room that is not there");
    assert!(push(&mut http, &Blob::new(MANY, 64 << 10)).ok());
    assert!(put_index(&mut http, 1).ok());
    rig.nothing_is_lost();
    assert_eq!(rig.server.check(), Ok(()));
}

/// Pushes a blob, and gives the answer that ended it.
fn push(http: &mut Http, blob: &Blob) -> Answer {
    let start = http.send("POST", "/v2/full/blobs/uploads/", &[], b"").expect("the server answers");
    let Some(location) = start.location().filter(|_| start.ok()) else { return start };
    let separator = if location.contains('?') { '&' } else { '?' };
    let path = format!("{location}{separator}digest={}", blob.digest);
    http.send("PUT", &path, &[], &blob.bytes()).expect("the server answers")
}

/// Pushes an empty index of a few kilobytes.
fn put_index(http: &mut Http, note: u64) -> Answer {
    let media_type = "application/vnd.oci.image.index.v1+json";
    let filler = "x".repeat(8000);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[],"annotations":{{"{note}":"{filler}"}}}}"#
    );
    let path = format!("/v2/full/manifests/note-{note}");
    http.send("PUT", &path, &[("content-type", media_type)], index.as_bytes()).expect("the server answers")
}

#[track_caller]
fn assert_refusal(answer: &Answer) {
    assert!(matches!(answer.status, 500 | 507), "{} {}", answer.status, answer.text());
    let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("a refusal is JSON");
    let message = json["errors"][0]["message"].as_str();
    assert!(message.is_some_and(|message| !message.is_empty()), "no message: {json}");
}

fn wharf() -> PathBuf {
    std::env::var_os("WHARF_BIN").map_or_else(|| env!("CARGO_BIN_EXE_wharf").into(), PathBuf::from)
}
