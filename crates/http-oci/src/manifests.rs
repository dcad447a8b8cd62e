//! Manifests: end-3, end-7 and end-9.

use http::header::{CONTENT_TYPE, HeaderValue, WARNING};
use http::{Response, StatusCode};
use http_kit::{Body, Error, RequestBody};
use oci::{MediaType, Reference, RepoName, Tag, types};
use registry::{PushedManifest, Stale, Want};

use crate::edge::Call;
use crate::error::{Code, WireError};
use crate::reply::{self, Caching, Content, DOCKER_CONTENT_DIGEST, OCI_SUBJECT, OCI_TAG, Selected};

pub(crate) async fn get(
    call: &Call<'_>,
    repository: &RepoName,
    reference: &Reference,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(repository)?;
    let want = match call.is_head() {
        true if call.is_for_push(repository) => Want::HeadForPush,
        true => Want::Head,
        false => Want::Bytes,
    };
    let found = call.pull.manifest(&grant, reference, want).await?;
    let caching =
        if matches!(reference, Reference::Digest(_)) { Caching::Immutable } else { Caching::Revalidate };
    let media_type = found.media_type.as_str();
    let content = Content { digest: &found.digest, media_type, total: found.size, caching };
    let selected = content.select(call)?;
    let body = match selected {
        _ if call.is_head() => Body::empty(),
        Selected::NotModified => Body::empty(),
        Selected::Whole => Body::full(found.bytes.clone()),
        // Both lie within bytes that are in memory, so they fit a usize.
        Selected::Part { offset, length } => {
            Body::full(found.bytes.slice(offset as usize..(offset + length) as usize))
        }
    };
    let mut response = content.respond(call, selected, body);
    if let Some(Stale(why)) = found.stale {
        // RFC 7234, 5.5.1; the distribution-spec's form of it.
        let printable: String =
            why.chars().filter(|c| (' '..='~').contains(c) && !r#""\"#.contains(*c)).collect();
        response.headers_mut().append(WARNING, reply::value(&format!("299 - \"{printable}\"")));
    }
    if let Some(replaced) = found.replaced {
        let warning = format!("299 - \"not here yet: from {}, which this project replaces\"", replaced.0);
        response.headers_mut().append(WARNING, reply::value(&warning));
        response.extensions_mut().insert(replaced);
    }
    Ok(response)
}

pub(crate) async fn put(
    call: &Call<'_>,
    repository: &RepoName,
    reference: &Reference,
    tags: &[Tag],
    body: RequestBody,
) -> Result<Response<Body>, WireError> {
    let grant = call.push_grant(repository).await?;
    let media_type = media_type(call)?;
    let limit = call.registry.limits().manifest.size as u64;
    let mut share = call.bodies.share();
    let bytes = body.read_within(limit, &mut share).await.map_err(unread)?;
    let pushed = call.registry.push_manifest(&grant, reference, tags, media_type.as_ref(), bytes).await?;
    let mut response = created(call, repository, reference, &pushed);
    if media_type.is_some_and(|media_type| media_type.as_str() == types::OCI_ARTIFACT) {
        let warning =
            r#"299 - "the OCI artifact manifest is deprecated: use an image manifest with artifactType""#;
        response.headers_mut().insert(WARNING, HeaderValue::from_static(warning));
    }
    Ok(response)
}

fn created(
    call: &Call<'_>,
    repository: &RepoName,
    reference: &Reference,
    pushed: &PushedManifest,
) -> Response<Body> {
    let mut response = reply::empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    reply::set_location(headers, call, repository, &format!("manifests/{reference}"));
    headers.insert(DOCKER_CONTENT_DIGEST, reply::value(&pushed.digest.to_string()));
    if let Some(subject) = pushed.subject {
        headers.insert(OCI_SUBJECT, reply::value(&subject.to_string()));
    }
    if matches!(reference, Reference::Digest(_)) {
        for tag in &pushed.tags {
            headers.append(OCI_TAG, reply::value(tag.as_str()));
        }
    }
    response
}

pub(crate) async fn delete(
    call: &Call<'_>,
    repository: &RepoName,
    reference: &Reference,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(repository)?;
    call.registry.delete_manifest(&grant, reference).await?;
    Ok(reply::empty(StatusCode::ACCEPTED))
}

/// The media type that the client says the manifest has; none where it says nothing in particular.
fn media_type(call: &Call<'_>) -> Result<Option<MediaType>, WireError> {
    let Some(header) = call.headers.get(CONTENT_TYPE) else { return Ok(None) };
    let invalid = |message: String| WireError::new(StatusCode::BAD_REQUEST, Code::ManifestInvalid, message);
    let text = header.to_str().map_err(|_| invalid("the Content-Type is not printable ASCII".into()))?;
    let media_type = MediaType::from_content_type(text).map_err(|error| invalid(error.to_string()))?;
    let generic = ["application/json", "application/octet-stream"].contains(&media_type.as_str());
    Ok(Some(media_type).filter(|_| !generic))
}

fn unread(error: Error) -> WireError {
    let (status, code) = match &error {
        Error::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid),
        Error::BodiesTooMany => (StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests),
        Error::BodyTooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, Code::ManifestInvalid),
        _ => (StatusCode::BAD_REQUEST, Code::ManifestInvalid),
    };
    WireError::new(status, code, error.to_string())
}
