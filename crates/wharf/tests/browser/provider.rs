//! At a real OpenID provider: the way there and back, roles by group, and sessions that end there.

use std::path::Path;

use serde_json::{Value, json};
use test_kit::oidc_provider::{CLIENT_ID, CLIENT_SECRET};
use test_kit::{OidcProvider, free_port};

use crate::chromium::Chromium;
use crate::{World, basic};

const SESSION: &str = "wharf_session";

/// A registry and a provider that know one another.
fn start() -> (OidcProvider, World) {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let client = json!({
        "redirect_uris": [format!("{url}/login/oidc/callback")],
        "post_logout_redirect_uris": [format!("{url}/login")],
        "backchannel_logout_uri": format!("{url}/login/oidc/backchannel-logout"),
        "backchannel_logout_session_required": true,
    });
    let accounts = json!({
        "id-of-mia": {
            "preferred_username": "Mia.S", "name": "Mia <i>S</i>", "email": "mia@example.com",
            "email_verified": true, "groups": ["builders", "<script>alert(1)</script>"],
        },
        "id-of-eve": { "preferred_username": "admin" },
    });
    let provider = OidcProvider::start(Path::new(env!("CARGO_TARGET_TMPDIR")), client, accounts);
    let config = format!(
        "[auth.oidc]\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n\
         scopes = [\"profile\", \"email\", \"groups\"]\ndisplay_name = \"Example ID\"\npublic_url = \"{url}\"\n",
        provider.issuer()
    );
    let world = World::start(World::builder().port(port).config(&config));
    (provider, world)
}

/// Goes through the provider's forms.
#[track_caller]
fn sign_in(world: &World, browser: &mut Chromium, login: &str) {
    browser.go(&world.url("/login?next=/account%3Fdone%3Drevoked"));
    browser.click("text=Sign in with Example ID");
    browser.fill("input[name=login]", login);
    browser.fill("input[name=password]", "any");
    browser.click("button[type=submit]");
    browser.click("button[type=submit]");
}

#[test]
fn somebody_signs_in_elsewhere_and_has_the_roles_of_their_groups() {
    let (provider, world) = start();
    world.admin("PUT", "/groups/crew", &json!({"external": "builders"})).expect(200);
    world.admin("PUT", "/projects/team", &json!({})).expect(201);
    world.admin("PUT", "/projects/team/-/members/group:crew/developer", &Value::Null).expect(204);
    let mut browser = Chromium::start();
    browser.go(&world.url("/login"));
    browser.picture("login-provider");
    sign_in(&world, &mut browser, "id-of-mia");
    assert_eq!(browser.text("h1"), "Your account");
    assert_eq!(browser.text("[role=status]"), "The token is revoked.", "the page that was asked for");
    let who = browser.text("dl");
    for expect in ["mia.s", "Mia <i>S</i>", "mia@example.com", "the identity provider"] {
        assert!(who.contains(expect), "{who}");
    }
    assert!(browser.text(".places").contains("team developer"), "{}", browser.text(".places"));
    assert_eq!(browser.count("#current"), 0, "the password is the provider's");
    browser.picture("account-provider");
    browser.fill("#label", "laptop");
    browser.select("#use", "push");
    browser.fill("#project", "team");
    browser.click("text=Make the token");
    let token = browser.text("#secret");
    let client = world.server.client();
    let upload = |name: &str, secret: &str| {
        let request = client.request("POST", &format!("/v2/{name}/blobs/uploads/"));
        request.header("Authorization", basic("mia.s", secret)).send().status
    };
    assert_eq!(
        (upload("team/app", &token), upload("other/app", &token), upload("team/app", "any")),
        (202, 403, 401)
    );
    world.journal_has("sign-in", "mia.s", "success");

    // She signs out here, and from there on at the provider.
    let kept = browser.cookie(SESSION).unwrap();
    browser.click("text=Sign out");
    browser.picture("signed-out");
    browser.click("text=Sign out of Example ID");
    assert!(browser.click("button[name=logout]").url.starts_with(&world.url("/login")));
    let old = format!("{SESSION}={}", kept["value"].as_str().unwrap());
    assert_eq!(client.request("GET", "/account").header("Cookie", old).send().status, 303);
    drop(provider);
}

#[test]
fn a_session_that_ends_at_the_provider_ends_here() {
    let (provider, world) = start();
    let mut browser = Chromium::start();
    sign_in(&world, &mut browser, "id-of-mia");
    assert_eq!(browser.text("h1"), "Your account");
    browser.go(&format!("{}/session/end", provider.issuer()));
    browser.click("button[name=logout]");
    browser.go(&world.url("/account"));
    assert_eq!(browser.text("h1"), "Sign in");
    world.journal_has("sign-out", "mia.s", "success");
    let client = world.server.client();
    let request = client.request("POST", "/login/oidc/backchannel-logout");
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(request.body("logout_token=a.b.c").send().status, 400);
}

#[test]
fn nobody_becomes_another_by_a_name_at_the_provider() {
    let (_provider, world) = start();
    let mut browser = Chromium::start();
    sign_in(&world, &mut browser, "id-of-eve");
    assert_eq!(browser.text("h1"), "Sign in");
    assert!(browser.text("[role=alert]").contains("is somebody else"));
    assert!(browser.cookie(SESSION).is_none());
    world.journal_has("sign-in", "admin", "denied");
    // An answer that this browser did not ask for.
    let answer = browser.go(&world.url("/login/oidc/callback?code=x&state=y"));
    assert_eq!(answer.status, 400);
    assert!(browser.text("[role=alert]").contains("begun elsewhere"));
}
