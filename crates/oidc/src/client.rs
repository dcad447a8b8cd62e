//! Signing in at a provider: the code flow with PKCE (OpenID Connect Core 1.0, RFC 7636, RFC 9207), and logging out.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};

use crate::discovery::{Discovery, Endpoint, Known};
use crate::http::public;
use crate::token::Token;
use crate::{Claims, Clock, Issuer, OidcError, Secret, SignedIn, shorten};

/// What stays as it is in the user and password of a client (RFC 6749, section 2.3.1).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a logout token says it is (OpenID Connect Back-Channel Logout 1.0).
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// How this program is known to a provider.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The provider's address, exactly as its tokens have it in `iss`.
    pub issuer: String,
    /// Certificates (PEM) to trust besides the system's authorities.
    pub ca: Option<Vec<u8>>,
    /// The name of this client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// Where the provider sends people back to.
    pub redirect_uri: String,
    /// What to ask for besides `openid`.
    pub scopes: Vec<String>,
    /// The path of the claim with the groups, `groups` with most providers.
    pub groups_claim: String,
    /// The path of the claim with the name, `preferred_username` with most providers.
    pub name_claim: String,
    /// The path of the claim with the address, `email`.
    pub email_claim: String,
}

/// This program as a client of one provider.
pub struct Client {
    settings: ClientSettings,
    discovery: Arc<Discovery>,
    issuer: Issuer,
}

/// A sign-in that has begun.
pub struct Started {
    /// Where to send the browser.
    pub url: String,
    /// What to keep until it comes back, bound to this very browser.
    pub pending: Pending,
}

/// What must be remembered between the two halves of a sign-in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// Comes back with the browser.
    pub state: Secret,
    /// Comes back in the ID token.
    pub nonce: Secret,
    /// Proves to the provider that who fetches the tokens is who began.
    pub verifier: Secret,
}

/// The query with which the browser comes back. It carries secrets, so that it has no `Debug`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Callback {
    /// What buys the tokens.
    pub code: Option<String>,
    /// As it was sent.
    pub state: Option<String>,
    /// Who answers (RFC 9207).
    pub iss: Option<String>,
    /// Why nobody signed in.
    pub error: Option<String>,
    /// The same in words.
    pub error_description: Option<String>,
}

/// Whose sessions a provider has ended; at least one is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedOut {
    /// All sessions of this person (`sub`).
    pub subject: Option<String>,
    /// This one session (`sid`).
    pub session: Option<String>,
    /// The token's id (`jti`): to be remembered until it ends, so that it counts once.
    pub id: String,
    /// When the token ends.
    pub expires: SystemTime,
}

/// The longest id of a logout token.
const ID_MAX: usize = 255;

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
    error_description: Option<String>,
}

impl Client {
    /// Nothing is asked yet.
    pub fn new(settings: ClientSettings, clock: Clock) -> Result<Self, OidcError> {
        if settings.redirect_uri.parse::<Url>().is_err() {
            let address = shorten(&settings.redirect_uri);
            let why = "it is no web address";
            return Err(OidcError::Address { address, what: "the address to come back to", why });
        }
        let discovery = Discovery::new(&settings.issuer, settings.ca.as_deref(), clock.clone())?;
        let discovery = Arc::new(discovery);
        let issuer = Issuer::published(discovery.clone(), clock);
        Ok(Self { settings, discovery, issuer })
    }

