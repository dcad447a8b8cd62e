//! Passkeys, on authenticators that Chromium has in software: made, shown, and what must not work.

use serde_json::{Value, json};
use test_kit::free_port;
use test_kit::http::Response;

use crate::chromium::{Chromium, Shown};
use crate::{World, basic};

/// A password of ann's.
const PASSWORD: &str = "rowing upstream at dawn";

/// A server that browsers see at `http://localhost`, where passkeys work without TLS, with ann.
fn world(config: &str) -> World {
    let port = free_port();
    let config = format!("[auth]\npublic_url = \"http://localhost:{port}\"\n{config}");
    let world = World::start(World::builder().port(port).config(&config));
    let ann = json!({"name": "ann", "password": PASSWORD, "must_change_password": false});
    world.admin("POST", "/users", &ann).expect(201);
    world
}

fn local(world: &World, path: &str) -> String {
    world.url(path).replace("127.0.0.1", "localhost")
}

#[track_caller]
fn sign_in(world: &World, browser: &mut Chromium) -> Shown {
    sign_in_as(world, browser, "ann")
}

#[track_caller]
fn sign_in_as(world: &World, browser: &mut Chromium, user: &str) -> Shown {
    browser.go(&local(world, "/login"));
    browser.fill("#user", user);
    browser.fill("#password", PASSWORD);
    browser.click("main form button")
}

#[track_caller]
fn sign_out(browser: &mut Chromium) {
    browser.click("text=Sign out");
}

/// Makes a passkey of this name, of who has signed in and needs not confirm.
#[track_caller]
fn register(world: &World, browser: &mut Chromium, name: &str) -> Shown {
    browser.go(&local(world, "/account/factors/passkey"));
    browser.fill("#name", name);
    browser.click("text=Make the passkey")
}

/// Shows the passkey that the page asks for.
#[track_caller]
fn show(browser: &mut Chromium) -> Shown {
    browser.click("text=Use a passkey")
}

/// Sends a form as the browser would, with its cookies.
fn send(world: &World, browser: &mut Chromium, path: &str, form: &str) -> Response {
    let cookies = ["wharf_session", "wharf_login"].into_iter().filter_map(|name| {
        let cookie = browser.cookie(name)?;
        Some(format!("{name}={}", cookie["value"].as_str()?))
    });
    let cookies = cookies.collect::<Vec<_>>().join("; ");
    let client = world.server.client();
    let request = client.request("POST", path).header("Cookie", cookies);
    let request = request.header("Origin", local(world, "")).header("Sec-Fetch-Site", "same-origin");
    request.header("Content-Type", "application/x-www-form-urlencoded").body(form).send()
}

#[test]
fn a_passkey_is_made_shown_and_removed() {
    let world = world("");
    let mut browser = Chromium::with_scripts();
    let authenticator = browser.authenticator();
    sign_in(&world, &mut browser);
    browser.picture("account-factors");
    browser.go(&local(&world, "/account/factors"));
    assert_eq!(browser.count("text=Change something?"), 0, "the password was typed just now");
    browser.picture("factors-none");
    browser.click("text=Add a passkey");
    browser.picture("passkey-new");
    browser.fill("#name", "blue <b>key</b>");
    let made = browser.click("text=Make the passkey");
    assert_eq!(made.status, 200);
    assert_eq!(browser.text(".codes").lines().count(), 10, "recovery codes are shown");
    assert_eq!(browser.text(".tokens .label"), "blue <b>key</b>");
    browser.picture("factors-made");
    browser.go(&local(&world, "/account/factors"));
    assert_eq!(browser.count(".codes"), 0, "once");

    sign_out(&mut browser);
    let step = sign_in(&world, &mut browser);
    assert_eq!((step.status, browser.text("h1").as_str()), (200, "Second factor"));
    let policy = step.header("content-security-policy");
    assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert!(browser.cookie("wharf_session").is_none());
    browser.picture("second-step");
    assert_eq!(show(&mut browser).url, local(&world, "/account"));
    assert!(browser.text("main").contains("You have a passkey."));
    world.journal_says("sign-in", "ann", "with the passkey `blue <b>key</b>`");
    world.journal_says("factor.create", "ann", "factor ann passkey ");

    // Who has one shows it once more before anything changes.
    browser.go(&local(&world, "/account/factors"));
    assert_eq!(browser.count("button:has-text(\"Remove\")"), 0);
    browser.picture("factors-locked");
    browser.click("a.button:has-text(\"Confirm\")");
    browser.picture("confirm");
    assert_eq!(show(&mut browser).url, local(&world, "/account/factors"));
    browser.unplug(&authenticator);
    let second = browser.authenticator();
    let again = register(&world, &mut browser, "another");
    assert_eq!(again.url, local(&world, "/account/factors?done=passkey"), "{}", browser.text("main"));
    browser.click("button:has-text(\"Remove\") >> nth=0");
    assert_eq!(browser.count(".tokens li"), 1);
    browser.click("button:has-text(\"Remove\") >> nth=0");
    assert!(browser.text("[role=status]").contains("removed"));
    assert_eq!(browser.count(".tokens li"), 0);
    world.journal_says("factor.delete", "ann", "factor ann passkey ");
    sign_out(&mut browser);
    assert_eq!(sign_in(&world, &mut browser).url, local(&world, "/account"), "the password is enough again");
    browser.unplug(&second);
}

