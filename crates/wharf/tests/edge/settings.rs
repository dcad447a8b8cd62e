//! A server whose settings cannot work does not start, and says what to do.

use test_kit::{Cmd, WharfServer, temp_dir};

use crate::{EXE, KEY};

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("a file can be written");
    write("good", KEY);
    write("bad", "not a key");
    write("empty", "");
    let check = |text: &str, expect: &str| {
        write("wharf.toml", text);
        let serve = Cmd::new(EXE).args(["serve", "--data", &path("data"), "--listen", "127.0.0.1:0"]);
        let said = serve.arg("--config").arg(path("wharf.toml")).run_to_fail().stderr;
        assert!(said.contains(expect), "{text}\n{said}");
        assert!(!said.contains(KEY) && !said.contains("not a key"), "{said}");
    };
    let good = format!("[edge]\nkey_file = \"{}\"\n", path("good"));
    let file = |name: &str| format!("[edge]\nkey_file = \"{}\"\n", path(name));
    let upstream = "[[upstream]]\nkey = \"region\"\nregistry = \"r.example\"\nprefix = \"a\"\n";
    let site = |lines: &str| format!("{good}[[edge.site]]\n{lines}\n");
    check("[[edge.site]]\nurl = \"https://cdn.example.com\"", "`edge.key_file` is missing");
    check(&file("none"), "cannot read");
    check(&file("bad"), "line 1 must hold 64 hexadecimal digits");
    check(&file("empty"), "there is no key");
    check(&format!("{good}upstream = \"regoin\""), "there is no [[upstream]] with that key");
    check(&format!("{good}upstream = \"region\"\n{upstream}"), "has a `prefix`");
    check(&site("url = \"cdn.example.com\""), "cannot be a site");
    check(&site("url = \"https://cdn.example.com/\""), "without a slash at the end");
    check(&site("networks = []"), "missing field `url`");
    check(&site("url = \"https://cdn.example.com\"\nnetworks = [\"10.0.0.0/99\"]"), "10.0.0.0/99");
    check(&site("url = \"https://cdn.example.com\"\nca = \"/none\""), "/none");
    check(&format!("{good}lifetime = \"0s\""), "`edge.lifetime` is 0s, and must be between 1s and 7d");
}

#[test]
fn without_keys_there_is_nothing_at_such_addresses() {
    let server = WharfServer::start(EXE);
    let client = server.client();
    for path in ["/edge/v1/", "/edge", "/edge/v1/sha256/00?key=a"] {
        let answer = client.get(path).expect(404);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    assert!(!crate::metrics(&client).contains("wharf_edge_"));
}
