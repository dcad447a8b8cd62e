//! A repository as a target.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oci::{Algorithm, Descriptor, Reference};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response};
use transfer::{Document, Feed, Naming, Pushed, Target, TransferError};

use crate::repository::Access;
use crate::transport::Call;
use crate::{ClientError, Repository, headers};

impl Target for Repository {
    fn place(&self) -> String {
        self.address()
    }

    fn has<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool, TransferError>> {
        async move { self.holds(descriptor).await.map_err(ClientError::into_transfer) }.boxed()
    }

    fn push_blob<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<Pushed, TransferError>> {
        self.upload(feed).boxed()
    }

    fn push_manifest<'a>(
        &'a self,
        document: &'a Document,
        naming: Naming<'a>,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        async move { self.put_manifest(document, naming).await.map_err(ClientError::into_transfer) }.boxed()
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), TransferError>> {
        async { Ok(()) }.boxed()
    }
}

impl Repository {
    pub(crate) async fn holds(&self, descriptor: &Descriptor) -> Result<bool, ClientError> {
        let digest = descriptor.digest;
        if descriptor.media_type.is_manifest() {
            let found =
                self.manifest_request(Method::HEAD, &Reference::Digest(digest), Access::Push, 0).await;
            return match found {
                Ok(_) => Ok(true),
                Err(ClientError::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            };
        }
        match self.blob_size(&digest, Access::Push).await {
            // A blob of another size is not the one that is meant: pushing it tells what is wrong.
            Ok(size) => Ok(size.is_none_or(|size| size == descriptor.size)),
            Err(ClientError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn put_manifest(&self, document: &Document, naming: Naming<'_>) -> Result<(), ClientError> {
        let digest = document.descriptor.digest;
        let sha256 = digest.algorithm() == Algorithm::Sha256;
        let url = match naming {
            Naming::Part | Naming::Root => self.url(&format!("manifests/{digest}")),
            Naming::Tagged(tag) if sha256 => self.url(&format!("manifests/{tag}")),
            // Under a bare tag a registry would choose the algorithm itself, and so another digest.
            Naming::Tagged(tag) => self.url(&format!("manifests/{digest}?tag={tag}")),
        };
        let call = Call::new(Method::PUT, url, self.scope(Access::Push))
            .header(CONTENT_TYPE, document.descriptor.media_type.as_str())
            .body(document.bytes.clone());
        let response = self.transport.send(&call).await?;
        if !response.status().is_success() {
            return Err(self.transport.failure(Method::PUT, response).await);
        }
        check_answer(&response, document, naming)?;
        match &document.manifest.subject {
            Some(subject) if !response.headers().contains_key("oci-subject") => {
                self.add_to_fallback_tag(document, &subject.digest).await
            }
            _ => Ok(()),
        }
    }
}

/// A registry that stored something else than it was sent must not go unnoticed.
fn check_answer(response: &Response, document: &Document, naming: Naming<'_>) -> Result<(), ClientError> {
    let digest = document.descriptor.digest;
    let wrong = |what: String| ClientError::Answer { url: response.url().clone().into(), what };
    match headers::digest(response.headers()) {
        Some(stored) if stored.algorithm() == digest.algorithm() && stored != digest => {
            return Err(wrong(format!("it stored {stored}, but was sent {digest}")));
        }
        _ => {}
    }
    if let Naming::Tagged(tag) = naming
        && digest.algorithm() != Algorithm::Sha256
        && !response.headers().contains_key("oci-tag")
    {
        return Err(wrong(format!("it cannot tag a {} manifest as {tag}", digest.algorithm().name())));
    }
    Ok(())
}
