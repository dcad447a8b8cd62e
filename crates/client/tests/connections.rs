//! How a registry is reached, how long it is waited for, and who is told what it answers.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Answered, FailureKind, RateLimit, Remote, Settings, Timeouts, Watch};
use common::http::{Handler, Reply, Request, Server};
use common::registry::Registry;
use common::{open, settings};
use futures_util::{FutureExt, TryStreamExt};
use oci::{Digest, types};
use transfer::Retry;

/// One try, and no patience: who waits here waits for nothing.
fn impatient() -> Settings {
    let soon = Duration::from_millis(50);
    let retry = Retry { failures: 0, ..common::retry() };
    Settings { timeouts: Timeouts { connect: soon, answer: soon, stall: soon }, retry, ..settings() }
}

#[tokio::test]
async fn nobody_waits_longer_than_the_settings_say() {
    // Half of what is waited for where the settings say nothing.
    tokio::time::timeout(Duration::from_secs(30), hanging()).await.expect("nobody waits so long");
}

async fn hanging() {
    // A listener that accepts nothing, as far as anybody can see.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let error = open(&host, "a", &impatient()).head_blob(&Digest::sha256(b"")).await.unwrap_err();
    assert!(
        error.to_string().contains("has not answered") && error.kind() == FailureKind::Failing,
        "{error}"
    );
    // Says that more will come, and leaves it at that.
    let registry =
        Registry::default().hook(|_| Some(Reply::new(200).header("content-length", "100").body("{")));
    let server = Server::start(Arc::new(registry));
    let repository = open(&server.host, "a", &impatient());
    let blob = repository.open_blob(&Digest::sha256(b""), 0).await.unwrap();
    let error = blob.stream.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(
        error.to_string().contains("has not answered") && error.kind() == FailureKind::Failing,
        "{error}"
    );
    let error = repository.get_manifest(&"v1".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("has not answered"), "{error}");
    // A token server that hangs.
    let challenge = format!("Bearer realm=\"http://{host}/token\"");
    let registry =
        Registry::default().hook(move |_| Some(Reply::new(401).header("www-authenticate", &challenge)));
    let server = Server::start(Arc::new(registry));
    let error = open(&server.host, "a", &impatient()).head_blob(&Digest::sha256(b"")).await.unwrap_err();
    assert!(
        error.to_string().contains("no answer in time") && error.kind() == FailureKind::Failing,
        "{error}"
    );
}

/// Passes requests on to a registry that it holds itself.
struct Proxy(Registry);

impl Handler for Proxy {
    fn answer(&self, request: &Request) -> Reply {
        // `user:hunter2`
        if request.header("proxy-authorization") != Some("Basic dXNlcjpodW50ZXIy") {
            return Reply::new(407);
        }
        let path = request.path.strip_prefix("http://").and_then(|rest| rest.split_once('/'));
        let Some((_, path)) = path else { return Reply::new(400) };
        self.0.answer(&Request { path: format!("/{path}"), ..request.clone() })
    }
}

#[tokio::test]
async fn a_proxy_is_used_and_its_password_not_shown() {
    let registry = Registry::default();
    registry.put_image(b"layer");
    let proxy = Server::start(Arc::new(Proxy(registry)));
    let through = |user: &str| {
        let proxy = Some(format!("http://{user}:hunter2@{}", proxy.host).parse().unwrap());
        Settings { proxy, ..impatient() }
    };
    // Nobody listens there: the proxy alone is asked.
    let host = "127.0.0.1:1";
    open(host, "a", &through("user")).head_manifest(&"v1".parse().unwrap()).await.unwrap();
    assert!(proxy.seen()[0].path.starts_with("http://127.0.0.1:1/v2/a/"));
    let check = |error: client::ClientError, settings: &Settings| {
        assert!(!format!("{error} {error:?} {settings:?}").contains("hunter2"), "{error:?} {settings:?}");
    };
    let settings = through("other");
    let error = open(host, "a", &settings).head_manifest(&"v1".parse().unwrap()).await.unwrap_err();
    check(error, &settings);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings =
        Settings { proxy: Some(format!("http://user:hunter2@{free}").parse().unwrap()), ..impatient() };
    for host in [host, "registry.invalid"] {
        let error = open(host, "a", &settings).head_manifest(&"v1".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Failing, "{error}");
        check(error, &settings);
    }
}

#[derive(Default)]
struct Watcher(Mutex<Vec<Answered>>);

impl Watch for Watcher {
    fn answered(&self, answer: &Answered) {
        self.0.lock().unwrap().push(answer.clone());
    }
}

