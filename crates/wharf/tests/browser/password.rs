//! With a password: the session, the tokens, the form of a new password, and what must not work.

use serde_json::{Value, json};
use test_kit::certificate::Certificate;
use test_kit::http::Client;

use crate::chromium::Chromium;
use crate::{World, basic};

const SESSION: &str = "wharf_session";

/// A label that would be a script, were it not shown as text.
const SCRIPT: &str = r#"<script>document.title='owned'</script>"><img src=x onerror=alert(1)>"#;

#[track_caller]
fn id_of(browser: &mut Chromium) -> String {
    let cookie = browser.cookie(SESSION).expect("there is a session");
    cookie["value"].as_str().expect("a cookie has a value").to_owned()
}

#[test]
fn somebody_signs_in_makes_a_token_and_signs_out() {
    let world = World::start(World::builder());
    let mut browser = Chromium::start();
    let first = browser.go(&world.url("/"));
    assert_eq!((first.url.as_str(), first.status), (world.url("/login").as_str(), 200));
    browser.picture("login");
    let refused = world.sign_in(&mut browser, "admin", "not the password");
    assert_eq!(refused.status, 403);
    assert_eq!(browser.text("[role=alert]"), "The user name or the password is wrong.");
    browser.picture("login-refused");
    let unknown = world.sign_in(&mut browser, "nobody", "not the password");
    assert_eq!(
        (unknown.status, browser.text("[role=alert]").as_str()),
        (403, "The user name or the password is wrong.")
    );
    let account = world.sign_in(&mut browser, "admin", &world.password);
    assert_eq!((account.url.as_str(), account.status), (world.url("/account").as_str(), 200));
    for (header, expect) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
    ] {
        assert_eq!(account.header(header), expect, "{header}");
    }
    let policy =
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    assert_eq!(account.header("content-security-policy"), policy);
    let cookie = browser.cookie(SESSION).unwrap();
    assert_eq!(
        (&cookie["httpOnly"], &cookie["sameSite"], &cookie["path"]),
        (&json!(true), &json!("Lax"), &json!("/"))
    );
    assert_eq!((&cookie["secure"], &cookie["session"]), (&json!(false), &json!(true)));
    assert!(browser.cookie("wharf_login").is_none());

    browser.fill("#label", SCRIPT);
    browser.select("#use", "pull");
    let made = browser.click("text=Make the token");
    assert_eq!(made.status, 200);
    browser.picture("account");
    let (token, line) = (browser.text("#secret"), browser.text("#login-line"));
    assert_eq!(line, format!("docker login --username admin {}", world.server.authority()));
    assert_eq!(browser.text(".tokens .label"), SCRIPT);
    assert_eq!(browser.count("img") + browser.count("script"), 0);
    let client = world.server.client();
    let version = |secret: &str| {
        client.request("GET", "/v2/").header("Authorization", basic("admin", secret)).send().status
    };
    assert_eq!((version(&token), version("wpt_x")), (200, 401));
    let push =
        client.request("POST", "/v2/a/b/blobs/uploads/").header("Authorization", basic("admin", &token));
    assert_eq!(push.send().status, 403, "the token is for pulling");
    browser.go(&world.url("/account"));
    assert_eq!(browser.count("#secret"), 0, "it is shown once");
    browser.click("text=Revoke");
    assert_eq!(browser.text("[role=status]"), "The token is revoked.");
    assert_eq!(version(&token), 401);

    let kept = id_of(&mut browser);
    browser.click("text=Sign out");
    assert_eq!(browser.text("h1"), "You are signed out");
    assert!(browser.cookie(SESSION).is_none());
    let old = client.request("GET", "/account").header("Cookie", format!("{SESSION}={kept}")).send();
    assert_eq!((old.status, old.location().as_str()), (303, "/login?next=/account"));
    for (action, outcome) in [("sign-in", "denied"), ("sign-in", "success"), ("sign-out", "success")] {
        world.journal_has(action, "admin", outcome);
    }
}

