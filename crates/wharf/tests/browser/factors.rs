//! An app that shows codes, on the pages, in a browser without scripts.

use serde_json::{Value, json};
use test_kit::http::Response;
use totp_rs::{Builder, Secret, Totp};

use crate::World;
use crate::chromium::Chromium;

/// Passwords of ann's.
const PASSWORD: &str = "rowing upstream at dawn";
const OTHER_PASSWORD: &str = "another passphrase of ann";

/// The code of so many steps from here. The server takes that of the next step, too, so that a test need not wait.
fn code(app: &Totp, steps: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    app.generate(now.as_secs() + 30 * steps).to_string()
}

/// Sets an app up, of who is on the page of their factors; gives the recovery codes, too.
#[track_caller]
fn enrol(browser: &mut Chromium) -> (Totp, Vec<String>) {
    browser.click("text=Set up an app");
    assert_eq!(browser.count(".qr svg"), 1);
    let secret = browser.text("#app-secret");
    browser.fill("#code", "000000");
    assert_eq!(browser.click("text=Turn it on").status, 403);
    assert_eq!(browser.text("#app-secret"), secret, "who mistypes need not scan again");
    browser.picture("app-new");
    let app = Builder::new().with_secret(Secret::try_from_base32(&secret).unwrap()).build_noncompliant();
    browser.fill("#code", &code(&app, 0));
    assert_eq!(browser.click("text=Turn it on").status, 200);
    let codes = browser.text(".codes");
    (app, codes.split_whitespace().map(str::to_owned).collect())
}

fn world(builder: test_kit::wharf::Builder) -> World {
    let world = World::start(builder);
    let ann = json!({"name": "ann", "password": PASSWORD, "must_change_password": false});
    world.admin("POST", "/users", &ann).expect(201);
    world
}

#[test]
fn an_app_is_set_up_signed_in_with_and_removed() {
    let world = world(World::builder());
    let (mut browser, mut other) = (Chromium::start(), Chromium::start());
    world.sign_in(&mut other, "ann", PASSWORD);
    world.sign_in(&mut browser, "ann", PASSWORD);
    browser.go(&world.url("/account/factors"));
    let (app, recovery) = enrol(&mut browser);
    assert_eq!(recovery.len(), 10);
    browser.go(&world.url("/account"));
    assert!(browser.text("main").contains("You have an app."));
    other.go(&world.url("/account"));
    assert_eq!(other.text("h1"), "Sign in", "a session that the password alone opened has ended");

    let second = world.sign_in(&mut other, "ann", PASSWORD);
    assert_eq!((second.status, other.text("h1").as_str()), (200, "Second factor"));
    other.picture("second-step-code");
    world.journal_says("sign-in", "ann", "the password was right; a second factor is wanted");
    for (code, status) in [("000000", 403), (recovery[0].as_str(), 200)] {
        other.fill("#code", code);
        assert_eq!(other.click("text=Use the code").status, status, "{code}");
    }
    assert_eq!(other.text("h1"), "Your account");
    world.journal_says("sign-in", "ann", "with a code");
    world.journal_says("sign-in", "ann", "a wrong code");

    // Once more before anything changes: new recovery codes, then none.
    other.go(&world.url("/account/factors"));
    other.click("a.button:has-text(\"Confirm\")");
    other.fill("#code", &recovery[0]);
    assert_eq!(other.click("text=Use the code").status, 403, "it was used");
    other.fill("#code", &code(&app, 1));
    other.click("text=Use the code");
    other.click("text=Make new ones");
    let renewed = other.text(".codes");
    assert!(!renewed.contains(&recovery[1]) && renewed.split_whitespace().count() == 10, "{renewed}");
    other.click("text=Remove the app");
    assert!(other.text("[role=status]").contains("removed"));
    other.click("text=Sign out");
    assert_eq!(world.sign_in(&mut other, "ann", PASSWORD).url, world.url("/account"));
}

