//! The servers under test: how each is configured, started, filled and stopped.
//!
//! Each runs on a free loopback port over plain HTTP, with the configuration committed beside this file.

use super::client::{self, Blob, Connection};
use super::process;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// This project's server.
    Wharf,
    /// Distribution v3.1.1, installed by `go install`.
    Distribution,
    /// Debian's docker-registry 2.8.2.
    DockerRegistry,
    /// nginx with static files and sendfile: the speed of the hardware for reads.
    Nginx,
    /// Receives, hashes and writes overlapped, nothing else: the speed of the hardware for pushes.
    Minimal,
}

impl Kind {
    const ALL: [Kind; 5] =
        [Kind::Wharf, Kind::Distribution, Kind::DockerRegistry, Kind::Nginx, Kind::Minimal];

    /// The name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Wharf => "wharf",
            Kind::Distribution => "distribution",
            Kind::DockerRegistry => "docker-registry",
            Kind::Nginx => "nginx",
            Kind::Minimal => "minimal-receiver",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Result<Kind> {
        let known = || Self::ALL.map(Kind::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .with_context(|| format!("no server {name}; there are {}", known()))
    }
}

/// Where the programs are.
#[derive(Clone)]
pub struct Programs {
    /// The release binary of this project.
    pub wharf: PathBuf,
    /// The folder of the Go programs that `tools` installed.
    pub tools: PathBuf,
}

impl Programs {
    /// The version line that a program prints of itself.
    pub fn version(&self, kind: Kind) -> Result<String> {
        let mut command = match kind {
            Kind::Wharf => with_args(&self.wharf, &["--version"]),
            Kind::Distribution => with_args(self.tools.join("registry"), &["--version"]),
            Kind::DockerRegistry => with_args("docker-registry", &["--version"]),
            Kind::Nginx => with_args("nginx", &["-v"]),
            Kind::Minimal => return Ok("minimal-receiver, of the same commit as wharf".into()),
        };
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        // nginx prints its version to standard error, the others to standard output.
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }
}

/// A running server; it is stopped when dropped, its folder stays.
pub struct Server {
    /// What runs.
    pub kind: Kind,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its folder: configuration, log, `data`.
    pub folder: PathBuf,
    /// From the start of the process to the first 200.
    pub ready_after: Duration,
    child: Child,
}

impl Server {
    /// Starts a server over `folder`, which may hold the data of an earlier run, and waits until it answers.
    pub fn start(kind: Kind, programs: &Programs, folder: &Path) -> Result<Server> {
        Server::start_with(kind, programs, folder, &[])
    }

    /// The same with variables of the environment, which is how Wharf takes settings.
    pub fn start_with(
        kind: Kind,
        programs: &Programs,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Server> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let port = free_port()?;
        let mut command = prepare(kind, programs, folder, port)?;
        command.envs(settings.iter().copied());
        let log = File::options().create(true).append(true).open(folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        end_with_parent(&mut command);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ready_after = Duration::ZERO;
        let mut server = Server { kind, address, folder: folder.to_owned(), ready_after, child };
        server.wait_until_ready(started)?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, started: Instant) -> Result<()> {
        while started.elapsed() < Duration::from_secs(60) {
            let answer = Connection::open(self.address)
                .and_then(|mut connection| connection.fetch(&client::request("GET", "/v2/", ""), &[]));
            // One that asks who is there answers, too.
            if answer.is_ok_and(|answer| matches!(answer.status, 200 | 401)) {
                self.ready_after = started.elapsed();
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once with {status}: {}", self.kind.name(), self.log_end());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        bail!("{} did not answer within 60 s: {}", self.kind.name(), self.log_end())
    }

    /// The last lines of the log, for error messages.
    fn log_end(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time used so far by the server and its workers.
    pub fn cpu(&self) -> Result<Duration> {
        process::tree_cpu(self.pid())
    }

    /// A new connection.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(self.address).with_context(|| format!("cannot connect to {}", self.kind.name()))
    }

    /// Makes a blob available to `GET /v2/REPO/blobs/DIGEST`.
    pub fn store_blob(&self, repository: &str, blob: &Blob) -> Result<()> {
        if self.kind == Kind::Nginx {
            return self.write_file(&client::blob_path(repository, &blob.digest), &blob.parts.concat());
        }
        client::push_blob(&mut self.connect()?, repository, blob)
    }

    /// Makes a manifest available to `GET /v2/REPO/manifests/REFERENCE`.
    pub fn store_manifest(&self, repository: &str, reference: &str, bytes: &[u8]) -> Result<()> {
        if self.kind == Kind::Nginx {
            return self.write_file(&client::manifest_path(repository, reference), bytes);
        }
        client::push_manifest(&mut self.connect()?, repository, reference, bytes)
    }

    fn write_file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.folder.join("root").join(path.trim_start_matches('/'));
        let parent = file.parent().context("a path with a parent")?;
        fs::create_dir_all(parent)?;
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Stops the server and tells whether it had kept running until now.
    pub fn stop(mut self) -> Result<()> {
        let early = self.child.try_wait()?;
        process::end(&mut self.child)?;
        ensure!(early.is_none(), "{} had ended by itself: {}", self.kind.name(), self.log_end());
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = process::end(&mut self.child) {
            eprintln!("xtask bench: cannot stop {}: {error}", self.kind.name());
        }
    }
}

/// Writes the server's configuration and tells how to run it.
fn prepare(kind: Kind, programs: &Programs, folder: &Path, port: u16) -> Result<Command> {
    let data = folder.join("data");
    let listen = format!("127.0.0.1:{port}");
    Ok(match kind {
        Kind::Wharf => {
            let mut command = with_args(&programs.wharf, &["serve", "--listen", &listen, "--data"]);
            command.arg(data);
            // What no variable can tell it is in a file.
            let config = folder.join("wharf.toml");
            if config.is_file() {
                command.arg("--config").arg(config);
            }
            command
        }
        Kind::Distribution => {
            let config = configure(include_str!("config/distribution.yml"), folder, "config.yml", port)?;
            let mut command = with_args(programs.tools.join("registry"), &["serve"]);
            command.arg(config).env("OTEL_TRACES_EXPORTER", "none");
            command
        }
        Kind::DockerRegistry => {
            let config = configure(include_str!("config/docker-registry.yml"), folder, "config.yml", port)?;
            let mut command = with_args("docker-registry", &["serve"]);
            command.arg(config);
            command
        }
        Kind::Nginx => {
            fs::create_dir_all(folder.join("root"))?;
            let config = configure(include_str!("config/nginx.conf"), folder, "nginx.conf", port)?;
            let mut command = with_args("nginx", &["-c"]);
            command.arg(config);
            command
        }
        Kind::Minimal => {
            fs::create_dir_all(&data)?;
            let mut command = with_args(std::env::current_exe()?, &["bench", super::receiver::COMMAND]);
            command.arg(port.to_string()).arg(data);
            command
        }
    })
}

fn configure(template: &str, folder: &Path, name: &str, port: u16) -> Result<PathBuf> {
    let folder_text = folder.to_str().context("the checkout's path is not UTF-8")?;
    let text = template.replace("@FOLDER@", folder_text).replace("@PORT@", &port.to_string());
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn with_args(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// A benchmark that is interrupted must leave no server behind.
fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe and takes no memory.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

fn free_port() -> Result<u16> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(probe.local_addr()?.port())
}
