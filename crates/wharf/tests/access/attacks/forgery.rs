//! Access tokens that were not given out here, or not for this.
//!
//! That a token ends when its time is over is tested where a clock can be set: crate `identity`, `signer/tests.rs`.

use crate::registry;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use test_kit::house::{House, ask_token, pull, push, send, text, token};

/// A registry with an image in a private project, and what a genuine token for it says.
struct Target {
    house: House,
    genuine: String,
    header: Value,
    claims: Value,
}

impl Target {
    fn new() -> Self {
        let house = registry();
        house.project("team", json!({}));
        push(&house.admin, "team/app", "v1");
        let genuine = token(&house.admin, &["repository:team/app:pull,push,delete"]);
        pull(&house.anybody().bearer(&genuine), "team/app", "v1").expect(200);
        let part = |at: usize| {
            let part = genuine.split('.').nth(at).expect("a token has three parts");
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base 64")).expect("JSON")
        };
        let (header, claims) = (part(0), part(1));
        Target { house, header, claims, genuine }
    }

    /// The signature of the genuine token.
    fn signature(&self) -> &str {
        self.genuine.rsplit('.').next().expect("a token has three parts")
    }

    /// The published key.
    fn key(&self) -> Value {
        self.house.anybody().get("/.well-known/jwks.json").expect(200).json()["keys"][0].clone()
    }

    #[track_caller]
    fn expect_refused(&self, token: &str) {
        let client = self.house.anybody().bearer(token);
        let refused = pull(&client, "team/app", "v1").expect_error(401, "UNAUTHORIZED");
        assert!(refused.require("www-authenticate").contains("error=\"invalid_token\""), "{refused}");
        client.delete("/v2/team/app/manifests/v1").expect(401);
        client.get("/v2/_catalog").expect(401);
        client.get("/api/v1/me").expect(401);
        client.get("/api/v1/users").expect(401);
        ask_token(&client, &["repository:team/app:pull"], "").expect(401);
        pull(&self.house.admin, "team/app", "v1").expect(200);
    }
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// The first two parts of a token.
fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header), encode(claims))
}

fn signed(header: &Value, claims: &Value, algorithm: Algorithm, key: &EncodingKey) -> String {
    let unsigned = unsigned(header, claims);
    let signature = jsonwebtoken::crypto::sign(unsigned.as_bytes(), key, algorithm).expect("the key signs");
    format!("{unsigned}.{signature}")
}

/// The same value with one member changed.
fn with(value: &Value, name: &str, member: Value) -> Value {
    let mut value = value.clone();
    value[name] = member;
    value
}

#[test]
fn a_token_whose_claims_were_changed() {
    let target = Target::new();
    let later = target.claims["exp"].as_u64().expect("a time") + 86_400;
    let everything = json!([{"type": "repository", "name": "other/app", "actions": ["pull"]}]);
    for (name, member) in [
        ("sub", json!("root")),
        ("exp", json!(later)),
        ("aud", json!("wharf/refresh")),
        ("access", everything),
        ("via", json!("anonymous")),
        ("uid", json!("ann")),
    ] {
        let unsigned = unsigned(&target.header, &with(&target.claims, name, member));
        target.expect_refused(&format!("{unsigned}.{}", target.signature()));
    }
}

#[test]
fn a_token_with_a_damaged_signature() {
    let target = Target::new();
    let unsigned = unsigned(&target.header, &target.claims);
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    for signature in ["", "AAAA", &zeros, &target.signature()[..20]] {
        target.expect_refused(&format!("{unsigned}.{signature}"));
    }
    target.expect_refused(&unsigned);
    target.expect_refused(&format!("{}.{}", target.genuine, target.signature()));
    target.expect_refused("...");
}

#[test]
fn a_token_that_says_it_needs_no_signature() {
    let target = Target::new();
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = unsigned(&with(&target.header, "alg", json!(none)), &target.claims);
        target.expect_refused(&format!("{unsigned}."));
        target.expect_refused(&format!("{unsigned}.{}", target.signature()));
    }
}

#[test]
fn a_token_signed_with_the_public_key_as_a_shared_secret() {
    let target = Target::new();
    let key = target.key();
    let (x, y) = (text(&key["x"]), text(&key["y"]));
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base 64");
    let point = [vec![4], bytes(&x), bytes(&y)].concat();
    let header = with(&target.header, "alg", json!("HS256"));
    for secret in
        [key.to_string().into_bytes(), x.clone().into_bytes(), bytes(&x), point[1..].to_vec(), point]
    {
        let secret = EncodingKey::from_secret(&secret);
        target.expect_refused(&signed(&header, &target.claims, Algorithm::HS256, &secret));
        // And where it says that it is what it is not.
        target.expect_refused(&signed(&target.header, &target.claims, Algorithm::HS256, &secret));
    }
}

#[test]
fn a_token_signed_with_a_key_of_ones_own() {
    let target = Target::new();
    let pair = rcgen::KeyPair::generate().expect("a key can be made");
    let key = EncodingKey::from_ec_der(&pair.serialize_der());
    // Of an elliptic curve's point, uncompressed, the coordinates are the two halves.
    let point = pair.public_key_raw();
    let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    let own =
        json!({"kty": "EC", "crv": "P-256", "x": coordinate(1..33), "y": coordinate(33..65), "alg": "ES256"});
    let nameless = json!({"alg": "ES256", "typ": "JWT"});
    let kid = target.header["kid"].clone();
    let embedded = with(&target.header, "jwk", own.clone());
    let own_name = with(&with(&own, "kid", json!("own")), "use", json!("sig"));
    let headers = [
        target.header.clone(),
        with(&target.header, "kid", json!("another")),
        with(&target.header, "kid", json!("")),
        with(&target.header, "kid", json!("../../../dev/null")),
        nameless.clone(),
        embedded.clone(),
        with(&with(&target.header, "jwk", own_name), "kid", json!("own")),
        with(&with(&nameless, "jwk", own), "kid", kid),
        with(&target.header, "jku", json!("http://127.0.0.1:1/jwks.json")),
        with(&target.header, "x5u", json!("http://127.0.0.1:1/cert.pem")),
    ];
    for header in headers {
        target.expect_refused(&signed(&header, &target.claims, Algorithm::ES256, &key));
    }
}

#[test]
fn a_token_that_is_for_something_else() {
    let target = Target::new();
    let admin = &target.house.admin;
    let issued = ask_token(admin, &["repository:team/app:pull"], "&offline_token=true").expect(200).json();
    target.expect_refused(&text(&issued["refresh_token"]));
    // A token that another registry gave out says the same and is signed by somebody else.
    let elsewhere = registry();
    elsewhere.project("team", json!({}));
    target.expect_refused(&token(&elsewhere.admin, &["repository:team/app:pull"]));
}

#[test]
fn a_token_in_the_place_of_a_password() {
    let target = Target::new();
    let change = json!({"user": "admin", "current": target.genuine, "new": "rowing upstream at dawn"});
    send(&target.house.anybody(), "PUT", "/password", &change).expect(401);
    for name in ["admin", "<token>", "oauth2accesstoken", "bearer"] {
        let client = target.house.anybody().basic(name, &target.genuine);
        pull(&client, "team/app", "v1").expect(401);
    }
    target.house.admin.get("/api/v1/me").expect(200);
}
