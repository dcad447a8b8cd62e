//! Credentials: what is known of a user, kept out of every message.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A text that no message, log or debug output may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the request that it is meant for.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Who somebody is to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password or access token.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token, which buys access tokens.
    Identity(Secret),
    /// An access token that is sent as it is.
    Registry(Secret),
}

impl Credential {
    /// A name and a password.
    pub const fn password(username: String, password: String) -> Self {
        Self::Password { username, password: Secret::new(password) }
    }

    /// The value of an `Authorization` header for Basic, where this is a password.
    pub(crate) fn basic(&self) -> Option<String> {
        let Self::Password { username, password } = self else { return None };
        let pair = format!("{username}:{}", password.expose());
        Some(format!("Basic {}", STANDARD.encode(pair)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_printed() {
        let secret = || "hunter2".to_owned();
        for credential in [
            Credential::password("user".into(), secret()),
            Credential::Identity(Secret::new(secret())),
            Credential::Registry(Secret::new(secret())),
        ] {
            assert!(!format!("{credential:?}").contains("hunter2"));
        }
        let basic = Credential::password("user".into(), secret()).basic();
        assert_eq!(basic.as_deref(), Some("Basic dXNlcjpodW50ZXIy"));
    }
}
