//! What a cache reads, and what it makes of failures.

mod common;

use std::sync::Arc;

use client::{ClientError, FailureKind, Fetched, Remote, Repository, Settings};
use common::http::{Reply, Request, Server};
use common::registry::Registry;
use common::{open, settings};
use futures_util::TryStreamExt;
use oci::{Algorithm, Digest, Reference, types};
use transfer::Retry;

const BLOB: &[u8] = b"0123456789";

fn once() -> Settings {
    Settings { retry: Retry { failures: 0, ..common::retry() }, ..settings() }
}

/// A registry that answers everything with this.
fn always(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Server, Arc<Repository>) {
    let server = Server::start(Arc::new(Registry::default().hook(move |request| Some(reply(request)))));
    let repository = open(&server.host, "a", &once());
    (server, repository)
}

async fn read(repository: &Repository, offset: u64) -> Result<(Option<u64>, Vec<u8>), ClientError> {
    let blob = repository.open_blob(&Digest::sha256(BLOB), offset).await?;
    let bytes: Vec<_> = blob.stream.try_collect().await?;
    Ok((blob.size, bytes.concat()))
}

#[tokio::test]
async fn a_blob_is_read_from_anywhere_on() {
    let check = async |reply: Reply, offset: u64, expect: Result<Option<u64>, &str>| {
        let (server, repository) = always(move |_| reply.clone());
        let outcome = read(&repository, offset).await;
        let seen = server.seen();
        assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
        let range = (offset > 0).then(|| format!("bytes={offset}-"));
        assert_eq!(seen[0].header("range"), range.as_deref());
        match (outcome, expect) {
            (Ok(read), Ok(size)) => assert_eq!(read, (size, BLOB[offset as usize..].to_vec())),
            (Err(error), Err(word)) => {
                assert!(error.to_string().contains(word), "{error}");
                assert_eq!(error.kind(), FailureKind::Failing, "{error}");
            }
            (outcome, _) => panic!("{outcome:?}"),
        }
    };
    let part = |range: &str, body: &[u8]| Reply::new(206).header("content-range", range).body(body);
    check(Reply::new(200).body(BLOB), 0, Ok(Some(10))).await;
    check(Reply::new(200).body(BLOB), 4, Ok(Some(10))).await;
    check(Reply::new(200).body(BLOB), 10, Ok(Some(10))).await;
    check(part("bytes 4-9/10", &BLOB[4..]), 4, Ok(Some(10))).await;
    check(part("bytes 4-9/*", &BLOB[4..]), 4, Ok(None)).await;
    // Compressed or not: the bytes are those that were sent.
    check(Reply::new(200).header("content-encoding", "gzip").body(BLOB), 0, Ok(Some(10))).await;
    check(Reply::new(200).body(BLOB), 11, Err("has 10 bytes")).await;
    check(part("bytes 5-9/10", &BLOB[5..]), 4, Err("another part")).await;
    check(part("bytes 4-9/8", &BLOB[4..]), 4, Err("cannot be")).await;
    check(part("bytes 4-9/10", &BLOB[5..]), 4, Err("5 bytes, but calls them a part from byte 4 to 9 of 10"))
        .await;
    check(Reply::new(206).body(BLOB), 4, Err("another part")).await;
    check(
        Reply::new(416).header("content-range", "bytes */10"),
        12,
        Err("byte 12, from which on it is wanted, but has 10"),
    )
    .await;
    check(Reply::new(416), 12, Err("does not reach")).await;
    check(Reply { cut: Some(5), ..Reply::new(200).body(BLOB) }, 2, Err("cannot be reached")).await;
}

#[tokio::test]
async fn a_blob_is_asked_after() {
    let check = async |reply: Reply, expect: Result<Option<u64>, FailureKind>| {
        let (_server, repository) = always(move |_| reply.clone());
        let outcome = repository.head_blob(&Digest::sha256(BLOB)).await;
        assert_eq!(outcome.map_err(|error| error.kind()), expect);
    };
    check(Reply::new(200).body(BLOB), Ok(Some(10))).await;
    check(Reply::new(404), Err(FailureKind::NotFound)).await;
    check(Reply::new(403), Err(FailureKind::Denied)).await;
}

fn manifest() -> Vec<u8> {
    let empty = serde_json::json!({"mediaType": types::EMPTY, "digest": Digest::sha256(b"{}"), "size": 2});
    serde_json::json!({"schemaVersion": 2, "mediaType": types::OCI_MANIFEST, "config": empty, "layers": []})
        .to_string()
        .into_bytes()
}

