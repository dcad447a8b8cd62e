//! The account commands of the command line, against a real server with users.

mod doctor;
mod factors;
mod journal;
mod nouns;
mod secrets;
mod sign_in;
mod upstreams;

use std::path::PathBuf;

use test_kit::image::{ImageSpec, Layout};
use test_kit::{Cmd, WharfServer, temp_dir};

/// A password that is good enough.
const PASSWORD: &str = "correct-horse-battery-staple";

fn server() -> WharfServer {
    WharfServer::builder(env!("CARGO_BIN_EXE_wharf")).arg("--auth").arg("on").start()
}

/// Somebody at a machine of their own, with a file of credentials of their own.
struct Person {
    home: tempfile::TempDir,
    host: String,
}

impl Person {
    fn new(server: &WharfServer) -> Self {
        Self { home: temp_dir(), host: server.authority() }
    }

    /// Somebody who is signed in.
    fn signed_in(server: &WharfServer, user: &str, password: &str) -> Self {
        let person = Self::new(server);
        person.login(user, password).run();
        person
    }

    fn admin(server: &WharfServer) -> Self {
        Self::signed_in(server, "admin", &server.first_password())
    }

    /// A program that finds this person's credentials, and nobody else's.
    fn program(&self, program: &str) -> Cmd {
        let home = self.home.path();
        let cmd = Cmd::new(program).env("HOME", home).env("DOCKER_CONFIG", home.join(".docker"));
        let cmd = cmd.env("XDG_RUNTIME_DIR", home.join("run")).env("XDG_CONFIG_HOME", home.join(".config"));
        cmd.env("REGISTRY_AUTH_FILE", "")
    }

    /// `wharf` with the words of a line; HOST stands for the server.
    fn wharf(&self, line: &str) -> Cmd {
        let words = line.split(' ').map(|word| if word == "HOST" { self.host.as_str() } else { word });
        self.program(env!("CARGO_BIN_EXE_wharf")).args(words)
    }

    fn login(&self, user: &str, password: &str) -> Cmd {
        self.wharf(&format!("login HOST --user {user} --password-stdin")).stdin(format!("{password}\n"))
    }

    /// What a command prints.
    fn says(&self, line: &str) -> String {
        self.wharf(line).run().text().to_owned()
    }

    /// The first words of the lines of a table, without its titles.
    fn names(&self, line: &str) -> Vec<String> {
        let table = self.says(line);
        table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// What a command says that must fail.
    fn refused(&self, line: &str) -> String {
        self.wharf(line).run_to_fail().stderr
    }

    fn credentials(&self) -> PathBuf {
        self.home.path().join(".docker/config.json")
    }

    /// Pushes a small image to a repository of the server, with the tag `v1`.
    fn push(&self, repository: &str) -> Cmd {
        let mut layout = Layout::create(&self.home.path().join("layout").join(repository));
        let image = layout.image(&ImageSpec::default());
        layout.tag(&image, "v1");
        let source = format!("oci:{}:v1", layout.dir().display());
        self.wharf("copy --quiet").arg(source).arg(format!("{}/{repository}:v1", self.host))
    }

    /// Pulls it with our own client.
    fn pull(&self, repository: &str) -> Cmd {
        let target = format!("oci:{}", self.home.path().join("pulled").display());
        self.wharf("copy --quiet").arg(format!("{}/{repository}:v1", self.host)).arg(target)
    }
}

#[track_caller]
fn assert_says(text: &str, expect: &str) {
    assert!(text.contains(expect), "`{expect}` is not in:\n{text}");
}
