//! People and machines who are known elsewhere: an LDAP directory, and the issuers of tokens for CI jobs and pods.

mod ldap;
mod workload;

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use test_kit::WharfServer;
use test_kit::http::Response;

/// How long to wait for what must come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with users, and its administrator.
struct World {
    server: WharfServer,
    admin: String,
}

impl World {
    fn start(config: &str) -> Self {
        let config = format!("[auth]\nmode = \"on\"\n{config}");
        let server = WharfServer::builder(env!("CARGO_BIN_EXE_wharf")).config(&config).start();
        let log = server.log();
        let (_, rest) = log.split_once("with the password").expect("the first start shows a password");
        let password = rest.split_whitespace().next().expect("a password follows");
        let admin = basic("admin", password);
        Self { server, admin }
    }

    /// Asks the administration API.
    fn api(&self, who: &str, method: &str, path: &str, body: Value) -> Response {
        let client = self.server.client();
        let request = client.request(method, &format!("/api/v1{path}")).header("Authorization", who);
        if body.is_null() { request.send() } else { request.body(body.to_string()).send() }
    }

    fn admin(&self, method: &str, path: &str, body: Value) -> Response {
        self.api(&self.admin, method, path, body)
    }

    fn project(&self, name: &str) {
        self.admin("PUT", &format!("/projects/{name}"), json!({})).expect(201);
    }

    /// The name of somebody, if they are let in.
    fn name_of(&self, who: &str) -> Result<String, u16> {
        let answer = self.api(who, "GET", "/me", Value::Null);
        match answer.status {
            200 => Ok(answer.json()["name"].as_str().expect("everybody has a name").to_owned()),
            status => Err(status),
        }
    }

    /// The status of an attempt to push to a repository.
    fn push(&self, who: &str, repository: &str) -> u16 {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let client = self.server.client();
        client.request("POST", &path).header("Authorization", who).body("").send().status
    }

    /// Asks the token service as docker does.
    fn token(&self, who: &str, scope: &str) -> Response {
        let path = format!("/token?service=wharf&offline_token=true&client_id=docker&scope={scope}");
        let client = self.server.client();
        client.request("GET", &path).header("Authorization", who).send()
    }

    /// The header of an access token for a scope.
    fn bearer(&self, who: &str, scope: &str) -> String {
        bearer(&self.token(who, scope).expect(200).json())
    }
}

fn bearer(issued: &Value) -> String {
    format!("Bearer {}", issued["access_token"].as_str().expect("a token was issued"))
}

fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))
}

/// Looks again and again until something has come about.
#[track_caller]
fn eventually(what: &str, probe: impl Fn() -> bool) {
    let since = Instant::now();
    while !probe() {
        assert!(since.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(100));
    }
}
