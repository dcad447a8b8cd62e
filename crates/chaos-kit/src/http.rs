//! An HTTP/1.1 client of a few lines: one connection that is kept, and errors in place of retries, because only an
//! answer that really came counts as acknowledged.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that stays silent for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);
/// No answer of a registry to these workers is larger.
const MAX_BODY: u64 = 64 << 20;
const MAX_LINE: u64 = 64 << 10;

/// A client of one server.
pub struct Http {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the request was done.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The path and query of the `Location`.
    pub fn location(&self) -> Option<&str> {
        let location = self.header("location")?;
        match location.split_once("://") {
            Some((_, rest)) => rest.find('/').map(|slash| &rest[slash..]),
            None => Some(location),
        }
    }

    /// The body as text, for messages.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

impl Http {
    /// A client that connects with its first request.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Sends a request and reads the whole answer. After an error the next request connects anew.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !matches!(method, "GET" | "HEAD") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        connection.get_mut().write_all(&request)?;
        let answer = read_answer(&mut connection, method == "HEAD")?;
        if answer.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")) {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(BufReader::new(stream))
    }
}

fn read_answer(reader: &mut impl BufRead, head_only: bool) -> io::Result<Answer> {
    let line = read_line(reader)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| invalid(format!("not a status line: {line:?}")))?;
    let mut answer = Answer { status, headers: Vec::new(), body: Vec::new() };
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("not a header: {line:?}")))?;
        answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if !head_only && status != 204 && status != 304 {
        answer.body = read_body(reader, &answer)?;
    }
    Ok(answer)
}

fn read_body(reader: &mut impl BufRead, answer: &Answer) -> io::Result<Vec<u8>> {
    if answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return read_chunks(reader);
    }
    let length = answer.header("content-length").and_then(|value| value.parse().ok());
    read_exactly(reader, length.ok_or_else(|| invalid("an answer without a length".into()))?)
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader)?;
        let size = u64::from_str_radix(&line, 16).map_err(|_| invalid(format!("not a chunk: {line:?}")))?;
        body.append(&mut read_exactly(reader, size)?);
        read_line(reader)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_exactly(reader: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    if length > MAX_BODY {
        return Err(invalid(format!("an answer of {length} bytes")));
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.by_ref().take(MAX_LINE).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, expect: Option<(u16, &str)>) {
        let answer = read_answer(&mut bytes.as_bytes(), false).ok();
        let found = answer.as_ref().map(|answer| (answer.status, answer.text()));
        assert_eq!(found, expect.map(|(status, body)| (status, body.into())), "{bytes:?}");
    }

    #[test]
    fn an_answer_counts_only_when_it_is_whole() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Some((200, "hi")));
        check("HTTP/1.1 204 No Content\r\n\r\n", Some((204, "")));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Some((200, "hi")));
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", None);
        check("HTTP/1.1 201 Created", None);
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", None);
        check("", None);
    }

    #[test]
    fn a_location_is_a_path() {
        let location = |value: &str| {
            let headers = vec![("location".to_owned(), value.to_owned())];
            Answer { status: 202, headers, body: Vec::new() }.location().map(str::to_owned)
        };
        assert_eq!(location("/v2/a?b=c").as_deref(), Some("/v2/a?b=c"));
        assert_eq!(location("http://127.0.0.1:1/v2/a").as_deref(), Some("/v2/a"));
        assert_eq!(location("http://127.0.0.1:1"), None);
    }
}
