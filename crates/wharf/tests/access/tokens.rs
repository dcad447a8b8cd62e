//! The token service: what is given out for what is asked, and what can be done with it.

use crate::registry;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use test_kit::house::{House, PASSWORD, ask_token, personal_token, post_form, pull, push, send, text, token};
use test_kit::http::{Client, Response};

/// A registry with an image in a private and one in a public project, and a guest of the private one.
fn house() -> (House, Client) {
    let house = registry();
    house.project("closed", json!({}));
    house.project("open", json!({"public": true}));
    push(&house.admin, "closed/app", "v1");
    push(&house.admin, "open/app", "v1");
    let guest = house.member("gast", "guest", "closed");
    (house, guest)
}

/// What a token says, its signature left alone.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a token has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base 64")).expect("JSON")
}

/// Panics unless the token that was given out is good for just this.
#[track_caller]
fn check(issued: &Response, scope: &str) {
    assert_eq!(issued.status, 200, "{issued}");
    let body = issued.json();
    assert_eq!(body["scope"], scope, "{issued}");
    assert_eq!(body["token"], body["access_token"]);
    assert_eq!(body["expires_in"], 300);
    assert_eq!(issued.require("cache-control"), "no-store");
    let access = claims(&text(&body["token"]))["access"].clone();
    let each = access.as_array().expect("a list").iter().map(|entry| {
        let actions: Vec<_> = entry["actions"].as_array().expect("a list").iter().map(text).collect();
        format!("{}:{}:{}", text(&entry["type"]), text(&entry["name"]), actions.join(","))
    });
    assert_eq!(each.collect::<Vec<_>>().join(" "), scope, "{issued}");
}

#[test]
fn a_token_has_what_was_asked_for_and_may_be_done() {
    let (house, guest) = house();
    let checked =
        |client: &Client, scopes: &[&str], scope: &str| check(&ask_token(client, scopes, ""), scope);
    let anybody = house.anybody();
    checked(&guest, &["repository:closed/app:pull"], "repository:closed/app:pull");
    checked(&guest, &["repository:closed/app:pull,push,delete"], "repository:closed/app:pull");
    checked(&guest, &["repository:closed/app:*"], "repository:closed/app:pull");
    checked(&guest, &["repository:closed/app:push"], "");
    checked(&house.admin, &["repository:closed/app:*"], "repository:closed/app:pull,push,delete");
    checked(&guest, &[], "");
    // Repeated, and separated by spaces.
    let both = "repository:closed/app:pull repository:open/app:pull";
    checked(&guest, &["repository:closed/app:pull", "repository:open/app:pull"], both);
    checked(&guest, &[both], both);
    // What nobody knows is no error.
    checked(&guest, &["artifact:closed/app:pull", "repository:closed/app:fly", "repository:Closed:pull"], "");
    checked(&guest, &["nonsense", "::", "repository:closed/app"], "");
    checked(&guest, &["repository(plugin):closed/app:pull"], "repository:closed/app:pull");
    checked(&guest, &["registry:catalog:*"], "registry:catalog:*");
    checked(&anybody, &["repository:open/app:pull,push"], "repository:open/app:pull");
    checked(&anybody, &["repository:closed/app:pull"], "");
    checked(&anybody, &["registry:catalog:*"], "registry:catalog:*");

    let many = vec!["repository:open/app:pull"; 101].join(" ");
    ask_token(&guest, &[&many], "").expect(400);
    ask_token(&anybody.basic("gast", "a wrong password"), &[], "").expect(401);
}

