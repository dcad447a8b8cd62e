//! Passkeys as WebAuthn has them, behind the port that `identity` defines.
//!
//! A passkey is a second factor here, after the password. So a touch is enough where an authenticator can do no more
//! (`preferred`), no attestation is asked for, and it need not be one that authenticators list by themselves.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{Asking, Credential, PasskeyError, Passkeys, Question, Registering, UserName};
use serde::de::DeserializeOwned;
use url::{Host, Url};
use uuid::Uuid;
use webauthn_rs::prelude::{
    PublicKeyCredential, RegisterPublicKeyCredential, SecurityKey, SecurityKeyAuthentication,
    SecurityKeyRegistration, WebauthnError,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};

/// How long a browser waits for its user. The server waits as long.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Judges passkeys for the registry at one address.
pub struct RelyingParty(Arc<Webauthn>);

/// Why there can be no passkeys for an address.
#[derive(Debug, PartialEq, Eq)]
pub struct NoPasskeys(&'static str);

impl std::fmt::Display for NoPasskeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NoPasskeys {}

impl RelyingParty {
    /// For the registry that browsers see at this address. Its host is what passkeys are bound to.
    pub fn at(public_url: &str) -> Result<Self, NoPasskeys> {
        let url = Url::parse(public_url).map_err(|_| NoPasskeys("the public address is no address"))?;
        let host = match url.host() {
            Some(Host::Domain(host)) => host.to_owned(),
            _ => return Err(NoPasskeys("browsers take no passkeys for a host without a name")),
        };
        if url.scheme() != "https" && host != "localhost" {
            return Err(NoPasskeys("browsers take passkeys over TLS only"));
        }
        let builder =
            WebauthnBuilder::new(&host, &url).map(|builder| builder.rp_name(&host).timeout(TIMEOUT));
        let webauthn = builder.and_then(WebauthnBuilder::build);
        webauthn
            .map(|webauthn| Self(Arc::new(webauthn)))
            .map_err(|_| NoPasskeys("the public address has no host"))
    }
}

impl Passkeys for RelyingParty {
    fn register(
        &self,
        user: &UserName,
        handle: [u8; 16],
        known: &[Credential],
    ) -> Result<Question<dyn Registering>, PasskeyError> {
        let known = known.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let known = known.iter().map(|key| key.cred_id().clone()).collect();
        let name = user.as_str();
        let handle = Uuid::from_bytes(handle);
        let begun = self.0.start_securitykey_registration(handle, name, name, Some(known), None, None);
        let (mut options, state) = begun.map_err(refused)?;
        // The library means keys that are plugged in. A telephone or a password manager is as good here; and a key
        // that asks for its PIN each time would be of no use where it has none.
        options.public_key.hints = None;
        options.public_key.extensions = None;
        let judge = Box::new(Registration { webauthn: Arc::clone(&self.0), state });
        Ok(Question { options: written(&options)?, judge })
    }

    fn ask(&self, known: &[Credential]) -> Result<Question<dyn Asking>, PasskeyError> {
        let keys = known.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let (mut options, state) = self.0.start_securitykey_authentication(&keys).map_err(refused)?;
        options.public_key.hints = None;
        let judge = Box::new(Authentication { webauthn: Arc::clone(&self.0), state, keys });
        Ok(Question { options: written(&options)?, judge })
    }
}

struct Registration {
    webauthn: Arc<Webauthn>,
    state: SecurityKeyRegistration,
}

impl Registering for Registration {
    fn finish(self: Box<Self>, answer: &str) -> Result<Credential, PasskeyError> {
        let answer: RegisterPublicKeyCredential = read(answer)?;
        let key = self.webauthn.finish_securitykey_registration(&answer, &self.state).map_err(refused)?;
        credential(&key)
    }
}

struct Authentication {
    webauthn: Arc<Webauthn>,
    state: SecurityKeyAuthentication,
    keys: Vec<SecurityKey>,
}

impl Asking for Authentication {
    fn finish(self: Box<Self>, answer: &str) -> Result<Credential, PasskeyError> {
        let answer: PublicKeyCredential = read(answer)?;
        let outcome = self.webauthn.finish_securitykey_authentication(&answer, &self.state);
        let shown = outcome.map_err(|error| match error {
            WebauthnError::CredentialPossibleCompromise => {
                PasskeyError::Copied { id: text_of(&answer.raw_id) }
            }
            error => refused(error),
        })?;
        let key = self.keys.into_iter().find(|key| key.cred_id() == shown.cred_id());
        let mut key = key.ok_or_else(|| PasskeyError::Refused("it is not known here".into()))?;
        key.update_credential(&shown);
        credential(&key)
    }
}

fn read<T: DeserializeOwned>(answer: &str) -> Result<T, PasskeyError> {
    serde_json::from_str(answer)
        .map_err(|_| PasskeyError::Refused("the browser's answer cannot be read".into()))
}

fn written(options: &impl serde::Serialize) -> Result<String, PasskeyError> {
    serde_json::to_string(options).map_err(|error| PasskeyError::Refused(error.to_string()))
}

fn key(credential: &Credential) -> Result<SecurityKey, PasskeyError> {
    let read = serde_json::from_value(credential.key.clone());
    read.map_err(|error| PasskeyError::Refused(format!("what is kept of a passkey cannot be read: {error}")))
}

fn credential(key: &SecurityKey) -> Result<Credential, PasskeyError> {
    let kept = serde_json::to_value(key).map_err(|error| PasskeyError::Refused(error.to_string()))?;
    Ok(Credential { id: text_of(key.cred_id()), key: kept })
}

/// An id as browsers have it.
fn text_of(id: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

fn refused(error: WebauthnError) -> PasskeyError {
    PasskeyError::Refused(error.to_string())
}
