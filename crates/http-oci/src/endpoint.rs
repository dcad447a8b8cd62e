//! From a request line to an [`Endpoint`]: one pure function, tested without a server.
//!
//! The names `end-1` to `end-14` are the distribution-spec's ("Endpoints").

use std::borrow::Cow;
use std::str::FromStr;

use blob::UploadId;
use http::Method;
use http_kit::Query as Pairs;
use oci::{Algorithm, Digest, DigestError, NameError, Reference, RepoName, Tag};
use percent_encoding::percent_decode_str;

use crate::operation::Operation;

/// The longest query, in bytes. A multi-tag push with a hundred of the longest tags needs 13,500.
pub const QUERY_MAX: usize = 16 << 10;

/// What is wanted of a manifest, a blob or an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// end-1: does this registry speak the protocol?
    Version,
    /// The names of the repositories (Docker's extension).
    Catalog {
        /// Which part of the list.
        page: PageQuery,
    },
    /// end-8.
    Tags {
        /// The repository.
        repository: RepoName,
        /// Which part of the list.
        page: PageQuery,
    },
    /// end-3.
    GetManifest {
        /// The repository.
        repository: RepoName,
        /// The tag or digest.
        reference: Reference,
    },
    /// end-7.
    PutManifest {
        /// The repository.
        repository: RepoName,
        /// The tag or digest.
        reference: Reference,
        /// More tags for it.
        tags: Vec<Tag>,
    },
    /// end-9.
    DeleteManifest {
        /// The repository.
        repository: RepoName,
        /// The tag or digest.
        reference: Reference,
    },
    /// end-2.
    GetBlob {
        /// The repository.
        repository: RepoName,
        /// The blob.
        digest: Digest,
    },
    /// end-10.
    DeleteBlob {
        /// The repository.
        repository: RepoName,
        /// The blob.
        digest: Digest,
    },
    /// end-4 and end-11.
    StartUpload {
        /// The repository.
        repository: RepoName,
        /// How to start.
        start: Start,
    },
    /// end-13.
    UploadStatus {
        /// The repository.
        repository: RepoName,
        /// The upload.
        id: UploadId,
    },
    /// end-5.
    UploadChunk {
        /// The repository.
        repository: RepoName,
        /// The upload.
        id: UploadId,
    },
    /// end-6.
    FinishUpload {
        /// The repository.
        repository: RepoName,
        /// The upload.
        id: UploadId,
        /// What it should be.
        digest: Digest,
    },
    /// end-14.
    CancelUpload {
        /// The repository.
        repository: RepoName,
        /// The upload.
        id: UploadId,
    },
    /// end-12.
    Referrers {
        /// The repository.
        repository: RepoName,
        /// Of which digest.
        subject: Digest,
        /// Only of this artifact type.
        artifact_type: Option<String>,
        /// Only after this one.
        last: Option<Digest>,
    },
}

/// Which part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// The most entries; the server's own limit where absent.
    pub n: Option<usize>,
    /// Only after this text.
    pub last: Option<String>,
}

/// How an upload starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Bytes will come in later requests, hashed with this algorithm (end-4a, end-4c).
    Session(Algorithm),
    /// All bytes are in this request (end-4b).
    Whole(Digest),
    /// The blob is in another repository (end-11), in any that the caller may pull from where `from` is absent.
    Mount {
        /// The blob.
        digest: Digest,
        /// The repository it should come from.
        from: Option<RepoName>,
    },
}

/// Why a request line names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// No such path.
    NotFound,
    /// The path does not know the method; it knows these.
    Method(&'static str),
    /// A repository name or a tag is malformed.
    Name(NameError),
    /// A digest in the path or the query is malformed.
    Digest(DigestError),
    /// The final request of an upload has no digest.
    DigestMissing,
    /// A query parameter is malformed.
    Query(&'static str),
    /// The query is too long.
    QueryTooLong,
    /// No upload can have this id.
    UploadId,
}

impl From<NameError> for RouteError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Digest(error) => Self::Digest(error),
            error @ (NameError::Repository(_) | NameError::Project(_) | NameError::Tag(_)) => {
                Self::Name(error)
            }
        }
    }
}

impl From<DigestError> for RouteError {
    fn from(error: DigestError) -> Self {
        Self::Digest(error)
    }
}