#[tokio::test]
async fn a_manifest_has_the_digest_that_it_should_have() {
    let bytes = manifest();
    let (good, long) = (Digest::sha256(&bytes), Digest::of(Algorithm::Sha512, &bytes));
    let other = Digest::sha256(b"other");
    let check = async |asked: Option<Digest>,
                       media_type: &str,
                       said: Option<Digest>,
                       expect: Result<Digest, &str>| {
        let (media_type, body) = (media_type.to_owned(), manifest());
        let (_server, repository) = always(move |_| {
            let reply = Reply::new(200).header("content-type", &media_type).body(body.clone());
            said.iter().fold(reply, |reply, digest| reply.header("docker-content-digest", digest))
        });
        let reference = asked.map_or_else(|| "v1".parse().unwrap(), Reference::Digest);
        match (repository.get_manifest(&reference).await, expect) {
            (Ok(Fetched { descriptor, bytes }), Ok(digest)) => {
                assert_eq!((descriptor.digest, &*bytes), (digest, &*manifest()));
                assert_eq!(descriptor.media_type.as_str(), types::OCI_MANIFEST);
                assert_eq!(descriptor.size, bytes.len() as u64);
            }
            (Err(error), Err(word)) => {
                assert!(matches!(error, ClientError::Answer { .. }), "{error}");
                assert!(error.to_string().contains(word), "{error}");
            }
            (outcome, _) => panic!("{outcome:?}"),
        }
    };
    let oci = types::OCI_MANIFEST;
    check(None, oci, None, Ok(good)).await;
    check(None, oci, Some(good), Ok(good)).await;
    check(None, oci, Some(long), Ok(long)).await;
    check(Some(good), oci, Some(good), Ok(good)).await;
    check(Some(good), oci, Some(long), Ok(good)).await;
    check(Some(long), oci, None, Ok(long)).await;
    check(Some(good), "application/json; charset=utf-8", None, Ok(good)).await;
    check(Some(other), oci, None, Err(&other.to_string())).await;
    check(Some(good), oci, Some(other), Err(&other.to_string())).await;
    check(None, oci, Some(other), Err(&other.to_string())).await;
    check(None, types::OCI_INDEX, None, Err("was sent as")).await;
}

#[tokio::test]
async fn a_manifest_is_bounded() {
    let (server, _) =
        always(|_| Reply::new(200).header("content-type", types::OCI_MANIFEST).body(manifest()));
    let manifests = oci::ManifestLimits { size: 20, ..oci::ManifestLimits::default() };
    let repository = open(&server.host, "a", &Settings { manifests, ..once() });
    let error = repository.get_manifest(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("more than the 20 bytes"), "{error}");
}

#[tokio::test]
async fn what_head_does_not_say_get_does() {
    let digest = Digest::sha256(&manifest());
    let check = async |head: Reply, expect: Result<&[&str], FailureKind>| {
        let (server, repository) = always(move |request| match request.method.as_str() {
            "HEAD" => head.clone(),
            _ => Reply::new(200).body(manifest()),
        });
        let outcome = repository.head_manifest(&"v1".parse().unwrap()).await;
        let methods: Vec<String> = server.seen().into_iter().map(|request| request.method).collect();
        match (outcome, expect) {
            (Ok(descriptor), Ok(expect)) => {
                assert_eq!((descriptor.digest, descriptor.size), (digest, manifest().len() as u64));
                assert_eq!(methods, expect);
            }
            (outcome, expect) => {
                assert_eq!((outcome.map_err(|error| error.kind()).err(), methods.len()), (expect.err(), 1));
            }
        }
    };
    let full = Reply::new(200)
        .header("content-type", types::OCI_MANIFEST)
        .header("docker-content-digest", digest)
        .body(manifest());
    let without = |name: &str| {
        let headers = full.headers.iter().filter(|(header, _)| header != name).cloned().collect();
        Reply { headers, ..full.clone() }
    };
    check(full.clone(), Ok(&["HEAD"])).await;
    check(without("docker-content-digest"), Ok(&["HEAD", "GET"])).await;
    check(without("content-type"), Ok(&["HEAD", "GET"])).await;
    check(Reply::new(405), Ok(&["HEAD", "GET"])).await;
    check(Reply::new(404), Err(FailureKind::NotFound)).await;
    check(Reply::new(503), Err(FailureKind::Failing)).await;
}