#[tokio::test]
async fn a_watcher_is_told_of_what_the_registry_answers() {
    let store = Server::start_on(
        "127.0.0.2",
        Arc::new(
            Registry::default().hook(|_| Some(Reply::new(200).header("ratelimit-limit", "1").body("x"))),
        ),
    );
    let to = format!("http://{}/blob", store.host);
    let tokens = |_: &Request| Some(Reply::new(200).header("ratelimit-limit", "2").body(r#"{"token":"t"}"#));
    let tokens = Server::start(Arc::new(Registry::default().hook(tokens)));
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.host);
    let busy = common::registry::first(1, |_| true, |_| Reply::new(429).header("retry-after", "0"));
    let registry = Registry::default().hook(move |request| {
        if request.header("authorization").is_none() {
            return Some(Reply::new(401).header("www-authenticate", &challenge));
        }
        if request.path.contains("/blobs/") {
            return Some(Reply::new(307).header("location", &to));
        }
        busy(request).or_else(|| request.path.contains("/gone").then(|| Reply::new(401))).or_else(|| {
            let reply = Reply::new(200).header("content-type", types::OCI_MANIFEST).body("{}");
            Some(
                reply
                    .header("ratelimit-limit", "100;w=21600")
                    .header("ratelimit-remaining", "76;w=21600")
                    .header("docker-ratelimit-source", "192.0.2.1"),
            )
        })
    });
    let server = Server::start(Arc::new(registry));
    let watcher = Arc::new(Watcher::default());
    let settings = Settings { watcher: Some(watcher.clone()), ..settings() };
    let repository = open(&server.host, "a", &settings);
    let told = || std::mem::take(&mut *watcher.0.lock().unwrap());
    let plain = |status, retry_after| Answered { status, limit: None, retry_after };
    repository.head_manifest(&format!("sha256:{}", "0".repeat(64)).parse().unwrap()).await.unwrap();
    let limit = RateLimit {
        limit: Some(100),
        remaining: Some(76),
        window_seconds: Some(21600),
        source: Some("192.0.2.1".into()),
    };
    let good = Answered { status: 200, limit: Some(limit), retry_after: None };
    assert_eq!(told(), [plain(429, Some(Duration::ZERO)), good]);
    repository.open_blob(&Digest::sha256(b"x"), 0).await.unwrap();
    assert_eq!(told(), [plain(307, None)]);
    repository.head_manifest(&"gone".parse().unwrap()).await.unwrap_err();
    assert_eq!(told(), [plain(401, None)]);
    assert!(!format!("{settings:?}").is_empty());
}

/// Answers with the version of HTTP as the body, which is a blob to who asks for one.
fn version_handler() -> Arc<dyn http_kit::Handler> {
    type Answer = futures_util::future::BoxFuture<'static, http::Response<http_kit::Body>>;
    Arc::new(|_: Arc<http_kit::ConnInfo>, request: http::Request<http_kit::RequestBody>| -> Answer {
        let body = match request.uri().path().contains("/blobs/") {
            true => format!("{:?}", request.version()),
            false => format!(r#"{{"tags":["{:?}"]}}"#, request.version()).replace('/', "-"),
        };
        async move { http::Response::new(http_kit::Body::full(body)) }.boxed()
    })
}

#[tokio::test]
async fn small_requests_share_a_connection_and_blobs_have_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = http_kit::Tls::load(&certificate, &key).unwrap();
    let listener = http_kit::Listener::tcp("127.0.0.1:0".parse().unwrap(), version_handler()).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let serving = http_kit::serve(
        vec![listener.with_tls(tls)],
        http_kit::Limits::default(),
        futures_util::future::pending().boxed(),
    );
    tokio::spawn(serving);
    let check = async |tls_verify: Option<bool>| {
        let ca = tls_verify.is_none().then(|| certificate.clone());
        let remote =
            Remote::open(&host.parse().unwrap(), &Settings { ca, tls_verify, ..settings() }).unwrap();
        let repository = remote.repository(&"a".parse().unwrap());
        let small = repository.tags().all(10).await.unwrap();
        assert_eq!(small[0].as_str(), "HTTP-2.0");
        let blob = repository.open_blob(&Digest::sha256(b""), 0).await.unwrap();
        let bytes: Vec<_> = blob.stream.try_collect().await.unwrap();
        assert_eq!(bytes.concat(), b"HTTP/1.1");
    };
    check(None).await;
    check(Some(false)).await;
}
