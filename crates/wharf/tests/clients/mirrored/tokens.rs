//! A token service for docker-registry, as the Docker token specification has it: whoever knows the password gets what
//! they ask for. Its tokens carry the certificate that docker-registry trusts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Who gives tokens out, and for which service.
pub const NAME: &str = "harbour-master";

/// A running token service. Its threads end with the test's process.
pub struct Tokens {
    address: String,
}

struct Signer {
    key: EncodingKey,
    certificate: String,
    /// What a client must send.
    authorization: String,
}

impl Tokens {
    /// Starts one that knows one user, and writes the certificate that it signs with to `certificate`.
    pub fn start((user, password): (&str, &str), certificate: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface has a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let own = rcgen::CertificateParams::new([]).expect("no name is wrong").self_signed(&key);
        let own = own.expect("a key can sign itself");
        std::fs::write(certificate, own.pem()).expect("a file can be written");
        let signer = Arc::new(Signer {
            key: EncodingKey::from_ec_der(&key.serialize_der()),
            certificate: STANDARD.encode(own.der()),
            authorization: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let signer = Arc::clone(&signer);
                // A client may go away at any time; that is its affair.
                std::thread::spawn(move || drop(signer.answer(stream)));
            }
        });
        Tokens { address }
    }

    /// Where tokens are to be had.
    pub fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }
}

impl Signer {
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        let mut is_known = false;
        for line in lines {
            let line = line?;
            let authorization =
                line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
            is_known |= authorization.is_some_and(|(_, value)| value == self.authorization);
            if line.is_empty() {
                break;
            }
        }
        let target = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match is_known {
            true => ("200 OK", json!({"token": self.token(target)})),
            false => ("401 Unauthorized", json!({})),
        };
        let body = body.to_string();
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\n");
        write!(&stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    fn token(&self, target: &str) -> String {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let plain = query.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",").replace('+', " ");
        let scopes =
            plain.split('&').filter_map(|pair| pair.strip_prefix("scope=")).flat_map(|all| all.split(' '));
        let access: Vec<Value> = scopes.filter_map(entry).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let claims = json!({
            "iss": NAME, "sub": "ann", "aud": NAME, "iat": now, "nbf": now - 5, "exp": now + 300, "jti": "1",
            "access": access,
        });
        let header = Header { x5c: Some(vec![self.certificate.clone()]), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).expect("the key signs")
    }
}

/// What a scope such as `repository:team/app:pull` asks for.
fn entry(scope: &str) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    Some(json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
}
