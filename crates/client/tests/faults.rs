//! What breaks on the way is mended, within bounds, and never told as a success.

mod common;

use std::sync::{Arc, Mutex};

use common::http::{Handler, Reply, Request, Server};
use common::registry::{Registry, first};
use common::{copy, open, settings};
use oci::Digest;
use transfer::{Source, TransferError};

/// A layer of some size, no two parts of it equal.
fn layer() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()).collect()
}

fn blob_get(request: &Request) -> bool {
    request.method == "GET" && request.path.contains("/blobs/sha256:")
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_stopped() {
    let layer = layer();
    let (body, digest) = (layer.clone(), Digest::sha256(&layer));
    let wanted = digest.to_string();
    let source = Registry::default().hook(first(
        1,
        move |request| blob_get(request) && request.path.ends_with(&wanted),
        move |_| Reply { cut: Some(5_000_000), ..Reply::new(200).body(body.clone()) },
    ));
    source.put_image(&layer);
    let (source, target) = (Server::start(Arc::new(source)), Arc::new(Registry::default()));
    let to = Server::start(target.clone());
    copy(open(&source.host, "a", &settings()), open(&to.host, "b", &settings())).await.unwrap();
    assert_eq!(target.state().blobs[&digest], layer);
    let ranges: Vec<String> =
        source.seen().iter().filter_map(|request| request.header("range").map(Into::into)).collect();
    assert_eq!(ranges, ["bytes=5000000-"]);
    assert_eq!(to.lines().iter().filter(|line| line.starts_with("PUT /v2/b/blobs")).count(), 2);
}

#[tokio::test]
async fn a_source_without_ranges_is_read_again_from_the_start() {
    let layer = layer();
    let (body, digest) = (layer.clone(), Digest::sha256(&layer));
    let times = Mutex::new(0);
    let source = Registry::default().hook(move |request| {
        if !blob_get(request) || !request.path.ends_with(&digest.to_string()) {
            return None;
        }
        let mut times = times.lock().unwrap();
        *times += 1;
        Some(Reply { cut: (*times == 1).then_some(1_234_567), ..Reply::new(200).body(body.clone()) })
    });
    source.put_image(&layer);
    let (source, target) = (Server::start(Arc::new(source)), Arc::new(Registry::default()));
    let to = Server::start(target.clone());
    copy(open(&source.host, "a", &settings()), open(&to.host, "b", &settings())).await.unwrap();
    assert_eq!(target.state().blobs[&digest], layer);
}

#[tokio::test]
async fn an_upload_that_breaks_goes_on_where_it_stopped() {
    let layer = layer();
    let digest = Digest::sha256(&layer);
    let source = Registry::default();
    source.put_image(&layer);
    let source = Server::start(Arc::new(source));
    // The first upload of the layer breaks, and so does the chunk that goes on with it.
    let cuts = Mutex::new(vec![6_000_000, 4_000_000]);
    let target = Arc::new(Registry::default().cut(move |request| {
        let large = request.header("content-length").is_some_and(|length| length.len() > 6);
        if large { cuts.lock().unwrap().pop() } else { None }
    }));
    let to = Server::start(target.clone());
    copy(open(&source.host, "a", &settings()), open(&to.host, "b", &settings())).await.unwrap();
    assert_eq!(target.state().blobs.get(&digest), Some(&layer));
    let ranges: Vec<String> =
        to.seen().iter().filter_map(|request| request.header("content-range").map(Into::into)).collect();
    assert_eq!(ranges, ["4000000-11999999", "10000000-11999999"]);
}

#[tokio::test]
async fn an_upload_whose_end_is_not_heard_of_is_not_repeated() {
    // The bytes of a layer that come before the connection is lost for the first time, and whether the end of
    // the upload gets lost then.
    let check = async |first_cut: Option<usize>, requests: &[&str]| {
        let layer = layer();
        let digest = Digest::sha256(&layer);
        let source = Registry::default();
        source.put_image(&layer);
        let source = Server::start(Arc::new(source));
        let target = Arc::new(Registry::default());
        let inner = target.clone();
        let (cuts, ends) = (Mutex::new(Vec::from_iter(first_cut)), Mutex::new(1));
        let wanted = digest.to_string();
        let of_layer = move |request: &Request| request.query("digest") == Some(&wanted);
        let last_of_layer = of_layer.clone();
        let whole = move |request: &Request| {
            request.method == "PUT"
                && last_of_layer(request)
                && (first_cut.is_none() || request.header("content-length") == Some("0"))
        };
        let completes = whole.clone();
        let outer = Registry::default()
            .cut(move |request| {
                let mut ends = ends.lock().unwrap();
                if whole(request) && *ends > 0 {
                    *ends -= 1;
                    return Some(usize::MAX);
                }
                if of_layer(request) { cuts.lock().unwrap().pop() } else { None }
            })
            .hook(move |request| {
                let cut = request.cut && !completes(request);
                Some(inner.answer(&Request { cut, ..request.clone() }))
            });
        let to = Server::start(Arc::new(outer));
        let report =
            copy(open(&source.host, "a", &settings()), open(&to.host, "b", &settings())).await.unwrap();
        assert_eq!(target.state().blobs.get(&digest), Some(&layer));
        assert_eq!((report.blobs, report.mounted), (2, 0));
        let large = |request: &&Request| request.body.len() > 1000;
        let sent: Vec<String> =
            to.seen().iter().filter(large).map(|request| request.method.clone()).collect();
        assert_eq!(sent, requests);
    };
    check(None, &["PUT"]).await;
    check(Some(5_000_000), &["PUT", "PATCH"]).await;
}

#[tokio::test]
async fn a_registry_that_is_busy_with_the_broken_part_is_asked_again() {
    let check = async |status: u16| {
        let layer = layer();
        let source = Registry::default();
        source.put_image(&layer);
        let source = Server::start(Arc::new(source));
        let cuts = Mutex::new(vec![4_000_000]);
        let large =
            |request: &Request| request.header("content-length").is_some_and(|length| length.len() > 6);
        let target = Registry::default()
            .cut(move |request| if large(request) { cuts.lock().unwrap().pop() } else { None })
            .hook(first(1, |request| request.method == "PATCH", move |_| Reply::new(status)));
        let target = Arc::new(target);
        let to = Server::start(target.clone());
        copy(open(&source.host, "a", &settings()), open(&to.host, "b", &settings())).await.unwrap();
        assert_eq!(target.state().blobs.get(&Digest::sha256(&layer)), Some(&layer), "{status}");
    };
    for status in [404, 409, 416, 503] {
        check(status).await;
    }
}

#[tokio::test]
async fn wrong_bytes_are_never_stored() {
    let layer = layer();
    let mut wrong = layer.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let wanted = Digest::sha256(&layer).to_string();
    let source = Registry::default().hook(move |request| {
        (blob_get(request) && request.path.ends_with(&wanted)).then(|| Reply::new(200).body(wrong.clone()))
    });
    source.put_image(&layer);
    let (source, target) = (Server::start(Arc::new(source)), Arc::new(Registry::default()));
    let to = Server::start(target.clone());
    let outcome = copy(open(&source.host, "a", &settings()), open(&to.host, "b", &settings())).await;
    assert!(matches!(outcome, Err(TransferError::Corrupt { .. })), "{outcome:?}");
    assert!(target.state().tags.is_empty());
    assert!(!target.state().blobs.contains_key(&Digest::sha256(&layer)));
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_later() {
    let check = async |status: u16, times: usize, good: bool| {
        let source = Registry::default().hook(first(
            times,
            |_| true,
            move |_| Reply::new(status).header("retry-after", "0"),
        ));
        source.put_image(b"layer");
        let server = Server::start(Arc::new(source));
        let outcome = open(&server.host, "a", &settings()).resolve(Some(&"v1".parse().unwrap())).await;
        assert_eq!(outcome.is_ok(), good, "{status} {times}: {outcome:?}");
        // The first try and four more.
        assert_eq!(server.seen().len(), (times + 1).min(5));
    };
    check(429, 1, true).await;
    check(503, 4, true).await;
    check(500, 5, false).await;
    check(429, 50, false).await;
}

#[tokio::test]
async fn a_document_that_breaks_off_is_asked_for_again() {
    let whole = Registry::default();
    whole.put_image(b"layer");
    // The connection is lost in the middle of the first answer to each GET.
    let broken = Mutex::new(Vec::new());
    let source = Registry::default().hook(move |request| {
        let list = r#"{"tags":["v1"]}"#;
        let reply =
            if request.path.ends_with("/list") { Reply::new(200).body(list) } else { whole.answer(request) };
        let mut broken = broken.lock().unwrap();
        let first = request.method == "GET" && !broken.contains(&request.path);
        broken.push(request.path.clone());
        Some(Reply { cut: first.then_some(3), ..reply })
    });
    let server = Server::start(Arc::new(source));
    let repository = open(&server.host, "a", &settings());
    let root = repository.resolve(Some(&"v1".parse().unwrap())).await.unwrap();
    assert_eq!(repository.manifest(&root).await.unwrap().len() as u64, root.size);
    assert_eq!(repository.tags().all(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_waits_for_an_hour() {
    let source = Registry::default().hook(|_| Some(Reply::new(429).header("retry-after", "3600")));
    let server = Server::start(Arc::new(source));
    let error = open(&server.host, "a", &settings()).resolve(None).await.unwrap_err().to_string();
    assert!(error.contains("3600 seconds"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn what_does_not_answer_at_first_is_not_asked_often() {
    // Nobody listens on a port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = open(&free.to_string(), "a", &settings()).resolve(None).await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains("refused"), "{error}");
    // Whoever listens here hangs up at once.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(Mutex::new(0));
    let counter = connections.clone();
    std::thread::spawn(move || listener.incoming().for_each(|_| *counter.lock().unwrap() += 1));
    let error = open(&host, "a", &settings()).resolve(None).await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    assert_eq!(*connections.lock().unwrap(), 1);
}

#[tokio::test]
async fn large_and_odd_answers_are_refused() {
    let check = async |reply: Reply, word: &str| {
        let source = Registry::default().hook(move |_| Some(reply.clone()));
        let server = Server::start(Arc::new(source));
        let error = open(&server.host, "a", &settings()).resolve(None).await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    check(Reply::new(200).body(vec![b' '; 5 << 20]), "more than the").await;
    check(Reply::new(200).body("<html>"), "no registry should").await;
    check(Reply::new(302), "without a Location").await;
    check(Reply::new(302).header("location", "/elsewhere"), "too many redirects").await;
    check(Reply::new(302).header("location", "file:///etc/passwd"), "not followed").await;
    check(Reply::new(418), "418").await;
}
