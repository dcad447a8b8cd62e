//! Signing in at a provider that misbehaves: what a real one cannot be told to do.

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use oidc::{Callback, Client, ClientSettings, OidcError, Pending, Secret, SignedIn};
use serde_json::{Value, json};

use crate::common::key::encode;
use crate::common::server::DOCUMENT;
use crate::common::{Answer, NOW, TestKey, World};

fn client(world: &World) -> Client {
    let settings = ClientSettings {
        issuer: world.url().to_owned(),
        ca: None,
        client_id: "wharf".to_owned(),
        client_secret: Secret::from("s3cret:/+ä".to_owned()),
        redirect_uri: "https://registry.test/callback".to_owned(),
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        groups_claim: "groups".to_owned(),
        name_claim: "preferred_username".to_owned(),
        email_claim: "email".to_owned(),
    };
    Client::new(settings, world.clock.clock()).unwrap()
}

fn callback(pending: &Pending) -> Callback {
    let state = Some(pending.state.expose().to_owned());
    Callback { code: Some("the-code".to_owned()), state, ..Callback::default() }
}

/// Signs in where the ID token has these claims changed and the answer these members.
async fn sign_in(world: &World, claims: Value, answer: Value) -> Result<SignedIn, OidcError> {
    let client = client(world);
    let pending = client.begin().await?.pending;
    let mut all = json!({
        "nonce": pending.nonce.expose(), "preferred_username": "mia", "email": "mia@example.com",
        "groups": ["a", "b"],
    });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let mut body = json!({ "id_token": world.token(all), "access_token": "access", "token_type": "Bearer" });
    body.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    world.server.set("/token", Answer::Json(body));
    client.finish(&pending, &callback(&pending)).await
}

#[tokio::test]
async fn a_sign_in_says_who_it_is() {
    let world = World::new();
    let who = sign_in(&world, json!({ "sid": "session", "azp": "wharf" }), json!({})).await.unwrap();
    assert_eq!(who.subject, "somebody");
    assert_eq!(who.name.as_deref(), Some("mia"));
    assert_eq!(who.email.as_deref(), Some("mia@example.com"));
    assert_eq!(who.groups, ["a", "b"]);
    assert_eq!(who.session.as_deref(), Some("session"));
    assert_eq!(who.expires.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), NOW + 300);
    assert!(!format!("{who:?}").contains(who.id_token.expose()));
    // RFC 6749: user and password are encoded as in a form before they are joined.
    let requests = world.server.requests();
    let request = requests.iter().find(|request| request.path == "/token").unwrap();
    let expect = base64_of("wharf:s3cret%3A%2F%2B%C3%A4");
    assert_eq!(request.authorization.as_deref(), Some(format!("Basic {expect}").as_str()));
    assert!(request.body.contains("code=the-code") && !request.body.contains("s3cret"), "{}", request.body);
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn a_provider_that_takes_the_secret_in_the_form_gets_it_there() {
    let world = World::new();
    let methods = json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] });
    world.server.set(DOCUMENT, Answer::Json(world.server.document(methods)));
    sign_in(&world, json!({}), json!({})).await.unwrap();
    let requests = world.server.requests();
    let request = requests.iter().find(|request| request.path == "/token").unwrap();
    assert_eq!(request.authorization, None);
    assert!(request.body.contains("client_id=wharf&client_secret=s3cret%3A%2F%2B"), "{}", request.body);
}

#[tokio::test]
async fn id_tokens_that_belong_elsewhere_are_refused() {
    let world = World::new();
    let check = async |claims: Value, expect: &str| {
        let error = sign_in(&world, claims.clone(), json!({})).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{claims}: {error}");
    };
    check(json!({ "nonce": "another" }), "its nonce is another").await;
    check(json!({ "nonce": null }), "its nonce is another").await;
    check(json!({ "aud": "another" }), "the audience `another`").await;
    check(json!({ "aud": ["wharf", "another"], "azp": "another" }), "the audience `another`").await;
    check(json!({ "iss": "https://issuer.test" }), "from the issuer `https://issuer.test`").await;
    check(json!({ "exp": NOW - 60 }), "has expired").await;
    check(json!({ "sub": null }), "`sub` is missing").await;
    check(json!({ "sub": "s".repeat(256) }), "more than 255").await;
    let forged = TestKey::es256("first").sign(&world.claims(json!({})));
    let error = sign_in(&world, json!({}), json!({ "id_token": forged })).await.unwrap_err();
    assert!(matches!(error, OidcError::Signature { .. }), "{error}");
    let error = sign_in(&world, json!({}), json!({ "id_token": null })).await.unwrap_err();
    assert!(error.to_string().contains("no ID token"), "{error}");
}

