//! Who may see credentials, and how they become tokens.

mod common;

use std::sync::Arc;

use common::http::{Handler, Reply, Request, Server};
use common::registry::{Registry, first};
use common::{open, settings, settings_with};
use transfer::Source;

/// `user:secret`, as `docker login` stores it.
const STORED: &str = r#"{"auth":"dXNlcjpzZWNyZXQ="}"#;

/// The header that Basic makes of it.
const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

/// Gives out a token named after what it was asked for.
struct Tokens;

impl Handler for Tokens {
    fn answer(&self, request: &Request) -> Reply {
        let who = match (request.header("authorization"), request.method.as_str()) {
            (Some(BASIC), "GET") => "user",
            (None, "GET") => "anonymous",
            (None, "POST") if String::from_utf8_lossy(&request.body).contains("refresh_token=refresh") => {
                "refreshed"
            }
            _ => return Reply::new(401),
        };
        Reply::new(200).body(format!(r#"{{"token":"{who}","expires_in":300}}"#))
    }
}

/// A registry that wants a token of this kind, which its realm gives out.
fn guarded(realm: String, token: &'static str) -> Registry {
    let registry = Registry::default().hook(move |request| {
        let good = request.header("authorization") == Some(&format!("Bearer {token}"));
        let challenge = format!(r#"Bearer realm="{realm}",service="here",scope="repository:a:pull""#);
        (!good).then(|| Reply::new(401).header("www-authenticate", challenge))
    });
    registry.put_image(b"layer");
    registry
}

async fn pull(host: &str, settings: &client::Settings) -> Result<oci::Descriptor, transfer::TransferError> {
    open(host, "a", settings).resolve(Some(&"v1".parse().unwrap())).await
}

#[tokio::test]
async fn a_token_is_bought_once_and_used_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = Server::start(Arc::new(Tokens));
    let server = Server::start(Arc::new(guarded(format!("http://{}/token", tokens.host), "user")));
    let repository = open(&server.host, "a", &settings_with(folder.path(), &server.host, STORED));
    for _ in 0..3 {
        repository.resolve(Some(&"v1".parse().unwrap())).await.unwrap();
    }
    let asked = tokens.seen();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].query("service"), Some("here"));
    assert_eq!(asked[0].query("scope"), Some("repository:a:pull"));
    assert_eq!(server.seen().len(), 4, "only the first request is refused");
}

#[tokio::test]
async fn tokens_are_given_to_nobody_and_for_refresh_tokens_too() {
    let tokens = Server::start(Arc::new(Tokens));
    let realm = || format!("http://{}/token", tokens.host);
    let server = Server::start(Arc::new(guarded(realm(), "anonymous")));
    pull(&server.host, &settings()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Arc::new(guarded(realm(), "refreshed")));
    let stored = r#"{"identitytoken":"refresh"}"#;
    pull(&server.host, &settings_with(folder.path(), &server.host, stored)).await.unwrap();
}

#[tokio::test]
async fn a_token_server_that_stumbles_is_asked_again() {
    let check = async |faults: usize, reply: Reply, expect: Result<(), &str>| {
        let fault = first(faults, |_| true, move |_| reply.clone());
        let tokens = Registry::default()
            .hook(move |request| Some(fault(request).unwrap_or_else(|| Tokens.answer(request))));
        let tokens = Server::start(Arc::new(tokens));
        let server = Server::start(Arc::new(guarded(format!("http://{}/token", tokens.host), "anonymous")));
        let outcome = pull(&server.host, &settings()).await.map(|_| ()).map_err(|error| error.to_string());
        match (outcome, expect) {
            (Ok(()), Ok(())) => assert_eq!(tokens.seen().len(), faults + 1),
            (Err(error), Err(word)) => assert!(error.contains(word) && !error.contains("log in"), "{error}"),
            (outcome, _) => panic!("{outcome:?}"),
        }
    };
    for status in [429, 502, 503] {
        check(2, Reply::new(status), Ok(())).await;
    }
    check(1, Reply { cut: Some(3), ..Reply::new(200).body("not all of it") }, Ok(())).await;
    check(50, Reply::new(503), Err("try again later")).await;
    check(1, Reply::new(503).header("retry-after", "3600"), Err("503")).await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_tried_for_ever() {
    let tokens = Server::start(Arc::new(Tokens));
    let server = Server::start(Arc::new(guarded(format!("http://{}/token", tokens.host), "another")));
    let error = pull(&server.host, &settings()).await.unwrap_err().to_string();
    assert!(error.contains("docker login"), "{error}");
    assert_eq!((server.seen().len(), tokens.seen().len()), (2, 1));
}

#[tokio::test]
async fn no_credential_goes_to_a_foreign_realm() {
    let folder = tempfile::tempdir().unwrap();
    // Another address of this machine is another host.
    let thief = Server::start_on("127.0.0.2", Arc::new(Tokens));
    let server = Server::start(Arc::new(guarded(format!("http://{}/token", thief.host), "user")));
    let settings = settings_with(folder.path(), &server.host, STORED);
    let error = pull(&server.host, &settings).await.unwrap_err().to_string();
    assert!(error.contains("belongs to another site"), "{error}");
    assert!(thief.seen().is_empty());
}

#[tokio::test]
async fn passwords_are_sent_when_asked_for_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |accepted: &'static str, good: bool| {
        let registry = Registry::default().hook(move |request| {
            let fits = request.header("authorization") == Some(accepted);
            (!fits).then(|| Reply::new(401).header("www-authenticate", "Basic realm=\"x\""))
        });
        registry.put_image(b"layer");
        let server = Server::start(Arc::new(registry));
        let outcome = pull(&server.host, &settings_with(folder.path(), &server.host, STORED)).await;
        assert_eq!(outcome.is_ok(), good, "{outcome:?}");
        assert!(!format!("{outcome:?}").contains("secret"));
        assert_eq!(server.seen()[0].header("authorization"), None, "nothing is sent unasked");
        assert_eq!(server.seen().len(), 2);
    };
    check(BASIC, true).await;
    check("Basic other", false).await;
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_credentials_along() {
    let folder = tempfile::tempdir().unwrap();
    let content = b"the layer".to_vec();
    let storage = Arc::new(Registry::default());
    storage.put_image(&content);
    let storage = Server::start_on("127.0.0.2", storage);
    let elsewhere = storage.host.clone();
    let registry = Registry::default().hook(move |request| {
        if request.header("authorization") != Some(BASIC) {
            return Some(Reply::new(401).header("www-authenticate", "Basic realm=\"x\""));
        }
        let to = format!("http://{elsewhere}{}?signature=secret", request.path);
        request.path.contains("/blobs/").then(|| Reply::new(307).header("location", to))
    });
    let digest = registry.put_image(&content);
    let server = Server::start(Arc::new(registry));
    let source = open(&server.host, "a", &settings_with(folder.path(), &server.host, STORED));
    let media_type = "application/vnd.oci.image.layer.v1.tar".parse().unwrap();
    let descriptor = oci::Descriptor::new(media_type, digest, content.len() as u64);
    let source: Arc<dyn Source> = source;
    let bytes = transfer::read_small(&source, &descriptor, 100).await.unwrap();
    assert_eq!(bytes, content);
    assert_eq!(storage.seen().len(), 1);
    assert_eq!(storage.seen()[0].header("authorization"), None);
}

