//! Uploading one blob: mounted where that is possible, sent in one request else, and resumed after a fault.

use std::ops::ControlFlow;

use futures_util::{StreamExt, stream};
use oci::Descriptor;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE};
use reqwest::{Method, Response, StatusCode, Url};
use transfer::{ByteStream, Feed, Pushed, Retry, TransferError};

use crate::auth::Scope;
use crate::repository::Access;
use crate::transport::Call;
use crate::{ClientError, Repository, headers};

/// What asking for an upload led to.
enum Begun {
    Mounted,
    At(Url),
}

/// What is left to send.
enum Rest {
    /// Everything, to this new upload.
    All(Url),
    /// What comes after the bytes that the upload has.
    From(Url, u64),
}

impl Repository {
    pub(crate) async fn upload(&self, feed: &Feed) -> Result<Pushed, TransferError> {
        let mut rest = match self.begin(feed).await.map_err(ClientError::into_transfer)? {
            Begun::Mounted => return Ok(Pushed::Mounted),
            Begun::At(url) => Rest::All(url),
        };
        let (mut failures, mut reached) = (0, 0);
        loop {
            let error = match self.send_rest(feed, &rest).await {
                Ok(()) => return Ok(Pushed::Copied),
                Err(error) => error,
            };
            // When the source has failed, nothing that this end tries can help.
            if let Some(failure) = feed.failure() {
                return Err(failure);
            }
            // The registry may still be busy with what it got before the fault, or have lost it.
            let unsettled = failures > 0 && is_unsettled(&error);
            if !error.is_transient() && !unsettled {
                return Err(error.into_transfer());
            }
            failures += 1;
            feed.pause(failures, error.exhausted().into_transfer()).await?;
            rest = match self.find_rest(feed, rest).await.map_err(ClientError::into_transfer)? {
                ControlFlow::Continue(rest) => rest,
                ControlFlow::Break(pushed) => return Ok(pushed),
            };
            if let Rest::From(_, offset) = &rest
                && *offset >= reached + Retry::PROGRESS
            {
                (failures, reached) = (1, *offset);
            }
        }
    }

    /// Opens an upload. The same request asks for a mount: registries that cannot do it open an upload instead.
    async fn begin(&self, feed: &Feed) -> Result<Begun, ClientError> {
        let digest = feed.descriptor().digest;
        let here = feed.origin().filter(|origin| origin.registry == self.origin.registry);
        let from = here.filter(|origin| origin.repository != self.origin.repository);
        let (query, scope) = match from {
            Some(origin) => (
                format!("?mount={digest}&from={}", origin.repository),
                self.scope(Access::Push).and(Scope::repository(&origin.repository, "pull")),
            ),
            None => (format!("?mount={digest}"), self.scope(Access::Push)),
        };
        let response = match self.post_upload(&query, scope).await {
            Ok(response) if response.status() == StatusCode::CREATED => return Ok(Begun::Mounted),
            Ok(response) if response.status() == StatusCode::ACCEPTED => response,
            // Who does not answer will not answer the next one either.
            Err(error @ (ClientError::Lost { .. } | ClientError::Silent { .. })) => return Err(error),
            // Some registries take offence at a mount that they cannot do, and a credential that may push here
            // need not be one that may pull there.
            _ => self.post_upload("", self.scope(Access::Push)).await?,
        };
        match response.status() {
            StatusCode::ACCEPTED => self.location(&response).map(Begun::At),
            _ => Err(self.transport.failure(Method::POST, response).await),
        }
    }

    async fn post_upload(&self, query: &str, scope: Scope) -> Result<Response, ClientError> {
        let url = self.url(&format!("blobs/uploads/{query}"));
        self.transport.send(&Call::new(Method::POST, url, scope)).await
    }

