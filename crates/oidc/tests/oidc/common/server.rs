//! An issuer on loopback, which answers what it is told to: a thread for each connection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::TestKey;

/// Where the discovery document is.
pub const DOCUMENT: &str = "/.well-known/openid-configuration";
/// Where the keys are.
pub const KEYS: &str = "/keys";

/// What to answer at one path.
#[derive(Clone)]
pub enum Answer {
    Json(Value),
    Failure(u16, Value),
    Bytes(Vec<u8>),
    Redirect(String),
    /// The connection is closed.
    Close,
    /// The connection stays open, and nothing comes.
    Hang,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub authorization: Option<String>,
    pub body: String,
}

/// The running server.
pub struct Server {
    url: String,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    answers: Mutex<BTreeMap<String, Answer>>,
    requests: Mutex<Vec<Request>>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner::default());
        let server = Self { url, inner: inner.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let inner = inner.clone();
                // A client may go away at any time; that is its affair.
                std::thread::spawn(move || drop(inner.serve(stream)));
            }
        });
        server
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn set(&self, path: &str, answer: Answer) {
        self.inner.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Publishes a usual discovery document and these keys.
    pub fn publish(&self, keys: &[&TestKey]) {
        self.set(DOCUMENT, Answer::Json(self.document(json!({}))));
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.set(KEYS, Answer::Json(json!({ "keys": keys })));
    }

    /// A discovery document with some members changed.
    pub fn document(&self, changes: Value) -> Value {
        let at = |path: &str| format!("{}{path}", self.url);
        let mut document = json!({
            "issuer": self.url, "jwks_uri": at(KEYS), "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"), "end_session_endpoint": at("/end"),
        });
        document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        document
    }

    /// From here on nobody answers.
    pub fn go_down(&self) {
        self.set(DOCUMENT, Answer::Close);
        self.set(KEYS, Answer::Close);
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.requests().iter().filter(|request| request.path == path).count()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.inner.requests.lock().unwrap().clone()
    }
}

impl Inner {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let request = read_request(&mut reader)?;
        let answer = self.answers.lock().unwrap().get(&request.path).cloned();
        self.requests.lock().unwrap().push(request);
        let stream = reader.get_mut();
        match answer {
            Some(Answer::Json(value)) => reply(stream, "200 OK", "", value.to_string().as_bytes()),
            Some(Answer::Failure(status, value)) => {
                reply(stream, &format!("{status} Failure"), "", value.to_string().as_bytes())
            }
            Some(Answer::Bytes(bytes)) => reply(stream, "200 OK", "", &bytes),
            Some(Answer::Redirect(to)) => reply(stream, "302 Found", &format!("Location: {to}\r\n"), b""),
            Some(Answer::Close) => Ok(()),
            // Until the client gives up.
            Some(Answer::Hang) => reader.read_to_end(&mut Vec::new()).map(drop),
            None => reply(stream, "404 Not Found", "", b""),
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        // A client may open a connection and not use it.
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request { path, authorization, body: String::from_utf8_lossy(&body).into_owned() })
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}
