//! Whole commands, with a host that plays the server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Result;
use cli::{Host, Lines, Request, ServeFlags};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};

/// Answers every administration request with these lines, and notes what it was asked.
#[derive(Default)]
struct Fake {
    lines: Vec<Value>,
    asked: Mutex<Vec<(Option<PathBuf>, String, Value)>>,
    served: Mutex<Vec<ServeFlags>>,
}

impl Host for Fake {
    fn serve(&self, flags: ServeFlags) -> BoxFuture<'_, Result<()>> {
        self.served.lock().unwrap().push(flags);
        async { Ok(()) }.boxed()
    }

    fn admin(
        &self,
        data: Option<PathBuf>,
        _config: Option<PathBuf>,
        request: Request,
    ) -> BoxFuture<'_, Result<Lines>> {
        let method_and_path = format!("{} {}", request.method, request.path);
        self.asked.lock().unwrap().push((data, method_and_path, request.body));
        let lines: Vec<Result<Value>> = self.lines.iter().cloned().map(Ok).collect();
        async move { Ok(stream::iter(lines).boxed()) }.boxed()
    }
}

fn run(line: &str, host: &Fake) -> u8 {
    let code = cli::run(line.split_whitespace(), host);
    // An exit code tells nothing of itself but by comparison.
    (0..=255).find(|n| ExitCode::from(*n) == code).expect("an exit code is a byte")
}

#[test]
fn the_exit_code_tells_how_it_went() {
    let check = |line: &str, lines: &[Value], expect: u8| {
        let host = Fake { lines: lines.to_vec(), ..Fake::default() };
        assert_eq!(run(line, &host), expect, "{line} {lines:?}");
    };
    let good = json!({"type": "summary", "damaged": 0});
    let damage = json!({"type": "finding", "damage": true, "message": "m"});
    let notice = json!({"type": "finding", "damage": false, "message": "m"});
    check("wharf check --data d", std::slice::from_ref(&good), 0);
    check("wharf check --data d", &[notice, good.clone()], 0);
    check("wharf check --data d --json", &[damage, good.clone()], 1);
    check("wharf check --data d", &[json!({"type": "summary", "damaged": 1})], 1);
    check("wharf check --data d", &[json!({"type": "error", "message": "no"})], 1);
    check("wharf check --data d", &[], 1);
    check("wharf gc --data d", &[json!({"type": "link"}), good.clone()], 0);
    check("wharf gc --data d", &[json!({"type": "link"})], 1);
    check("wharf gc", &[good], 0);
    check("wharf gc --grace soon", &[], 2);
    check("wharf nothing", &[], 2);
    check("wharf --help", &[], 0);
    check("wharf copy alpine oci:x", &[], 2);
    check("wharf copy oci:/does/not/exist dir:/does/not/exist/either", &[], 1);
}

#[test]
fn a_new_password_is_asked_for_and_printed() {
    let check = |line: &str, lines: &[Value], path: &str, expect: u8| {
        let host = Fake { lines: lines.to_vec(), ..Fake::default() };
        assert_eq!(run(line, &host), expect, "{line}");
        assert_eq!(*host.asked.lock().unwrap(), [(Some("d".into()), format!("POST {path}"), Value::Null)]);
    };
    let answer = [json!({"name": "admin", "password": "p"})];
    check("wharf admin reset-password --data d", &answer, "/api/v1/users/admin/reset-password", 0);
    check("wharf admin reset-password a@b --data d", &answer, "/api/v1/users/a%40b/reset-password", 0);
    check("wharf admin reset-password --data d", &[], "/api/v1/users/admin/reset-password", 1);
}

#[test]
fn the_server_is_asked_for_what_was_wanted() {
    let check = |line: &str, path: &str, body: Value| {
        let host = Fake { lines: vec![json!({"type": "summary"})], ..Fake::default() };
        assert_eq!(run(line, &host), 0, "{line}");
        assert_eq!(*host.asked.lock().unwrap(), [(Some("d".into()), format!("POST {path}"), body)]);
    };
    check("wharf gc --data d", "/api/v1/gc", json!({"dry_run": false}));
    check(
        "wharf gc --data d --dry-run --grace 24h",
        "/api/v1/gc",
        json!({"dry_run": true, "grace_seconds": 86_400}),
    );
    check("wharf check --data d", "/api/v1/check", json!({"read": false}));
    check("wharf check --data d --read", "/api/v1/check", json!({"read": true}));
    check("wharf rebuild --data d", "/api/v1/rebuild", json!({}));
}

#[test]
fn serve_gets_its_flags() {
    let host = Fake::default();
    assert_eq!(run("wharf serve --data d --listen 127.0.0.1:0", &host), 0);
    let served = host.served.lock().unwrap();
    assert_eq!(served[0].data, Some("d".into()));
    assert_eq!(served[0].listen, Some(vec!["127.0.0.1:0".into()]));
}

/// A layout with an artifact of one small layer.
fn layout(folder: &Path) {
    let blob = |content: &[u8]| {
        let digest = oci::Digest::sha256(content);
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(digest.hex()), content).unwrap();
        (digest, content.len())
    };
    let (config, layer) = (blob(b"{}"), blob(b"layer"));
    let manifest = json!({"schemaVersion": 2, "mediaType": oci::types::OCI_MANIFEST,
        "config": {"mediaType": oci::types::EMPTY, "digest": config.0, "size": config.1},
        "layers": [{"mediaType": "a/b", "digest": layer.0, "size": layer.1}]});
    let (digest, size) = blob(manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": oci::types::OCI_MANIFEST, "digest": digest, "size": size}]});
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), "{}").unwrap();
}

#[test]
fn a_copy_between_local_ends_works() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    layout(&folder.path().join("from"));
    let host = Fake::default();
    assert_eq!(run(&format!("wharf copy oci:{} dir:{}", at("from"), at("dir")), &host), 0);
    assert_eq!(run(&format!("wharf copy -q dir:{} oci-archive:{}:v1", at("dir"), at("a.tar")), &host), 0);
    for form in ["", "--json", "--raw"] {
        assert_eq!(run(&format!("wharf inspect {form} oci-archive:{}:v1", at("a.tar")), &host), 0);
    }
    for kind in ["dir", "docker-archive"] {
        let line = format!("wharf copy --referrers oci:{} {kind}:{}", at("from"), at("none"));
        assert_eq!(run(&line, &host), 1);
        assert!(!folder.path().join("none").exists());
    }
    assert_eq!(run(&format!("wharf inspect oci-archive:{}:v2", at("a.tar")), &host), 1);
    assert!(folder.path().join("dir").join(oci::Digest::sha256(b"layer").hex()).exists());
}
