//! A small HTTP/1.1 client that costs next to nothing, since it shares the cores with the server.
//!
//! Bodies of answers are discarded inside the kernel (`MSG_TRUNC`): every byte is counted, none is copied.

use anyhow::{Context, Result, bail, ensure};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The media type of every manifest that the benchmarks store.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The longest answer head that is accepted.
const HEAD_LIMIT: usize = 32 * 1024;

/// Bodies up to this size travel in one write with their head, as real clients send them.
const JOIN_LIMIT: usize = 64 * 1024;

/// Bytes to push, in parts so that large unique blobs share most of their memory.
pub struct Blob<'a> {
    /// `sha256:...`
    pub digest: String,
    /// The content is the concatenation.
    pub parts: Vec<&'a [u8]>,
}

impl Blob<'_> {
    /// Bytes in all.
    pub fn size(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The valid bytes of `buffer`: the last answer's head, then what came of its body with it.
    filled: usize,
    /// A request with a small body, put together.
    scratch: Vec<u8>,
}

/// The head of an answer; borrows the connection's buffer.
struct Head<'a> {
    status: u16,
    text: &'a str,
}

impl Head<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.text.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn length(&self) -> Result<Option<u64>> {
        self.header("content-length").map(|text| text.parse().context("a Content-Length")).transpose()
    }
}

/// An answer with its body.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The value of `Location`.
    pub location: Option<String>,
    /// The value of `Docker-Content-Digest`.
    pub digest: Option<String>,
    /// The body, decoded.
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects; no answer may be longer in coming than two minutes.
    pub fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Connection { stream, buffer: vec![0; HEAD_LIMIT], filled: 0, scratch: Vec::new() })
    }

    /// Connects anew where the server has closed the connection meanwhile: servers close those on which nothing is asked.
    pub fn revive(&mut self) -> Result<()> {
        let mut byte = 0_u8;
        // SAFETY: the buffer is one byte long, as is told, and outlives the call.
        let count = unsafe {
            let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
            libc::recv(self.stream.as_raw_fd(), (&raw mut byte).cast(), 1, flags)
        };
        // An error says that nothing has come: it is open.
        if count == 0 {
            *self = Connection::open(self.stream.peer_addr()?)?;
        }
        Ok(())
    }

    /// Sends a request and discards its answer's body; returns the body's length (0 for HEAD).
    pub fn exchange(&mut self, request: &[u8], body: &[&[u8]], expect: u16) -> Result<u64> {
        self.send(request, body)?;
        let end = self.read_head()?;
        let head = self.head(end)?;
        if head.status != expect {
            return Err(self.refused(request, end, expect));
        }
        if request.starts_with(b"HEAD ") {
            ensure!(head.length()?.is_some(), "an answer to HEAD without Content-Length");
            ensure!(self.filled == end, "a HEAD was answered with a body");
            return Ok(0);
        }
        match head.length()? {
            Some(length) => {
                self.discard(length, end)?;
                Ok(length)
            }
            None if matches!(expect, 204 | 304) => Ok(0),
            None => Ok(self.read_chunks(end)?.len() as u64),
        }
    }

    /// Sends a request and returns the whole answer, whatever its status.
    pub fn fetch(&mut self, request: &[u8], body: &[&[u8]]) -> Result<Answer> {
        self.send(request, body)?;
        let end = self.read_head()?;
        let head = self.head(end)?;
        let owned = |name: &str| head.header(name).map(str::to_owned);
        let (status, location, digest) = (head.status, owned("location"), owned("docker-content-digest"));
        let body = match head.length()? {
            _ if request.starts_with(b"HEAD ") || matches!(status, 204 | 304) => Vec::new(),
            Some(length) => self.read_exactly(end, usize::try_from(length)?)?,
            None => self.read_chunks(end)?,
        };
        Ok(Answer { status, location, digest, body })
    }

    /// Sends a request, and takes the answer's head and at least so many bytes of its body. Gives how many are left.
    pub fn begin(&mut self, request: &[u8], count: u64) -> Result<u64> {
        self.send(request, &[])?;
        let end = self.read_head()?;
        let head = self.head(end)?;
        if head.status != 200 {
            return Err(self.refused(request, end, 200));
        }
        let length = head.length()?.context("an answer without Content-Length")?;
        let came = (self.filled - end) as u64;
        let more = count.saturating_sub(came);
        self.drop_bytes(more)?;
        length.checked_sub(came + more).context("an answer that is shorter than what was wanted of it")
    }

    /// Takes the rest of an answer.
    pub fn finish(&mut self, left: u64) -> Result<()> {
        self.drop_bytes(left)
    }

    fn send(&mut self, request: &[u8], body: &[&[u8]]) -> Result<()> {
        let size: usize = body.iter().map(|part| part.len()).sum();
        if body.is_empty() {
            self.stream.write_all(request)?;
        } else if size <= JOIN_LIMIT {
            self.scratch.clear();
            self.scratch.extend_from_slice(request);
            body.iter().for_each(|part| self.scratch.extend_from_slice(part));
            self.stream.write_all(&self.scratch)?;
        } else {
            self.stream.write_all(request)?;
            body.iter().try_for_each(|part| self.stream.write_all(part))?;
        }
        Ok(())
    }

    /// Reads up to the end of an answer's head and returns where it ends.
    fn read_head(&mut self) -> Result<usize> {
        self.filled = 0;
        loop {
            ensure!(self.filled < HEAD_LIMIT, "the head of an answer is longer than {HEAD_LIMIT} bytes");
            let scanned = self.filled.saturating_sub(3);
            let count = self.stream.read(&mut self.buffer[self.filled..]).context("waiting for an answer")?;
            ensure!(count > 0, "the server closed the connection instead of answering");
            self.filled += count;
            let fresh = &self.buffer[scanned..self.filled];
            if let Some(at) = fresh.windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok(scanned + at + 4);
            }
        }
    }

    fn head(&self, end: usize) -> Result<Head<'_>> {
        let text = std::str::from_utf8(&self.buffer[..end]).context("the head of an answer")?;
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        Ok(Head { status: status.context("an answer that is not HTTP/1.1")?, text })
    }

    fn discard(&self, length: u64, end: usize) -> Result<()> {
        let early = (self.filled - end) as u64;
        self.drop_bytes(length.checked_sub(early).context("an answer longer than its Content-Length")?)
    }

    fn drop_bytes(&self, mut left: u64) -> Result<()> {
        while left > 0 {
            let wish = usize::try_from(left)?;
            // SAFETY: with MSG_TRUNC, TCP drops up to `wish` received bytes and never writes to the buffer.
            let count =
                unsafe { libc::recv(self.stream.as_raw_fd(), std::ptr::null_mut(), wish, libc::MSG_TRUNC) };
            match u64::try_from(count) {
                Ok(0) => bail!("the connection ended {left} bytes before the end of the body"),
                Ok(count) => left -= count,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error).context("in the middle of a body"),
                },
            }
        }
        Ok(())
    }

    fn read_exactly(&mut self, end: usize, length: usize) -> Result<Vec<u8>> {
        let mut body = self.buffer[end..self.filled].to_vec();
        let early = body.len();
        ensure!(early <= length, "an answer longer than its Content-Length");
        body.resize(length, 0);
        self.stream.read_exact(&mut body[early..])?;
        Ok(body)
    }

    fn read_chunks(&mut self, end: usize) -> Result<Vec<u8>> {
        let early = self.buffer[end..self.filled].to_vec();
        let mut source = io::BufReader::with_capacity(4096, early.chain(&self.stream));
        let mut body = Vec::new();
        loop {
            let line = read_line(&mut source)?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).context("an answer neither sized nor chunked")?;
            let start = body.len();
            body.resize(start + size, 0);
            source.read_exact(&mut body[start..])?;
            ensure!(read_line(&mut source)?.is_empty(), "a chunk that does not end where it says");
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn refused(&self, request: &[u8], end: usize, expect: u16) -> anyhow::Error {
        let request = String::from_utf8_lossy(request);
        let first = request.lines().next().unwrap_or_default().to_owned();
        let answer = String::from_utf8_lossy(&self.buffer[..self.filled]).into_owned();
        let (head, body) = answer.split_at_checked(end).unwrap_or((&answer, ""));
        let status = head.lines().next().unwrap_or_default();
        anyhow::anyhow!("{first}: expected {expect}, got {status}: {body}")
    }
}