    async fn send_rest(&self, feed: &Feed, rest: &Rest) -> Result<(), ClientError> {
        match rest {
            Rest::All(url) => {
                self.put(url, feed.descriptor(), feed.descriptor().size, feed.from_start()).await
            }
            Rest::From(url, offset) => {
                // `find_rest` has made sure that the feed has brought this much before.
                let Some(stream) = feed.again(*offset) else {
                    return Err(self.nonsense(url));
                };
                let size = feed.descriptor().size;
                let url =
                    if *offset < size { self.patch(url, *offset, size, stream).await? } else { url.clone() };
                self.put(&url, feed.descriptor(), 0, stream::empty().boxed()).await
            }
        }
    }

    /// Completes an upload with its last `length` bytes, which may be all or none. Sent as a stream even then: the
    /// registry may take as long to be done with the others.
    async fn put(
        &self,
        url: &Url,
        descriptor: &Descriptor,
        length: u64,
        stream: ByteStream,
    ) -> Result<(), ClientError> {
        let call = self.upload_call(Method::PUT, with_digest(url, descriptor));
        let response = self.transport.send_stream(&call, length, stream).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(self.transport.failure(Method::PUT, response).await),
        }
    }

    /// The rest of the blob, as a chunk of an upload that has the first `offset` bytes.
    async fn patch(&self, url: &Url, offset: u64, size: u64, stream: ByteStream) -> Result<Url, ClientError> {
        let call = self
            .upload_call(Method::PATCH, url.clone())
            .header(CONTENT_RANGE, format!("{offset}-{}", size.saturating_sub(1)));
        let response = self.transport.send_stream(&call, size - offset, stream).await?;
        match response.status() {
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT => self.location(&response),
            _ => Err(self.transport.failure(Method::PATCH, response).await),
        }
    }

    /// After a fault: how far the upload has come, or a new one where it is gone. Breaks when the blob is there.
    async fn find_rest(&self, feed: &Feed, broken: Rest) -> Result<ControlFlow<Pushed, Rest>, ClientError> {
        let (Rest::All(url) | Rest::From(url, _)) = broken;
        let call = Call::new(Method::GET, url.clone(), self.scope(Access::Push));
        let response = self.transport.send(&call).await?;
        let known = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::OK);
        let offset = headers::uploaded(response.headers()).filter(|offset| known && *offset > 0);
        if let Some(offset) = offset
            && feed.again(offset).is_some()
        {
            // Not every registry repeats the address.
            let url = self.location(&response).unwrap_or(url);
            return Ok(ControlFlow::Continue(Rest::From(url, offset)));
        }
        if known {
            // Not needed any more; a registry that cannot cancel lets it expire.
            let cancel = Call::new(Method::DELETE, url, self.scope(Access::Push));
            self.transport.send(&cancel).await.ok();
        } else if self.holds(feed.descriptor()).await? {
            // It was done, and only the answer was lost.
            return Ok(ControlFlow::Break(Pushed::Copied));
        }
        Ok(match self.begin(feed).await? {
            Begun::Mounted => ControlFlow::Break(Pushed::Mounted),
            Begun::At(url) => ControlFlow::Continue(Rest::All(url)),
        })
    }

    fn upload_call(&self, method: Method, url: Url) -> Call {
        Call::new(method, url, self.scope(Access::Push)).header(CONTENT_TYPE, "application/octet-stream")
    }

    fn location(&self, response: &Response) -> Result<Url, ClientError> {
        match headers::text(response.headers(), "location") {
            Some(location) => self.transport.follow(response.url(), location),
            None => Err(self.nonsense(response.url())),
        }
    }

    fn nonsense(&self, url: &Url) -> ClientError {
        ClientError::Answer { url: url.clone().into(), what: "an upload without a usable Location".into() }
    }
}

/// Does this say that the upload is not where it was thought to be?
fn is_unsettled(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { status, .. } if matches!(status.as_u16(), 404 | 409 | 416))
}

/// The address that completes an upload: its own query stays.
fn with_digest(url: &Url, descriptor: &Descriptor) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
    url
}
