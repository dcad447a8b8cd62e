//! An HTTP/1.1 client of a few lines that sends exactly what it is told.
//!
//! A usual client would tidy the path, add headers and hide framing mistakes; protocol tests need the bytes
//! as given, and must see it when a length or a body is wrong. One request per connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that does not answer for this long hangs.
const HANG_LIMIT: Duration = Duration::from_secs(120);

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    authority: String,
    /// Headers that every request has.
    headers: Vec<(String, String)>,
}

impl Client {
    /// A client for `http://host:port`; a path in the base is not supported.
    pub fn new(base: &str) -> Self {
        let authority = base.strip_prefix("http://").unwrap_or(base).trim_end_matches('/');
        Client { authority: authority.to_owned(), headers: Vec::new() }
    }

    /// The same client, whose requests all have one more header.
    pub fn with(&self, name: &str, value: impl ToString) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_string()));
        client
    }

    /// The same client, signed in with a name and a secret.
    pub fn basic(&self, name: &str, secret: &str) -> Self {
        self.with("Authorization", format!("Basic {}", STANDARD.encode(format!("{name}:{secret}"))))
    }

    /// The same client, signed in with a token.
    pub fn bearer(&self, token: &str) -> Self {
        self.with("Authorization", format!("Bearer {token}"))
    }

    /// A GET, sent at once.
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path).send()
    }

    /// A HEAD, sent at once.
    pub fn head(&self, path: &str) -> Response {
        self.request("HEAD", path).send()
    }

    /// A DELETE, sent at once.
    pub fn delete(&self, path: &str) -> Response {
        self.request("DELETE", path).send()
    }

    /// A POST without a body, sent at once.
    pub fn post(&self, path: &str) -> Response {
        self.request("POST", path).body("").send()
    }

    /// A PATCH to be completed.
    pub fn patch(&self, path: &str) -> Request<'_> {
        self.request("PATCH", path)
    }

    /// A PUT to be completed.
    pub fn put(&self, path: &str) -> Request<'_> {
        self.request("PUT", path)
    }

    /// A request with any method, to be completed.
    pub fn request(&self, method: &str, path: &str) -> Request<'_> {
        let line = format!("{method} {path}");
        let headers = self.headers.clone();
        Request { client: self, is_head: method == "HEAD", line, headers, body: Body::None }
    }

    /// Sends bytes as they are and returns the raw connection for reading.
    pub fn raw(&self, bytes: &[u8]) -> TcpStream {
        self.try_raw(bytes).expect("the server takes the bytes")
    }

    /// Sends bytes as they are; `None` where the server closed before it had taken them all.
    pub fn try_raw(&self, bytes: &[u8]) -> Option<TcpStream> {
        let mut stream = self.connect();
        stream.write_all(bytes).ok()?;
        Some(stream)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.authority);
        let stream = stream.unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.authority));
        stream.set_read_timeout(Some(HANG_LIMIT)).expect("a socket takes a time-out");
        stream.set_write_timeout(Some(HANG_LIMIT)).expect("a socket takes a time-out");
        stream
    }
}

enum Body {
    None,
    Whole(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
    /// The length that is announced, and what produces the bytes: for bodies that do not fit memory.
    Streamed(u64, Box<dyn Read>),
}

/// A request under construction.
pub struct Request<'a> {
    client: &'a Client,
    is_head: bool,
    line: String,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Request<'_> {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets the body; its `Content-Length` is sent too.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Whole(body.into());
        self
    }

    /// Sets a body of unknown length, sent in these chunks.
    pub fn chunked<C: Into<Vec<u8>>>(mut self, chunks: impl IntoIterator<Item = C>) -> Self {
        self.body = Body::Chunked(chunks.into_iter().map(Into::into).collect());
        self
    }

    /// Sets a body that is read while it is sent; a reader that ends before `length` truncates the request.
    pub fn streamed(mut self, length: u64, reader: impl Read + 'static) -> Self {
        self.body = Body::Streamed(length, Box::new(reader));
        self
    }

    /// Sends the request and reads the whole answer.
    pub fn send(self) -> Response {
        self.try_send().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same where an answer may break off; in words why there is no whole one.
    pub fn try_send(self) -> Result<Response, String> {
        let mut stream = self.client.connect();
        let Request { client, is_head, line, headers, body } = self;
        let sent = write_request(&mut stream, &client.authority, &line, &headers, body);
        // A server may refuse before it has read the body and close: its answer then matters, not our error.
        match (read_response(stream, is_head), sent) {
            (Ok(response), _) => Ok(Response { request: line, ..response }),
            (Err(error), Ok(())) => Err(format!("{line}: no valid answer: {error}")),
            (Err(error), Err(sent)) => Err(format!("{line}: could not send ({sent}) nor read ({error})")),
        }
    }
}

