//! An app that shows codes, on the pages, in a browser without scripts.

use serde_json::{Value, json};
use totp_rs::{Builder, Secret, Totp};

use crate::World;
use crate::chromium::Chromium;

/// A password of ann's.
const PASSWORD: &str = "rowing upstream at dawn";

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
    let patch = json!({"password": "another passphrase of ann"});
    world.admin("PATCH", "/users/ann", &patch).expect(200);
    let second = world.sign_in(&mut browser, "ann", "another passphrase of ann");
    assert_eq!((second.status, browser.text("h1").as_str()), (200, "Second factor"));
}