impl Endpoint {
    /// Which endpoint a request is for. `path` is what follows `/v2`, as it was sent.
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Self, RouteError> {
        let query = Query::new(query)?;
        let Some(path) = path.strip_prefix('/').filter(|path| !path.is_empty()) else {
            return read_only(method, Self::Version);
        };
        if path == "_catalog" {
            return read_only(method, Self::Catalog { page: query.page()? });
        }
        if let Some(name) = path.strip_suffix("/tags/list") {
            return read_only(method, Self::Tags { repository: name.parse()?, page: query.page()? });
        }
        if let Some(name) =
            path.strip_suffix("/blobs/uploads").or_else(|| path.strip_suffix("/blobs/uploads/"))
        {
            return start(method, name.parse()?, &query);
        }
        let (head, last) = path.rsplit_once('/').ok_or(RouteError::NotFound)?;
        let last = percent_decode_str(last).decode_utf8().map_err(|_| RouteError::NotFound)?;
        if let Some(name) = head.strip_suffix("/blobs/uploads") {
            return upload(method, name.parse()?, &last, &query);
        }
        if let Some(name) = head.strip_suffix("/manifests") {
            return manifest(method, name.parse()?, last.parse()?, &query);
        }
        if let Some(name) = head.strip_suffix("/blobs") {
            return blob(method, name.parse()?, last.parse()?);
        }
        if let Some(name) = head.strip_suffix("/referrers") {
            return referrers(method, name.parse()?, last.parse()?, &query);
        }
        Err(RouteError::NotFound)
    }

