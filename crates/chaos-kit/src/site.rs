//! What all workers share: where the server is, the ledger, and whether the end of the round has begun.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use power_cut::Dice;

use crate::content::Blob;
use crate::http::{Answer, Http};
use crate::ledger::Ledger;

/// The repositories that are worked on.
pub(crate) const REPOSITORIES: [&str; 4] = ["chaos/north", "chaos/east", "chaos/south", "west"];
/// How many tags each of them has; few, so that workers meet.
pub(crate) const TAGS: u64 = 8;
/// Manifests are taken in the form in which they were pushed.
pub(crate) const ACCEPT: (&str, &str) =
    ("accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json");
/// Layers that many images share.
const SHARED_BLOBS: usize = 40;

/// The worker ends: the server died, or did what a server must not.
#[derive(Debug)]
pub struct Stop;

/// One server under test and all that is known of it.
pub struct Site {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it acknowledged.
    pub ledger: Ledger,
    /// Layers that many images share.
    pub(crate) shared: Vec<Blob>,
    /// The disk may give an upload zeros in place of bytes that came last: they were received, but never promised.
    pub(crate) uploads_may_tear: bool,
    dying: AtomicBool,
    ending: AtomicBool,
}

impl Site {
    /// A server at this address that holds nothing yet.
    pub fn new(address: SocketAddr, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let shared = (0..SHARED_BLOBS).map(|_| Blob::any(&mut dice)).collect();
        let ledger = Ledger::default();
        let (dying, ending) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { address, ledger, shared, uploads_may_tear: false, dying, ending }
    }

    /// The server is about to be killed: from now on it may break off, but what it says still counts.
    pub(crate) fn let_die(&self) {
        self.dying.store(true, Ordering::SeqCst);
    }

    /// From now on the server may fail in any way, and nothing that it says counts.
    pub fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// The server works again.
    pub fn resume(&self) {
        self.dying.store(false, Ordering::SeqCst);
        self.ending.store(false, Ordering::SeqCst);
    }

    pub(crate) fn ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Notes a fault, unless the server may fail by now.
    pub(crate) fn fault(&self, fault: impl Into<String>) {
        if !self.ending() {
            self.ledger.fault(fault.into());
        }
    }

    /// Sends a request. What comes back is an answer that counts: a success, or a refusal with a 4xx status. Anything
    /// else from a server that is not ending is a fault.
    pub(crate) fn call(
        &self,
        http: &mut Http,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Stop> {
        let answer = http.send(method, path, headers, body);
        // Asked after the answer came: an answer from after the power cut proves nothing about the disk.
        if self.ending() {
            return Err(Stop);
        }
        match answer {
            Ok(answer) if answer.ok() || (400..500).contains(&answer.status) => Ok(answer),
            Ok(answer) => {
                self.fault(format!("{method} {path}: {} {}", answer.status, answer.text()));
                Err(Stop)
            }
            Err(error) => {
                self.suspect(format!("{method} {path}: {error}"));
                Err(Stop)
            }
        }
    }

    /// Notes that the server broke off, which it does when it is killed.
    pub(crate) fn suspect(&self, fault: String) {
        if !self.dying.load(Ordering::SeqCst) {
            self.fault(fault);
        }
    }
}
