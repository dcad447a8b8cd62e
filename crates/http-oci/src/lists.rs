//! Lists: end-1, the catalog, end-8 and end-12.

use http::{HeaderValue, Response, StatusCode};
use http_kit::Body;
use oci::{Descriptor, Digest, RepoName, Tag, types};
use registry::ReferrersRequest;
use serde::Serialize;

use crate::edge::Call;
use crate::endpoint::PageQuery;
use crate::error::WireError;
use crate::reply::{self, DOCKER_API_VERSION, OCI_FILTERS_APPLIED};

const JSON: &str = "application/json";

pub(crate) fn version() -> Response<Body> {
    let mut response = reply::empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(DOCKER_API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("2"));
    *response.body_mut() = Body::full("{}");
    response
}

#[derive(Serialize)]
struct Catalog {
    repositories: Vec<RepoName>,
}

pub(crate) async fn catalog(call: &Call<'_>, page: &PageQuery) -> Result<Response<Body>, WireError> {
    let listing = call.listing()?;
    let limit = page.n.unwrap_or(usize::MAX);
    let found = call.registry.repositories(&listing, page.last.as_deref(), limit).await?;
    let next = found.entries.last().filter(|_| found.more).map(ToString::to_string);
    let mut response = reply::json(call, JSON, &Catalog { repositories: found.entries })?;
    set_next(&mut response, call, "_catalog", page, next.as_deref());
    Ok(response)
}

#[derive(Serialize)]
struct Tags<'a> {
    name: &'a RepoName,
    tags: Vec<Tag>,
}

pub(crate) async fn tags(
    call: &Call<'_>,
    repository: &RepoName,
    page: &PageQuery,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(repository)?;
    let limit = page.n.unwrap_or(usize::MAX);
    let found = call.pull.tags(&grant, page.last.as_deref(), limit).await?;
    let next = found.entries.last().filter(|_| found.more).map(ToString::to_string);
    let mut response = reply::json(call, JSON, &Tags { name: repository, tags: found.entries })?;
    set_next(&mut response, call, &format!("{repository}/tags/list"), page, next.as_deref());
    Ok(response)
}

/// No link where the page was the last one, and none from an empty page (`n=0`).
fn set_next(
    response: &mut Response<Body>,
    call: &Call<'_>,
    path: &str,
    page: &PageQuery,
    last: Option<&str>,
) {
    let Some(last) = last else { return };
    let n = page.n.map(|n| n.to_string());
    let mut query = vec![("last", last)];
    if let Some(n) = &n {
        query.insert(0, ("n", n));
    }
    reply::set_next(response.headers_mut(), call, path, &query);
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

pub(crate) async fn referrers(
    call: &Call<'_>,
    repository: &RepoName,
    subject: Digest,
    artifact_type: Option<String>,
    after: Option<Digest>,
) -> Result<Response<Body>, WireError> {
    let grant = call.grant(repository)?;
    let request = ReferrersRequest { subject, artifact_type, after };
    let found = call.pull.referrers(&grant, &request).await?;
    let next = found.entries.last().filter(|_| found.more).map(|descriptor| descriptor.digest.to_string());
    let index = Index { schema_version: 2, media_type: types::OCI_INDEX, manifests: found.entries };
    let mut response = reply::json(call, types::OCI_INDEX, &index)?;
    let mut query = Vec::new();
    if let Some(artifact_type) = &request.artifact_type {
        response.headers_mut().insert(OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        query.push(("artifactType", artifact_type.as_str()));
    }
    if let Some(next) = &next {
        query.push(("last", next));
        reply::set_next(response.headers_mut(), call, &format!("{repository}/referrers/{subject}"), &query);
    }
    Ok(response)
}