    /// What is to be done: it decides what the caller must be allowed to do.
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Version => Operation::Version,
            Self::Catalog { .. } => Operation::Catalog,
            Self::Tags { .. } => Operation::Tags,
            Self::GetManifest { .. } => Operation::GetManifest,
            Self::PutManifest { .. } => Operation::PutManifest,
            Self::DeleteManifest { reference: Reference::Tag(_), .. } => Operation::DeleteTag,
            Self::DeleteManifest { reference: Reference::Digest(_), .. } => Operation::DeleteManifest,
            Self::GetBlob { .. } => Operation::GetBlob,
            Self::DeleteBlob { .. } => Operation::DeleteBlob,
            Self::StartUpload { .. } => Operation::StartUpload,
            Self::UploadStatus { .. } => Operation::UploadStatus,
            Self::UploadChunk { .. } => Operation::UploadChunk,
            Self::FinishUpload { .. } => Operation::FinishUpload,
            Self::CancelUpload { .. } => Operation::CancelUpload,
            Self::Referrers { .. } => Operation::Referrers,
        }
    }

    /// The repository that it is about.
    pub const fn repository(&self) -> Option<&RepoName> {
        match self {
            Self::Version | Self::Catalog { .. } => None,
            Self::Tags { repository, .. }
            | Self::GetManifest { repository, .. }
            | Self::PutManifest { repository, .. }
            | Self::DeleteManifest { repository, .. }
            | Self::GetBlob { repository, .. }
            | Self::DeleteBlob { repository, .. }
            | Self::StartUpload { repository, .. }
            | Self::UploadStatus { repository, .. }
            | Self::UploadChunk { repository, .. }
            | Self::FinishUpload { repository, .. }
            | Self::CancelUpload { repository, .. }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }

    /// The same, to be set to another that the client means.
    pub(crate) const fn repository_mut(&mut self) -> Option<&mut RepoName> {
        match self {
            Self::Version | Self::Catalog { .. } => None,
            Self::Tags { repository, .. }
            | Self::GetManifest { repository, .. }
            | Self::PutManifest { repository, .. }
            | Self::DeleteManifest { repository, .. }
            | Self::GetBlob { repository, .. }
            | Self::DeleteBlob { repository, .. }
            | Self::StartUpload { repository, .. }
            | Self::UploadStatus { repository, .. }
            | Self::UploadChunk { repository, .. }
            | Self::FinishUpload { repository, .. }
            | Self::CancelUpload { repository, .. }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }

    /// What it names there.
    pub fn reference(&self) -> Option<Reference> {
        match self {
            Self::GetManifest { reference, .. }
            | Self::PutManifest { reference, .. }
            | Self::DeleteManifest { reference, .. } => Some(reference.clone()),
            Self::GetBlob { digest, .. }
            | Self::DeleteBlob { digest, .. }
            | Self::FinishUpload { digest, .. }
            | Self::Referrers { subject: digest, .. } => Some(Reference::Digest(*digest)),
            _ => None,
        }
    }
}

fn read_only(method: &Method, endpoint: Endpoint) -> Result<Endpoint, RouteError> {
    match *method {
        Method::GET | Method::HEAD => Ok(endpoint),
        _ => Err(RouteError::Method("GET, HEAD")),
    }
}

fn manifest(
    method: &Method,
    repository: RepoName,
    reference: Reference,
    query: &Query<'_>,
) -> Result<Endpoint, RouteError> {
    match *method {
        Method::GET | Method::HEAD => Ok(Endpoint::GetManifest { repository, reference }),
        Method::DELETE => Ok(Endpoint::DeleteManifest { repository, reference }),
        Method::PUT => {
            let tags = query.all("tag").map(|tag| tag.parse::<Tag>()).collect::<Result<Vec<_>, _>>()?;
            Ok(Endpoint::PutManifest { repository, reference, tags })
        }
        _ => Err(RouteError::Method("GET, HEAD, PUT, DELETE")),
    }
}

fn blob(method: &Method, repository: RepoName, digest: Digest) -> Result<Endpoint, RouteError> {
    match *method {
        Method::GET | Method::HEAD => Ok(Endpoint::GetBlob { repository, digest }),
        Method::DELETE => Ok(Endpoint::DeleteBlob { repository, digest }),
        _ => Err(RouteError::Method("GET, HEAD, DELETE")),
    }
}

fn referrers(
    method: &Method,
    repository: RepoName,
    subject: Digest,
    query: &Query<'_>,
) -> Result<Endpoint, RouteError> {
    let artifact_type = query.first("artifactType").filter(|text| !text.is_empty()).map(Cow::into_owned);
    let last = query.parsed("last")?;
    read_only(method, Endpoint::Referrers { repository, subject, artifact_type, last })
}

fn start(method: &Method, repository: RepoName, query: &Query<'_>) -> Result<Endpoint, RouteError> {
    if *method != Method::POST {
        return Err(RouteError::Method("POST"));
    }
    let start = if let Some(digest) = query.parsed("mount")? {
        let from = query.first("from").filter(|name| !name.is_empty());
        Start::Mount { digest, from: from.map(|name| name.parse()).transpose()? }
    } else if let Some(digest) = query.parsed("digest")? {
        Start::Whole(digest)
    } else {
        Start::Session(query.parsed("digest-algorithm")?.unwrap_or_default())
    };
    Ok(Endpoint::StartUpload { repository, start })
}

fn upload(
    method: &Method,
    repository: RepoName,
    id: &str,
    query: &Query<'_>,
) -> Result<Endpoint, RouteError> {
    let id = id.parse().map_err(|_| RouteError::UploadId)?;
    match *method {
        Method::GET | Method::HEAD => Ok(Endpoint::UploadStatus { repository, id }),
        Method::PATCH => Ok(Endpoint::UploadChunk { repository, id }),
        Method::DELETE => Ok(Endpoint::CancelUpload { repository, id }),
        Method::PUT => {
            let digest = query.parsed("digest")?.ok_or(RouteError::DigestMissing)?;
            Ok(Endpoint::FinishUpload { repository, id, digest })
        }
        _ => Err(RouteError::Method("GET, HEAD, PATCH, PUT, DELETE")),
    }
}

/// The query of a request. A plus sign stands for itself: no value here has a space, many have a plus.
struct Query<'a>(Pairs<'a>);

impl<'a> Query<'a> {
    fn new(query: Option<&'a str>) -> Result<Self, RouteError> {
        let query = query.unwrap_or_default();
        if query.len() > QUERY_MAX { Err(RouteError::QueryTooLong) } else { Ok(Self(Pairs::new(query))) }
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = Cow<'a, str>> {
        self.0.all(name)
    }

