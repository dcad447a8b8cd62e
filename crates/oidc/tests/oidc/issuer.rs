//! Which tokens are believed, and what an issuer that misbehaves or is down can do.

use std::path::Path;
use std::process::Command;
use std::task::{Context, Waker};

use oidc::{Issuer, IssuerSettings, OidcError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer as Issuing, KeyPair};
use serde_json::{Value, json};

use crate::common::key::{encode, sign_hs256, unsigned};
use crate::common::server::{DOCUMENT, KEYS};
use crate::common::{Answer, NOW, Server, TestClock, TestKey, World};

/// Verifies a token for `wharf`; an error never shows the token.
async fn verify(issuer: &Issuer, token: &str) -> Result<String, OidcError> {
    let outcome = issuer.verify(token, "wharf").await;
    if let Err(error) = &outcome {
        let text = format!("{error} {error:?}");
        let parts = token.split('.').filter(|part| part.len() > 8);
        assert!(parts.into_iter().all(|part| !text.contains(part)), "{text} shows {token}");
    }
    outcome.map(|claims| claims.text("sub").unwrap_or_default().to_owned())
}

#[tokio::test]
async fn every_allowed_algorithm_is_verified() {
    for key in [
        TestKey::rs256("a"),
        TestKey::ps256("a"),
        TestKey::es256("a"),
        TestKey::es384("a"),
        TestKey::ed25519("a"),
    ] {
        let world = World::with(key);
        let issuer = world.issuer();
        assert_eq!(verify(&issuer, &world.token(json!({}))).await, Ok("somebody".to_owned()));
        let token = world.token(json!({ "aud": ["other", "wharf"] }));
        assert_eq!(verify(&issuer, &token).await, Ok("somebody".to_owned()));
        // One changed character of the claims, or another signature.
        let other = world.token(json!({ "sub": "somebody else" }));
        let (message, _) = token.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        let error = verify(&issuer, &format!("{message}.{signature}")).await.unwrap_err();
        assert!(matches!(error, OidcError::Signature { .. }), "{error}");
        let error = verify(&issuer, &format!("{message}.")).await.unwrap_err();
        assert!(matches!(error, OidcError::Signature { .. }), "{error}");
    }
}

#[tokio::test]
async fn tokens_of_another_time_audience_or_issuer_are_refused() {
    let world = World::new();
    let issuer = world.issuer();
    let check = async |changes: Value, expect: &str| {
        let error = verify(&issuer, &world.token(changes.clone())).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{changes}: {error}");
    };
    check(json!({ "exp": NOW - 30 }), "has expired").await;
    check(json!({ "exp": null }), "`exp` is missing").await;
    check(json!({ "nbf": NOW + 31 }), "from the future").await;
    check(json!({ "iat": NOW + 31 }), "from the future").await;
    check(json!({ "aud": "another" }), "the audience `another`: ask the issuer for one").await;
    check(json!({ "aud": ["wharf2", "WHARF"] }), "the audience `wharf2`, `WHARF`").await;
    check(json!({ "aud": null }), "`aud` is missing").await;
    check(json!({ "iss": "https://issuer.test" }), "from the issuer `https://issuer.test`").await;
    check(json!({ "iss": format!("{}/", world.url()) }), "is expected here").await;
    check(json!({ "iss": null }), "`iss` is missing").await;
    // Such tokens cause no request at all.
    assert_eq!(world.server.requests().len(), 0);
}

