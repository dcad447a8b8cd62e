//! A repository as a source.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use oci::{Descriptor, Digest, Reference};
use reqwest::Method;
use transfer::{ByteStream, Origin, Source, TransferError};

use crate::repository::Access;
use crate::{ClientError, OpenBlob, Repository};

impl Source for Repository {
    fn place(&self) -> String {
        self.address()
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.origin)
    }

    fn resolve<'a>(
        &'a self,
        reference: Option<&'a Reference>,
    ) -> BoxFuture<'a, Result<Descriptor, TransferError>> {
        async move { self.find(reference).await.map_err(ClientError::into_transfer) }.boxed()
    }

    fn manifest<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<Bytes, TransferError>> {
        async move { self.pull_manifest(descriptor).await.map_err(ClientError::into_transfer) }.boxed()
    }

    fn blob<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        offset: u64,
    ) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        async move { self.pull_blob(descriptor, offset).await.map_err(ClientError::into_transfer) }.boxed()
    }

    fn referrers<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, TransferError>> {
        async move { self.list_referrers(digest).await.map_err(ClientError::into_transfer) }.boxed()
    }
}

impl Repository {
    async fn pull_manifest(&self, descriptor: &Descriptor) -> Result<Bytes, ClientError> {
        let digest = descriptor.digest;
        let kept = self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&digest);
        if let Some(bytes) = kept {
            return Ok(bytes);
        }
        let most = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
        let reference = Reference::Digest(digest);
        let (_, bytes) = self.manifest_request(Method::GET, &reference, Access::Pull, most).await?;
        Ok(bytes)
    }

    async fn pull_blob(&self, descriptor: &Descriptor, offset: u64) -> Result<ByteStream, ClientError> {
        let OpenBlob { stream, .. } = self.open_blob(&descriptor.digest, offset).await?;
        Ok(stream.map_err(ClientError::into_transfer).boxed())
    }
}
