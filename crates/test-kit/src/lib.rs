//! What the end-to-end tests are written with: processes that are always ended, real tools, random images,
//! an HTTP client that sends exactly what it is told, and a Wharf server on data of its own.
//!
//! Nothing here knows the inside of Wharf: these tests see the program as its users do. A helper panics with
//! a message that says what was run and what it answered, because in a test there is nobody to handle an error.

pub mod between;
pub mod cdn;
pub mod certificate;
pub mod command;
pub mod curl;
pub mod house;
pub mod http;
pub mod image;
pub mod issuer;
pub mod npm;
pub mod oidc_provider;
pub mod process;
pub mod random;
pub mod slapd;
pub mod tools;
pub mod wharf;

pub use between::{Between, Fault};
pub use cdn::Cdn;
pub use command::Cmd;
pub use house::House;
pub use issuer::Issuer;
pub use oidc_provider::OidcProvider;
pub use process::Daemon;
pub use slapd::Slapd;
pub use wharf::WharfServer;

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// A loopback port that nothing listened on a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// A new folder that goes away with its value.
///
/// Its path has no capitals: podman and buildah make an image name of it, which may hold none.
pub fn temp_dir() -> TempDir {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wharf-test-{}-{number}", std::process::id());
        match tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir() {
            Ok(dir) => return dir,
            // Left by a process that had our id before us and was killed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => panic!("no temporary folder can be made: {error}"),
        }
    }
}

/// The digest of some bytes as the protocol writes it: `sha256:<hex>`.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

/// The digest of some bytes as the protocol writes it: `sha512:<hex>`.
pub fn sha512(bytes: &[u8]) -> String {
    use sha2::Digest;
    format!("sha512:{}", hex::encode(sha2::Sha512::digest(bytes)))
}

/// The sha256 digest of all that a reader gives, for what is too large for memory.
pub fn sha256_of(mut reader: impl std::io::Read) -> String {
    use sha2::Digest;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer).expect("the bytes can be read") {
            0 => return format!("sha256:{}", hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
