//! The registry as a process that can be started, killed, and asked to check and collect its storage.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::http::Http;

/// Far longer than any start takes, so that only a server that hangs meets it.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How much of the log goes into a message.
const LOG_TAIL: usize = 4000;

/// After this time an upload that nobody goes on with is to be gone.
pub(crate) const UPLOADS_EXPIRE: &str = "2s";

/// Which registry is tested.
#[derive(Clone, Debug)]
pub enum Program {
    /// Wharf's binary.
    Wharf(PathBuf),
    /// Distribution's binary: it does not sync what it acknowledges, so a power cut must find it out. Thus a run
    /// shows that it can fail.
    Distribution(PathBuf),
}

impl Program {
    fn serve(&self, work: &Path, data: &Path, address: SocketAddr) -> io::Result<Command> {
        match self {
            Self::Wharf(binary) => {
                let mut command = Command::new(binary);
                command.arg("serve").arg("--data").arg(data).arg("--listen").arg(address.to_string());
                command.env("WHARF_UPLOADS_EXPIRE", UPLOADS_EXPIRE);
                Ok(command)
            }
            Self::Distribution(binary) => {
                let config = work.join("distribution.yml");
                let data = data.display();
                let text = format!(
                    "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: '{address}'}}\nstorage:\n  \
                     delete: {{enabled: true}}\n  filesystem: {{rootdirectory: '{data}'}}\n"
                );
                fs::write(&config, text)?;
                let mut command = Command::new(binary);
                command.arg("serve").arg(config).env("OTEL_TRACES_EXPORTER", "none");
                Ok(command)
            }
        }
    }

    /// The command that collects garbage beside the running server.
    pub(crate) fn collect(&self, data: &Path, grace: &str) -> Option<Command> {
        let mut command = self.tool("gc", data)?;
        command.args(["--grace", grace]);
        Some(command)
    }

    /// The command that compares storage with metadata.
    pub(crate) fn check(&self, data: &Path) -> Option<Command> {
        self.tool("check", data)
    }

    fn tool(&self, verb: &str, data: &Path) -> Option<Command> {
        let Self::Wharf(binary) = self else { return None };
        let mut command = Command::new(binary);
        command.arg(verb).arg("--data").arg(data).stdin(Stdio::null());
        Some(command)
    }
}

/// A server on one data folder; dropping it kills it.
pub struct Server {
    program: Program,
    work: PathBuf,
    data: PathBuf,
    address: SocketAddr,
    settings: Vec<(&'static str, String)>,
    child: Option<Child>,
}

impl Server {
    /// Prepares a server that keeps its log in `work` and its data in `data`, on a free loopback port.
    pub fn new(program: Program, work: &Path, data: &Path) -> Result<Self> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.map_err(Error::io("no free port"))?;
        Ok(Self {
            program,
            work: work.to_owned(),
            data: data.to_owned(),
            address,
            settings: Vec::new(),
            child: None,
        })
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.settings.push((variable, value.to_owned()));
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it without waiting for anything.
    pub fn start(&mut self) -> Result<()> {
        let started = self.spawn();
        self.child = Some(started.map_err(Error::io(format!("cannot start {:?}", self.program)))?);
        Ok(())
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let errors = log.try_clone()?;
        let mut command = self.program.serve(&self.work, &self.data, self.address)?;
        command.envs(self.settings.iter().map(|(variable, value)| (variable, value)));
        command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn()
    }

    /// Waits until it answers; false where it ended or hangs.
    pub fn wait_until_ready(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            if Http::new(self.address).send("GET", "/v2/", &[], b"").is_ok_and(|answer| answer.ok()) {
                return true;
            }
            if !self.runs() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Whether it was started and has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Ends it at once, as a crash would, and waits until it has closed its files.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let killed = child.kill().and_then(|()| child.wait());
        killed.map(drop).map_err(Error::io("cannot kill the server"))
    }

    /// Collects garbage; the text says why where it fails.
    pub fn collect(&self, grace: &str) -> std::result::Result<(), String> {
        self.program.collect(&self.data, grace).map_or(Ok(()), run_tool)
    }

    /// Compares storage with metadata; the text names the damage.
    pub fn check(&self) -> std::result::Result<(), String> {
        self.program.check(&self.data).map_or(Ok(()), run_tool)
    }

    /// Files of uploads that are still on the disk.
    pub(crate) fn upload_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if let Program::Wharf(_) = self.program {
            collect_files(&self.data, false, &mut files);
        }
        files
    }

    /// The end of the log, for messages.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL)..]).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.work.join("server.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing more can be done where even SIGKILL fails.
        let _ = self.kill();
    }
}

/// Gathers the files below folders that are named `uploads`.
fn collect_files(folder: &Path, in_uploads: bool, files: &mut Vec<PathBuf>) {
    // A folder that goes away meanwhile has no files.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_files(&path, in_uploads || entry.file_name() == "uploads", files);
        } else if in_uploads {
            files.push(path);
        }
    }
}

fn run_tool(mut command: Command) -> std::result::Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            Err(format!("{command:?}: {}\n{out}{err}", output.status))
        }
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
