//! Pulls by a signed address: it takes the place of a credential, and is good for nothing but one blob.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use access::{Caller, Subject};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_kit::Body;
use oci::RepoName;
use serde::Serialize;

use crate::edge::misrouted;
use crate::endpoint::{Endpoint, RouteError};
use crate::error::{Code, WireError};
use crate::reply;
use crate::signed_url::{BadUrl, ROOT, SignedUrl, UrlKeys, digest_of};
use crate::sites::Seconds;

/// Answers what is asked for by signed addresses.
pub struct ByUrl {
    keys: Arc<UrlKeys>,
    clock: Seconds,
    behind: Option<Behind>,
    served: AtomicU64,
    refused: AtomicU64,
}

/// The registry that gave the addresses out, where that is another.
struct Behind {
    /// What its repositories are called here begins with this.
    key: String,
    can_be_asked: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// What a request asks for, and whether its address gives it a right to that.
pub(crate) struct Opened {
    pub(crate) endpoint: Result<Endpoint, WireError>,
    pub(crate) caller: Caller,
    pub(crate) refusal: Option<WireError>,
    /// For how many seconds the answer may be kept.
    pub(crate) kept_for: u64,
}

/// What a site tells of itself.
#[derive(Serialize)]
struct State<'a> {
    keys: Vec<&'a str>,
}

