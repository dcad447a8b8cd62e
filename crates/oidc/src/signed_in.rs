//! Who signed in.

use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::client::ClientSettings;
use crate::{Claims, OidcError, Secret};

/// Somebody whom the provider knows.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who it is, in the provider's words (`sub`): never changes, and is never given to another.
    pub subject: String,
    /// The name to be called by; who bears it may change.
    pub name: Option<String>,
    /// The name that people call them by (`name`).
    pub display_name: Option<String>,
    /// The address, unless the provider says that it is not verified.
    pub email: Option<String>,
    /// The groups; none where the provider tells none.
    pub groups: Vec<String>,
    /// The session at the provider (`sid`), by which it may end the session here.
    pub session: Option<String>,
    /// What the logout has to show.
    pub id_token: Secret,
    /// When the ID token ends.
    pub expires: SystemTime,
}

impl SignedIn {
    /// Puts together what the verified ID token says, and for what it leaves out, the answer of the endpoint for that.
    pub(crate) fn new(
        settings: &ClientSettings,
        id_token: String,
        claims: &Claims,
        user_info: &Claims,
    ) -> Result<Self, OidcError> {
        let holder = |path: &str| if claims.get(path).is_some() { claims } else { user_info };
        let text = |path: &str| holder(path).text(path).map(str::to_owned);
        let groups = holder(&settings.groups_claim).texts(&settings.groups_claim).unwrap_or_default();
        // Whoever may enter any address at the provider must not become somebody else here.
        let email_holder = holder(&settings.email_claim);
        let is_unverified = email_holder.flag("email_verified") == Some(false);
        let expires = claims.expires().ok_or(OidcError::Claim { claim: "exp", problem: "is missing" })?;
        Ok(Self {
            subject: claims.subject()?.to_owned(),
            name: text(&settings.name_claim),
            display_name: text("name"),
            email: text(&settings.email_claim).filter(|_| !is_unverified),
            groups: groups.into_iter().map(str::to_owned).collect(),
            session: claims.text("sid").map(str::to_owned),
            id_token: Secret::from(id_token),
            expires,
        })
    }

    /// Whether the ID token leaves out something that is wanted.
    pub(crate) fn is_incomplete(settings: &ClientSettings, claims: &Claims) -> bool {
        let wanted = [&settings.name_claim, &settings.email_claim, &settings.groups_claim];
        wanted.iter().any(|claim| claims.get(claim).is_none())
    }

    /// The answer of the endpoint for user information, which must be about the same person.
    pub(crate) fn user_info(body: &[u8], subject: &str) -> Result<Claims, &'static str> {
        let map: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|_| "it is no JSON object: have the provider answer this client unsigned")?;
        let claims = Claims::new(map);
        // OpenID Connect Core 1.0, section 5.3.2: else a stolen access token of another could be slipped in.
        if claims.text("sub") != Some(subject) {
            return Err("it is about another than the ID token");
        }
        Ok(claims)
    }
}
