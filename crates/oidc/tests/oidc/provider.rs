//! Signing in at a real provider.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use oidc::{Callback, Client, ClientSettings, OidcError, Secret};
use reqwest::Url;
use serde_json::{Value, json};
use test_kit::OidcProvider;
use test_kit::oidc_provider::{CLIENT_ID, CLIENT_SECRET};

use crate::common::{Answer, Server};

const REDIRECT: &str = "https://registry.test/callback";
const LOGGED_OUT: &str = "https://registry.test/bye";

fn provider(more: Value) -> OidcProvider {
    let mut client = json!({ "redirect_uris": [REDIRECT], "post_logout_redirect_uris": [LOGGED_OUT] });
    client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mia = json!({
        "preferred_username": "mia.s", "email": "mia@example.com", "email_verified": true,
        "groups": ["builders", "readers"],
    });
    let accounts = json!({ "mia": mia, "tom": { "email": "mia@example.com", "email_verified": false } });
    OidcProvider::start(Path::new(env!("CARGO_TARGET_TMPDIR")), client, accounts)
}

fn client(provider: &OidcProvider) -> Client {
    let settings = ClientSettings {
        issuer: provider.issuer().to_owned(),
        ca: None,
        client_id: CLIENT_ID.to_owned(),
        client_secret: Secret::from(CLIENT_SECRET.to_owned()),
        redirect_uri: REDIRECT.to_owned(),
        scopes: ["profile", "email", "groups"].map(str::to_owned).to_vec(),
        groups_claim: "groups".to_owned(),
        name_claim: "preferred_username".to_owned(),
        email_claim: "email".to_owned(),
    };
    // The provider goes by the system's clock.
    Client::new(settings, Arc::new(SystemTime::now)).unwrap()
}

/// The query of the address to which the browser is sent back.
fn callback(address: &str) -> Callback {
    let url: Url = address.parse().unwrap();
    assert!(address.starts_with(REDIRECT), "{address}");
    let query: serde_json::Map<String, Value> =
        url.query_pairs().map(|(name, value)| (name.into_owned(), value.into())).collect();
    serde_json::from_value(query.into()).unwrap()
}

#[tokio::test]
async fn a_person_signs_in_and_out() {
    let provider = provider(json!({}));
    let client = client(&provider);
    let mut browser = provider.browser();
    let started = client.begin().await.unwrap();
    let callback = callback(&browser.sign_in(&started.url, "mia"));
    assert_eq!(callback.iss.as_deref(), Some(provider.issuer()));
    let who = client.finish(&started.pending, &callback).await.unwrap();
    assert_eq!((who.subject.as_str(), who.name.as_deref()), ("mia", Some("mia.s")));
    assert_eq!(who.email.as_deref(), Some("mia@example.com"));
    assert_eq!(who.groups, ["builders", "readers"]);
    assert!(who.expires > SystemTime::now());

    // The same code a second time: somebody has seen it.
    let error = client.finish(&started.pending, &callback).await.unwrap_err();
    assert!(matches!(&error, OidcError::Refused(why) if why.contains("invalid_grant")), "{error}");

    // Who is logged in there is sent back without a form, until the logout.
    let again = client.begin().await.unwrap();
    let address = browser.sign_in(&again.url, "nobody");
    assert!(client.finish(&again.pending, &self::callback(&address)).await.is_ok());
    let url = client.logout_url(&who.id_token, LOGGED_OUT).await.unwrap().unwrap();
    assert_eq!(browser.log_out(&url), LOGGED_OUT);
    let third = client.begin().await.unwrap();
    let address = browser.sign_in(&third.url, "tom");
    let who = client.finish(&third.pending, &self::callback(&address)).await.unwrap();
    assert_eq!((who.subject.as_str(), who.name, who.email), ("tom", None, None));
    assert_eq!(who.groups, [""; 0]);
}

#[tokio::test]
async fn what_does_not_belong_together_is_refused() {
    let provider = provider(json!({}));
    let client = client(&provider);
    let (mine, other) = (client.begin().await.unwrap(), client.begin().await.unwrap());
    let answer = callback(&provider.browser().sign_in(&mine.url, "mia"));
    // Somebody else's browser is made to finish this sign-in.
    let error = client.finish(&other.pending, &answer).await.unwrap_err();
    assert_eq!(error, OidcError::OtherSignIn("state"));
    let elsewhere = Callback { iss: Some("https://issuer.test".to_owned()), ..answer.clone() };
    let error = client.finish(&mine.pending, &elsewhere).await.unwrap_err();
    assert!(matches!(error, OidcError::WrongIssuer { .. }), "{error}");
    // Even with the right state: the provider wants the verifier of this code.
    let mut mixed = mine.pending.clone();
    mixed.verifier = other.pending.verifier.clone();
    let error = client.finish(&mixed, &answer).await.unwrap_err();
    assert!(matches!(&error, OidcError::Refused(why) if why.contains("invalid_grant")), "{error}");
    // A nonce of another sign-in, which the provider cannot know of.
    let answer = callback(&provider.browser().sign_in(&mine.url, "mia"));
    let mut mixed = mine.pending.clone();
    mixed.nonce = other.pending.nonce.clone();
    let error = client.finish(&mixed, &answer).await.unwrap_err();
    assert_eq!(error, OidcError::OtherSignIn("nonce"));
}

#[tokio::test]
async fn a_logout_elsewhere_is_told() {
    let back = Server::start();
    back.set("/logout", Answer::Json(json!({})));
    let provider = provider(json!({
        "backchannel_logout_uri": format!("{}/logout", back.url()),
        "backchannel_logout_session_required": true,
    }));
    let client = client(&provider);
    let mut browser = provider.browser();
    let started = client.begin().await.unwrap();
    let answer = callback(&browser.sign_in(&started.url, "mia"));
    let who = client.finish(&started.pending, &answer).await.unwrap();
    let url = client.logout_url(&who.id_token, LOGGED_OUT).await.unwrap().unwrap();
    browser.log_out(&url);
    // The provider tells all clients of the session before it sends the browser on.
    let request = back.requests().pop().expect("the provider tells of the logout");
    let token = request.body.strip_prefix("logout_token=").unwrap_or_else(|| panic!("{request:?}"));
    let out = client.logout_token(token).await.unwrap();
    assert!(who.session.is_some());
    assert_eq!((out.subject.as_deref(), &out.session), (Some("mia"), &who.session));
    assert!(!out.id.is_empty());
    // Neither kind of token does for the other.
    let error = client.logout_token(who.id_token.expose()).await.unwrap_err();
    assert!(error.to_string().contains("does not say that this is a logout token"), "{error}");
}
