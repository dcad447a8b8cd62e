//! The first start: the administrator's password is told by a server that serves.

use std::net::TcpListener;
use std::process::Command;

use test_kit::{Cmd, Daemon, temp_dir};

const EXE: &str = env!("CARGO_BIN_EXE_wharf");
const TOLD: &str = "with the password";

#[test]
fn a_start_that_fails_loses_no_password() {
    let folder = temp_dir();
    let data = folder.path().join("data");
    let data = data.to_str().expect("a path in UTF-8");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    for _ in 0..2 {
        let serve = Cmd::new(EXE).args(["serve", "--auth", "on", "--data", data, "--listen", &port]);
        let said = serve.run_to_fail().stderr;
        assert!(said.contains("in use") && !said.contains(TOLD), "{said}");
    }

    let log = folder.path().join("log");
    let mut command = Command::new(EXE);
    command.args(["serve", "--auth", "on", "--data", data, "--listen", "127.0.0.1:0"]);
    let mut server = Daemon::start(&mut command, &log);
    let password = server.wait_until("it listens", |server| {
        let log = server.log();
        let (before, _) = log.split_once("listening on")?;
        let (_, told) = before.split_once(TOLD).expect("the password is told before");
        Some(told.split_whitespace().next().expect("a password").to_owned())
    });
    let log = server.log();
    let address = log.split_once("listening on ").and_then(|(_, rest)| rest.split_whitespace().next());
    let client = test_kit::http::Client::new(address.expect("an address"));
    client.basic("admin", &password).get("/api/v1/me").expect(200);
}
