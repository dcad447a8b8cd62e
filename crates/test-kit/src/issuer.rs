//! An issuer of signed tokens on loopback, as CI platforms and clusters have one: it publishes its key, and signs
//! whatever claims a test wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const KEY: &str = "first";

/// How long a token is good unless its claims say something else, in seconds.
const LIFE: u64 = 300;

/// A running issuer with one key.
pub struct Issuer {
    url: String,
    pair: EcdsaKeyPair,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_down: AtomicBool,
    requests: AtomicUsize,
}

impl Issuer {
    /// Starts one. Its threads end with the test's process.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface has a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key can be made");
        let issuer = Issuer { url, pair, state: Arc::default() };
        let document = json!({"issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url)});
        let (keys, state) = (issuer.jwks(), Arc::clone(&issuer.state));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten().filter(|_| !state.is_down.load(Ordering::SeqCst)) {
                let (document, keys, state) = (document.clone(), keys.clone(), Arc::clone(&state));
                // A client may go away at any time; that is its affair.
                std::thread::spawn(move || drop(answer(stream, &document, &keys, &state)));
            }
        });
        issuer
    }

    /// Its address, as `iss` has it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its keys, as it publishes them.
    pub fn jwks(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y), "kid": KEY, "alg": "ES256"}]})
    }

    /// A token with these claims. Those that every token needs are added where they are not among them.
    pub fn token(&self, claims: Value) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        let now = since.as_secs();
        let mut all = json!({"iss": self.url, "iat": now, "nbf": now, "exp": now + LIFE});
        if let (Value::Object(all), Value::Object(claims)) = (&mut all, claims) {
            all.extend(claims);
        }
        let header = json!({"alg": "ES256", "kid": KEY, "typ": "JWT"});
        let message =
            format!("{}.{}", encode(header.to_string().as_bytes()), encode(all.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).expect("the key signs");
        format!("{message}.{}", encode(signature.as_ref()))
    }

    /// From here on nobody answers: connections are closed.
    pub fn go_down(&self) {
        self.state.is_down.store(true, Ordering::SeqCst);
    }

    /// How often it was asked.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn answer(stream: TcpStream, document: &Value, keys: &Value, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        // A client may open a connection and not use it.
        return Ok(());
    }
    let mut header = String::from("-");
    while !header.trim_end().is_empty() {
        header.clear();
        reader.read_line(&mut header)?;
    }
    state.requests.fetch_add(1, Ordering::SeqCst);
    let (status, body) = match line.split(' ').nth(1) {
        Some("/.well-known/openid-configuration") => ("200 OK", document.to_string()),
        Some("/keys") => ("200 OK", keys.to_string()),
        _ => ("404 Not Found", String::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    reader.get_mut().write_all((head + &body).as_bytes())
}
