//! Something between a client and a real server that fails as it is told, and counts what passes.
//!
//! A real registry cannot be told to cut a connection at a byte, to lie, or to hang.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What goes wrong with requests whose target contains a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Connections are closed before an answer.
    Down,
    /// There is no answer.
    Hang,
    /// This status, with these more headers (each with its line end).
    Status(u16, String),
    /// The connection is cut after so many bytes of the body.
    CutAfter(u64),
    /// The same, but the answer says that this is all.
    Truncate(u64),
    /// The answer announces so many bytes more than come.
    Announce(u64),
    /// One byte in the middle of the body is another.
    Corrupt,
    /// No length is announced; the end of the connection is the end of the body.
    NoLength,
}

struct Shared {
    server: String,
    fault: Mutex<(String, Fault)>,
    requests: Mutex<Vec<String>>,
    body_bytes: AtomicU64,
    over: AtomicBool,
    delay: Mutex<Duration>,
}

/// What stands between. Dropping it lets new connections fail.
pub struct Between {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Between {
    /// Stands before a server, `host:port`.
    pub fn new(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            fault: Mutex::new((String::new(), Fault::None)),
            requests: Mutex::default(),
            body_bytes: AtomicU64::new(0),
            over: AtomicBool::new(false),
            delay: Mutex::default(),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = accepting.clone();
                // A connection that breaks is what this is for.
                thread::spawn(move || shared.pass(&client).ok());
            }
        });
        Self { address, shared }
    }

    /// `host:port`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Lets all requests fail so from now on.
    pub fn fail(&self, fault: Fault) {
        self.fail_where("", fault);
    }

    /// Lets those requests fail so from now on whose target contains a text.
    pub fn fail_where(&self, target: &str, fault: Fault) {
        *lock(&self.shared.fault) = (target.to_owned(), fault);
    }

    /// Lets each answer wait so long.
    pub fn delay(&self, delay: Duration) {
        *lock(&self.shared.delay) = delay;
    }

    /// The requests that came, as `METHOD target`, since the last time that they were taken.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.requests))
    }

    /// How many bytes of bodies were sent to clients.
    pub fn body_bytes(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Passes one request and its answer on, for a connection has one here.
    fn pass(&self, client: &TcpStream) -> io::Result<()> {
        let (head, rest) = read_head(client)?;
        let mut words = head.lines().next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        lock(&self.requests).push(format!("{method} {target}"));
        let fault = {
            let (wanted, fault) = &*lock(&self.fault);
            if target.contains(wanted.as_str()) { fault.clone() } else { Fault::None }
        };
        thread::sleep(*lock(&self.delay));
        match &fault {
            Fault::Down => return client.shutdown(Shutdown::Both),
            Fault::Hang => {
                // Until the client has had enough.
                let mut byte = [0];
                while (&mut &*client).read(&mut byte)? > 0 {}
                return Ok(());
            }
            Fault::Status(status, headers) => {
                let answer = format!(
                    "HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
                );
                (&mut &*client).write_all(answer.as_bytes())?;
                return client.shutdown(Shutdown::Write);
            }
            _ => {}
        }
        let server = TcpStream::connect(&self.server)?;
        let lines: Vec<&str> = head.lines().filter(|line| !is_header(line, "connection")).collect();
        (&mut &server).write_all(
            format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n").trim_end()).as_bytes(),
        )?;
        (&mut &server).write_all(&rest)?;
        self.answer(&server, client, method == "HEAD", &fault)
    }

    fn answer(&self, server: &TcpStream, client: &TcpStream, is_head: bool, fault: &Fault) -> io::Result<()> {
        let (head, rest) = read_head(server)?;
        let length = head.lines().find(|line| is_header(line, "content-length"));
        let length = length.and_then(|line| line.split_once(':')?.1.trim().parse::<u64>().ok()).unwrap_or(0);
        let announced = match fault {
            Fault::Truncate(most) => Some(length.min(*most)),
            Fault::Announce(more) => Some(length + more),
            Fault::NoLength => None,
            _ => Some(length),
        };
        let mut lines: Vec<String> = head
            .lines()
            .filter(|line| !is_header(line, "content-length") && !line.is_empty())
            .map(Into::into)
            .collect();
        lines.extend(announced.map(|length| format!("Content-Length: {length}")));
        let mut out = client;
        out.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes())?;
        if is_head {
            return client.shutdown(Shutdown::Write);
        }
        let most = match fault {
            Fault::CutAfter(most) | Fault::Truncate(most) => *most,
            _ => u64::MAX,
        };
        let mut sent = 0;
        let mut buffer = rest;
        loop {
            if *fault == Fault::Corrupt
                && let Some(byte) = (length / 2).checked_sub(sent).and_then(|at| buffer.get_mut(at as usize))
            {
                *byte ^= 1;
            }
            let part = buffer.len().min((most - sent) as usize);
            out.write_all(&buffer[..part])?;
            sent += part as u64;
            self.body_bytes.fetch_add(part as u64, Ordering::SeqCst);
            if sent == most {
                return client.shutdown(Shutdown::Both);
            }
            buffer.resize(64 << 10, 0);
            let count = (&mut &*server).read(&mut buffer)?;
            if count == 0 {
                return client.shutdown(Shutdown::Write);
            }
            buffer.truncate(count);
        }
    }
}

fn is_header(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
}

/// The head of a message, and what came of its body with it.
fn read_head(mut stream: &TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