#[test]
fn each_sign_in_is_a_new_session_and_the_one_before_is_over() {
    let world = World::start(World::builder());
    let mut browser = Chromium::start();
    world.sign_in(&mut browser, "admin", &world.password);
    let first = id_of(&mut browser);
    // Another browser with the cookie that somebody planted there.
    let client = world.server.client();
    let login = client.request("GET", "/login").send();
    let planted = login.require("set-cookie").split(';').next().unwrap().to_owned();
    let page = String::from_utf8_lossy(&login.body).into_owned();
    let csrf = page.split_once(r#"name="csrf" value=""#).unwrap().1.split_once('"').unwrap().0;
    let form = format!("csrf={csrf}&user=admin&password={}", world.password);
    let send = |origin: &str, form: &str| {
        let request = client.request("POST", "/login").header("Origin", origin);
        let cookies = format!("{planted}; {SESSION}={first}");
        request
            .header("Cookie", cookies)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
    };
    let ours = world.server.url();
    assert_eq!(send("http://evil.example", &form).status, 403);
    assert_eq!(send("null", &form).status, 403);
    assert_eq!(send(&ours, &form.replace(csrf, &"A".repeat(43))).status, 403);
    let answer = send(&ours, &format!("{form}&next=//evil.example/"));
    assert_eq!((answer.status, answer.require("location")), (303, "/account"));
    let second =
        answer.headers.iter().find(|(name, value)| name == "set-cookie" && value.starts_with(SESSION));
    let second = second.unwrap().1.split(['=', ';']).nth(1).unwrap().to_owned();
    assert_ne!(second, first);
    browser.go(&world.url("/account"));
    assert_eq!(browser.text("h1"), "Sign in", "the session before it has ended");
    // A session is for the pages alone.
    for path in ["/v2/", "/api/v1/me"] {
        let answer = client.request("GET", path).header("Cookie", format!("{SESSION}={second}")).send();
        assert_eq!(answer.status, 401, "{path}");
    }
    let token = client.request("GET", "/token?service=x&scope=registry:catalog:*");
    let token = token.header("Cookie", format!("{SESSION}={second}")).send().expect(200).json();
    assert_eq!(token["scope"], "", "a token for nobody in particular");
}

#[test]
fn other_pages_cannot_send_our_forms() {
    let world = World::start(World::builder());
    let mut browser = Chromium::start();
    world.sign_in(&mut browser, "admin", &world.password);
    let csrf = browser.value("main input[name=csrf] >> nth=0");
    let attack = |csrf: &str| {
        format!(
            r#"<form method="post" action="{}"><input name="csrf" value="{csrf}"><input name="label" value="stolen">
               <input name="days" value="30"><button>Win a prize</button></form>"#,
            world.url("/account/tokens")
        )
    };
    // From another site, to which the browser gives no cookie; and from another port of this host, which is the same
    // site, with the very token of the form.
    for from in ["http://evil.example/", "http://127.0.0.1:1/", "http://localhost:1/"] {
        browser.go_elsewhere(from, &attack(&csrf));
        let shown = browser.click("button");
        assert_eq!(shown.status, 403, "{from}");
        assert!(browser.text("main").contains("was not sent from a page of your session"));
    }
    browser.go(&world.url("/account"));
    assert_eq!(browser.count(".tokens li"), 0);
}

#[test]
fn a_session_ends_by_resting_and_with_the_password() {
    let world =
        World::start(World::builder().config("[auth]\nbrowser_idle = \"4s\"\nbrowser_max = \"1h\"\n"));
    let mut browser = Chromium::start();
    world.sign_in(&mut browser, "admin", &world.password);
    assert_eq!(browser.text("h1"), "Your account");
    let id = id_of(&mut browser);
    let client = world.server.client();
    // Each look keeps the session alive, so there is one, after more than the time that it may rest.
    std::thread::sleep(std::time::Duration::from_millis(4_100));
    let late = client.request("GET", "/account").header("Cookie", format!("{SESSION}={id}")).send();
    assert_eq!(late.status, 303);
    browser.go(&world.url("/account"));
    assert_eq!(browser.text("h1"), "Sign in");
}

#[test]
fn who_must_change_the_password_does_so_first() {
    let world = World::start(World::builder());
    let (first, second, third) = ("a first word of ann", "a second word of ann", "a third word of ann");
    let ann =
        json!({"name": "ann", "password": first, "display_name": "<b>Ann</b>", "email": "ann@example.com"});
    world.admin("POST", "/users", &ann).expect(201);
    let mut browser = Chromium::start();
    world.sign_in(&mut browser, "ann", first);
    assert_eq!(browser.text("h1"), "Choose a new password");
    assert!(browser.cookie(SESSION).is_none());
    browser.picture("new-password");
    world.journal_says("sign-in", "ann", "the password was right; it must be changed first");
    let change = |browser: &mut Chromium, current: &str, new: &str, repeated: &str| {
        browser.fill("#current", current);
        browser.fill("#new", new);
        browser.fill("#repeated", repeated);
        browser.click("button:has-text(\"Change\")")
    };
    assert_eq!(change(&mut browser, first, second, third).status, 400);
    assert_eq!(change(&mut browser, "wrong", second, second).status, 403);
    assert_eq!(change(&mut browser, first, "short", "short").status, 400);
    assert_eq!(change(&mut browser, first, second, second).url, world.url("/account"));
    assert!(browser.text("dl").contains("<b>Ann</b>"), "what people call themselves is text");
    // In the page, with another browser open.
    let mut other = Chromium::start();
    world.sign_in(&mut other, "ann", second);
    let before = id_of(&mut browser);
    change(&mut browser, second, third, third);
    assert_eq!(
        browser.text("[role=status]"),
        "Your password is changed. Other browsers of yours are signed out."
    );
    assert_ne!(id_of(&mut browser), before);
    other.go(&world.url("/account"));
    assert_eq!(other.text("h1"), "Sign in");
    world.admin("PATCH", "/users/ann", &json!({"disabled": true})).expect(200);
    browser.go(&world.url("/account"));
    assert_eq!(browser.text("h1"), "Sign in", "who is kept out has no session");
}

#[test]
fn over_tls_the_cookie_is_for_this_host_alone() {
    let folder = test_kit::temp_dir();
    let certificate = Certificate::create(folder.path(), "127.0.0.1");
    let world = World::start(World::builder().tls(&certificate));
    let mut browser = Chromium::start();
    let account = world.sign_in(&mut browser, "admin", &world.password);
    assert_eq!(account.url, world.url("/account"));
    let cookie = browser.cookie("__Host-wharf_session").expect("there is a session");
    let flags = ["secure", "httpOnly"].map(|flag| cookie[flag].clone());
    assert_eq!((flags, &cookie["path"]), ([json!(true), json!(true)], &json!("/")));
    assert!(browser.cookie(SESSION).is_none());
}

#[test]
fn behind_a_proxy_the_pages_are_where_it_shows_them() {
    let world = World::start(World::builder());
    let client: Client = world.server.client();
    let ask = |path: &str| {
        let request = client.request("GET", path).header("X-Forwarded-Prefix", "/registry");
        let request = request.header("X-Forwarded-Proto", "https").header("X-Forwarded-Host", "r.example");
        request.header("Accept", "text/html").send()
    };
    assert_eq!(ask("/").require("location"), "/registry/login");
    let login = ask("/login").expect(200);
    let cookie = login.require("set-cookie");
    assert!(
        cookie.starts_with("wharf_login=")
            && cookie.contains("; Path=/registry; ")
            && cookie.contains("; Secure")
    );
    let page = String::from_utf8_lossy(&login.body).into_owned();
    assert!(page.contains(r#"action="/registry/login""#) && page.contains(r#"href="/registry/console.css""#));
    let plain = client.get("/").expect(200);
    assert_eq!(plain.body, b"wharf: an OCI registry. Its API is below /v2/\n");
    let nothing = world.admin("GET", "/me", &Value::Null).expect(200).json();
    assert_eq!(nothing["name"], "admin");
}
