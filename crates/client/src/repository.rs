//! One repository of a remote registry: what is named by tags and digests in it.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use oci::{Descriptor, Digest, ManifestLimits, MediaType, Reference, RepoName, Tag, types};
use reqwest::header::ACCEPT;
use reqwest::{Method, Response, StatusCode};
use transfer::Origin;

use crate::answer::failure;
use crate::auth::Scope;
use crate::transport::{Call, Transport};
use crate::{ClientError, Host, List, Settings, headers};

/// All that can be understood here, so that a registry sends what was pushed and converts nothing.
const ACCEPTED: [&str; 5] =
    [types::OCI_INDEX, types::OCI_MANIFEST, types::DOCKER_LIST, types::DOCKER_MANIFEST, types::OCI_ARTIFACT];

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
    pub(crate) transport: Transport,
    pub(crate) origin: Origin,
    /// Whoever adds a referrer to a fallback tag reads, changes and writes it: one at a time.
    pub(crate) fallback: tokio::sync::Mutex<()>,
    /// What HEAD said of a tag may be another thing a moment later: these are the bytes that go with a digest
    /// where they had to be fetched to know it.
    pub(crate) fetched: Mutex<HashMap<Digest, Bytes>>,
}

impl Repository {
    /// Opens a repository. Nothing is sent yet.
    pub fn open(host: &Host, repository: &RepoName, settings: &Settings) -> Result<Self, ClientError> {
        Ok(Self {
            transport: Transport::new(host, Some(repository.clone()), settings)?,
            origin: Origin { registry: host.as_str().to_owned(), repository: repository.clone() },
            fallback: tokio::sync::Mutex::default(),
            fetched: Mutex::default(),
        })
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

    /// What a tag or digest names. `None` stands for the tag `latest`.
    pub async fn find(&self, reference: Option<&Reference>) -> Result<Descriptor, ClientError> {
        let latest;
        let reference = match reference {
            Some(reference) => reference,
            None => {
                latest = latest_tag();
                &latest
            }
        };
        let (response, _) = self.manifest_request(Method::HEAD, reference, Access::Pull, 0).await?;
        let media_type = headers::media_type(response.headers());
        let size = headers::length(response.headers());
        let digest = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => headers::digest(response.headers()),
        };
        match (media_type, digest, size) {
            (Some(media_type), Some(digest), Some(size)) if media_type.is_manifest() => {
                Ok(Descriptor::new(media_type, digest, size))
            }
            // Some registries say too little in answer to a HEAD.
            _ => self.fetch(reference).await,
        }
    }

    /// Deletes what a tag or a digest names.
    pub async fn delete(&self, reference: &Reference) -> Result<(), ClientError> {
        let url = self.url(&format!("manifests/{reference}"));
        let call = Call::new(Method::DELETE, url, self.scope(Access::Delete));
        let response = self.transport.send(&call).await?;
        match response.status() {
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            StatusCode::NOT_FOUND => Err(self.not_found(reference)),
            _ => Err(failure(Method::DELETE, response).await),
        }
    }

    /// Fetches a manifest to know its digest, and keeps the bytes for when they are asked for.
    async fn fetch(&self, reference: &Reference) -> Result<Descriptor, ClientError> {
        let most = ManifestLimits::default().size;
        let (response, bytes) = self.manifest_request(Method::GET, reference, Access::Pull, most).await?;
        let url = response.url().clone();
        let sent = headers::media_type(response.headers()).filter(MediaType::is_manifest);
        let wrong = |what: String| ClientError::Answer { url: url.clone().into(), what };
        let manifest = oci::Manifest::parse(&bytes, sent.as_ref(), &ManifestLimits::default())
            .map_err(|error| wrong(error.to_string()))?;
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(_) => Digest::sha256(&bytes),
        };
        let descriptor = Descriptor::new(manifest.media_type, digest, bytes.len() as u64);
        self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(digest, bytes);
        Ok(descriptor)
    }

    /// Asks for a manifest of at most `most` bytes; the answer is a success.
    pub(crate) async fn manifest_request(
        &self,
        method: Method,
        reference: &Reference,
        access: Access,
        most: usize,
    ) -> Result<(Response, Bytes), ClientError> {
        let url = self.url(&format!("manifests/{reference}"));
        let call = Call::new(method.clone(), url, self.scope(access)).header(ACCEPT, ACCEPTED.join(", "));
        let (response, bytes) = self.transport.read(&call, most).await?;
        match response.status() {
            StatusCode::OK => Ok((response, bytes)),
            StatusCode::NOT_FOUND => Err(self.not_found(reference)),
            _ => Err(failure(method, response).await),
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

fn latest_tag() -> Reference {
    "latest".parse().unwrap_or_else(|_| unreachable!("a constant tag"))
}
