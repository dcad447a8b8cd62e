//! One registry that many ask at once: tokens are shared, and nobody waits for what another needs.

mod common;

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use client::{ClientError, Credential, FailureKind, Keyring, Remote, Repository, Settings};
use common::http::{Handler, Reply, Request, Server};
use common::registry::Registry;
use common::settings;
use oci::Reference;

/// A test hangs rather than fails when something is broken; this ends it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gives out a token for each scope, but not while the scope is held back. Each token has a number.
#[derive(Default)]
struct Tokens {
    held: Mutex<HashSet<String>>,
    released: Condvar,
    given: Mutex<usize>,
}

impl Tokens {
    fn hold(&self, scope: &str) {
        self.held.lock().unwrap().insert(scope.to_owned());
    }

    fn release(&self, scope: &str) {
        self.held.lock().unwrap().remove(scope);
        self.released.notify_all();
    }
}

impl Handler for Tokens {
    fn answer(&self, request: &Request) -> Reply {
        let scope = request.query("scope").unwrap_or_default().to_owned();
        let held = self.held.lock().unwrap();
        drop(self.released.wait_while(held, |held| held.contains(&scope)).unwrap());
        let mut given = self.given.lock().unwrap();
        *given += 1;
        Reply::new(200).body(format!(r#"{{"token":"{scope}/{given}","expires_in":300}}"#))
    }
}

/// A registry that takes a token for its own repository, as long as it is not among the `revoked`, and says where
/// `realm` is.
fn guarded(realm: Arc<Mutex<String>>, revoked: Arc<Mutex<HashSet<String>>>) -> Server {
    let registry = Registry::default().hook(move |request| {
        let name = request.path.split('/').nth(2).unwrap();
        let token = request.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
        let good = token.is_some_and(|token| {
            token.starts_with(&format!("repository:{name}:pull/")) && !revoked.lock().unwrap().contains(token)
        });
        let realm = realm.lock().unwrap();
        let challenge = format!(r#"Bearer realm="http://{realm}/token",scope="repository:{name}:pull""#);
        (!good).then(|| Reply::new(401).header("www-authenticate", challenge))
    });
    registry.put_image(b"layer");
    Server::start(Arc::new(registry))
}

struct World {
    tokens: Arc<Tokens>,
    token_server: Server,
    registry: Server,
    realm: Arc<Mutex<String>>,
    revoked: Arc<Mutex<HashSet<String>>>,
    remote: Remote,
}

impl World {
    fn new() -> Self {
        let tokens = Arc::new(Tokens::default());
        let token_server = Server::start(tokens.clone());
        let realm = Arc::new(Mutex::new(token_server.host.clone()));
        let revoked = Arc::<Mutex<HashSet<String>>>::default();
        let registry = guarded(realm.clone(), revoked.clone());
        let remote = remote(&registry, &settings());
        Self { tokens, token_server, registry, realm, revoked, remote }
    }

    fn repository(&self, name: &str) -> Repository {
        self.remote.repository(&name.parse().unwrap())
    }

    /// Asks for the tag of a repository in a task of its own.
    fn ask(&self, name: &str) -> tokio::task::JoinHandle<Result<oci::Descriptor, ClientError>> {
        let repository = self.repository(name);
        tokio::spawn(async move { repository.head_manifest(&tag()).await })
    }

    /// Until the registry has seen that many requests: a condition, not a time.
    async fn registry_has_seen(&self, requests: usize) {
        wait_for(|| self.registry.seen().len() >= requests).await;
    }
}

fn remote(server: &Server, settings: &Settings) -> Remote {
    Remote::open(&server.host.parse().unwrap(), settings).unwrap()
}

fn tag() -> Reference {
    "v1".parse().unwrap()
}

async fn wait_for(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.expect("it comes about");
}

#[tokio::test]
async fn many_who_need_one_token_get_it_once() {
    let world = World::new();
    world.tokens.hold("repository:a:pull");
    let asking: Vec<_> = (0..20).map(|_| world.ask("a")).collect();
    world.registry_has_seen(20).await;
    world.tokens.release("repository:a:pull");
    for task in asking {
        task.await.unwrap().unwrap();
    }
    assert_eq!(world.token_server.seen().len(), 1);
}

#[tokio::test]
async fn a_token_server_that_hangs_holds_up_only_who_needs_it() {
    let world = World::new();
    world.repository("b").head_manifest(&tag()).await.unwrap();
    world.tokens.hold("repository:a:pull");
    let held = world.ask("a");
    wait_for(|| world.token_server.seen().len() == 2).await;
    // One that has its token, and one that gets it now.
    for name in ["b", "c"] {
        let asked = tokio::time::timeout(PATIENCE, world.ask(name)).await;
        asked.expect("nobody else is held up").unwrap().unwrap();
    }
    assert!(!held.is_finished());
    world.tokens.release("repository:a:pull");
    held.await.unwrap().unwrap();
    assert_eq!(
        world.registry.lines().iter().filter(|line| line.contains("/v2/c/")).count(),
        1,
        "c asks at once"
    );
}

#[tokio::test]
async fn who_leaves_ends_nothing_for_the_others() {
    let world = World::new();
    world.tokens.hold("repository:a:pull");
    let first = world.ask("a");
    wait_for(|| world.token_server.seen().len() == 1).await;
    let second = world.ask("a");
    // The second one knows the challenge by now: it waits for the token without having asked the registry.
    tokio::task::yield_now().await;
    first.abort();
    first.await.unwrap_err();
    world.tokens.release("repository:a:pull");
    second.await.unwrap().unwrap();
    assert_eq!(world.token_server.seen().len(), 1);
    // And where all have left, the next one begins anew.
    world.tokens.hold("repository:b:pull");
    let only = world.ask("b");
    wait_for(|| world.token_server.seen().len() == 2).await;
    only.abort();
    only.await.unwrap_err();
    world.tokens.release("repository:b:pull");
    world.repository("b").head_manifest(&tag()).await.unwrap();
    assert_eq!(world.token_server.seen().len(), 3);
}

#[tokio::test]
async fn a_token_that_is_revoked_is_replaced_once_for_all() {
    let world = World::new();
    world.repository("a").head_manifest(&tag()).await.unwrap();
    world.revoked.lock().unwrap().insert("repository:a:pull/1".into());
    world.tokens.hold("repository:a:pull");
    let asking: Vec<_> = (0..10).map(|_| world.ask("a")).collect();
    wait_for(|| world.token_server.seen().len() == 2).await;
    world.tokens.release("repository:a:pull");
    for task in asking {
        task.await.unwrap().unwrap();
    }
    assert_eq!(world.token_server.seen().len(), 2);
}

#[tokio::test]
async fn a_token_server_that_has_moved_is_found_again() {
    let world = World::new();
    world.repository("a").head_manifest(&tag()).await.unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    *world.realm.lock().unwrap() = gone.to_string();
    world.revoked.lock().unwrap().insert("repository:a:pull/1".into());
    let error = world.repository("a").head_manifest(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Failing, "{error}");
    *world.realm.lock().unwrap() = world.token_server.host.clone();
    world.repository("a").head_manifest(&tag()).await.unwrap();
    world.repository("b").head_manifest(&tag()).await.unwrap();
}

#[tokio::test]
async fn each_repository_has_its_own_credential() {
    // A registry that wants the name of the repository as user and password.
    let registry = Registry::default().hook(|request| {
        let name = request.path.split('/').nth(2).unwrap();
        let expect = match name {
            "a" => "Basic YTph",
            "b" => "Basic Yjpi",
            _ => return None,
        };
        let good = request.header("authorization") == Some(expect);
        (!good).then(|| Reply::new(401).header("www-authenticate", "Basic realm=\"x\""))
    });
    registry.put_image(b"layer");
    let server = Server::start(Arc::new(registry));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.json");
    let host = &server.host;
    let auths = format!(r#"{{"auths":{{"{host}/a":{{"auth":"YTph"}},"{host}/b":{{"auth":"Yjpi"}}}}}}"#);
    std::fs::write(&file, auths).unwrap();
    let shared = remote(&server, &Settings { keyring: Keyring::of(vec![file]), ..settings() });
    for name in ["a", "b", "a", "b", "c"] {
        shared.repository(&name.parse().unwrap()).head_manifest(&tag()).await.unwrap();
    }
    let refused = server.seen().iter().filter(|request| request.header("authorization").is_none()).count();
    assert_eq!(refused, 2, "the first of all, and that for which there is no credential");
    let fixed = Keyring::fixed(Credential::password("a".into(), "a".into()));
    let fixed = remote(&server, &Settings { keyring: fixed, ..settings() });
    fixed.repository(&"a".parse().unwrap()).head_manifest(&tag()).await.unwrap();
    let error = fixed.repository(&"b".parse().unwrap()).head_manifest(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Denied, "{error}");
}