fn read_line(source: &mut impl io::BufRead) -> Result<String> {
    let mut line = String::new();
    io::BufRead::read_line(&mut source.take(256), &mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A request without body; `headers` are whole lines, each ended by CR LF.
pub fn request(method: &str, target: &str, headers: &str) -> Vec<u8> {
    let path = target.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
    let path = path.unwrap_or(target);
    format!("{method} {path} HTTP/1.1\r\nHost: registry.test\r\nUser-Agent: wharf-bench\r\n{headers}\r\n")
        .into_bytes()
}

/// The path of a blob.
pub fn blob_path(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

/// The path of a manifest.
pub fn manifest_path(repository: &str, reference: &str) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

/// GET or HEAD of a manifest, with the Accept header without which Distribution would hide it.
pub fn manifest_request(method: &str, repository: &str, reference: &str) -> Vec<u8> {
    request(method, &manifest_path(repository, reference), &format!("Accept: {MANIFEST_TYPE}\r\n"))
}

/// Pushes a blob by POST and PUT.
pub fn push_blob(connection: &mut Connection, repository: &str, blob: &Blob) -> Result<()> {
    let start = request("POST", &format!("/v2/{repository}/blobs/uploads/"), "Content-Length: 0\r\n");
    let answer = connection.fetch(&start, &[])?;
    ensure!(answer.status == 202, "POST of an upload: expected 202, got {}", answer.status);
    let location = answer.location.context("an upload without Location")?;
    let separator = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{separator}digest={}", blob.digest);
    let headers = format!("Content-Type: application/octet-stream\r\nContent-Length: {}\r\n", blob.size());
    connection.exchange(&request("PUT", &target, &headers), &blob.parts, 201)?;
    Ok(())
}

/// Pushes a manifest.
pub fn push_manifest(
    connection: &mut Connection,
    repository: &str,
    reference: &str,
    bytes: &[u8],
) -> Result<()> {
    let headers = format!("Content-Type: {MANIFEST_TYPE}\r\nContent-Length: {}\r\n", bytes.len());
    let put = request("PUT", &manifest_path(repository, reference), &headers);
    connection.exchange(&put, &[bytes], 201)?;
    Ok(())
}
