//! A command run to its end, with its output kept for the assertion or for the panic's message.

use crate::tools;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

/// No tool needs this long; one that hangs must fail its test instead of holding the whole run.
const HANG_LIMIT_SECONDS: &str = "300";

/// What a command wrote.
#[derive(Debug)]
pub struct Printed {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Printed {
    /// Standard output without the white space round it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.stdout))
    }
}

/// A command under construction; the program is looked up among the test tools.
pub struct Cmd {
    command: Command,
    line: String,
    stdin: Vec<u8>,
}

impl Cmd {
    /// Starts a command line with its program.
    pub fn new(program: &str) -> Self {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", HANG_LIMIT_SECONDS]).arg(tools::path(program));
        Cmd { command, line: program.to_owned(), stdin: Vec::new() }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.line = format!("{} {}", self.line, arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds several arguments.
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Sets the working folder.
    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets what the command reads from standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs the command and panics, with all that it printed, unless it succeeds.
    pub fn run(self) -> Printed {
        let (line, output) = self.output();
        assert!(output.status.success(), "{}", describe(&line, &output));
        printed(&output)
    }

    /// Runs the command and panics, with all that it printed, if it succeeds.
    pub fn run_to_fail(self) -> Printed {
        let (line, output) = self.output();
        assert!(!output.status.success(), "expected to fail: {}", describe(&line, &output));
        printed(&output)
    }

    /// Runs the command; whether it succeeded is for the caller to judge.
    pub fn run_any(self) -> (ExitStatus, Printed) {
        let (_, output) = self.output();
        (output.status, printed(&output))
    }

    fn output(mut self) -> (String, Output) {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            self.command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.line));
        let mut pipe = child.stdin.take().expect("standard input was asked for");
        let bytes = self.stdin;
        // On a thread of its own: a child that writes before it has read everything would block us both.
        let writer = std::thread::spawn(move || pipe.write_all(&bytes));
        let output = child.wait_with_output().expect("a started child can be waited for");
        // A child may end without reading its input; its exit status tells whether that was wrong.
        drop(writer.join());
        (self.line, output)
    }
}

fn printed(output: &Output) -> Printed {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Printed { stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn describe(line: &str, output: &Output) -> String {
    let Printed { stdout, stderr } = printed(output);
    format!("{line}\n{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status)
}
