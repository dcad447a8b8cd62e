//! Requests over TLS and HTTP/2, made by curl, and downloads that stop in the middle until they are told on.

use crate::certificate::Certificate;
use crate::http::Response;
use crate::{Cmd, temp_dir, tools};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Which HTTP a request uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

impl Version {
    fn flag(self) -> &'static str {
        match self {
            Version::Http1 => "--http1.1",
            Version::Http2 => "--http2",
        }
    }
}

/// A way to talk to one server: a version of HTTP and the certificate that is trusted.
#[derive(Debug, Clone)]
pub struct Curl {
    version: Version,
    trusted: Option<PathBuf>,
}

impl Curl {
    /// Requests over plain HTTP/1.1.
    pub fn plain() -> Self {
        Curl { version: Version::Http1, trusted: None }
    }

    /// Requests over TLS to a server that shows exactly this certificate.
    pub fn tls(version: Version, certificate: &Certificate) -> Self {
        Curl { version, trusted: Some(certificate.cert.clone()) }
    }

    /// Sends a request; `None` when no answer came, as when the certificate is not the trusted one.
    pub fn try_send(
        &self,
        method: &str,
        url: &str,
        headers: &[&str],
        body: Option<&[u8]>,
    ) -> Option<Response> {
        let dir = temp_dir();
        let (head_file, body_file) = (dir.path().join("head"), dir.path().join("body"));
        let mut cmd = Cmd::new("curl").args(self.flags());
        cmd = cmd.arg("--dump-header").arg(&head_file).arg("--output").arg(&body_file);
        cmd = match method {
            "HEAD" => cmd.arg("--head"),
            _ => cmd.args(["--request", method]),
        };
        for header in headers {
            cmd = cmd.args(["--header", header]);
        }
        if let Some(body) = body {
            // curl would wait for a "100 Continue" before a large body, and add a form's content type.
            cmd = cmd.args(["--header", "Expect:", "--header", "Content-Type: application/octet-stream"]);
            cmd = cmd.args(["--data-binary", "@-"]).stdin(body);
        }
        let (status, _) = cmd.arg(url).run_any();
        if !status.success() {
            return None;
        }
        let head = std::fs::read_to_string(&head_file).expect("curl wrote the headers");
        // A HEAD has no body: curl writes its headers where the body would go.
        let body = if method == "HEAD" { Vec::new() } else { std::fs::read(&body_file).unwrap_or_default() };
        Some(parse(&format!("{method} {url}"), &head, body))
    }

    /// Sends a request; panics when no answer comes.
    #[track_caller]
    pub fn send(&self, method: &str, url: &str, headers: &[&str], body: Option<&[u8]>) -> Response {
        let response = self.try_send(method, url, headers, body);
        response.unwrap_or_else(|| panic!("{method} {url}: no answer"))
    }

    /// Starts a download that takes nothing beyond the buffers until it is read.
    pub fn download(&self, url: &str) -> Download {
        let mut command = Command::new(tools::path("curl"));
        command.args(self.flags()).args(["--no-buffer", "--fail", url]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot start curl: {error}"));
        let stdout = child.stdout.take().expect("standard output was asked for");
        Download { child, stdout, url: url.to_owned() }
    }

    fn flags(&self) -> Vec<String> {
        let mut flags =
            vec!["--silent".to_owned(), "--show-error".to_owned(), self.version.flag().to_owned()];
        // The path goes as it is written, `..` too.
        flags.push("--path-as-is".to_owned());
        if let Some(cert) = &self.trusted {
            flags.extend(["--cacert".to_owned(), cert.display().to_string()]);
        }
        flags
    }
}

/// A download in progress; its speed is that of its reader.
pub struct Download {
    child: Child,
    stdout: ChildStdout,
    url: String,
}

impl Download {
    /// Reads on and compares with what was expected next.
    #[track_caller]
    pub fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        let read = self.stdout.read_exact(&mut got);
        read.unwrap_or_else(|error| panic!("{}: the transfer was cut: {error}", self.url));
        assert!(got == bytes, "{}: other bytes than were stored", self.url);
    }

    /// Expects that the transfer is over and was whole.
    #[track_caller]
    pub fn expect_end(mut self) {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).expect("a pipe can be read");
        assert!(rest.is_empty(), "{}: {} bytes too many", self.url, rest.len());
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{}: curl says {status}", self.url);
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill and nothing to report.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads what curl wrote: the last block counts, after any "100 Continue".
fn parse(request: &str, head: &str, body: Vec<u8>) -> Response {
    let block = head.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default();
    let mut lines = block.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{request}: no status in {head:?}"));
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Response::new(request.to_owned(), status, headers.collect(), body)
}
