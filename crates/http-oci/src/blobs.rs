//! Blobs: end-2 and end-10.

use access::Action;
use blob::BlobRead;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_kit::{Body, ByteRange, FileRange, Validators};
use oci::{Digest, RepoName};

use crate::edge::Call;
use crate::error::WireError;
use crate::reply;

const IMMUTABLE: &str = "max-age=31536000, immutable";

pub(crate) async fn get(
    call: &Call<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(Action::Pull, repository)?;
    let record = call.registry.blob(&grant, digest).await?;
    let etag = reply::etag(digest);
    let validators = Validators { etag: etag.as_ref(), modified: None };
    let range = match validators.range_applies(call.headers) {
        true => ByteRange::of(call.headers, record.size),
        false => ByteRange::Whole,
    };
    let (status, wanted) = match (reply::precondition(call, &validators), range) {
        (Some(status), _) => (status, None),
        (None, ByteRange::Whole) => (StatusCode::OK, Some((None, record.size))),
        (None, ByteRange::Part { offset, len }) => {
            let part = blob::ByteRange { offset, length: len };
            (StatusCode::PARTIAL_CONTENT, Some((Some(part), len)))
        }
        (None, ByteRange::Unsatisfiable) => (StatusCode::RANGE_NOT_SATISFIABLE, None),
    };
    let body = match wanted {
        Some((part, _)) if !call.is_head() => {
            body(call.registry.read_blob(&grant, digest, record, part).await?)
        }
        _ => Body::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    reply::set_content(headers, call, digest, etag.as_ref(), IMMUTABLE);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Some((_, length)) = wanted {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if let Some(range) = range.content_range(record.size).filter(|_| status != StatusCode::NOT_MODIFIED) {
        headers.insert(CONTENT_RANGE, range);
    }
    Ok(response)
}

fn body(read: BlobRead) -> Body {
    match read {
        BlobRead::File(part) => {
            Body::file(FileRange { file: part.file, offset: part.offset, len: part.length })
        }
        BlobRead::Stream { length, stream } => Body::stream(stream, Some(length)),
    }
}

pub(crate) async fn delete(
    call: &Call<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(Action::Delete, repository)?;
    call.registry.delete_blob(&grant, digest).await?;
    Ok(reply::empty(StatusCode::ACCEPTED))
}
