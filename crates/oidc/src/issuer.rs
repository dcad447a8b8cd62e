//! Whether a token is genuine.

use std::sync::Arc;

use crate::discovery::{Discovery, parse_issuer};
use crate::keys::Keys;
use crate::token::Token;
use crate::{Claims, Clock, OidcError};

/// How an issuer is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Its address, exactly as its tokens have it in `iss`.
    pub url: String,
    /// Certificates (PEM) to trust besides the system's authorities.
    pub ca: Option<Vec<u8>>,
    /// Its keys (a JSON Web Key Set): then the issuer is never asked for them. For clusters that cannot be reached.
    pub jwks: Option<String>,
}

impl IssuerSettings {
    /// An issuer that is asked for its keys and has a certificate of a public authority.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ca: None, jwks: None }
    }
}

/// Somebody whose tokens are believed.
pub struct Issuer {
    url: String,
    source: Source,
    clock: Clock,
}

enum Source {
    Given(Keys),
    Published(Arc<Discovery>),
}

impl Issuer {
    /// Nothing is asked before the first token comes.
    pub fn new(settings: &IssuerSettings, clock: Clock) -> Result<Self, OidcError> {
        let source = match &settings.jwks {
            Some(jwks) => {
                parse_issuer(&settings.url)?;
                let wrong = |why| OidcError::Keys { issuer: settings.url.clone(), why };
                Source::Given(Keys::parse(jwks.as_bytes()).map_err(wrong)?)
            }
            None => {
                let discovery = Discovery::new(&settings.url, settings.ca.as_deref(), clock.clone())?;
                Source::Published(Arc::new(discovery))
            }
        };
        Ok(Self { url: settings.url.clone(), source, clock })
    }

    pub(crate) fn published(discovery: Arc<Discovery>, clock: Clock) -> Self {
        Self { url: discovery.issuer().to_owned(), source: Source::Published(discovery), clock }
    }

    /// The address, as tokens have it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a token says, if this issuer signed it for that audience and it is in force.
    pub async fn verify(&self, token: &str, audience: &str) -> Result<Claims, OidcError> {
        let token = Token::parse(token)?;
        token.claims.check_audience(audience)?;
        self.authenticate(token).await
    }

    /// What a token says, if this issuer signed it and it is in force. For whom it was made is left to the caller.
    pub(crate) async fn authenticate(&self, token: Token<'_>) -> Result<Claims, OidcError> {
        // First what costs nothing: a token that is wrong anyway must not cause a request.
        token.claims.check(&self.url, (self.clock)())?;
        let id = token.header.kid.as_deref();
        match &self.source {
            Source::Given(keys) => {
                let key = keys.find(id).ok_or_else(|| self.unknown_key(": add it to the keys given here"))?;
                token.verify(key, &self.url)?;
            }
            Source::Published(discovery) => {
                let mut known = discovery.known().await?;
                if known.keys.find(id).is_none() {
                    known = discovery.renewed().await?;
                }
                let later = ": if it is new, try again in half a minute";
                let key = known.keys.find(id).ok_or_else(|| self.unknown_key(later))?;
                token.verify(key, &self.url)?;
            }
        }
        Ok(token.claims)
    }

    fn unknown_key(&self, detail: &str) -> OidcError {
        OidcError::UnknownKey { issuer: self.url.clone(), detail: detail.to_owned() }
    }
}