#[test]
fn a_form_gives_the_same_as_a_query() {
    let (house, guest) = house();
    let anybody = house.anybody();
    let (scope, both) =
        ("repository:closed/app:pull,push", "repository:closed/app:pull repository:open/app:pull");
    let password =
        [("grant_type", "password"), ("service", "wharf"), ("username", "gast"), ("password", PASSWORD)];
    let post = |more: &[(&str, &str)]| post_form(&anybody, &[&password, more].concat());
    check(&post(&[("scope", scope)]), "repository:closed/app:pull");
    check(&post(&[("scope", both)]), both);
    check(&post(&[("scope", scope), ("scope", "repository:open/app:pull")]), both);
    let personal = personal_token(&guest, "gast", None);
    let fields = [("grant_type", "password"), ("username", "gast"), ("password", &*personal.secret)];
    check(&post_form(&anybody, &[&fields[..], &[("scope", scope)]].concat()), "repository:closed/app:pull");
    let credentials = [("grant_type", "client_credentials"), ("scope", scope)];
    check(&post_form(&guest, &credentials), "repository:closed/app:pull");

    post_form(&anybody, &credentials).expect(400);
    post_form(&anybody, &[("grant_type", "password"), ("username", "gast")]).expect(400);
    post_form(&anybody, &[("grant_type", "password"), ("username", "gast"), ("password", "no")]).expect(401);
    post_form(&anybody, &[("grant_type", "guess")]).expect(400);
    post_form(&anybody, &[]).expect(400);
    anybody.request("POST", "/token").body(vec![0xff; 10]).send().expect(400);
    anybody.request("POST", "/token").body("x".repeat(65 << 10)).send().expect(400);
    anybody.delete("/token").expect(405);
}

#[test]
fn a_token_is_good_for_its_scopes_and_no_more() {
    let (house, guest) = house();
    let anonymous = house.bearer(&house.anybody(), &["repository:open/app:pull"]);
    pull(&anonymous, "open/app", "v1").expect(200);
    pull(&anonymous, "closed/app", "v1").expect(401);
    anonymous.get("/v2/").expect(200);

    let narrow = house.bearer(&guest, &["repository:open/app:pull"]);
    let refused = pull(&narrow, "closed/app", "v1").expect_error(401, "UNAUTHORIZED");
    let challenge = refused.require("www-authenticate");
    let expect = format!(
        "Bearer realm=\"{}/token\",service=\"wharf\",scope=\"repository:closed/app:pull\",error=\"insufficient_scope\"",
        house.server.url()
    );
    assert_eq!(challenge, expect, "who could have more is told what to ask for");
    let wide = house.bearer(&house.admin, &["repository:closed/app:pull"]);
    wide.post("/v2/closed/app/blobs/uploads/").expect_error(401, "UNAUTHORIZED");
    wide.get("/v2/_catalog").expect_error(401, "UNAUTHORIZED");
    // Who could not have more is not asked to try.
    let guests = house.bearer(&guest, &["repository:closed/app:pull,push"]);
    guests.post("/v2/closed/app/blobs/uploads/").expect_error(403, "DENIED");

    let listing = house.bearer(&guest, &["registry:catalog:*"]);
    let listed = listing.get("/v2/_catalog").expect(200).json();
    assert_eq!(listed["repositories"], json!(["closed/app", "open/app"]));
    let listing = house.bearer(&house.anybody(), &["registry:catalog:*"]);
    assert_eq!(listing.get("/v2/_catalog").expect(200).json()["repositories"], json!(["open/app"]));
}

#[test]
fn a_push_to_a_new_project_works_with_a_token_as_with_a_password() {
    let (house, guest) = house();
    push(&house.admin, "first/app", "v1");
    let admin = house.bearer(&house.admin, &["repository:second/app:pull,push"]);
    push(&admin, "second/app", "v1");
    house.admin.get("/api/v1/projects/second").expect(200);
    let guest = house.bearer(&guest, &["repository:third/app:pull,push"]);
    guest.post("/v2/third/app/blobs/uploads/").expect(403);
    house.admin.get("/api/v1/projects/third").expect(404);
}

