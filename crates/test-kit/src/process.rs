//! A process that runs beside the test and never outlives it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to become ready or to end; far beyond what any needs, so that only one that
/// hangs meets it.
const HANG_LIMIT: Duration = Duration::from_secs(120);

/// A running child process; dropping it ends it.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a command; all that it prints goes to the end of the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(log).expect("the log file can be opened");
        let errors = file.try_clone().expect("a file handle can be cloned");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Daemon { name, child, log: log.to_owned() }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that the process has printed.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of the log, for messages.
    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Resident memory in bytes, as the kernel counts it.
    pub fn rss(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib = line.trim().trim_end_matches(" kB").trim().parse::<u64>();
        kib.unwrap_or_else(|_| panic!("{} is not running", self.name)) * 1024
    }

    /// Waits until `probe` gives a value; panics with the log when the process ends first.
    pub fn wait_until<T>(&mut self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = probe(self) {
                return value;
            }
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                panic!("{} ended ({status}) before {what}\n{}", self.name, self.log_end());
            }
            assert!(start.elapsed() < HANG_LIMIT, "{} never: {what}\n{}", self.name, self.log_end());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until something listens on a loopback port.
    pub fn wait_for_port(&mut self, port: u16) {
        self.wait_until("it listened", |_| std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    }

    /// Sends a signal, such as `libc::SIGHUP`.
    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.pid()).expect("a process id fits pid_t");
        // SAFETY: kill(2) takes two integers and touches no memory of ours. The id is still our child's: it
        // is not given to another process before `wait` has been called, which only `&mut self` methods do.
        let outcome = unsafe { libc::kill(pid, signal) };
        assert_eq!(outcome, 0, "cannot signal {}: {}", self.name, std::io::Error::last_os_error());
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    pub fn terminate(&mut self) -> ExitStatus {
        if let Some(status) = self.try_wait() {
            return status;
        }
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// Ends the process at once (SIGKILL), as a crash would.
    pub fn kill(&mut self) -> ExitStatus {
        if let Some(status) = self.try_wait() {
            return status;
        }
        self.signal(libc::SIGKILL);
        self.child.wait().expect("a child can be waited for")
    }

    /// Waits for a process that is about to end by itself; panics if it hangs.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(start.elapsed() < HANG_LIMIT, "{} does not end\n{}", self.name, self.log_end());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }
}

impl Drop for Daemon {
    /// SIGTERM first: dockerd and containerd leave mounts and children behind when they are killed.
    fn drop(&mut self) {
        let start = Instant::now();
        if let Ok(None) = self.child.try_wait() {
            self.signal(libc::SIGTERM);
        }
        while let Ok(None) = self.child.try_wait() {
            if start.elapsed() > Duration::from_secs(20) {
                self.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
