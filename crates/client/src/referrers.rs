//! Referrers: by the API of distribution-spec 1.1, and by the fallback tag where a registry has none.

use bytes::Bytes;
use oci::{Descriptor, Digest, Manifest, ManifestLimits, MediaType, Reference, types};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use transfer::Document;

use crate::lists::{PAGE, next_page};
use crate::repository::Access;
use crate::transport::Call;
use crate::{ClientError, Repository, headers};

/// The most referrers of one manifest.
const MOST: usize = 20_000;

/// The most pages of them: a server that links round in a circle must not be followed for ever.
const PAGES: usize = 1000;

impl Repository {
    /// The manifests whose subject is `digest`.
    pub async fn list_referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, ClientError> {
        match self.ask_api(digest).await? {
            Some(referrers) => Ok(referrers),
            None => self.ask_fallback_tag(digest).await,
        }
    }

    /// What the API says; `None` where there is no such API.
    async fn ask_api(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, ClientError> {
        let mut next = Some(self.url(&format!("referrers/{digest}")));
        let mut all = Vec::new();
        let mut pages = 0;
        while let Some(url) = next.take() {
            pages += 1;
            let call = Call::new(Method::GET, url.clone(), self.scope(Access::Pull))
                .header(ACCEPT, types::OCI_INDEX);
            let (response, body) = self.transport.read(&call, PAGE).await?;
            let is_index = headers::media_type(response.headers()).is_some_and(|m| is_index(&m));
            match response.status() {
                StatusCode::OK if is_index => {}
                // Older registries do not know the path; proxies in front of them say all sorts of things. Who has
                // given one page knows it.
                StatusCode::OK
                | StatusCode::NOT_FOUND
                | StatusCode::BAD_REQUEST
                | StatusCode::METHOD_NOT_ALLOWED
                    if pages == 1 =>
                {
                    return Ok(None);
                }
                StatusCode::OK => return Err(not_an_index(&url)),
                _ => return Err(self.transport.failure(Method::GET, response).await),
            }
            next = next_page(&self.transport, &url, response.headers())?;
            let page = read_index(&body);
            all.extend(page.ok_or_else(|| not_an_index(&url))?);
            if all.len() > MOST || pages > PAGES {
                let what = format!("more than {MOST} referrers of one manifest, or {PAGES} pages of them");
                return Err(ClientError::Answer { url: url.into(), what });
            }
        }
        Ok(Some(all))
    }

    async fn ask_fallback_tag(&self, digest: &Digest) -> Result<Vec<Descriptor>, ClientError> {
        match self.fallback_index(digest, Access::Pull).await {
            Ok((_, referrers)) => Ok(referrers),
            Err(ClientError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn fallback_index(
        &self,
        digest: &Digest,
        access: Access,
    ) -> Result<(Bytes, Vec<Descriptor>), ClientError> {
        let tag = Reference::Tag(digest.fallback_tag());
        let most = self.transport.manifest_limits().size;
        let (response, bytes) = self.manifest_request(Method::GET, &tag, access, most).await?;
        let referrers = read_index(&bytes).ok_or_else(|| not_an_index(response.url()))?;
        Ok((bytes, referrers))
    }

    /// Adds a manifest to the fallback tag of its subject, as clients must where the registry does not.
    pub(crate) async fn add_to_fallback_tag(
        &self,
        document: &Document,
        subject: &Digest,
    ) -> Result<(), ClientError> {
        let _turn = self.fallback.lock().await;
        let mut index = match self.fallback_index(subject, Access::Push).await {
            Ok((_, known)) if known.iter().any(|d| d.digest == document.descriptor.digest) => return Ok(()),
            Ok((bytes, _)) => serde_json::from_slice(&bytes).unwrap_or_else(|_| empty_index()),
            Err(ClientError::NotFound { .. }) => empty_index(),
            Err(error) => return Err(error),
        };
        if let Some(manifests) = index["manifests"].as_array_mut() {
            manifests.push(entry(document));
        }
        let url = self.url(&format!("manifests/{}", subject.fallback_tag()));
        let call = Call::new(Method::PUT, url, self.scope(Access::Push))
            .header(CONTENT_TYPE, types::OCI_INDEX)
            .body(index.to_string().into());
        let response = self.transport.send(&call).await?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(self.transport.failure(Method::PUT, response).await)
        }
    }
}

fn is_index(media_type: &MediaType) -> bool {
    media_type.as_str() == types::OCI_INDEX
}

fn read_index(bytes: &[u8]) -> Option<Vec<Descriptor>> {
    let media_type: MediaType = types::OCI_INDEX.parse().ok()?;
    let limits = ManifestLimits { size: PAGE, ..ManifestLimits::default() };
    let index = Manifest::parse(bytes, Some(&media_type), &limits).ok()?;
    Some(index.children.into_iter().map(|child| child.descriptor).collect())
}

fn not_an_index(url: &reqwest::Url) -> ClientError {
    ClientError::Answer { url: url.clone().into(), what: "the referrers are not an OCI index".into() }
}

fn empty_index() -> Value {
    json!({"schemaVersion": 2, "mediaType": types::OCI_INDEX, "manifests": []})
}

/// The descriptor of a referrer as the API would give it: with its type and annotations.
fn entry(document: &Document) -> Value {
    let mut descriptor = document.descriptor.clone();
    descriptor.artifact_type.clone_from(&document.manifest.artifact_type);
    descriptor.annotations.clone_from(&document.manifest.annotations);
    descriptor.platform = None;
    json!(descriptor)
}
