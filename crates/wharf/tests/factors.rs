//! A second factor as its user sees it: set up, signed in with, asked for again, lost, and required.

use base64::Engine as _;
use serde_json::{Value, json};
use test_kit::WharfServer;
use test_kit::http::{Client, Response};
use totp_rs::{Builder, Secret, Totp};

/// A server with users, and the password of its administrator.
fn server(require: &str) -> (WharfServer, String) {
    let builder = WharfServer::builder(env!("CARGO_BIN_EXE_wharf")).arg("--auth").arg("on");
    let server = builder.env("WHARF_AUTH_REQUIRE_SECOND_FACTOR", require).start();
    let log = server.log();
    let (_, told) = log.split_once("with the password").expect("the first start tells a password");
    let password = told.split_whitespace().next().expect("a password").to_owned();
    (server, password)
}

fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{secret}")))
}

/// Somebody at the administration API.
struct Caller<'a> {
    client: &'a Client,
    authorization: String,
}

impl Caller<'_> {
    fn send(&self, line: &str, code: Option<&str>, body: &Value) -> Response {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let request = self.client.request(method, path).header("Authorization", &self.authorization);
        let request = match code {
            Some(code) => request.header("X-Wharf-OTP", code),
            None => request,
        };
        if body.is_null() { request.send() } else { request.body(body.to_string()).send() }
    }

    fn call(&self, line: &str, code: Option<&str>) -> Response {
        self.send(line, code, &Value::Null)
    }
}

/// An app that has read the secret.
struct App(Totp);

impl App {
    fn reading(start: &Value) -> Self {
        let secret = Secret::try_from_base32(start["secret"].as_str().unwrap()).unwrap();
        Self(Builder::new().with_secret(secret).build_noncompliant())
    }

    /// The code of so many steps from here. The server takes that of the next step, too, so that a test need not wait.
    fn code(&self, steps: u64) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        self.0.generate(now.as_secs() + 30 * steps).to_string()
    }
}

/// Turns the second factor on; gives the app and the recovery codes.
fn enrol(caller: &Caller<'_>) -> (App, Vec<String>) {
    let start = caller.call("POST /api/v1/me/totp", None).expect(201).json();
    assert!(start["uri"].as_str().unwrap().contains("127%2E0%2E0%2E1"), "{start}");
    assert!(start["qr_svg"].as_str().unwrap().starts_with("<svg"), "{start}");
    let app = App::reading(&start);
    let confirm = |code: &str| caller.send("POST /api/v1/me/totp/confirm", None, &json!({"code": code}));
    let refused = confirm("not a code").expect(401);
    assert_eq!(refused.require("x-wharf-otp"), "required");
    let codes = confirm(&app.code(0)).expect(200).json();
    let codes = codes["recovery_codes"].as_array().unwrap();
    (app, codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect())
}

fn says(response: Response, status: u16, words: &str) -> Response {
    let response = response.expect(status);
    let body = String::from_utf8_lossy(&response.body);
    assert!(body.contains(words), "{words}: {response}");
    response
}

