//! Uploads and mounts: end-4, end-5, end-6, end-11, end-13 and end-14.

use std::io;
use std::pin::pin;

use access::Grant;
use blob::UploadId;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, Response, StatusCode};
use http_kit::{Body, Error, RequestBody};
use oci::{Algorithm, Digest, RepoName};
use registry::{MountFrom, RegistryError, Upload};

use crate::edge::Call;
use crate::endpoint::Start;
use crate::error::{Code, WireError};
use crate::reply::{self, DOCKER_CONTENT_DIGEST, DOCKER_UPLOAD_UUID};

pub(crate) async fn start(
    call: &Call<'_>,
    repository: &RepoName,
    start: Start,
    body: RequestBody,
) -> Result<Response<Body>, WireError> {
    let grant = call.push_grant(repository).await?;
    match start {
        Start::Session(algorithm) => open(call, &grant, repository, algorithm).await,
        Start::Whole(digest) => {
            let announced = body.announced_len();
            call.registry.push_blob(&grant, digest, announced, pin!(frames(body))).await?;
            Ok(created(call, repository, &digest))
        }
        Start::Mount { digest, from } => {
            if mounted(call, &grant, &digest, from.as_ref()).await? {
                return Ok(created(call, repository, &digest));
            }
            open(call, &grant, repository, digest.algorithm()).await
        }
    }
}

/// A source that the caller may not pull from looks as if the blob were not there.
async fn mounted(
    call: &Call<'_>,
    grant: &Grant,
    digest: &Digest,
    from: Option<&RepoName>,
) -> Result<bool, WireError> {
    match from {
        Some(source) => {
            let Ok(source) = call.pull_grant(source) else { return Ok(false) };
            Ok(call.registry.mount(grant, digest, MountFrom::Repository(&source)).await?)
        }
        None => {
            let Ok(listing) = call.listing() else { return Ok(false) };
            Ok(call.registry.mount(grant, digest, MountFrom::Anywhere(&listing)).await?)
        }
    }
}

async fn open(
    call: &Call<'_>,
    grant: &Grant,
    repository: &RepoName,
    algorithm: Algorithm,
) -> Result<Response<Body>, WireError> {
    let mut upload = call.registry.start_upload(grant, algorithm).await?;
    upload.settle().await?;
    Ok(progress(call, repository, StatusCode::ACCEPTED, upload.id(), upload.length()))
}

pub(crate) async fn status(
    call: &Call<'_>,
    repository: &RepoName,
    id: UploadId,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(repository)?;
    let upload = call.registry.resume_upload(&grant, id).await?;
    Ok(progress(call, repository, StatusCode::NO_CONTENT, id, upload.length()))
}

pub(crate) async fn chunk(
    call: &Call<'_>,
    repository: &RepoName,
    id: UploadId,
    body: RequestBody,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(repository)?;
    let mut upload = call.registry.resume_upload(&grant, id).await?;
    take(call, repository, &mut upload, body).await?;
    Ok(progress(call, repository, StatusCode::ACCEPTED, id, upload.length()))
}

pub(crate) async fn finish(
    call: &Call<'_>,
    repository: &RepoName,
    id: UploadId,
    digest: Digest,
    body: RequestBody,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(repository)?;
    let mut upload = call.registry.resume_upload(&grant, id).await?;
    take(call, repository, &mut upload, body).await?;
    call.registry.finish_upload(&grant, upload, digest).await?;
    Ok(created(call, repository, &digest))
}

pub(crate) async fn cancel(
    call: &Call<'_>,
    repository: &RepoName,
    id: UploadId,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(repository)?;
    call.registry.resume_upload(&grant, id).await?.cancel().await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// Takes in the body of a request where its `Content-Range` says. A chunk out of order is told where to go on.
async fn take(
    call: &Call<'_>,
    repository: &RepoName,
    upload: &mut Upload,
    body: RequestBody,
) -> Result<(), WireError> {
    let range = content_range(call.headers)?;
    let (start, length) = range.map_or((None, None), |(first, last)| (Some(first), Some(last - first + 1)));
    // Seen before a byte is taken in, so that the chunk can be sent again as it should be.
    if let (Some(expected), Some(actual)) = (length, body.announced_len())
        && expected != actual
    {
        return Err(RegistryError::SizeInvalid { expected, actual }.into());
    }
    match receive(upload, start, length, body).await {
        Ok(()) => Ok(()),
        Err(error) => {
            let progress = progress(call, repository, StatusCode::OK, upload.id(), upload.length());
            Err(WireError::from(error).with_headers(progress.into_parts().0.headers))
        }
    }
}

async fn receive(
    upload: &mut Upload,
    start: Option<u64>,
    length: Option<u64>,
    body: RequestBody,
) -> Result<(), RegistryError> {
    let announced = body.announced_len();
    upload.receive(start, length.or(announced), pin!(frames(body))).await
}

fn frames(body: RequestBody) -> impl Stream<Item = io::Result<Bytes>> + Send {
    body.map(|frame| frame.map_err(io_error))
}

/// A client that was too slow is told apart from one that went away.
fn io_error(error: Error) -> io::Error {
    match error {
        Error::BodyTooSlow { .. } => io::Error::new(io::ErrorKind::TimedOut, error.to_string()),
        error => io::Error::other(error.to_string()),
    }
}

/// Where an upload stands. An upload without bytes says `0-0`, as Docker clients expect.
fn progress(
    call: &Call<'_>,
    repository: &RepoName,
    status: StatusCode,
    id: UploadId,
    length: u64,
) -> Response<Body> {
    let mut response = reply::empty(status);
    let headers = response.headers_mut();
    reply::set_location(headers, call, repository, &format!("blobs/uploads/{id}"));
    headers.insert(RANGE, reply::value(&format!("0-{}", length.saturating_sub(1))));
    headers.insert(DOCKER_UPLOAD_UUID, reply::value(&id.to_string()));
    response
}

fn created(call: &Call<'_>, repository: &RepoName, digest: &Digest) -> Response<Body> {
    let mut response = reply::empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    reply::set_location(headers, call, repository, &format!("blobs/{digest}"));
    headers.insert(DOCKER_CONTENT_DIGEST, reply::value(&digest.to_string()));
    response
}

/// `first-last`, as the distribution-spec writes it, or RFC 9110's `bytes first-last/*`.
fn content_range(headers: &HeaderMap) -> Result<Option<(u64, u64)>, WireError> {
    let Some(header) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let range = header.to_str().ok().and_then(parse_content_range);
    range.map(Some).ok_or_else(|| {
        WireError::new(
            StatusCode::BAD_REQUEST,
            Code::BlobUploadInvalid,
            "the Content-Range of a chunk has the form <first byte>-<last byte>",
        )
    })
}

fn parse_content_range(text: &str) -> Option<(u64, u64)> {
    let text = text.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split_once('/').map_or(text, |(range, _total)| range);
    let (first, last) = text.split_once('-')?;
    let digits =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let (first, last) = (digits(first)?, digits(last)?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn content_ranges_are_read() {
        let check =
            |text: &str, expect: Option<(u64, u64)>| assert_eq!(parse_content_range(text), expect, "{text}");
        check("0-9", Some((0, 9)));
        check("bytes 5-5/*", Some((5, 5)));
        check("bytes=5-6", Some((5, 6)));
        for text in
            ["", "-", "5-", "-5", "9-0", "a-b", "0-18446744073709551615", "0-99999999999999999999", "+1-2"]
        {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn no_content_range_panics(text: String) {
            if let Some((first, last)) = parse_content_range(&text) {
                prop_assert!(first <= last);
            }
        }
    }
}