    fn first(&self, name: &'static str) -> Option<Cow<'a, str>> {
        self.all(name).next()
    }

    fn parsed<T: FromStr<Err = DigestError>>(&self, name: &'static str) -> Result<Option<T>, RouteError> {
        Ok(self.first(name).map(|value| value.parse()).transpose()?)
    }

    fn page(&self) -> Result<PageQuery, RouteError> {
        let n = self.first("n").map(|n| n.parse().map_err(|_| RouteError::Query("n"))).transpose()?;
        Ok(PageQuery { n, last: self.first("last").filter(|last| !last.is_empty()).map(Cow::into_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UPLOAD: &str = "0192f3a4-7c1e-7b3a-9d2e-3f1b5a6c7d8e";

    fn parse(line: &str) -> Result<Endpoint, RouteError> {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Endpoint::parse(&method.parse().unwrap(), path, query)
    }

    #[test]
    fn each_request_has_its_endpoint() {
        let digest = Digest::sha256(b"").to_string();
        let check = |line: &str, name: &str| match parse(line) {
            Ok(endpoint) => assert_eq!(endpoint.operation().name(), name, "{line}"),
            Err(error) => panic!("{line}: {error:?}"),
        };
        check("GET ", "version");
        check("GET /", "version");
        check("GET /_catalog?n=5&last=a/b", "catalog");
        check("GET /a/tags/list?n=0", "tags");
        check("GET /a/b/manifests/latest", "manifest_get");
        check("HEAD /tags/list/manifests/v1", "manifest_get");
        check(&format!("PUT /a/manifests/{digest}?tag=x&tag=y"), "manifest_put");
        check("DELETE /a/manifests/v1", "tag_delete");
        check(&format!("DELETE /a/manifests/{digest}"), "manifest_delete");
        check(&format!("GET /manifests/blobs/{digest}"), "blob_get");
        check(&format!("GET /a/blobs/{}", digest.replace(':', "%3A")), "blob_get");
        check(&format!("DELETE /a/blobs/{digest}"), "blob_delete");
        check("POST /a/blobs/uploads/", "upload_start");
        check("POST /blobs/uploads/blobs/uploads", "upload_start");
        check(&format!("GET /a/blobs/uploads/{UPLOAD}"), "upload_status");
        check(&format!("PATCH /a/blobs/uploads/{UPLOAD}"), "upload_chunk");
        check(&format!("PUT /a/blobs/uploads/{UPLOAD}?digest={digest}"), "upload_finish");
        check(&format!("DELETE /a/blobs/uploads/{UPLOAD}"), "upload_cancel");
        check(&format!("GET /a/referrers/{digest}?artifactType=a/b+json"), "referrers");
    }

    #[test]
    fn each_bad_request_has_its_error() {
        let check = |line: &str, error: fn(&RouteError) -> bool| {
            let parsed = parse(line);
            assert!(parsed.as_ref().is_err_and(error), "{line}: {parsed:?}");
        };
        check("GET /a", |e| *e == RouteError::NotFound);
        check("GET /a/unknown/b", |e| *e == RouteError::NotFound);
        check("POST /_catalog", |e| matches!(e, RouteError::Method(_)));
        check("POST /a/manifests/b", |e| matches!(e, RouteError::Method(_)));
        check("GET /A/manifests/b", |e| matches!(e, RouteError::Name(_)));
        check("GET /a/../b/manifests/c", |e| matches!(e, RouteError::Name(_)));
        check("GET /a%2fb/manifests/c", |e| matches!(e, RouteError::Name(_)));
        check("GET /a/manifests/..%2f..", |e| matches!(e, RouteError::Name(_)));
        check("GET /a/manifests/sha256:bad", |e| matches!(e, RouteError::Digest(_)));
        check("GET /a/blobs/latest", |e| matches!(e, RouteError::Digest(_)));
        check("POST /a/blobs/uploads/?digest-algorithm=md5", |e| matches!(e, RouteError::Digest(_)));
        check("POST /a/blobs/uploads/?mount=x", |e| matches!(e, RouteError::Digest(_)));
        check(&format!("PUT /a/blobs/uploads/{UPLOAD}"), |e| *e == RouteError::DigestMissing);
        check("PATCH /a/blobs/uploads/x", |e| *e == RouteError::UploadId);
        check("GET /a/tags/list?n=-1", |e| *e == RouteError::Query("n"));
        check(&format!("GET /a/tags/list?{}", "x".repeat(QUERY_MAX + 1)), |e| *e == RouteError::QueryTooLong);
    }

    #[test]
    fn a_plus_in_an_artifact_type_stands_for_itself() {
        let line = format!("GET /a/referrers/{}?artifactType=a%2Fb%2Bc+d", Digest::sha256(b""));
        assert!(
            matches!(parse(&line), Ok(Endpoint::Referrers { artifact_type: Some(t), .. }) if t == "a/b+c+d")
        );
    }

    proptest! {
        #[test]
        fn no_request_line_panics(path in "(/|/[a-z%2f.:]{0,8}|/blobs|/uploads|/manifests|/tags/list){0,6}", query: String) {
            for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
                let _outcome = Endpoint::parse(&method, &path, Some(&query));
            }
        }
    }
}