#[test]
fn a_second_factor_guards_the_password_and_tokens_go_on() {
    let (mut server, password) = server("");
    let client = server.client();
    let alone = Caller { client: &client, authorization: basic("admin", &password) };
    let new = |name: &str| json!({"name": name, "password": "a rather long passphrase"});
    for name in ["bob", "eve"] {
        alone.send("POST /api/v1/users", None, &new(name)).expect(201);
    }
    let token = alone.send("POST /api/v1/me/tokens", None, &json!({"label": "docker"})).expect(201).json();
    let (app, recovery) = enrol(&alone);

    // docker login, by both of its ways.
    says(alone.call("GET /v2/", None), 401, "personal access token").require("www-authenticate");
    says(alone.call("GET /token?service=wharf", None), 401, "personal access token");
    let grant = format!("grant_type=password&username=admin&password={password}&service=wharf");
    says(client.request("POST", "/token").body(grant).send(), 401, "personal access token");
    let docker = Caller { client: &client, authorization: basic("admin", token["secret"].as_str().unwrap()) };
    docker.call("GET /v2/", None).expect(200);
    docker.call("GET /token?service=wharf&offline_token=true", None).expect(200);

    // The password with a code, which is good once.
    let refused = says(alone.call("GET /api/v1/me", None), 401, "X-Wharf-OTP");
    assert_eq!(refused.require("x-wharf-otp"), "required");
    let me = alone.call("GET /api/v1/me", Some(&recovery[0])).expect(200).json();
    assert_eq!(
        me["second_factor"],
        json!({"on": true, "required": false, "totp": true, "passkeys": 0, "recovery_codes": 9})
    );
    says(alone.call("GET /api/v1/me", Some(&recovery[0])), 401, "has been used");
    alone.call("GET /v2/", Some(&recovery[1])).expect(401);

    // A session, which is good for many requests, and for administration only.
    let code = app.code(1);
    let open = json!({"user": "admin", "password": password, "otp": code});
    let opened = client.request("POST", "/api/v1/session").body(open.to_string()).send().expect(201).json();
    assert_eq!(opened["idle_seconds"], 1_800);
    let session =
        Caller { client: &client, authorization: format!("Bearer {}", opened["token"].as_str().unwrap()) };
    for line in ["GET /api/v1/me", "GET /api/v1/users", "GET /api/v1/roles"] {
        session.call(line, None).expect(200);
    }
    session.call("GET /v2/", None).expect(401);
    session.call("GET /token?service=wharf", None).expect(401);

    // What cannot be undone: a young session will do, a token will not.
    session.call("DELETE /api/v1/users/bob", None).expect(204);
    docker.call("GET /api/v1/users/eve", None).expect(200);
    let refused = says(docker.call("DELETE /api/v1/users/eve", None), 401, "once more");
    assert_eq!(refused.require("x-wharf-otp"), "required");
    docker.call("DELETE /api/v1/users/eve", Some("000000")).expect(401);
    docker.call("DELETE /api/v1/users/eve", Some(&recovery[1])).expect(204);

    // A restart forgets neither what was used nor the session.
    server.restart();
    says(alone.call("GET /api/v1/me", Some(&code)), 401, "has been used");
    says(alone.call("GET /api/v1/me", Some(&recovery[1])), 401, "has been used");
    session.call("GET /api/v1/me", None).expect(200);

    // Changing the password needs a code, too; and the header of a sign-in does not use it up.
    let change = json!({"user": "admin", "current": password, "new": "another long passphrase"});
    let refused = says(alone.send("PUT /api/v1/password", None, &change), 401, "X-Wharf-OTP");
    assert_eq!(refused.require("x-wharf-otp"), "required");
    alone.send("PUT /api/v1/password", Some(&recovery[2]), &change).expect(204);
    session.call("GET /api/v1/me", None).expect(401);
    let alone = Caller { client: &client, authorization: basic("admin", "another long passphrase") };

    // New recovery codes, and off.
    let renewed = alone.call("POST /api/v1/me/totp/recovery-codes", Some(&recovery[3])).expect(200).json();
    alone.call("GET /api/v1/me", Some(&recovery[4])).expect(401);
    let spare = renewed["recovery_codes"][0].as_str().unwrap();
    alone.call("DELETE /api/v1/me/totp", None).expect(401);
    alone.call("DELETE /api/v1/me/totp", Some(spare)).expect(204);
    let me = alone.call("GET /api/v1/me", None).expect(200).json();
    assert_eq!(me["second_factor"]["on"], false);
    alone.call("GET /v2/", None).expect(200);
}

#[test]
fn where_it_is_required_nothing_else_is_allowed_before() {
    let (server, password) = server("auditor,system-admin");
    let client = server.client();
    let alone = Caller { client: &client, authorization: basic("admin", &password) };
    for line in ["GET /api/v1/users", "POST /api/v1/me/tokens", "GET /v2/", "GET /token?service=wharf"] {
        says(alone.call(line, None), 403, "/api/v1/me/totp");
    }
    let me = alone.call("GET /api/v1/me", None).expect(200).json();
    assert_eq!(
        me["second_factor"],
        json!({"on": false, "required": true, "totp": false, "passkeys": 0, "recovery_codes": 0})
    );
    let (app, recovery) = enrol(&alone);
    alone.call("GET /api/v1/users", Some(&app.code(1))).expect(200);

    // An administrator turns off the second factor of somebody who has lost theirs.
    let ann = json!({"name": "ann", "password": "a rather long passphrase", "must_change_password": false});
    alone.send("POST /api/v1/users", Some(&recovery[0]), &ann).expect(201);
    let ann = Caller { client: &client, authorization: basic("ann", "a rather long passphrase") };
    ann.call("GET /v2/", None).expect(200);
    enrol(&ann);
    ann.call("GET /v2/", None).expect(401);
    alone.call("DELETE /api/v1/users/ann/totp", Some(&recovery[1])).expect(204);
    ann.call("GET /v2/", None).expect(200);
    alone.call("DELETE /api/v1/users/ann/totp", Some(&recovery[2])).expect(404);
}

