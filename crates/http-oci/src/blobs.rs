//! Blobs: end-2 and end-10.

use blob::{BlobRead, ByteRange};
use http::{Response, StatusCode};
use http_kit::{Body, FileRange};
use oci::{Digest, RepoName};
use registry::{FoundBlob, Want};

use crate::edge::Call;
use crate::error::WireError;
use crate::reply::{self, Caching, Content, Selected};

pub(crate) async fn get(
    call: &Call<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(repository)?;
    let want = if call.is_head() { Want::Head } else { Want::Bytes };
    let found = call.pull.blob(&grant, digest, want).await?;
    // A part of what is on its way may turn out to be wrong: a cache in front must not keep it.
    let is_sure = !matches!(&found, FoundBlob::Arriving(arriving) if !arriving.is_verified());
    let content = Content {
        digest,
        media_type: "application/octet-stream",
        total: found.size(),
        caching: if is_sure { Caching::Immutable } else { Caching::Unsure },
    };
    let selected = content.select(call)?;
    let range = match selected {
        _ if call.is_head() => return Ok(content.respond(call, selected, Body::empty())),
        Selected::NotModified => return Ok(content.respond(call, selected, Body::empty())),
        Selected::Whole => None,
        Selected::Part { offset, length } => Some(ByteRange { offset, length }),
    };
    if let FoundBlob::Stored(record) = &found
        && let Some(location) = call.elsewhere(repository, digest, record.size)
    {
        return Ok(reply::elsewhere(digest, &location));
    }
    let read = call.pull.read_blob(&grant, digest, found, range).await?;
    Ok(content.respond(call, selected, body(read)))
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
    let grant = call.grant(repository)?;
    call.registry.delete_blob(&grant, digest).await?;
    Ok(reply::empty(StatusCode::ACCEPTED))
}