#[test]
fn an_authenticator_makes_one_passkey_and_another_shows_none() {
    let world = world("");
    let mut browser = Chromium::with_scripts();
    let first = browser.authenticator();
    sign_in(&world, &mut browser);
    register(&world, &mut browser, "first");
    browser.go(&local(&world, "/account/factors/passkey"));
    browser.fill("#name", "the same");
    browser.press("text=Make the passkey", "[data-problem]");
    assert!(browser.text("[data-problem]").contains("already"), "{}", browser.text("[data-problem]"));
    let kept = browser.credential(&first);
    sign_out(&mut browser);

    // Another authenticator, with a key of somebody else under the same id.
    browser.unplug(&first);
    let other = browser.authenticator();
    let mut eve = Chromium::with_scripts();
    let hers = eve.authenticator();
    let new = json!({"name": "eve", "password": PASSWORD, "must_change_password": false});
    world.admin("POST", "/users", &new).expect(201);
    sign_in_as(&world, &mut eve, "eve");
    register(&world, &mut eve, "hers");
    let mut forged = eve.credential(&hers);
    forged["credentialId"] = kept["credentialId"].clone();
    browser.hold(&other, &forged);
    sign_in(&world, &mut browser);
    assert_eq!(show(&mut browser).status, 403);
    assert!(browser.cookie("wharf_session").is_none());
    world.journal_says("sign-in", "ann", "the passkey was not accepted");
    browser.unplug(&other);
    // The right one, after that.
    let right = browser.authenticator();
    browser.hold(&right, &kept);
    assert_eq!(show(&mut browser).url, local(&world, "/account"), "{}", browser.text("main"));
}

