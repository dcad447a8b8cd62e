//! An HTTP/1.1 server of a few lines: a thread for each connection, and a handler that may misbehave.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: HashMap<String, String>,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// The connection broke before all of the body had come.
    pub cut: bool,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

/// What to answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// Decides what happens.
pub trait Handler: Send + Sync + 'static {
    /// How much of the body to read before the connection is closed without an answer; `None` reads it all.
    fn cut_body(&self, _request: &Request) -> Option<usize> {
        None
    }

    fn answer(&self, request: &Request) -> Reply;
}

/// A running server. It ends with the test's process.
pub struct Server {
    pub host: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(handler: Arc<dyn Handler>) -> Self {
        Self::start_on("127.0.0.1", handler)
    }

    pub fn start_on(address: &str, handler: Arc<dyn Handler>) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let host = listener.local_addr().expect("an address").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, seen) = (handler.clone(), all.clone());
                std::thread::spawn(move || serve(stream, handler.as_ref(), &seen));
            }
        });
        Self { host, seen }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("no panic").clone()
    }

    /// The requests so far, as `METHOD path`.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }
}

fn serve(stream: TcpStream, handler: &dyn Handler, seen: &Mutex<Vec<Request>>) -> Option<()> {
    // Head and body are written apart: without this, each answer would wait for the last one to be noticed.
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut request, length) = read_head(&mut reader)?;
        let cut = handler.cut_body(&request);
        let mut body = vec![0; cut.unwrap_or(length).min(length)];
        reader.read_exact(&mut body).ok()?;
        request.body = body;
        request.cut = cut.is_some();
        seen.lock().expect("no panic").push(request.clone());
        let reply = handler.answer(&request);
        if cut.is_some() {
            return None;
        }
        write_reply(&stream, &request, &reply)?;
    }
}

fn read_head(reader: &mut BufReader<TcpStream>) -> Option<(Request, usize)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, value)| (name.into(), decode(value))).collect();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    Some((Request { method, path: path.into(), query, headers, body: Vec::new(), cut: false }, length))
}

fn decode(value: &str) -> String {
    value.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",").replace('+', " ")
}

fn write_reply(mut stream: &TcpStream, request: &Request, reply: &Reply) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} Some Reason\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !reply.headers.iter().any(|(name, _)| name == "content-length") {
        head += &format!("content-length: {}\r\n", reply.body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    if request.method != "HEAD" {
        let end = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
        stream.write_all(&reply.body[..end]).ok()?;
    }
    if reply.cut.is_some() { None } else { Some(()) }
}