#[tokio::test]
async fn an_access_token_that_was_exchanged_is_noticed() {
    let half = |bytes: &[u8]| encode(&bytes[..bytes.len() / 2]);
    let keys = [
        (TestKey::es256("first"), half(digest(&SHA256, b"access").as_ref())),
        (TestKey::es384("first"), half(digest(&SHA384, b"access").as_ref())),
        (TestKey::ed25519("first"), half(digest(&SHA512, b"access").as_ref())),
    ];
    for (key, hash) in keys {
        let world = World::with(key);
        assert!(sign_in(&world, json!({ "at_hash": hash }), json!({})).await.is_ok());
        for access_token in [json!("another"), json!(null)] {
            let answer = json!({ "access_token": access_token });
            let error = sign_in(&world, json!({ "at_hash": hash }), answer).await.unwrap_err();
            assert_eq!(error, OidcError::AccessToken);
        }
    }
}

#[tokio::test]
async fn an_address_that_is_not_verified_is_not_taken() {
    let world = World::new();
    for (verified, expect) in [
        (json!(true), Some("mia@example.com")),
        (json!("true"), Some("mia@example.com")),
        (json!(null), Some("mia@example.com")),
        (json!(false), None),
        (json!("false"), None),
    ] {
        let who = sign_in(&world, json!({ "email_verified": verified }), json!({})).await.unwrap();
        assert_eq!(who.email.as_deref(), expect, "{verified}");
    }
}

#[tokio::test]
async fn what_the_id_token_leaves_out_is_asked_for() {
    let world = World::new();
    let endpoint = json!({ "userinfo_endpoint": format!("{}/me", world.url()) });
    world.server.set(DOCUMENT, Answer::Json(world.server.document(endpoint)));
    let me = json!({ "sub": "somebody", "groups": ["c"], "preferred_username": "not mia" });
    world.server.set("/me", Answer::Json(me));
    assert_eq!(sign_in(&world, json!({}), json!({})).await.unwrap().groups, ["a", "b"]);
    assert_eq!(world.server.count("/me"), 0);
    let who = sign_in(&world, json!({ "groups": null }), json!({})).await.unwrap();
    assert_eq!((who.groups, who.name.as_deref()), (vec!["c".to_owned()], Some("mia")));
    let requests = world.server.requests();
    let request = requests.iter().find(|request| request.path == "/me").unwrap();
    assert_eq!(request.authorization.as_deref(), Some("Bearer access"));
    // What is about another, cannot be read or does not come lets nobody in.
    for (answer, expect) in [
        (Answer::Json(json!({ "sub": "another", "groups": ["admins"] })), "about another"),
        (Answer::Json(json!({ "groups": ["admins"] })), "about another"),
        (Answer::Bytes(b"ey.ey.ab".to_vec()), "no JSON object"),
        (Answer::Failure(401, json!({})), "it answers 401"),
    ] {
        world.server.set("/me", answer);
        let error = sign_in(&world, json!({ "groups": null }), json!({})).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    }
}

