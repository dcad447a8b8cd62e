//! Authentication to one registry: Basic and the token flow, with credentials that go nowhere else.

mod authenticator;
mod challenge;
mod credential;
mod edit;
mod file;
mod helper;
mod keyring;
mod passes;
mod token;

use std::sync::Arc;

use oci::RepoName;

use crate::FailureKind;
pub(crate) use authenticator::Authenticator;
pub(crate) use challenge::{Challenge, choose};
pub use credential::{Credential, Secret};
pub use file::AuthFileError;
pub use keyring::{Keyring, KeyringError, Place};
pub use token::TokenError;
pub(crate) use token::{Realm, sensitive};

/// Why a request could not be authenticated.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// Looking for credentials failed.
    #[error(transparent)]
    Keyring(Arc<KeyringError>),
    /// No token could be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// What is stored buys tokens for images, and nothing else.
    #[error(
        "the stored credential is a refresh token, which is good for images alone: sign in with a password"
    )]
    RefreshToken,
}

impl From<KeyringError> for AuthError {
    fn from(error: KeyringError) -> Self {
        Self::Keyring(Arc::new(error))
    }
}

impl AuthError {
    /// Whether the token server, or the way there, does not work right now.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Token(TokenError::Unreachable { .. }) => true,
            Self::Token(TokenError::Busy { status, .. }) => status.is_server_error(),
            _ => false,
        }
    }

    /// What this is to somebody who has another way out.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Keyring(_) => FailureKind::Invalid,
            Self::RefreshToken | Self::Token(TokenError::Refused { .. }) => FailureKind::Denied,
            Self::Token(TokenError::Busy { status, wait, .. }) => FailureKind::of(*status, *wait),
            Self::Token(
                TokenError::ForeignRealm { .. }
                | TokenError::Realm { .. }
                | TokenError::Unreachable { .. }
                | TokenError::NoToken { .. },
            ) => FailureKind::Failing,
        }
    }
}

/// What a request needs to be allowed, in the words of token servers: `repository:team/app:pull`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// Whose credential is asked with: some are for one repository only.
    of: Option<RepoName>,
    words: Vec<String>,
}

impl Scope {
    /// These actions on a repository.
    pub fn repository(name: &RepoName, actions: &str) -> Self {
        Self { of: Some(name.clone()), words: vec![format!("repository:{name}:{actions}")] }
    }

    /// Nothing: only who it is that asks.
    pub const fn nothing() -> Self {
        Self { of: None, words: Vec::new() }
    }

    /// Listing all repositories.
    pub fn catalog() -> Self {
        Self { of: None, words: vec!["registry:catalog:*".into()] }
    }

    /// This and another scope together, with the credential for this one.
    pub fn and(mut self, other: Self) -> Self {
        self.words.extend(other.words);
        self
    }

    /// What to ask a token server for: this scope, and what the challenge names beyond it.
    fn with_challenge(&self, asked: Option<&str>) -> Vec<String> {
        let mut scopes = self.words.clone();
        for scope in asked.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()).take(8) {
            if !self.words.iter().any(|own| covers(own, scope)) {
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