#[test]
fn a_refresh_token_takes_the_place_of_a_password_and_dies_with_it() {
    let (house, guest) = house();
    let anybody = house.anybody();
    let scope = "repository:closed/app:pull,push";
    let plain = ask_token(&guest, &[scope], "").expect(200);
    assert!(plain.json().get("refresh_token").is_none(), "nobody asked for one: {plain}");
    let offline = ask_token(&anybody, &["repository:open/app:pull"], "&offline_token=true").expect(200);
    assert!(offline.json().get("refresh_token").is_none(), "nobody can keep what nobody has: {offline}");

    let by_query = ask_token(&guest, &[scope], "&offline_token=true").expect(200);
    let password = [("grant_type", "password"), ("username", "gast"), ("password", PASSWORD)];
    let by_form =
        post_form(&anybody, &[&password[..], &[("access_type", "offline"), ("scope", scope)]].concat());
    let refreshes = [by_query, by_form].map(|issued| text(&issued.json()["refresh_token"]));
    let refresh = |token: &str| {
        post_form(&anybody, &[("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)])
    };
    for token in &refreshes {
        check(&refresh(token), "repository:closed/app:pull");
    }
    let access = text(&refresh(&refreshes[0]).json()["token"]);
    pull(&anybody.bearer(&access), "closed/app", "v1").expect(200);

    // Neither takes the place of the other.
    pull(&anybody.bearer(&refreshes[0]), "closed/app", "v1").expect_error(401, "UNAUTHORIZED");
    anybody.bearer(&refreshes[0]).get("/api/v1/me").expect(401);
    refresh(&access).expect(401);
    ask_token(&anybody.bearer(&access), &[scope], "").expect(401);
    ask_token(&anybody.bearer(&refreshes[0]), &[scope], "").expect(401);

    let change = json!({"user": "gast", "current": PASSWORD, "new": "rowing downstream at dusk"});
    send(&anybody, "PUT", "/password", &change).expect(204);
    pull(&anybody.bearer(&access), "closed/app", "v1").expect_error(401, "UNAUTHORIZED");
    for token in &refreshes {
        refresh(token).expect(401);
    }
    pull(&guest, "closed/app", "v1").expect(401);
    pull(&anybody.basic("gast", "rowing downstream at dusk"), "closed/app", "v1").expect(200);
}

#[test]
fn a_refresh_token_is_good_for_what_its_credential_is_good_for() {
    let (house, guest) = house();
    let bounds = json!([{"project": "open", "actions": ["pull"]}]);
    let narrow = personal_token(&guest, "gast", Some(bounds));
    let robot = house.robot("closed", "ci", &["pull"]);
    let (closed, open) = ("repository:closed/app:pull,push", "repository:open/app:pull,push");
    for (account, scope) in [
        (&narrow, "repository:open/app:pull"),
        (&robot, "repository:closed/app:pull repository:open/app:pull"),
    ] {
        let client = house.with(account);
        let offline = ask_token(&client, &[], "&offline_token=true").expect(200).json();
        let refresh = || {
            let token = text(&offline["refresh_token"]);
            let scopes = format!("{closed} {open}");
            let fields = [("grant_type", "refresh_token"), ("refresh_token", &*token), ("scope", &*scopes)];
            post_form(&house.anybody(), &fields)
        };
        check(&refresh(), scope);
        match account.name.as_str() {
            "gast" => {
                let id = text(&guest.get("/api/v1/me/tokens").json()["items"][0]["id"]);
                guest.delete(&format!("/api/v1/me/tokens/{id}")).expect(204);
            }
            _ => {
                let rotation = json!({"overlap_seconds": 0});
                send(&house.admin, "POST", "/projects/closed/-/robots/ci/rotate", &rotation).expect(200);
            }
        }
        refresh().expect(401);
    }
}

#[test]
fn anybody_can_verify_a_token_with_the_published_keys() {
    let (house, guest) = house();
    let issued = token(&guest, &["repository:closed/app:pull"]);
    let set: jsonwebtoken::jwk::JwkSet =
        serde_json::from_slice(&house.anybody().get("/.well-known/jwks.json").expect(200).body)
            .expect("a key set");
    let header = jsonwebtoken::decode_header(&issued).expect("a token has a header");
    assert_eq!(header.alg, Algorithm::ES256);
    let key = set.find(&header.kid.expect("the token names its key")).expect("the key is published");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["wharf"]);
    validation.set_issuer(&["wharf"]);
    let key = DecodingKey::from_jwk(key).expect("the key can be used");
    let verified = jsonwebtoken::decode::<Value>(&issued, &key, &validation).expect("the token is genuine");
    assert_eq!(verified.claims["sub"], "gast");
    let published = house.anybody().get("/.well-known/jwks.json").json().to_string();
    assert!(!published.contains("\"d\""), "the private half is nobody's business: {published}");
    validation.set_audience(&["another"]);
    jsonwebtoken::decode::<Value>(&issued, &key, &validation).expect_err("it is for no other service");
}