#[tokio::test]
async fn failures_are_told_apart() {
    let check = async |reply: Reply, expect: FailureKind| {
        let status = reply.status;
        let (server, repository) = always(move |_| reply.clone());
        let error = repository.get_manifest(&"v1".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), expect, "{status}: {error}");
        assert_eq!(server.seen().len(), 1, "{status}: as often as the settings say");
    };
    let limited = |seconds: Option<u64>| FailureKind::Limited {
        retry_after: seconds.map(std::time::Duration::from_secs),
    };
    for status in [401, 403] {
        check(Reply::new(status), FailureKind::Denied).await;
    }
    check(Reply::new(404), FailureKind::NotFound).await;
    check(Reply::new(429), limited(None)).await;
    check(Reply::new(429).header("retry-after", "3600"), limited(Some(3600))).await;
    for status in [408, 500, 502, 503, 504] {
        check(Reply::new(status).header("retry-after", "1"), FailureKind::Failing).await;
    }
    for status in [204, 304, 302] {
        check(Reply::new(status), FailureKind::Failing).await;
    }
    check(Reply::new(400), FailureKind::Invalid).await;
    check(Reply::new(200).body("<html>"), FailureKind::Failing).await;
    check(Reply { cut: Some(1), ..Reply::new(200).body(manifest()) }, FailureKind::Failing).await;

    // With tries left, a wait that is too long is told as well.
    let (server, _) = always(|_| Reply::new(429).header("retry-after", "3600"));
    let error = open(&server.host, "a", &settings()).get_manifest(&"v1".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), limited(Some(3600)), "{error}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = open(&free.to_string(), "a", &once()).head_blob(&Digest::sha256(BLOB)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Failing, "{error}");
    let missing = Settings { ca: Some("/nowhere".into()), ..once() };
    let error = Remote::open(&free.to_string().parse().unwrap(), &missing).err().unwrap();
    assert_eq!(error.kind(), FailureKind::Invalid, "{error}");
}

#[tokio::test]
async fn a_token_server_that_fails_is_told_apart() {
    let check = async |reply: Reply, expect: FailureKind| {
        let tokens = Server::start(Arc::new(Registry::default().hook(move |_| Some(reply.clone()))));
        let realm = format!(r#"Bearer realm="http://{}/token?secret=hunter2""#, tokens.host);
        let (_server, repository) = always(move |_| Reply::new(401).header("www-authenticate", &realm));
        let error = repository.head_blob(&Digest::sha256(BLOB)).await.unwrap_err();
        assert_eq!(error.kind(), expect, "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    };
    let wait = Some(std::time::Duration::from_secs(7));
    check(Reply::new(401), FailureKind::Denied).await;
    check(Reply::new(403), FailureKind::Denied).await;
    check(Reply::new(429).header("retry-after", "7"), FailureKind::Limited { retry_after: wait }).await;
    check(Reply::new(503), FailureKind::Failing).await;
    check(Reply::new(200).body("{}"), FailureKind::Failing).await;
    check(Reply::new(200).body(format!(r#"{{"token":"{}"}}"#, "a".repeat(20_000))), FailureKind::Failing)
        .await;
    for realm in
        ["http://user:hunter2@127.0.0.1/", "https://127.0.0.2/?hunter2", "http://user:hunter2@:99999/"]
    {
        let challenge = format!(r#"Bearer realm="{realm}""#);
        let (_server, repository) = always(move |_| Reply::new(401).header("www-authenticate", &challenge));
        let error = repository.head_blob(&Digest::sha256(BLOB)).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Failing, "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_that_refuses_what_the_registry_signed_is_failing() {
    let store = Server::start_on("127.0.0.2", Arc::new(Registry::default().hook(|_| Some(Reply::new(403)))));
    let to = format!("http://user:hunter2@{}/blob?signature=hunter2", store.host);
    let (_server, repository) = always(move |_| Reply::new(307).header("location", &to));
    let error = repository.open_blob(&Digest::sha256(BLOB), 0).await.err().unwrap();
    assert_eq!(error.kind(), FailureKind::Failing, "{error}");
    assert!(
        error.to_string().contains("403") && !format!("{error} {error:?}").contains("hunter2"),
        "{error:?}"
    );
}
