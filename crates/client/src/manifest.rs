//! Reading manifests: what a reference names, and the bytes, verified.

use bytes::Bytes;
use oci::{Descriptor, Digest, Manifest, ManifestError, MediaType, Reference, types};
use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, Response, StatusCode, Url};

use crate::repository::Access;
use crate::transport::Call;
use crate::{ClientError, Repository, headers};

/// All that can be understood here, so that a registry sends what was pushed and converts nothing.
const ACCEPTED: [&str; 5] =
    [types::OCI_INDEX, types::OCI_MANIFEST, types::DOCKER_LIST, types::DOCKER_MANIFEST, types::OCI_ARTIFACT];

/// A manifest as a registry sent it.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes, which have this digest.
    pub bytes: Bytes,
}

impl Repository {
    /// What a tag or digest names. `None` stands for the tag `latest`.
    ///
    /// Where the manifest itself had to be fetched to know it, its bytes are kept for whoever asks for them next.
    pub async fn find(&self, reference: Option<&Reference>) -> Result<Descriptor, ClientError> {
        let latest;
        let reference = match reference {
            Some(reference) => reference,
            None => {
                latest = latest_tag();
                &latest
            }
        };
        if let Some(descriptor) = self.ask_head(reference).await? {
            return Ok(descriptor);
        }
        let Fetched { descriptor, bytes } = self.get_manifest(reference).await?;
        let mut fetched = self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        fetched.insert(descriptor.digest, bytes);
        Ok(descriptor)
    }

    /// What a tag or digest names, as `find`, but nothing is kept.
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Descriptor, ClientError> {
        match self.ask_head(reference).await? {
            Some(descriptor) => Ok(descriptor),
            None => Ok(self.get_manifest(reference).await?.descriptor),
        }
    }

    /// A manifest. Its bytes have the digest that was asked for, or that the registry says they have.
    pub async fn get_manifest(&self, reference: &Reference) -> Result<Fetched, ClientError> {
        let limits = self.transport.manifest_limits();
        let (response, bytes) =
            self.manifest_request(Method::GET, reference, Access::Pull, limits.size).await?;
        let wrong = |what: String| ClientError::Answer { url: response.url().clone().into(), what };
        let sent = headers::media_type(response.headers()).filter(MediaType::is_manifest);
        let manifest = Manifest::parse(&bytes, sent.as_ref(), limits);
        let unusable = |error| ClientError::Manifest { url: response.url().clone().into(), error };
        if let Err(error @ ManifestError::SchemaOne) = manifest {
            // Its digest is not that of its bytes, which hold signatures, too.
            return Err(unusable(error));
        }
        let digest = verified(reference, response.headers(), &bytes).map_err(wrong)?;
        // Where nobody says what digest it should have, something else may have come.
        let is_known =
            matches!(reference, Reference::Digest(_)) || headers::digest(response.headers()).is_some();
        let manifest =
            manifest.map_err(|error| if is_known { unusable(error) } else { wrong(error.to_string()) })?;
        let descriptor = Descriptor::new(manifest.media_type, digest, bytes.len() as u64);
        Ok(Fetched { descriptor, bytes })
    }

    /// What HEAD says; `None` where that is too little, or where the registry answers no HEAD.
    async fn ask_head(&self, reference: &Reference) -> Result<Option<Descriptor>, ClientError> {
        let response = match self.manifest_request(Method::HEAD, reference, Access::Pull, 0).await {
            Ok((response, _)) => response,
            Err(ClientError::Status { status: StatusCode::METHOD_NOT_ALLOWED, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let media_type = headers::media_type(response.headers()).filter(MediaType::is_manifest);
        let size = headers::length(response.headers());
        let digest = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => headers::digest(response.headers()),
        };
        Ok(match (media_type, digest, size) {
            (Some(media_type), Some(digest), Some(size)) => Some(Descriptor::new(media_type, digest, size)),
            _ => None,
        })
    }

    /// Asks for a manifest of at most `most` bytes; the answer is a success.
    pub(crate) async fn manifest_request(
        &self,
        method: Method,
        reference: &Reference,
        access: Access,
        most: usize,
    ) -> Result<(Response, Bytes), ClientError> {
        let url: Url = self.url(&format!("manifests/{reference}"));
        let call = Call::new(method.clone(), url, self.scope(access)).header(ACCEPT, ACCEPTED.join(", "));
        let (response, bytes) = self.transport.read(&call, most).await?;
        match response.status() {
            StatusCode::OK => Ok((response, bytes)),
            StatusCode::NOT_FOUND => Err(self.not_found(reference)),
            _ => Err(self.transport.failure(method, response).await),
        }
    }
}

/// The digest that the bytes are known by, once they have every digest that they should have.
fn verified(reference: &Reference, headers: &HeaderMap, bytes: &[u8]) -> Result<Digest, String> {
    let asked = match reference {
        Reference::Digest(digest) => Some(*digest),
        Reference::Tag(_) => None,
    };
    let said = headers::digest(headers);
    for digest in asked.into_iter().chain(said) {
        let has = Digest::of(digest.algorithm(), bytes);
        if has != digest {
            return Err(format!("a manifest that should have the digest {digest} and has {has}"));
        }
    }
    Ok(asked.or(said).unwrap_or_else(|| Digest::sha256(bytes)))
}

fn latest_tag() -> Reference {
    "latest".parse().unwrap_or_else(|_| unreachable!("a constant tag"))
}