#[tokio::test]
async fn the_key_decides_about_the_algorithm() {
    let world = World::with(TestKey::rs256("first"));
    let issuer = world.issuer();
    let claims = world.claims(json!({}));
    let check = async |token: String, expect: &str| {
        let error = verify(&issuer, &token).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    let head = |algorithm: &str| json!({ "alg": algorithm, "kid": "first" });
    check(format!("{}.", unsigned(&head("none"), &claims)), "`none`, and its key is for RS256").await;
    check(format!("{}.", unsigned(&head("RS256"), &claims)), "not by the key").await;
    // The public key, in all the forms in which libraries have taken it for a secret.
    let jwk = world.key.jwk();
    let modulus = world.key.modulus();
    for secret in [modulus.clone(), encode(&modulus).into_bytes(), jwk.to_string().into_bytes()] {
        check(sign_hs256(&secret, &head("HS256"), &claims), "`HS256`, and its key is for RS256").await;
        check(sign_hs256(&secret, &head("RS256"), &claims), "not by the key").await;
    }
    // The right key, used in another way than it is for.
    check(world.key.sign_as(&head("PS256"), &claims), "`PS256`, and its key is for RS256").await;
    check(world.key.sign_as(&head("rs256"), &claims), "is for RS256").await;
    // A head that brings a key of its own.
    let own = TestKey::rs256("own");
    let head = json!({ "alg": "RS256", "kid": "first", "jwk": own.jwk(), "jku": "http://127.0.0.1:1/keys" });
    check(own.sign_as(&head, &claims), "not by the key").await;
    check(world.key.sign_as(&json!({ "alg": "RS256", "kid": "first", "crit": ["x"] }), &claims), "crit")
        .await;
    check(format!("{}.{}.", world.token(json!({})), "A".repeat(40_000)), "more than 32768 bytes").await;
    check("not a token".to_owned(), "three parts").await;
}

#[tokio::test]
async fn keys_of_others_are_no_keys() {
    let (one, two) = (World::new(), World::with(TestKey::es256("second")));
    let issuer = one.issuer();
    // The other issuer's key, under its own id and under an id that is known here.
    let claims = one.claims(json!({}));
    let error = verify(&issuer, &two.key.sign(&claims)).await.unwrap_err();
    assert!(matches!(error, OidcError::UnknownKey { .. }), "{error}");
    let error = verify(&issuer, &two.key.sign_as(&json!({ "alg": "ES256", "kid": "first" }), &claims)).await;
    assert!(matches!(error, Err(OidcError::Signature { .. })), "{error:?}");
    let error = verify(&issuer, &two.token(json!({}))).await.unwrap_err();
    assert!(matches!(error, OidcError::WrongIssuer { .. }), "{error}");
    assert_eq!(two.server.requests().len(), 0);
}

#[tokio::test]
async fn a_token_without_a_key_id_means_the_only_key() {
    let world = World::new();
    let token = world.key.sign_as(&json!({ "alg": "ES256" }), &world.claims(json!({})));
    assert_eq!(verify(&world.issuer(), &token).await, Ok("somebody".to_owned()));
    world.server.publish(&[&world.key, &TestKey::es256("second")]);
    let error = verify(&world.issuer(), &token).await.unwrap_err();
    assert!(matches!(error, OidcError::UnknownKey { .. }), "{error}");
}

#[tokio::test]
async fn new_keys_are_found_and_withdrawn_ones_forgotten() {
    let world = World::new();
    let issuer = world.issuer();
    let long = json!({ "exp": NOW + 100_000 });
    assert!(verify(&issuer, &world.token(long.clone())).await.is_ok());
    let next = TestKey::es256("second");
    world.server.publish(&[&next]);
    let token = next.sign(&world.claims(long.clone()));
    // Not at once: else anybody could have the issuer asked with every made-up id.
    world.clock.advance(29);
    for _ in 0..3 {
        assert!(matches!(verify(&issuer, &token).await, Err(OidcError::UnknownKey { .. })));
    }
    assert_eq!(world.server.count(KEYS), 1);
    world.clock.advance(1);
    assert!(verify(&issuer, &token).await.is_ok());
    assert_eq!(world.server.count(KEYS), 2);
    assert!(matches!(verify(&issuer, &world.token(long)).await, Err(OidcError::UnknownKey { .. })));
    assert_eq!(world.server.count(KEYS), 2);
}

#[tokio::test]
async fn an_issuer_is_asked_once_a_minute_however_many_tokens_come() {
    let world = World::new();
    let issuer = world.issuer();
    let token = world.token(json!({ "exp": NOW + 100_000 }));
    let together = || async {
        let (a, b, c) =
            tokio::join!(verify(&issuer, &token), verify(&issuer, &token), verify(&issuer, &token));
        assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
    };
    together().await;
    world.clock.advance(59);
    together().await;
    assert_eq!((world.server.count(DOCUMENT), world.server.count(KEYS)), (1, 1));
    world.clock.advance(1);
    together().await;
    assert_eq!((world.server.count(DOCUMENT), world.server.count(KEYS)), (2, 2));
}

#[tokio::test]
async fn keys_serve_for_a_day_while_the_issuer_is_down() {
    let world = World::new();
    let issuer = world.issuer();
    let token = world.token(json!({ "exp": NOW + 1_000_000 }));
    assert!(verify(&issuer, &token).await.is_ok());
    world.server.go_down();
    world.clock.advance(24 * 60 * 60 - 1);
    assert!(verify(&issuer, &token).await.is_ok());
    assert_eq!(world.server.count(DOCUMENT), 2);
    world.clock.advance(1);
    let error = verify(&issuer, &token).await.unwrap_err();
    assert!(matches!(error, OidcError::Unreachable { .. }), "{error}");
    // It is back, and is asked half a minute after the last attempt.
    world.server.publish(&[&world.key]);
    world.clock.advance(30);
    assert!(verify(&issuer, &token).await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_is_down_from_the_start_is_asked_twice_a_minute() {
    let world = World::new();
    world.server.go_down();
    let issuer = world.issuer();
    let token = world.token(json!({}));
    for _ in 0..3 {
        let error = verify(&issuer, &token).await.unwrap_err();
        assert!(matches!(error, OidcError::Unreachable { .. }), "{error}");
    }
    assert_eq!(world.server.count(DOCUMENT), 1);
    world.server.publish(&[&world.key]);
    world.clock.advance(30);
    assert!(verify(&issuer, &token).await.is_ok());
}

/// What a first token gets from an issuer whose answer at a path is this.
async fn first_answer(path: &str, answer: impl FnOnce(&Server) -> Answer) -> String {
    let world = World::new();
    world.server.set(path, answer(&world.server));
    verify(&world.issuer(), &world.token(json!({}))).await.unwrap_err().to_string()
}

#[tokio::test]
async fn answers_that_are_not_as_they_should_be_are_refused() {
    let check = |error: String, expect: &str| assert!(error.contains(expect), "{error}");
    let changed = |changes: Value| |server: &Server| Answer::Json(server.document(changes));
    let other = json!({ "issuer": "https://issuer.test" });
    check(first_answer(DOCUMENT, changed(other)).await, "its issuer is `https://issuer.test`");
    let plain = json!({ "jwks_uri": "http://issuer.test/keys" });
    check(first_answer(DOCUMENT, changed(plain)).await, "not protected by TLS");
    let file = json!({ "token_endpoint": "file:///etc/passwd" });
    check(first_answer(DOCUMENT, changed(file)).await, "not protected by TLS");
    let no_address = json!({ "jwks_uri": "keys" });
    check(first_answer(DOCUMENT, changed(no_address)).await, "no discovery document");
    check(first_answer(DOCUMENT, |_| Answer::Json(json!([]))).await, "no discovery document");
    check(first_answer(DOCUMENT, |_| Answer::Failure(503, json!({}))).await, "it answers 503");
    check(first_answer(KEYS, |_| Answer::Json(json!({ "keys": [] }))).await, "none of the 0");
    check(first_answer(KEYS, |_| Answer::Bytes(vec![b' '; 5 << 20])).await, "more than 1048576 bytes");
    check(first_answer(DOCUMENT, |_| Answer::Bytes(vec![b' '; 5 << 20])).await, "more than 1048576 bytes");
}

#[tokio::test]
async fn redirects_stay_on_their_host() {
    let other = World::new();
    for path in [DOCUMENT, KEYS] {
        let error = first_answer(path, |_| Answer::Redirect(format!("{}{path}", other.url()))).await;
        assert!(error.contains("redirects to another host"), "{error}");
        let error = first_answer(path, |_| Answer::Redirect(path.to_owned())).await;
        assert!(error.contains("again and again"), "{error}");
    }
    assert_eq!(other.server.requests().len(), 0);
    let world = World::new();
    world.server.set("/moved", Answer::Json(json!({ "keys": [world.key.jwk()] })));
    world.server.set(KEYS, Answer::Redirect("/moved".to_owned()));
    assert!(verify(&world.issuer(), &world.token(json!({}))).await.is_ok());
}

// Paused: the clock of the runtime goes on by itself when all wait, so that the test does not.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_is_given_up() {
    let error = first_answer(DOCUMENT, |_| Answer::Hang).await;
    assert!(error.contains("cannot be asked") && error.contains("timed out"), "{error}");
}

#[tokio::test]
async fn a_client_that_goes_away_breaks_no_attempt_off() {
    let world = World::new();
    let issuer = world.issuer();
    let token = world.token(json!({}));
    let mut waiting = Box::pin(issuer.verify(&token, "wharf"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    drop(waiting);
    // The attempt goes on, and this waits for it rather than for the next that may be made.
    assert!(verify(&issuer, &token).await.is_ok());
    assert_eq!(world.server.count(KEYS), 1);
}

#[tokio::test]
async fn an_issuer_that_hangs_holds_up_one_and_not_everybody() {
    let world = World::new();
    let issuer = world.issuer();
    let token = world.token(json!({}));
    assert!(verify(&issuer, &token).await.is_ok());
    world.server.set(DOCUMENT, Answer::Hang);
    world.clock.advance(60);
    let mut waiting = Box::pin(issuer.verify(&token, "wharf"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert!(verify(&issuer, &token).await.is_ok());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
}

#[tokio::test]
async fn given_keys_are_used_and_nobody_is_asked() {
    let world = World::new();
    let jwks = json!({ "keys": [world.key.jwk()] }).to_string();
    let settings = IssuerSettings { jwks: Some(jwks), ..IssuerSettings::new(world.url()) };
    let issuer = Issuer::new(&settings, world.clock.clock()).unwrap();
    assert!(verify(&issuer, &world.token(json!({}))).await.is_ok());
    let other = TestKey::es256("second").sign(&world.claims(json!({})));
    let error = verify(&issuer, &other).await.unwrap_err();
    assert!(error.to_string().contains("add it to the keys given here"), "{error}");
    assert_eq!(world.server.requests().len(), 0);
    for jwks in ["", "{}", r#"{"keys":[{"kty":"oct","k":"AQAB"}]}"#] {
        let settings = IssuerSettings { jwks: Some(jwks.to_owned()), ..IssuerSettings::new(world.url()) };
        let error = Issuer::new(&settings, world.clock.clock()).err();
        assert!(matches!(error, Some(OidcError::Keys { .. })), "{error:?}");
    }
}

/// A private authority (PEM), and a certificate of it for this machine with its key.
fn private_authority(folder: &Path) -> Vec<u8> {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let (server, server_key) =
        (CertificateParams::new(["127.0.0.1".to_owned()]).unwrap(), KeyPair::generate().unwrap());
    let server = server.signed_by(&server_key, &Issuing::new(authority, authority_key)).unwrap();
    std::fs::write(folder.join("server.crt"), server.pem()).unwrap();
    std::fs::write(folder.join("server.key"), server_key.serialize_pem()).unwrap();
    pem.into_bytes()
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named() {
    let folder = test_kit::temp_dir();
    let ca = private_authority(folder.path());
    let (port, key, clock) = (test_kit::free_port(), TestKey::es256("first"), TestClock::new());
    let url = format!("https://127.0.0.1:{port}");
    std::fs::create_dir(folder.path().join(".well-known")).unwrap();
    let document = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
    std::fs::write(folder.path().join(&DOCUMENT[1..]), document.to_string()).unwrap();
    std::fs::write(folder.path().join(&KEYS[1..]), json!({ "keys": [key.jwk()] }).to_string()).unwrap();
    let mut command = Command::new(test_kit::tools::path("openssl"));
    command.args(["s_server", "-WWW", "-quiet", "-cert", "server.crt", "-key", "server.key"]);
    command.args(["-accept", &format!("127.0.0.1:{port}")]).current_dir(folder.path());
    let mut server = test_kit::Daemon::start(&mut command, &folder.path().join("log"));
    server.wait_for_port(port);

    let token = key.sign(&json!({ "iss": url, "aud": "wharf", "sub": "somebody", "exp": NOW + 300 }));
    let trusting = IssuerSettings { ca: Some(ca), ..IssuerSettings::new(&url) };
    let issuer = Issuer::new(&trusting, clock.clock()).unwrap();
    assert_eq!(verify(&issuer, &token).await, Ok("somebody".to_owned()));
    let issuer = Issuer::new(&IssuerSettings::new(&url), clock.clock()).unwrap();
    let error = verify(&issuer, &token).await.unwrap_err().to_string();
    assert!(error.contains("trusts its certificate"), "{error}");
}
