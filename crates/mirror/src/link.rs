//! One registry that is asked: an upstream's, or a peer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use client::{Answered, ClientError, FailureKind, Host, Remote, Repository, Watch};
use oci::RepoName;
use registry::{NodeId, Trail};

use crate::error::FetchError;
use crate::health::{Asked, Health, Said};

/// The most repositories of a remote that are kept open.
const OPEN_MAX: usize = 1_000;

/// Who asks, as those are told that are asked.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub node: NodeId,
    /// What its peers call it, where one of them is asked.
    pub peer: Option<String>,
}

impl Signature {
    /// The headers of a request that comes through others (RFC 9110, 7.6.3).
    fn headers(&self, trail: &Trail) -> Vec<(&'static str, String)> {
        let nodes = trail.nodes().iter().chain([&self.node]);
        let via: Vec<String> = nodes.map(|node| format!("1.1 {node}")).collect();
        let peer = self.peer.iter().map(|name| ("wharf-peer", name.clone()));
        std::iter::once(("via", via.join(", "))).chain(peer).collect()
    }
}

/// A registry, and how it does.
pub(crate) struct Link {
    pub host: Host,
    pub health: Arc<Health>,
    prefix: Option<RepoName>,
    remote: Remote,
    open: Mutex<HashMap<RepoName, Arc<Repository>>>,
    signature: Signature,
}

/// Learns of limits from answers.
struct Limits(Arc<Health>);

impl Watch for Limits {
    fn answered(&self, answer: &Answered) {
        if let Some(limit) = &answer.limit {
            self.0.note_limit(limit.clone(), Instant::now());
        }
    }
}

impl Link {
    /// Opens it. Nothing is sent yet.
    pub fn open(
        host: Host,
        prefix: Option<RepoName>,
        client: client::Settings,
        signature: Signature,
    ) -> Result<Self, ClientError> {
        let health = Arc::new(Health::default());
        let client = client::Settings {
            watcher: Some(Arc::new(Limits(health.clone()))),
            headers: signature.headers(&Trail::default()),
            ..client
        };
        let remote = Remote::open(&host, &client)?;
        Ok(Self { host, health, prefix, remote, open: Mutex::default(), signature })
    }

    /// Waits for a request, and notes how it went.
    pub async fn call<T>(
        &self,
        asked: Asked,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, FetchError> {
        let outcome = request.await;
        self.note(asked, outcome.as_ref().err());
        outcome.map_err(FetchError::from)
    }

    /// Notes how a request went.
    pub fn note(&self, asked: Asked, error: Option<&ClientError>) {
        let said = match error {
            Some(error) => match error.kind() {
                FailureKind::Limited { retry_after } => Said::Later(retry_after),
                // What one client asks for must not close it to all others.
                _ if error.is_outage() => Said::Nothing,
                _ => Said::Something,
            },
            None => Said::Something,
        };
        self.health.note(asked, said, Instant::now());
    }

    /// What is called `path` there, but for the prefix, for who has come through others.
    pub fn repository(&self, path: &RepoName, trail: &Trail) -> Option<Arc<Repository>> {
        let repository = self.open_repository(path)?;
        if trail.nodes().is_empty() {
            return Some(repository);
        }
        Some(Arc::new(repository.with_headers(&self.signature.headers(trail))))
    }

    fn open_repository(&self, path: &RepoName) -> Option<Arc<Repository>> {
        let name = match &self.prefix {
            Some(prefix) => format!("{prefix}/{path}").parse().ok()?,
            None => path.clone(),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repository) = open.get(&name) {
            return Some(repository.clone());
        }
        if open.len() >= OPEN_MAX {
            // They are cheap: what is asked for again is opened again.
            open.clear();
        }
        let repository = Arc::new(self.remote.repository(&name));
        open.insert(name, repository.clone());
        Some(repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_through_whom_it_came() {
        let check = |peer: Option<&str>, trail: &[u64], expect: &[(&str, &str)]| {
            let signature = Signature { node: NodeId::new(10), peer: peer.map(str::to_owned) };
            let headers = signature.headers(&Trail::new(trail.iter().copied().map(NodeId::new), false));
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(headers, expect);
        };
        let own = "1.1 wharf-000000000000000a";
        check(None, &[], &[("via", own)]);
        check(Some("a"), &[], &[("via", own), ("wharf-peer", "a")]);
        check(None, &[255], &[("via", &format!("1.1 wharf-00000000000000ff, {own}"))]);
    }
}
