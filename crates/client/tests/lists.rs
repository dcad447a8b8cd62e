//! Lists, deletes, referrers and mounts.

mod common;

use std::sync::Arc;

use common::http::{Reply, Server};
use common::registry::Registry;
use common::{copy, open, settings};
use oci::{Digest, Reference, types};
use transfer::{Options, Silent, Source};

#[tokio::test]
async fn pages_are_followed_on_the_same_registry_only() {
    let check = async |link: fn(&str) -> String, expect: Result<usize, &str>| {
        let registry = Registry::default().hook(move |request| {
            let last = request.query("last").map(str::to_owned);
            let page = |tags: &str| Reply::new(200).body(format!(r#"{{"name":"a","tags":{tags}}}"#));
            Some(match last.as_deref() {
                None => page(r#"["a","b"]"#).header("link", link(&request.path)),
                Some("b") => page("null"),
                Some(other) => panic!("no such page: {other}"),
            })
        });
        let server = Server::start(Arc::new(registry));
        let outcome = open(&server.host, "a", &settings()).tags().all(100).await;
        match (outcome, expect) {
            (Ok(tags), Ok(count)) => assert_eq!(tags.len(), count),
            (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
            (outcome, _) => panic!("{outcome:?}"),
        }
    };
    check(|path| format!("<{path}?last=b&n=1000>; rel=\"next\""), Ok(2)).await;
    check(|_| "<http://127.0.0.2/v2/a/tags/list?last=b>; rel=\"next\"".into(), Err("same registry")).await;
    check(|path| format!("<{path}?n=1000>; rel=\"next\""), Err("links to itself")).await;
    check(|_| "nonsense".into(), Ok(2)).await;
}

#[tokio::test]
async fn bad_names_in_lists_are_refused() {
    let registry = Registry::default().hook(|_| Some(Reply::new(200).body(r#"{"tags":["\u001b[2J"]}"#)));
    let server = Server::start(Arc::new(registry));
    let error = open(&server.host, "a", &settings()).tags().all(10).await.unwrap_err().to_string();
    assert!(error.contains("which is no name") && !error.contains('\u{1b}'), "{error}");
}

#[tokio::test]
async fn tags_and_manifests_are_deleted() {
    let registry = Arc::new(Registry::default());
    registry.put_image(b"layer");
    let server = Server::start(registry.clone());
    let repository = open(&server.host, "a", &settings());
    let digest = registry.state().tags["v1"];
    repository.delete(&"v1".parse().unwrap()).await.unwrap();
    assert!(registry.state().tags.is_empty() && !registry.state().manifests.is_empty());
    repository.delete(&Reference::Digest(digest)).await.unwrap();
    assert!(registry.state().manifests.is_empty());
    let error = repository.delete(&Reference::Digest(digest)).await.unwrap_err().to_string();
    assert!(error.contains("is not in docker://"), "{error}");
}

#[tokio::test]
async fn blobs_are_mounted_where_the_registry_can() {
    let registry = Arc::new(Registry::default().with_mounts());
    registry.put_image(b"layer");
    // A registry where a blob is found in one repository only.
    let server = Server::start(Arc::new(Registry::default().with_mounts().hook({
        let inner = registry.clone();
        move |request| {
            let hidden = request.method == "HEAD" && request.path.starts_with("/v2/b/");
            Some(if hidden {
                Reply::new(404)
            } else {
                common::http::Handler::answer(inner.as_ref(), request)
            })
        }
    })));
    let report =
        copy(open(&server.host, "a", &settings()), open(&server.host, "b", &settings())).await.unwrap();
    assert_eq!((report.mounted, report.blobs), (2, 0));
    let posts: Vec<_> = server.seen().into_iter().filter(|request| request.method == "POST").collect();
    assert!(posts.iter().all(|post| post.query("from") == Some("a")), "{posts:?}");
}

#[tokio::test]
async fn a_mount_that_is_refused_is_an_upload() {
    let check = async |refusal: Reply| {
        let registry = Arc::new(Registry::default());
        registry.put_image(b"layer");
        let server = Server::start(Arc::new(Registry::default().hook({
            let inner = registry.clone();
            move |request| {
                Some(if request.method == "HEAD" && request.path.starts_with("/v2/b/") {
                    Reply::new(404)
                } else if request.query("from").is_some() {
                    refusal.clone()
                } else {
                    common::http::Handler::answer(inner.as_ref(), request)
                })
            }
        })));
        let (from, to) = (open(&server.host, "a", &settings()), open(&server.host, "b", &settings()));
        let report = copy(from, to).await.unwrap();
        assert_eq!((report.mounted, report.blobs), (0, 2));
    };
    for status in [401, 403, 405, 500, 503] {
        check(Reply::new(status)).await;
    }
    // A token server that gives nothing for the repository to mount from.
    let tokens = Registry::default().hook(|request| {
        let refused = request.query("scope").is_some_and(|scope| scope.starts_with("repository:a:"));
        Some(if refused { Reply::new(403) } else { Reply::new(200).body(r#"{"token":"t"}"#) })
    });
    let tokens = Server::start(Arc::new(tokens));
    let challenge = format!(r#"Bearer realm="http://{}/token",service="s""#, tokens.host);
    check(Reply::new(401).header("www-authenticate", challenge)).await;
    assert!(tokens.lines().contains(&"GET /token".to_owned()));
}

/// Puts a referrer of the image at `v1`; gives its digest.
fn put_referrer(registry: &Registry) -> Digest {
    let subject = registry.state().tags["v1"];
    let size = registry.state().manifests[&subject].1.len();
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": types::OCI_MANIFEST,
        "artifactType": "application/x.signature",
        "config": {"mediaType": types::EMPTY, "digest": Digest::sha256(b"{}"), "size": 2}, "layers": [],
        "subject": {"mediaType": types::OCI_MANIFEST, "digest": subject, "size": size},
        "annotations": {"by": "test"}})
    .to_string()
    .into_bytes();
    let digest = Digest::sha256(&manifest);
    registry.state().manifests.insert(digest, (types::OCI_MANIFEST.into(), manifest));
    digest
}

#[tokio::test]
async fn referrers_are_kept_by_the_fallback_tag_where_there_is_no_api() {
    let check = async |api: bool| {
        let source = Arc::new(Registry::default().with_referrers(true));
        source.put_image(b"layer");
        let referrer = put_referrer(&source);
        let subject = source.state().tags["v1"];
        let target = Arc::new(Registry::default().with_referrers(api));
        let (from, to) = (Server::start(source), Server::start(target.clone()));
        let (from, to) = (open(&from.host, "a", &settings()), open(&to.host, "b", &settings()));
        let root = from.resolve(Some(&"v1".parse().unwrap())).await.unwrap();
        let options = Options { referrers: true, tags: vec!["v1".parse().unwrap()], ..Options::default() };
        for _ in 0..2 {
            transfer::copy_graph(from.clone(), to.clone(), root.clone(), &options, Arc::new(Silent))
                .await
                .unwrap();
        }
        let found = to.list_referrers(&subject).await.unwrap();
        assert_eq!(found.iter().map(|d| d.digest).collect::<Vec<_>>(), [referrer]);
        let fallback = target.state().tags.get(subject.fallback_tag().as_str()).copied();
        assert_eq!(fallback.is_none(), api);
        if !api {
            assert_eq!(found[0].artifact_type.as_deref(), Some("application/x.signature"));
            assert!(found[0].annotations.as_ref().is_some_and(|a| a["by"] == "test"));
        }
    };
    check(true).await;
    check(false).await;
}

/// A referrers API whose pages are all empty and lead to this one.
fn empty_pages(last: impl Fn(&common::http::Request) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    Server::start(Arc::new(Registry::default().hook(move |request| {
        let page = request.query("page").and_then(|page| page.parse::<u64>().ok()).unwrap_or(0);
        let link = format!("<{}?page={}>; rel=\"next\"", request.path, page + 1);
        let reply = Reply::new(200).header("content-type", types::OCI_INDEX).body(index);
        Some(last(request).unwrap_or_else(|| reply.header("link", link)))
    })))
}

#[tokio::test]
async fn pages_of_referrers_end() {
    let server = empty_pages(|_| None);
    let error = open(&server.host, "a", &settings()).list_referrers(&Digest::sha256(b"")).await.unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[tokio::test]
async fn a_later_page_of_referrers_that_is_missing_is_an_error() {
    for status in [400, 404, 405, 200] {
        let server = empty_pages(move |request| {
            (request.query("page") == Some("2")).then(|| Reply::new(status).body("<html>"))
        });
        let outcome = open(&server.host, "a", &settings()).list_referrers(&Digest::sha256(b"")).await;
        assert!(outcome.is_err(), "{status}: {outcome:?}");
    }
}
