//! People sign in with a real browser: by a password, at a real OpenID provider, and what must not work.

mod chromium;
mod factors;
mod passkeys;
mod password;
mod provider;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use test_kit::http::Response;
use test_kit::wharf::Builder;
use test_kit::{WharfServer, free_port};

use chromium::Chromium;

/// Far beyond what any record needs to be found.
const HANG_LIMIT: Duration = Duration::from_secs(60);

/// A server with users, and what its administrator signs in with.
struct World {
    server: WharfServer,
    password: String,
}

impl World {
    fn builder() -> Builder {
        WharfServer::builder(env!("CARGO_BIN_EXE_wharf")).arg("--auth").arg("on").port(free_port())
    }

    fn start(builder: Builder) -> Self {
        let server = builder.start();
        let log = server.log();
        let (_, rest) = log.split_once("with the password").expect("the first start tells the password");
        let password = rest.split_whitespace().next().expect("the password follows").to_owned();
        Self { server, password }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// One request of the administrator to the administration API.
    #[track_caller]
    fn admin(&self, method: &str, path: &str, body: &Value) -> Response {
        let client = self.server.client();
        let request = client.request(method, &format!("/api/v1{path}"));
        let request = request.header("Authorization", basic("admin", &self.password));
        request.header("Content-Type", "application/json").body(body.to_string()).send()
    }

    /// Fills in the form to sign in.
    #[track_caller]
    fn sign_in(&self, browser: &mut Chromium, user: &str, password: &str) -> chromium::Shown {
        browser.go(&self.url("/login"));
        browser.fill("#user", user);
        browser.fill("#password", password);
        browser.click("main form button")
    }

    /// Waits until the audit journal has a record of this action, by this actor, with this outcome.
    #[track_caller]
    fn journal_has(&self, action: &str, actor: &str, outcome: &str) {
        self.journal_says(action, actor, &format!("\"outcome\":\"{outcome}\""));
    }

    /// Waits until a record of this action, by this actor, says so.
    #[track_caller]
    fn journal_says(&self, action: &str, actor: &str, wanted: &str) {
        let path = format!("/audit?action={action}&actor={actor}");
        let start = Instant::now();
        loop {
            let found = self.admin("GET", &path, &Value::Null).expect(200);
            let text = String::from_utf8_lossy(&found.body).into_owned();
            if text.contains(wanted) {
                return;
            }
            assert!(start.elapsed() < HANG_LIMIT, "no {action} of {actor} that says {wanted}: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")))
}