#[test]
fn an_answer_counts_once_for_one_browser_and_one_purpose() {
    let world = world("");
    let mut browser = Chromium::with_scripts();
    let first = browser.authenticator();
    sign_in(&world, &mut browser);
    register(&world, &mut browser, "key");
    // What was sent to sign in, sent again: its session has begun, and its question was answered.
    sign_out(&mut browser);
    sign_in(&world, &mut browser);
    show(&mut browser);
    let used = browser.form();
    assert_eq!(send(&world, &mut browser, "/login/passkey", &used).status, 403);
    // A browser that has given the password, too, with its own form and this answer.
    let mut thief = Chromium::with_scripts();
    sign_in(&world, &mut thief);
    let csrf = thief.value("main input[name=csrf] >> nth=0");
    let answer = used.split('&').find(|field| field.starts_with("answer=")).unwrap();
    let stolen = send(&world, &mut thief, "/login/passkey", &format!("csrf={csrf}&{answer}"));
    assert_eq!(stolen.status, 403, "a question of another browser");
    assert!(!stolen.headers.iter().any(|(_, value)| value.starts_with("wharf_session=")));
    // The right answer with a form that is not the page's own.
    sign_out(&mut browser);
    sign_in(&world, &mut browser);
    show(&mut browser);
    let form = browser.form();
    let csrf = form.split('&').find(|field| field.starts_with("csrf=")).unwrap();
    for bad in [form.replace(csrf, "csrf=AAAA"), form.replace(csrf, "")] {
        assert_eq!(send(&world, &mut browser, "/login/passkey", &bad).status, 403);
    }
    // Without a second factor shown, nothing changes, whatever form is sent.
    let csrf = browser.value("main input[name=csrf] >> nth=0");
    for path in ["app", "app/remove", "codes", "passkey", "passkey/remove"] {
        let path = format!("/account/factors/{path}");
        let locked = send(&world, &mut browser, &path, &format!("csrf={csrf}&id=x&name=n&answer={{}}"));
        assert_eq!(
            (locked.status, locked.location().as_str()),
            (303, "/account/confirm?next=/account/factors")
        );
        assert_eq!(send(&world, &mut browser, &path, "csrf=AAAA&id=x").status, 403);
    }
    for path in ["/account/factors/one-time", "/account/confirm/passkey", "/account/confirm/code"] {
        assert_eq!(send(&world, &mut browser, path, "csrf=AAAA&answer={}&code=1").status, 403, "{path}");
        let wrong = send(&world, &mut browser, path, &format!("csrf={csrf}&{answer}&code=1"));
        assert_eq!(wrong.status, 403, "an answer to something else at {path}");
    }
    browser.unplug(&first);
}

#[test]
fn a_copy_of_a_key_is_noticed() {
    let world = world("");
    let mut browser = Chromium::with_scripts();
    let first = browser.authenticator();
    sign_in(&world, &mut browser);
    register(&world, &mut browser, "copied");
    let copy = browser.credential(&first);
    for _ in 0..2 {
        sign_out(&mut browser);
        sign_in(&world, &mut browser);
        show(&mut browser);
    }
    sign_out(&mut browser);
    browser.unplug(&first);
    let second = browser.authenticator();
    browser.hold(&second, &copy);
    sign_in(&world, &mut browser);
    assert_eq!(show(&mut browser).status, 403);
    assert!(
        browser.text("[role=alert] >> nth=0").contains("may have been copied"),
        "{}",
        browser.text("main")
    );
    world.journal_says("sign-in", "ann", "the counter of the passkey `copied (");
}

#[test]
fn passkeys_work_at_the_public_address_only() {
    let world = world("");
    let mut browser = Chromium::with_scripts();
    browser.authenticator();
    // The same server by another address: the browser refuses.
    browser.go(&world.url("/login"));
    browser.fill("#user", "ann");
    browser.fill("#password", PASSWORD);
    browser.click("main form button");
    browser.go(&world.url("/account/factors/passkey"));
    browser.fill("#name", "elsewhere");
    browser.press("text=Make the passkey", "[data-problem]:not([hidden])");
    // An answer that names another origin: the server refuses.
    let mut other = Chromium::with_scripts();
    other.authenticator();
    sign_in(&world, &mut other);
    register(&world, &mut other, "right");
    sign_out(&mut other);
    sign_in(&world, &mut other);
    show(&mut other);
    let form = other.form();
    sign_out(&mut other);
    sign_in(&world, &mut other);
    let csrf = other.value("main input[name=csrf] >> nth=0");
    let answer = form.split('&').find(|field| field.starts_with("answer=")).unwrap().to_owned();
    assert_eq!(send(&world, &mut other, "/login/passkey", &format!("csrf={csrf}&{answer}")).status, 403);

    // Where nobody has said the public address, the page says what to configure.
    let unknown = World::start(World::builder());
    let mut plain = Chromium::start();
    unknown.sign_in(&mut plain, "admin", &unknown.password);
    plain.go(&unknown.url("/account/factors"));
    assert!(plain.text("main").contains("auth.public_url"));
    assert_eq!(plain.count("text=Add a passkey"), 0);
    plain.picture("factors-not-offered");
}