#[test]
fn who_changes_the_password_shows_the_second_factor_at_once() {
    let world = world(World::builder());
    let mut browser = Chromium::start();
    world.sign_in(&mut browser, "ann", PASSWORD);
    browser.go(&world.url("/account/factors"));
    let (_, recovery) = enrol(&mut browser);
    browser.go(&world.url("/account"));
    for (field, value) in [("#current", PASSWORD), ("#new", OTHER_PASSWORD), ("#repeated", OTHER_PASSWORD)] {
        browser.fill(field, value);
    }
    let step = browser.click("text=Change the password");
    assert_eq!((step.status, browser.text("h1").as_str()), (200, "Second factor"));
    assert!(browser.cookie("wharf_session").is_none());
    browser.fill("#code", &recovery[0]);
    assert_eq!(browser.click("text=Use the code").url, world.url("/account?done=password"));
    assert!(browser.text("[role=status]").contains("Your password is changed"));
}

#[test]
fn who_knows_the_cookie_of_the_first_step_does_not_get_the_second() {
    let world = world(World::builder());
    let mut browser = Chromium::start();
    world.sign_in(&mut browser, "ann", PASSWORD);
    browser.go(&world.url("/account/factors"));
    let (app, _) = enrol(&mut browser);

    let client = world.server.client();
    let cookie = |answer: &Response| {
        let cookies = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
        let of_login: Vec<_> = cookies.filter(|(_, value)| value.starts_with("wharf_login=")).collect();
        assert_eq!(of_login.len(), 1, "{of_login:?}");
        of_login[0].1.split(';').next().unwrap().to_owned()
    };
    let csrf = |answer: &Response| {
        let page = String::from_utf8_lossy(&answer.body).into_owned();
        let (_, rest) = page.split_once(r#"name="csrf" value=""#).expect("the page has a form");
        rest.split_once('"').unwrap().0.to_owned()
    };
    let send = |path: &str, cookie: &str, form: &str| {
        let request = client.request("POST", path).header("Origin", world.server.url());
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        request.header("Cookie", cookie).body(form).send()
    };
    let login = client.request("GET", "/login").send();
    let (planted, first) = (cookie(&login), csrf(&login));
    let password = PASSWORD.replace(' ', "+");
    let step = send("/login", &planted, &format!("csrf={first}&user=ann&password={password}"));
    let (own, second) = (cookie(&step), csrf(&step));
    assert_eq!(step.status, 200);
    assert_ne!((&own, &second), (&planted, &first));
    let code = code(&app, 1);
    for (cookie, csrf) in [(&planted, &first), (&planted, &second), (&own, &first)] {
        let other = send("/login/code", cookie, &format!("csrf={csrf}&code={code}"));
        assert_eq!(other.status, 403);
        assert!(!other.headers.iter().any(|(_, value)| value.starts_with("wharf_session=")));
    }
    let signed_in = send("/login/code", &own, &format!("csrf={second}&code={code}"));
    assert_eq!((signed_in.status, signed_in.require("location")), (303, "/account"));
}

#[test]
fn who_must_have_one_is_led_to_set_an_app_up() {
    let world = world(World::builder().config("[auth]\nrequire_second_factor = [\"guest\"]\n"));
    world.admin("PUT", "/projects/team", &json!({})).expect(201);
    world.admin("PUT", "/projects/team/-/members/user:ann/guest", &Value::Null).expect(204);
    let mut browser = Chromium::start();
    assert_eq!(world.sign_in(&mut browser, "ann", PASSWORD).url, world.url("/account/factors"));
    assert!(browser.text("main").contains("requires a second factor"));
    enrol(&mut browser);
    assert_eq!(browser.go(&world.url("/account")).url, world.url("/account"));
    // Who must change the password, too, shows the second factor on the way, and is asked for no code after that.
    let patch = json!({"password": OTHER_PASSWORD});
    world.admin("PATCH", "/users/ann", &patch).expect(200);
    let second = world.sign_in(&mut browser, "ann", OTHER_PASSWORD);
    assert_eq!((second.status, browser.text("h1").as_str()), (200, "Second factor"));
}
