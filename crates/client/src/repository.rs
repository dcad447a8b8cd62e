//! One repository of a remote registry: what is named by tags and digests in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use oci::{Digest, Reference, RepoName, Tag};
use reqwest::{Method, StatusCode};
use transfer::Origin;

use crate::auth::Scope;
use crate::transport::{Call, Transport};
use crate::{ClientError, Host, List, Remote, Settings};

/// What a repository is opened for: decides what its tokens must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
    Delete,
}

/// A repository of a remote registry.
///
/// As a source it pulls, as a target it pushes; each asks for a token that allows just that.
pub struct Repository {
    pub(crate) transport: Arc<Transport>,
    pub(crate) origin: Origin,
    /// Whoever adds a referrer to a fallback tag reads, changes and writes it: one at a time.
    pub(crate) fallback: tokio::sync::Mutex<()>,
    /// What HEAD said of a tag may be another thing a moment later: these are the bytes that go with a digest
    /// where they had to be fetched to know it.
    pub(crate) fetched: Mutex<HashMap<Digest, Bytes>>,
}

impl Repository {
    /// Opens one repository by itself. Nothing is sent yet.
    pub fn open(host: &Host, repository: &RepoName, settings: &Settings) -> Result<Self, ClientError> {
        Ok(Remote::open(host, settings)?.repository(repository))
    }

    pub(crate) fn new(transport: Arc<Transport>, repository: RepoName) -> Self {
        let origin = Origin { registry: transport.host().as_str().to_owned(), repository };
        let (fallback, fetched) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { transport, origin, fallback, fetched }
    }

    /// The same repository, where each request to the registry has these headers in place of its settings'.
    #[must_use]
    pub fn with_headers(&self, headers: &[(&'static str, String)]) -> Self {
        Self::new(Arc::new(self.transport.with_headers(headers)), self.name().clone())
    }

    /// The registry.
    pub fn host(&self) -> &Host {
        self.transport.host()
    }

    /// The repository's name there.
    pub fn name(&self) -> &RepoName {
        &self.origin.repository
    }

    /// All tags, page by page.
    pub fn tags(&self) -> List<'_, Tag> {
        let url = self.url("tags/list?n=1000");
        List::new(&self.transport, url, self.scope(Access::Pull), "tags", self.address())
    }

    /// Deletes what a tag or a digest names.
    pub async fn delete(&self, reference: &Reference) -> Result<(), ClientError> {
        let url = self.url(&format!("manifests/{reference}"));
        let call = Call::new(Method::DELETE, url, self.scope(Access::Delete));
        let response = self.transport.send(&call).await?;
        match response.status() {
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            StatusCode::NOT_FOUND => Err(self.not_found(reference)),
            _ => Err(self.transport.failure(Method::DELETE, response).await),
        }
    }

    pub(crate) fn not_found(&self, what: impl std::fmt::Display) -> ClientError {
        ClientError::NotFound { what: what.to_string(), place: self.address() }
    }

    /// `docker://host/name`, for messages.
    pub(crate) fn address(&self) -> String {
        format!("docker://{}/{}", self.host(), self.name())
    }

    pub(crate) fn scope(&self, access: Access) -> Scope {
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
            Access::Delete => "delete,pull",
        };
        Scope::repository(self.name(), actions)
    }

    /// The address of something in this repository, such as `manifests/latest`, with a query or without.
    pub(crate) fn url(&self, what: &str) -> reqwest::Url {
        let (path, query) = what.split_once('?').map_or((what, None), |(path, query)| (path, Some(query)));
        let mut url = self.transport.url(&format!("{}/{path}", self.name()));
        url.set_query(query);
        url
    }
}
