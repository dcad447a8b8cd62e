//! Authentication to one registry: Basic and the token flow, with credentials that go nowhere else.

mod challenge;
mod credential;
mod edit;
mod file;
mod helper;
mod keyring;
mod token;

use std::collections::HashMap;

use oci::RepoName;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use tokio::sync::Mutex;
use transfer::Retry;

use crate::headers::LONGEST;
use crate::settings::Clients;
use crate::{Host, Settings};
use challenge::Challenge;
pub use credential::{Credential, Secret};
pub use file::AuthFileError;
pub use keyring::{Keyring, KeyringError, Place};
pub use token::TokenError;
pub(crate) use token::sensitive;
use token::{Realm, Token};

/// Why a request could not be authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Looking for credentials failed.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// No token could be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// What is stored buys tokens for images, and nothing else.
    #[error(
        "the stored credential is a refresh token, which is good for images alone: sign in with a password"
    )]
    RefreshToken,
}

/// What a request needs to be allowed, in the words of token servers: `repository:team/app:pull`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope(Vec<String>);

impl Scope {
    /// These actions on a repository.
    pub fn repository(name: &RepoName, actions: &str) -> Self {
        Self(vec![format!("repository:{name}:{actions}")])
    }

    /// Nothing: only who it is that asks.
    pub const fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Listing all repositories.
    pub fn catalog() -> Self {
        Self(vec!["registry:catalog:*".into()])
    }

    /// This and another scope together.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// What to ask a token server for: this scope, and what the challenge names beyond it.
    fn with_challenge(&self, asked: Option<&str>) -> Vec<String> {
        let mut scopes = self.0.clone();
        for scope in asked.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()).take(8) {
            if !self.0.iter().any(|own| covers(own, scope)) {
                scopes.push(scope.to_owned());
            }
        }
        scopes
    }
}

/// Does `own` allow everything that `other` does? Both are `type:name:action,action`.
fn covers(own: &str, other: &str) -> bool {
    match (own.rsplit_once(':'), other.rsplit_once(':')) {
        (Some((own, allowed)), Some((other, wanted))) => {
            own == other && wanted.split(',').all(|action| allowed.split(',').any(|a| a == action))
        }
        _ => own == other,
    }
}

/// Knows what one registry wants to see, and has it ready.
pub(crate) struct Authenticator {
    host: Host,
    repository: Option<RepoName>,
    secure: bool,
    keyring: Keyring,
    retry: Retry,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    /// The outer is whether it has been looked for.
    credential: Option<Option<Credential>>,
    tokens: HashMap<Scope, Token>,
}

impl Authenticator {
    /// For requests to `host` about `repository`; `secure` when they go over TLS.
    pub fn new(host: Host, repository: Option<RepoName>, secure: bool, settings: &Settings) -> Self {
        let (keyring, retry) = (settings.keyring.clone(), settings.retry);
        Self { host, repository, secure, keyring, retry, state: Mutex::default() }
    }

    /// The `Authorization` header for a request, as far as the registry has asked for one before.
    pub async fn header(&self, clients: &Clients, scope: &Scope) -> Result<Option<HeaderValue>, AuthError> {
        let mut state = self.state.lock().await;
        if state.challenge.is_none() {
            return Ok(None);
        }
        self.make(&mut state, clients, scope).await
    }

    /// After a 401: the header to try next, or nothing when there is nothing better than what was `sent`.
    pub async fn answer(
        &self,
        clients: &Clients,
        scope: &Scope,
        headers: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, AuthError> {
        let mut state = self.state.lock().await;
        let offered = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = challenge::choose(offered.filter(|text| text.len() <= LONGEST)) else {
            return Ok(None);
        };
        state.challenge = Some(challenge);
        // A token that was refused is not used again; one that somebody else got meanwhile is.
        if state.tokens.get(scope).is_some_and(|token| Some(token.header()) == sent) {
            state.tokens.remove(scope);
        }
        let next = self.make(&mut state, clients, scope).await?;
        Ok(next.filter(|header| Some(header) != sent))
    }

    /// Was there a credential for this registry? For the message when it refuses.
    pub async fn has_credential(&self) -> bool {
        matches!(self.state.lock().await.credential, Some(Some(_)))
    }

    async fn make(
        &self,
        state: &mut State,
        clients: &Clients,
        scope: &Scope,
    ) -> Result<Option<HeaderValue>, AuthError> {
        if state.credential.is_none() {
            state.credential = Some(self.keyring.find(&self.host, self.repository.as_ref()).await?);
        }
        let credential = state.credential.as_ref().and_then(Option::as_ref);
        if let Some(Credential::Registry(token)) = credential {
            return Ok(token::bearer(token.expose()));
        }
        match &state.challenge {
            None => Ok(None),
            Some(Challenge::Basic) => {
                Ok(credential.and_then(Credential::basic).and_then(|text| token::sensitive(&text)))
            }
            Some(Challenge::Bearer { realm, service, scope: asked }) => {
                if let Some(token) = state.tokens.get(scope).filter(|token| token.is_fresh()) {
                    return Ok(Some(token.header().clone()));
                }
                let realm = Realm::new(realm, service.clone(), &self.host, self.secure)?;
                let scopes = scope.with_challenge(asked.as_deref());
                let token = realm.token(clients, &self.retry, credential, &scopes).await?;
                let header = token.header().clone();
                state.tokens.insert(scope.clone(), token);
                Ok(Some(header))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_what_the_request_and_the_challenge_need() {
        let own = Scope::repository(&"a/b".parse().unwrap(), "pull,push");
        let check = |asked: Option<&str>, expect: &[&str]| {
            assert_eq!(own.with_challenge(asked), expect, "{asked:?}");
        };
        let mine = "repository:a/b:pull,push";
        check(None, &[mine]);
        check(Some("repository:a/b:pull"), &[mine]);
        check(Some("repository:a/b:push,pull"), &[mine]);
        check(Some("repository:a/b:delete"), &[mine, "repository:a/b:delete"]);
        check(
            Some("repository:a/c:pull  registry:catalog:*"),
            &[mine, "repository:a/c:pull", "registry:catalog:*"],
        );
    }
}