#[tokio::test]
async fn answers_to_another_sign_in_are_refused_before_the_code_is_spent() {
    let world = World::new();
    let client = client(&world);
    let supported = json!({ "authorization_response_iss_parameter_supported": true });
    let pending = client.begin().await.unwrap().pending;
    let good = callback(&pending);
    let check = async |change: &dyn Fn(&mut Callback), expect: &str| {
        let mut callback = good.clone();
        change(&mut callback);
        let error = client.finish(&pending, &callback).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    check(&|callback| callback.state = Some("another".to_owned()), "its state is another").await;
    check(&|callback| callback.state = None, "its state is another").await;
    check(&|callback| callback.iss = Some("https://issuer.test".to_owned()), "is expected here").await;
    check(&|callback| callback.code = None, "sent no code").await;
    let denied = |callback: &mut Callback| {
        callback.error = Some("access_denied".to_owned());
        callback.error_description = Some("not\u{1b}[31m today".to_owned());
    };
    check(&denied, "refuses the sign-in: access_denied (not?[31m today)").await;
    world.server.set(DOCUMENT, Answer::Json(world.server.document(supported)));
    world.clock.advance(60);
    check(&|_| {}, "its sender is another").await;
    assert_eq!(world.server.count("/token"), 0);
}

#[tokio::test]
async fn an_answer_without_tokens_says_why() {
    let world = World::new();
    let client = client(&world);
    let pending = client.begin().await.unwrap().pending;
    let failure = json!({ "error": "invalid_grant", "error_description": "code is used" });
    for (answer, expect) in [
        (Answer::Failure(400, failure), "invalid_grant (code is used)"),
        (Answer::Failure(500, json!({})), "it answers 500"),
        (Answer::Json(json!({ "error": "x" })), "no ID token"),
        (Answer::Redirect("https://issuer.test/".to_owned()), "redirects to another host"),
        (Answer::Close, "cannot be asked"),
    ] {
        world.server.set("/token", answer);
        let error = client.finish(&pending, &callback(&pending)).await.unwrap_err().to_string();
        assert!(error.contains(expect) && !error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn every_sign_in_has_its_own_secrets() {
    let world = World::new();
    let client = client(&world);
    let (one, two) = (client.begin().await.unwrap(), client.begin().await.unwrap());
    let secrets = |pending: &Pending| {
        [&pending.state, &pending.nonce, &pending.verifier].map(|secret| secret.expose().to_owned())
    };
    let mut all = [secrets(&one.pending), secrets(&two.pending)].concat();
    assert!(all.iter().all(|secret| secret.len() == 43), "32 bytes in base64");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
    assert!(one.url.contains("scope=openid+email&"), "{}", one.url);
    assert!(!one.url.contains(one.pending.verifier.expose()));
    assert!(!format!("{:?}", one.pending).contains(one.pending.state.expose()));
    // It is kept as JSON between the two halves.
    let kept: Pending = serde_json::from_value(json!(one.pending)).unwrap();
    assert_eq!(secrets(&kept), secrets(&one.pending));
}

#[tokio::test]
async fn only_logout_tokens_end_sessions() {
    let world = World::new();
    let client = client(&world);
    let events = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let logout = async |changes: Value| -> Result<_, OidcError> {
        let mut claims = json!({ "events": events, "sid": "session", "jti": "1" });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let out = client.logout_token(&world.token(claims)).await?;
        assert_eq!(out.id, "1");
        Ok((out.subject, out.session))
    };
    let out = |subject: Option<&str>, session: Option<&str>| {
        (subject.map(str::to_owned), session.map(str::to_owned))
    };
    assert_eq!(logout(json!({})).await, Ok(out(Some("somebody"), Some("session"))));
    assert_eq!(logout(json!({ "sub": null })).await, Ok(out(None, Some("session"))));
    assert_eq!(logout(json!({ "sid": null })).await, Ok(out(Some("somebody"), None)));
    for (changes, expect) in [
        (json!({ "sub": null, "sid": null }), "nobody knows whose"),
        (json!({ "nonce": "n" }), "must not be in a logout token"),
        (json!({ "events": null }), "does not say that this is a logout token"),
        (json!({ "events": { "http://schemas.openid.net/event/other": {} } }), "does not say"),
        (json!({ "aud": "another" }), "the audience `another`"),
        (json!({ "exp": NOW - 60 }), "has expired"),
        (json!({ "jti": null }), "whether the token was used before"),
        (json!({ "jti": "x".repeat(256) }), "whether the token was used before"),
    ] {
        let error = logout(changes.clone()).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{changes}: {error}");
    }
}

#[tokio::test]
async fn a_provider_without_the_endpoints_is_no_provider() {
    let world = World::new();
    let document = json!({
        "authorization_endpoint": null, "token_endpoint": null, "end_session_endpoint": null,
    });
    world.server.set(DOCUMENT, Answer::Json(world.server.document(document)));
    let client = client(&world);
    let error = client.begin().await.err().unwrap();
    assert!(error.to_string().contains("names no authorization_endpoint"), "{error}");
    let hint = Secret::from("token".to_owned());
    assert_eq!(client.logout_url(&hint, "https://registry.test/").await, Ok(None));
}