#[test]
fn a_code_for_the_command_line_works_once() {
    let world = world("");
    let mut browser = Chromium::with_scripts();
    browser.authenticator();
    sign_in(&world, &mut browser);
    register(&world, &mut browser, "key");
    browser.go(&local(&world, "/account/factors"));
    assert_eq!(browser.click("button:has-text(\"Get a code\")").status, 200);
    browser.picture("one-time-code");
    let code = browser.text("#one-time");
    let client = world.server.client();
    let me = |code: &str| {
        let request = client.request("GET", "/api/v1/me").header("Authorization", basic("ann", PASSWORD));
        request.header("X-Wharf-OTP", code).send()
    };
    let who = me(&code).expect(200).json();
    assert_eq!(who["second_factor"]["passkeys"], 1);
    assert_eq!((me(&code).status, me("00000-00000").status), (401, 401));
    // Each replaces the one before, and goes with the passkeys.
    let next = |browser: &mut Chromium| {
        browser.go(&local(&world, "/account/factors"));
        browser.click("button:has-text(\"Get a code\")");
        browser.text("#one-time")
    };
    let (second, third) = (next(&mut browser), next(&mut browser));
    assert_eq!(me(&second).status, 401);
    let session = json!({"user": "ann", "password": PASSWORD, "otp": third});
    let opened =
        client.request("POST", "/api/v1/session").body(session.to_string()).send().expect(201).json();
    let authorization = format!("Bearer {}", opened["token"].as_str().unwrap());
    let list = || client.request("GET", "/api/v1/me/passkeys").header("Authorization", &authorization).send();
    let listed = list().expect(200).json();
    assert_eq!((&listed["items"][0]["name"], listed["items"].as_array().unwrap().len()), (&json!("key"), 1));
    let path = format!("/api/v1/me/passkeys/{}", listed["items"][0]["id"].as_str().unwrap());
    let remove = |code: Option<&str>| {
        let request = client.request("DELETE", &path).header("Authorization", &authorization);
        match code {
            Some(code) => request.header("X-Wharf-OTP", code),
            None => request,
        }
        .send()
    };
    assert_eq!(remove(None).status, 401, "a code with this very request");
    let fourth = next(&mut browser);
    assert_eq!(remove(Some(&fourth)).status, 204);
    assert_eq!(list().status, 200, "nothing is left that this session could have ended with");
    browser.go(&local(&world, "/account/factors"));
    assert_eq!(browser.count(".tokens li"), 0);
}

#[test]
fn an_administrator_removes_the_passkeys_of_who_has_lost_them() {
    let world = world("");
    let mut browser = Chromium::with_scripts();
    browser.authenticator();
    sign_in(&world, &mut browser);
    register(&world, &mut browser, "lost");
    world.admin("DELETE", "/users/ann/totp", &Value::Null).expect(204);
    world.admin("DELETE", "/users/ann/totp", &Value::Null).expect(404);
    sign_out(&mut browser);
    assert_eq!(sign_in(&world, &mut browser).url, local(&world, "/account"));
}

#[test]
fn who_must_have_one_is_led_to_make_a_passkey() {
    let world = world("require_second_factor = [\"guest\"]\n");
    world.admin("PUT", "/projects/team", &json!({})).expect(201);
    world.admin("PUT", "/projects/team/-/members/user:ann/guest", &Value::Null).expect(204);
    let mut browser = Chromium::with_scripts();
    browser.authenticator();
    sign_in(&world, &mut browser);
    assert_eq!(browser.go(&local(&world, "/account")).url, local(&world, "/account/factors"));
    browser.picture("factors-required");
    let csrf = browser.value("main input[name=csrf] >> nth=0");
    let token = send(&world, &mut browser, "/account/tokens", &format!("csrf={csrf}&label=x&days=3"));
    assert_eq!(
        (token.status, token.location().as_str()),
        (303, "/account/factors"),
        "nothing else before that"
    );
    register(&world, &mut browser, "required");
    assert_eq!(browser.count(".codes"), 1);
    browser.go(&local(&world, "/account"));
    assert_eq!(browser.text("h1"), "Your account");
    assert!(browser.text(".places").contains("team"));
}