#[test]
fn a_token_makes_no_robot_that_goes_around_the_second_factor() {
    let (server, password) = server("none");
    let client = server.client();
    let admin = Caller { client: &client, authorization: basic("admin", &password) };
    let token = admin.send("POST /api/v1/me/tokens", None, &json!({"label": "stolen"})).expect(201).json();
    let (app, codes) = enrol(&admin);
    let stolen = Caller { client: &client, authorization: basic("admin", token["secret"].as_str().unwrap()) };
    let robot = json!({"name": "r", "permissions": [{"actions": ["user.manage", "member.manage"]}]});
    let refused = stolen.send("POST /api/v1/robots", None, &robot).expect(401);
    assert_eq!(refused.require("x-wharf-otp"), "required");
    stolen.send("POST /api/v1/robots", Some(&app.code(1)), &robot).expect(201);
    stolen.call("POST /api/v1/robots/r/rotate", None).expect(401);
    stolen.call("POST /api/v1/robots/r/rotate", Some(&codes[0])).expect(200);
}

#[test]
fn nobody_else_uses_up_the_tries_of_a_code() {
    let (server, password) = server("none");
    let client = server.client();
    let admin = Caller { client: &client, authorization: basic("admin", &password) };
    let (app, _) = enrol(&admin);
    for name in ["admin totp", "admin\ntotp", "admin\u{0}totp"] {
        let guess = Caller { client: &client, authorization: basic(name, "not a password of anybody") };
        for _ in 0..15 {
            guess.call("GET /api/v1/me", None);
            let body = json!({"user": name, "password": "not a password of anybody"});
            guess.send("POST /api/v1/session", None, &body);
        }
    }
    // What was guessed from this address makes it wait, but not the code of another one.
    let elsewhere = client.with("X-Forwarded-For", "192.0.2.7");
    let admin = Caller { client: &elsewhere, authorization: basic("admin", &password) };
    admin.call("GET /api/v1/me", Some(&app.code(1))).expect(200);
}

#[test]
fn the_journal_tells_where_a_code_was_used() {
    let (server, password) = server("none");
    let client = server.client().with("User-Agent", "curl/8");
    let (_, codes) = enrol(&Caller { client: &client, authorization: basic("admin", &password) });
    let used = |request: &str, work: &dyn Fn(&Caller<'_>)| {
        let client = client.with("X-Request-Id", request);
        work(&Caller { client: &client, authorization: basic("admin", &password) });
    };
    used("r-header", &|admin| drop(admin.call("GET /api/v1/me", Some(&codes[0])).expect(200)));
    let body = json!({"user": "admin", "password": password, "otp": codes[1]});
    used("r-session", &|admin| drop(admin.send("POST /api/v1/session", None, &body).expect(201)));
    let token = Caller { client: &client, authorization: basic("admin", &password) };
    let token = token.send("POST /api/v1/me/tokens", Some(&codes[2]), &json!({"label": "x"})).expect(201);
    let token = basic("admin", token.json()["secret"].as_str().unwrap());
    used("r-step-up", &|admin| {
        let machine = Caller { client: admin.client, authorization: token.clone() };
        machine.send("PUT /api/v1/groups/crew", Some(&codes[3]), &json!({})).expect(200);
    });
    let change = json!({"user": "admin", "current": password, "new": "another long passphrase"});
    used("r-password", &|admin| {
        drop(admin.send("PUT /api/v1/password", Some(&codes[4]), &change).expect(204))
    });

    let machine = Caller { client: &client, authorization: token.clone() };
    for request in ["r-header", "r-session", "r-step-up", "r-password"] {
        let started = std::time::Instant::now();
        // Changes come into the journal shortly after they are made.
        let found = loop {
            let line = format!("GET /api/v1/audit?action=factor.change&request={request}");
            let items = machine.call(&line, None).expect(200).json()["items"].clone();
            if items[0].is_object() || started.elapsed() > std::time::Duration::from_secs(20) {
                break items[0].clone();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        };
        let told =
            ["actor", "address", "agent", "entry"].map(|name| found[name].as_str().unwrap_or_default());
        assert_eq!(told, ["admin", "127.0.0.1", "curl/8", "factor admin totp"], "{request}");
    }
}