impl fmt::Debug for ByUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByUrl").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl ByUrl {
    /// By addresses that this registry, or another with the same keys and repositories, has signed.
    pub fn new(keys: Arc<UrlKeys>, clock: Seconds) -> Self {
        Self { keys, clock, behind: None, served: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// By addresses that an upstream has signed. What that calls `team/app` is `<key>/team/app` here. A site whose upstream
    /// cannot be asked is of use for what it has, but not for more.
    #[must_use]
    pub fn behind(self, key: String, can_be_asked: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self { behind: Some(Behind { key, can_be_asked }), ..self }
    }

    /// How many requests were answered, and how many were refused or failed, since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.served.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Whether a path is for signed addresses.
    pub fn answers(path: &str) -> bool {
        path.strip_prefix("/edge").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// What a registry asks before it sends clients here, and may ask without an address.
    pub(crate) fn state<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if !is_read || request.uri().path() != ROOT {
            return None;
        }
        let state = serde_json::to_vec(&State { keys: self.keys.ids().collect() }).unwrap_or_default();
        let mut response = Response::new(Body::empty());
        let can_be_asked = self.behind.as_ref().is_none_or(|behind| (behind.can_be_asked)());
        if !can_be_asked {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(reply::NO_STORE));
        headers.insert(CONTENT_LENGTH, state.len().into());
        if request.method() == Method::GET {
            *response.body_mut() = Body::full(state);
        }
        Some(response)
    }

    /// Looks what an address asks for, and whether it was signed.
    pub(crate) fn open(&self, head: &Parts) -> Opened {
        let wrong =
            |error: WireError| Opened { endpoint: Err(error), caller: nobody(), refusal: None, kept_for: 0 };
        if digest_of(head.uri.path()).is_none() {
            return wrong(misrouted(RouteError::NotFound));
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return wrong(misrouted(RouteError::Method("GET, HEAD")));
        }
        let Some(url) = SignedUrl::parse(head.uri.path(), head.uri.query().unwrap_or_default()) else {
            return wrong(refusal(BadUrl::Form));
        };
        let Some(repository) = self.here(&url.repository) else {
            return wrong(too_long(&url.repository));
        };
        let now = (self.clock)();
        let refusal = self.keys.verify(&url, now).err().map(refusal);
        let (caller, kept_for) = match refusal {
            None => (holder(&repository), url.until.saturating_sub(now)),
            Some(_) => (nobody(), 0),
        };
        Opened {
            endpoint: Ok(Endpoint::GetBlob { repository, digest: url.digest }),
            caller,
            refusal,
            kept_for,
        }
    }

    /// What a repository of an address is called here.
    fn here(&self, repository: &RepoName) -> Option<RepoName> {
        match &self.behind {
            Some(Behind { key, .. }) => format!("{key}/{repository}").parse().ok(),
            None => Some(repository.clone()),
        }
    }

    /// Says how long an answer may be kept: as long as the address is good, and a refusal not at all.
    pub(crate) fn finish(&self, response: &mut Response<Body>, kept_for: u64) {
        let status = response.status();
        let is_given = status.is_success() || status == StatusCode::NOT_MODIFIED;
        let counter = if is_given { &self.served } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        let headers = response.headers_mut();
        let is_sure = headers.get(CACHE_CONTROL).is_some_and(|value| value != reply::NO_STORE);
        let caching = if is_given && is_sure {
            reply::value(&format!("public, max-age={kept_for}, immutable, no-transform"))
        } else {
            HeaderValue::from_static(reply::NO_STORE)
        };
        headers.insert(CACHE_CONTROL, caching);
    }
}

fn holder(repository: &RepoName) -> Caller {
    let subject = Arc::new(Subject::of_signed_url(repository));
    Caller { subject: Ok(subject), signed_in: false, claimed: None }
}

fn nobody() -> Caller {
    Caller { subject: Ok(Arc::new(Subject::anonymous())), signed_in: false, claimed: None }
}

fn refusal(bad: BadUrl) -> WireError {
    WireError::new(StatusCode::FORBIDDEN, Code::Denied, bad.to_string())
}

fn too_long(repository: &RepoName) -> WireError {
    let message = format!("`{repository}` is too long a name for a repository of an upstream here");
    WireError::new(StatusCode::NOT_FOUND, Code::NameUnknown, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signed_url::UrlKey;
    use oci::Digest;

    const NOW: u64 = 1_000;

    fn by_url() -> ByUrl {
        let keys = UrlKeys::new(vec![UrlKey::new(&[1; 32]), UrlKey::new(&[2; 32])]).unwrap();
        ByUrl::new(Arc::new(keys), Arc::new(|| NOW))
    }

    fn head(method: &str, url: &str) -> Parts {
        Request::builder().method(method).uri(url).body(()).unwrap().into_parts().0
    }

    fn signed(by_url: &ByUrl, repository: &str, until: u64) -> String {
        by_url.keys.sign(&Digest::sha256(b"a blob"), &repository.parse().unwrap(), until)
    }

    /// The repository that may be pulled from, or the status and the word of the refusal.
    fn check(by_url: &ByUrl, method: &str, url: &str, expect: Result<&str, (u16, &str)>) {
        let opened = by_url.open(&head(method, url));
        let subject = opened.caller.subject.unwrap();
        let error = match (opened.endpoint, opened.refusal) {
            (Ok(endpoint), None) => {
                assert_eq!(endpoint.repository().map(RepoName::as_str), expect.ok(), "{url}");
                assert_eq!((subject.via(), opened.kept_for), ("signed-url", 500), "{url}");
                return;
            }
            (Ok(_), Some(error)) | (Err(error), _) => error,
        };
        let (status, word) = expect.unwrap_err();
        assert_eq!(error.status.as_u16(), status, "{url}: {error:?}");
        assert!(error.message.contains(word), "{url}: {error:?}");
        assert_eq!((subject.via(), subject.scopes().len()), ("anonymous", 0), "{url}");
        assert_eq!(opened.kept_for, 0, "{url}");
    }

    #[test]
    fn an_address_takes_the_place_of_a_credential() {
        let by_url = by_url();
        let good = signed(&by_url, "team/app", NOW + 500);
        check(&by_url, "GET", &good, Ok("team/app"));
        check(&by_url, "HEAD", &good, Ok("team/app"));
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            check(&by_url, method, &good, Err((405, "GET, HEAD")));
        }
        check(&by_url, "GET", &signed(&by_url, "team/app", NOW), Err((403, "has expired")));
        check(&by_url, "GET", &good.replace("team/app", "team/other"), Err((403, "does not fit")));
        check(&by_url, "GET", &format!("{good}&x=1"), Err((403, "not written")));
        let bare = good.split_once('?').unwrap().0;
        check(&by_url, "GET", bare, Err((403, "not written")));
        for path in ["/edge", "/edge/v1", "/edge/v2/sha256/00", "/edge/v1/sha256/00", "/edge/v1/md5/00"] {
            check(&by_url, "GET", path, Err((404, "nothing at this path")));
        }
    }

    #[test]
    fn names_of_an_upstream_are_what_they_are_called_here() {
        let by_url = by_url().behind("region".to_owned(), Arc::new(|| true));
        check(&by_url, "GET", &signed(&by_url, "team/app", NOW + 500), Ok("region/team/app"));
        let longest = format!("team/{}", "a".repeat(250));
        check(&by_url, "GET", &signed(&by_url, &longest, NOW + 500), Err((404, "too long")));
    }

    #[test]
    fn a_site_tells_whether_it_is_of_use() {
        let check = |by_url: &ByUrl, line: &str, expect: Option<u16>| {
            let (method, path) = line.split_once(' ').unwrap();
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            let state = by_url.state(&request);
            assert_eq!(state.as_ref().map(|state| state.status().as_u16()), expect, "{line}");
            let caching = state.map(|state| state.headers()[CACHE_CONTROL].clone());
            assert!(caching.is_none_or(|caching| caching == "no-store"), "{line}");
        };
        let origin = by_url();
        check(&origin, "GET /edge/v1/", Some(200));
        check(&origin, "HEAD /edge/v1/", Some(200));
        check(&origin, "POST /edge/v1/", None);
        check(&origin, "GET /edge/v1/sha256/00", None);
        check(&by_url().behind("region".to_owned(), Arc::new(|| true)), "GET /edge/v1/", Some(200));
        check(&by_url().behind("region".to_owned(), Arc::new(|| false)), "GET /edge/v1/", Some(503));
    }

    #[test]
    fn what_is_not_given_is_not_kept() {
        let by_url = by_url();
        let check = |status: u16, caching: &'static str, expect: &str| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(caching));
            by_url.finish(&mut response, 500);
            assert_eq!(response.headers()[CACHE_CONTROL], expect, "{status} {caching}");
        };
        let kept = "public, max-age=500, immutable, no-transform";
        for status in [200, 206, 304] {
            check(status, "max-age=31536000, immutable", kept);
            // A credential came with the address, and was not looked at.
            check(status, "private, max-age=31536000, immutable", kept);
            // What is still on its way here, and not verified.
            check(status, "no-store", "no-store");
        }
        for status in [307, 403, 404, 416, 429, 500, 503] {
            check(status, "max-age=31536000, immutable", "no-store");
        }
        assert_eq!(by_url.counts(), (9, 7));
    }
}