/// Answers with a failure that explains itself, and points elsewhere.
struct RestApi;

impl Handler for RestApi {
    fn answer(&self, request: &Request) -> Reply {
        match request.path.as_str() {
            "/api/v1/moved" => Reply::new(307).header("location", "http://127.0.0.2:1/"),
            _ => Reply::new(403).body(r#"{"message":"no"}"#),
        }
    }
}

#[tokio::test]
async fn an_api_gets_the_credential_at_once_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Arc::new(RestApi));
    let host: client::Host = server.host.parse().unwrap();
    let api =
        |stored: &str| client::Api::open(&host, &settings_with(folder.path(), &server.host, stored)).unwrap();
    let (body, code) = (client::Secret::new("{}".into()), client::Secret::new("123456".into()));
    let get = |path| client::ApiRequest { method: "GET", path, body: None, code: None, token: None };
    let post =
        client::ApiRequest { method: "POST", body: Some(&body), code: Some(&code), ..get("/api/v1/x?y=z") };
    let answer = api(STORED).call(post).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (403, br#"{"message":"no"}"#.as_slice()));
    let answer = api(r#"{"registrytoken":"t"}"#).call(get("/api/v1/moved")).await.unwrap();
    assert_eq!(answer.status, 307, "no redirect is followed");
    let error = api(r#"{"identitytoken":"refresh"}"#).call(get("/api/v1/x")).await.unwrap_err();
    assert!(error.to_string().contains("refresh token"), "{error}");
    api(STORED).call(get("http://127.0.0.2:1/")).await.unwrap_err();
    let broken = client::Secret::new("1\n2".into());
    api(STORED).call(client::ApiRequest { code: Some(&broken), ..get("/api/v1/x") }).await.unwrap_err();

    let seen = server.seen();
    let header = |at: usize| (seen[at].method.as_str(), seen[at].header("authorization").unwrap());
    assert_eq!((header(0), header(1)), (("POST", BASIC), ("GET", "Bearer t")));
    assert_eq!((seen.len(), seen[0].query("y"), &*seen[0].body), (2, Some("z"), b"{}".as_slice()));
    assert_eq!((seen[0].header("x-wharf-otp"), seen[1].header("x-wharf-otp")), (Some("123456"), None));
}

#[tokio::test]
async fn a_credential_is_checked_before_it_is_kept() {
    let tokens = Server::start(Arc::new(Tokens));
    let guarded = Server::start(Arc::new(guarded(format!("http://{}/token", tokens.host), "user")));
    let open = Server::start(Arc::new(Registry::default()));
    let check = async |server: &Server, password: &str| {
        let credential = client::Credential::password("user".into(), password.into());
        let settings = client::Settings { keyring: client::Keyring::fixed(credential), ..settings() };
        let registry = client::Remote::open(&server.host.parse().unwrap(), &settings).unwrap();
        registry.check_credential().await.map_err(|error| error.to_string())
    };
    assert_eq!(check(&guarded, "secret").await, Ok(true));
    let error = check(&guarded, "hunter2").await.unwrap_err();
    assert!(error.contains("401") && !error.contains("hunter2"), "{error}");
    assert_eq!(check(&open, "secret").await, Ok(false), "nobody asked for it");
}