fn write_request(
    stream: &mut TcpStream,
    authority: &str,
    line: &str,
    headers: &[(String, String)],
    body: Body,
) -> std::io::Result<()> {
    let mut head = format!("{line} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    match &body {
        Body::None => {}
        Body::Whole(bytes) => head += &format!("Content-Length: {}\r\n", bytes.len()),
        Body::Chunked(_) => head += "Transfer-Encoding: chunked\r\n",
        Body::Streamed(length, _) => head += &format!("Content-Length: {length}\r\n"),
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    match body {
        Body::None => {}
        Body::Whole(bytes) => stream.write_all(&bytes)?,
        Body::Chunked(chunks) => {
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                stream.write_all(chunk)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")?;
        }
        Body::Streamed(length, reader) => {
            let sent = std::io::copy(&mut reader.take(length), stream)?;
            if sent < length {
                // Half-closing is how a client that dies in the middle looks to the server.
                stream.shutdown(std::net::Shutdown::Write)?;
            }
        }
    }
    stream.flush()
}

fn read_response(stream: TcpStream, is_head: bool) -> std::io::Result<Response> {
    let mut reader = BufReader::new(stream);
    loop {
        let status_line = read_line(&mut reader)?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
        let status = status.ok_or_else(|| invalid(format!("status line {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut reader)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("header {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if status == 100 {
            continue;
        }
        let mut response = Response { request: String::new(), status, headers, body: Vec::new() };
        if !is_head && status != 204 && status != 304 {
            response.body = read_body(&mut reader, &response)?;
        }
        return Ok(response);
    }
}

fn read_body(reader: &mut impl BufRead, response: &Response) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if response.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = read_line(reader)?;
            let size =
                usize::from_str_radix(&size, 16).map_err(|_| invalid(format!("chunk size {size:?}")))?;
            let start = body.len();
            body.resize(start + size, 0);
            reader.read_exact(&mut body[start..])?;
            read_line(reader)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    reader.read_to_end(&mut body)?;
    if let Some(length) = response.header("content-length")
        && length != body.len().to_string()
    {
        return Err(invalid(format!("{} bytes came where Content-Length says {length}", body.len())));
    }
    Ok(body)
}

fn read_line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    if reader.take(64 * 1024).read_line(&mut line)? == 0 {
        return Err(invalid("the connection was closed".to_owned()));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn invalid(message: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, message)
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    request: String,
    /// The status code.
    pub status: u16,
    /// All headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    pub(crate) fn new(request: String, status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        Response { request, status, headers, body }
    }

    /// Panics, with the whole answer, unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Panics, with the whole answer, unless this is an error in the specification's JSON form with this
    /// status and this code.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        let response = self.expect_error_form(status);
        assert_eq!(response.json()["errors"][0]["code"], code, "{response}");
        response
    }

    /// Panics, with the whole answer, unless this is an error in the specification's JSON form with this
    /// status, whatever its code.
    #[track_caller]
    pub fn expect_error_form(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self}");
        let body = self.json();
        let errors = body["errors"].as_array().unwrap_or_else(|| panic!("no list of errors: {self}"));
        assert!(!errors.is_empty(), "an empty list of errors: {self}");
        for error in errors {
            assert!(error["code"].as_str().is_some_and(is_code), "no code: {self}");
            assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "no message: {self}");
        }
        self
    }

    /// The value of the first header with this name (given in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a header that must be there.
    #[track_caller]
    pub fn require(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name}: {self}"))
    }

    /// The path and query of the `Location`, whether it was sent relative or absolute.
    #[track_caller]
    pub fn location(&self) -> String {
        let location = self.require("location");
        match location.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]).to_owned(),
            None => location.to_owned(),
        }
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} -> {}", self.request, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "{}", String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]))
    }
}

/// Codes are words in capitals, joined by underscores.
fn is_code(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// Adds a query parameter to a path that may have some already, as the protocol asks of an upload's Location.
pub fn with_query(path: &str, query: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}{query}")
}