    /// Begins a sign-in.
    pub async fn begin(&self) -> Result<Started, OidcError> {
        let known = self.discovery.known().await?;
        let endpoint = &known.metadata.authorization_endpoint;
        let mut url = self.required(endpoint, "authorization_endpoint")?.clone();
        let pending =
            Pending { state: Secret::random()?, nonce: Secret::random()?, verifier: Secret::random()? };
        let challenge = digest::digest(&SHA256, pending.verifier.expose().as_bytes());
        let mut scope = "openid".to_owned();
        for name in self.settings.scopes.iter().filter(|name| *name != "openid") {
            scope = format!("{scope} {name}");
        }
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.settings.redirect_uri)
            .append_pair("scope", &scope)
            .append_pair("state", pending.state.expose())
            .append_pair("nonce", pending.nonce.expose())
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        Ok(Started { url: url.into(), pending })
    }

    /// Ends a sign-in: who it is that came back.
    pub async fn finish(&self, pending: &Pending, callback: &Callback) -> Result<SignedIn, OidcError> {
        if !callback.state.as_deref().is_some_and(|state| pending.state.is(state)) {
            return Err(OidcError::OtherSignIn("state"));
        }
        let known = self.discovery.known().await?;
        self.check_sender(&known, callback)?;
        if let Some(error) = &callback.error {
            return Err(refused(error, callback.error_description.as_deref()));
        }
        let code = callback.code.as_deref().ok_or(OidcError::NoCode)?;
        let tokens = self.redeem(&known, code, pending).await?;
        let claims = self.check_id_token(&tokens, pending).await?;
        let user_info = self.user_info(&known, &tokens, &claims).await?;
        SignedIn::new(&self.settings, tokens.id_token, &claims, &user_info)
    }

    /// Where to send a browser whose session ends here, so that it ends at the provider too; `None` where the
    /// provider does not offer that.
    pub async fn logout_url(
        &self,
        id_token_hint: &Secret,
        post_logout_redirect: &str,
    ) -> Result<Option<String>, OidcError> {
        let known = self.discovery.known().await?;
        let Some(Endpoint(mut url)) = known.metadata.end_session_endpoint.clone() else { return Ok(None) };
        url.query_pairs_mut()
            .append_pair("id_token_hint", id_token_hint.expose())
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", post_logout_redirect);
        Ok(Some(url.into()))
    }

    /// Whose sessions to end, as the provider demands by a logout token.
    pub async fn logout_token(&self, token: &str) -> Result<LoggedOut, OidcError> {
        let claims = self.issuer.verify(token, &self.settings.client_id).await?;
        let wrong = |claim, problem| Err(OidcError::Claim { claim, problem });
        let events = claims.get("events").and_then(|events| events.get(LOGOUT));
        if !events.is_some_and(serde_json::Value::is_object) {
            return wrong("events", "does not say that this is a logout token");
        }
        // So that an ID token can never be taken for a logout token.
        if claims.get("nonce").is_some() {
            return wrong("nonce", "must not be in a logout token");
        }
        let text = |claim| claims.text(claim).map(str::to_owned);
        let Some(id) = text("jti").filter(|id| !id.is_empty() && id.len() <= ID_MAX) else {
            return wrong(
                "jti",
                "is missing or too long: nobody could tell whether the token was used before",
            );
        };
        let expires = claims.expires().ok_or(OidcError::Claim { claim: "exp", problem: "is missing" })?;
        let out = LoggedOut { subject: text("sub"), session: text("sid"), id, expires };
        if out.subject.is_none() && out.session.is_none() {
            return wrong("sub", "is missing, and `sid` too: nobody knows whose session has ended");
        }
        Ok(out)
    }

    /// Against mix-up: an answer of another provider must not be redeemed at this one.
    fn check_sender(&self, known: &Known, callback: &Callback) -> Result<(), OidcError> {
        match &callback.iss {
            Some(found) if *found != self.settings.issuer => {
                Err(OidcError::WrongIssuer { wanted: self.settings.issuer.clone(), found: shorten(found) })
            }
            None if known.metadata.authorization_response_iss_parameter_supported => {
                Err(OidcError::OtherSignIn("sender"))
            }
            _ => Ok(()),
        }
    }

    /// Buys the tokens with the code.
    async fn redeem(&self, known: &Known, code: &str, pending: &Pending) -> Result<Tokens, OidcError> {
        let url = self.required(&known.metadata.token_endpoint, "token_endpoint")?;
        let (id, secret) = (self.settings.client_id.as_str(), self.settings.client_secret.expose());
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.settings.redirect_uri),
            ("code_verifier", pending.verifier.expose()),
        ];
        let mut request = self.discovery.http().post(url);
        if takes_basic(known) {
            let encode = |text| utf8_percent_encode(text, ENCODED).to_string();
            request = request.basic_auth(encode(id), Some(encode(secret)));
        } else {
            form.extend([("client_id", id), ("client_secret", secret)]);
        }
        let (status, body) = self.discovery.http().send(url, request.form(&form)).await?;
        if status == StatusCode::OK {
            let why = || "it holds no ID token".to_owned();
            return serde_json::from_slice(&body)
                .map_err(|_| OidcError::Answer { url: public(url), why: why() });
        }
        match serde_json::from_slice::<Failure>(&body) {
            Ok(failure) => Err(refused(&failure.error, failure.error_description.as_deref())),
            Err(_) => Err(OidcError::Unreachable { url: public(url), why: format!("it answers {status}") }),
        }
    }

    /// Whether the ID token is genuine, for this client, of this sign-in, and of that access token.
    async fn check_id_token(&self, tokens: &Tokens, pending: &Pending) -> Result<Claims, OidcError> {
        let claims = self.issuer.verify(&tokens.id_token, &self.settings.client_id).await?;
        if !claims.text("nonce").is_some_and(|nonce| pending.nonce.is(nonce)) {
            return Err(OidcError::OtherSignIn("nonce"));
        }
        if let Some(party) = claims.text("azp").filter(|party| *party != self.settings.client_id) {
            let wanted = self.settings.client_id.clone();
            return Err(OidcError::Audience { wanted, found: format!("`{}`", shorten(party)) });
        }
        if let Some(hash) = claims.text("at_hash") {
            let access_token = tokens.access_token.as_deref().ok_or(OidcError::AccessToken)?;
            if hash != half_hash(&Token::parse(&tokens.id_token)?.header.alg, access_token) {
                return Err(OidcError::AccessToken);
            }
        }
        Ok(claims)
    }

    /// What the provider says beyond the ID token: many put names and groups only there.
    async fn user_info(&self, known: &Known, tokens: &Tokens, claims: &Claims) -> Result<Claims, OidcError> {
        let (Some(Endpoint(url)), Some(access_token), true) = (
            &known.metadata.userinfo_endpoint,
            &tokens.access_token,
            SignedIn::is_incomplete(&self.settings, claims),
        ) else {
            return Ok(Claims::new(serde_json::Map::new()));
        };
        let http = self.discovery.http();
        let body = http.fetch(url, http.get(url).bearer_auth(access_token)).await?;
        let wrong = |why: &str| OidcError::Answer { url: public(url), why: why.to_owned() };
        SignedIn::user_info(&body, claims.subject()?).map_err(wrong)
    }

    fn required<'a>(&self, endpoint: &'a Option<Endpoint>, name: &str) -> Result<&'a Url, OidcError> {
        endpoint.as_ref().map(|endpoint| &endpoint.0).ok_or_else(|| OidcError::Answer {
            url: self.settings.issuer.clone(),
            why: format!("its discovery document names no {name}: it offers no sign-in"),
        })
    }
}

/// Basic authentication is what counts where the provider says nothing.
fn takes_basic(known: &Known) -> bool {
    let methods = known.metadata.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
    let has = |name: &str| methods.iter().any(|method| method == name);
    has("client_secret_basic") || !has("client_secret_post")
}

/// The left half of a hash, by which an ID token names an access token. Which hash depends on the signature, whose
/// algorithm has been verified.
fn half_hash(algorithm: &str, token: &str) -> String {
    let algorithm = match algorithm {
        "ES384" => &SHA384,
        "EdDSA" => &SHA512,
        _ => &SHA256,
    };
    let hash = digest::digest(algorithm, token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}

fn refused(error: &str, description: Option<&str>) -> OidcError {
    let description = description.map(|text| format!(" ({})", shorten(text))).unwrap_or_default();
    OidcError::Refused(format!("{}{description}", shorten(error)))
}
