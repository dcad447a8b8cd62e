//! A Wharf server as a process of its own, on data of its own.

use crate::certificate::Certificate;
use crate::http::Client;
use crate::{Daemon, temp_dir};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use tempfile::TempDir;

/// What the server writes to standard error before the address it listens on.
const READY: &str = "listening on http";

/// What stands before the administrator's password at a first start.
const FIRST_PASSWORD: &str = "the administrator is `admin`, with the password";

/// How to start a server.
pub struct Builder {
    exe: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    scheme: &'static str,
    dir: TempDir,
    port: u16,
}

impl Builder {
    /// Listens on this port: for who must name the server before it runs.
    pub fn port(self, port: u16) -> Self {
        Builder { port, ..self }
    }

    /// Adds an argument to `wharf serve`.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets an environment variable of the server.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Serves TLS with this certificate.
    pub fn tls(self, certificate: &Certificate) -> Self {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let builder = self.arg("--tls-cert").arg(path(&certificate.cert));
        Builder { scheme: "https", ..builder.arg("--tls-key").arg(path(&certificate.key)) }
    }

    /// Writes a configuration file and starts the server with it.
    pub fn config(self, toml: &str) -> Self {
        let file = self.dir.path().join("wharf.toml");
        std::fs::write(&file, toml).expect("the configuration file can be written");
        self.arg("--config").arg(file.to_string_lossy())
    }

    /// Starts the server and waits until it answers.
    pub fn start(self) -> WharfServer {
        let Builder { exe, args, env, scheme, dir, port } = self;
        let mut server = WharfServer { exe, args, env, scheme, dir, port, daemon: None };
        server.restart();
        server
    }
}

/// A running server; dropping it ends it and removes its data.
pub struct WharfServer {
    exe: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    scheme: &'static str,
    dir: TempDir,
    port: u16,
    daemon: Option<Daemon>,
}

impl WharfServer {
    /// Prepares a server; `exe` is `env!("CARGO_BIN_EXE_wharf")`, which only the calling test can know.
    /// `$WHARF_BIN` takes its place where an installed or optimised binary is to be tested.
    pub fn builder(exe: &str) -> Builder {
        let exe = std::env::var_os("WHARF_BIN").map_or_else(|| PathBuf::from(exe), PathBuf::from);
        Builder { exe, args: Vec::new(), env: Vec::new(), scheme: "http", dir: temp_dir(), port: 0 }
    }

    /// Starts a server with nothing but defaults.
    pub fn start(exe: &str) -> Self {
        Self::builder(exe).start()
    }

    /// `host:port`.
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://host:port` or `https://host:port`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority())
    }

    /// The port it listens on; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// An HTTP client of this server (plain HTTP only).
    pub fn client(&self) -> Client {
        assert_eq!(self.scheme, "http", "the test client speaks no TLS; use curl");
        Client::new(&self.url())
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the server runs")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the server runs").pid()
    }

    /// Its resident memory in bytes.
    pub fn rss(&self) -> u64 {
        self.daemon.as_ref().expect("the server runs").rss()
    }

    /// All that it has logged, over restarts too.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The password of the administrator `admin`, as the first start of a server with users tells it.
    pub fn first_password(&self) -> String {
        let log = self.log();
        let told = log.split_once(FIRST_PASSWORD).and_then(|(_, rest)| rest.split_whitespace().next());
        told.unwrap_or_else(|| panic!("no administrator was made: {log}")).to_owned()
    }

    /// Sets an environment variable of the server, from its next start on.
    pub fn set_env(&mut self, key: &str, value: &str) {
        self.env.retain(|(name, _)| name != key);
        self.env.push((key.to_owned(), value.to_owned()));
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// Asks it to end, and waits until it has ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.daemon.take().expect("the server runs").terminate()
    }

    /// Starts it on the data and the port it had; kills it first where it still runs.
    pub fn restart(&mut self) {
        self.kill();
        let logged = self.log().len();
        let mut command = Command::new(&self.exe);
        command.arg("serve").arg("--data").arg(self.data());
        command.args(["--listen", &self.authority()]).args(&self.args);
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        let mut daemon = Daemon::start(&mut command, &self.log_file());
        self.port = daemon.wait_until("it said where it listens", |daemon| {
            listening_port(daemon.log().get(logged..).unwrap_or_default())
        });
        self.daemon = Some(daemon);
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for WharfServer {
    /// At once: a test that is over has no use for transfers that end well.
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads the port from a line such as `listening on http://127.0.0.1:5000`; None while the line is not whole.
fn listening_port(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once(READY)?;
    let (address, _) = rest.split_once(|c: char| c.is_whitespace())?;
    address.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::listening_port;

    #[track_caller]
    fn check(log: &str, expect: Option<u16>) {
        assert_eq!(listening_port(log), expect, "{log:?}");
    }

    #[test]
    fn the_port_is_read_from_a_whole_line() {
        check("", None);
        check("listening on http://127.0.0.1:50", None);
        check("INFO listening on http://127.0.0.1:5000\nnext", Some(5000));
        check("listening on https://127.0.0.1:41 data=/x", Some(41));
    }
}
