//! What an issuer publishes about itself: its endpoints and its keys, fetched seldom and kept through its failures.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::Url;
use serde::Deserialize;
use tokio::sync::OwnedMutexGuard;

use crate::http::{Http, is_loopback, public};
use crate::keys::Keys;
use crate::{Clock, OidcError, shorten};

/// What is known is used for so long before the issuer is asked again.
const FRESH: Duration = Duration::from_secs(60);

/// So long after one attempt, a token with an unknown key may cause the next.
const PAUSE: Duration = Duration::from_secs(30);

/// Keys are used for so long while the issuer does not answer.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// One issuer, asked with care.
pub(crate) struct Discovery {
    issuer: String,
    document: Url,
    http: Http,
    clock: Clock,
    state: Mutex<State>,
    /// Held by the one task that asks.
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    known: Option<Arc<Known>>,
    fetched: Option<SystemTime>,
    attempted: Option<SystemTime>,
    failure: Option<OidcError>,
}

/// What an issuer said.
pub(crate) struct Known {
    pub keys: Keys,
    pub metadata: Metadata,
}

/// The discovery document (OpenID Connect Discovery 1.0), as far as it matters here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    jwks_uri: Endpoint,
    pub authorization_endpoint: Option<Endpoint>,
    pub token_endpoint: Option<Endpoint>,
    pub userinfo_endpoint: Option<Endpoint>,
    pub end_session_endpoint: Option<Endpoint>,
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// An address that a document names.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Endpoint(pub Url);

impl TryFrom<String> for Endpoint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_| "this is no web address")
    }
}

impl Discovery {
    /// Nothing is asked yet.
    pub fn new(issuer: &str, ca: Option<&[u8]>, clock: Clock) -> Result<Self, OidcError> {
        let url = parse_issuer(issuer)?;
        let document = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let wrong = |_| address(issuer, "it is no web address");
        Ok(Self {
            issuer: issuer.to_owned(),
            document: document.parse().map_err(wrong)?,
            http: Http::new(&url, ca)?,
            clock,
            state: Mutex::default(),
            asking: Arc::default(),
        })
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn http(&self) -> &Http {
        &self.http
    }

    /// What is known, after asking again where that is due.
    pub async fn known(self: &Arc<Self>) -> Result<Arc<Known>, OidcError> {
        let guard = match self.usable() {
            Some(known) if !self.is_due(FRESH) => return Ok(known),
            // One asks. The others go on with what is known: an issuer that hangs must not hold up everybody.
            Some(known) => match self.asking.clone().try_lock_owned() {
                Ok(guard) => guard,
                Err(_) => return Ok(known),
            },
            None => self.asking.clone().lock_owned().await,
        };
        self.ask(guard, FRESH).await
    }

    /// What is known, after asking again for a key that is not among those known.
    pub async fn renewed(self: &Arc<Self>) -> Result<Arc<Known>, OidcError> {
        let guard = self.asking.clone().lock_owned().await;
        self.ask(guard, PAUSE).await
    }

    async fn ask(
        self: &Arc<Self>,
        guard: OwnedMutexGuard<()>,
        pause: Duration,
    ) -> Result<Arc<Known>, OidcError> {
        if self.is_due(pause) {
            let this = self.clone();
            // A task of its own: a client that goes away must not break off what others wait for. Its end is told
            // by the state.
            let task = tokio::spawn(async move {
                this.attempt().await;
                drop(guard);
            });
            task.await.map_err(|_| self.unreachable("the attempt was broken off"))?;
        }
        match self.usable() {
            Some(known) => Ok(known),
            None => Err(self
                .state(|state, _| state.failure.clone())
                .unwrap_or_else(|| self.unreachable("it has not answered yet"))),
        }
    }

    async fn attempt(&self) {
        // Before the answer, so that one which never comes counts as well.
        let begun = self.state(|state, now| *state.attempted.insert(now));
        let outcome = self.fetch().await;
        self.state(|state, _| match outcome {
            Ok(known) => {
                *state =
                    State { known: Some(Arc::new(known)), fetched: Some(begun), ..std::mem::take(state) };
            }
            Err(error) => {
                if state.known.is_some() {
                    // Nobody else hears of it while the old keys still serve.
                    tracing::warn!(%error, issuer = self.issuer, "the issuer's keys cannot be renewed");
                }
                state.failure = Some(error);
            }
        });
    }

    async fn fetch(&self) -> Result<Known, OidcError> {
        let body = self.http.fetch(&self.document, self.http.get(&self.document)).await?;
        let metadata: Metadata = serde_json::from_slice(&body).map_err(|_| OidcError::Answer {
            url: public(&self.document),
            why: "it is no discovery document of an issuer".to_owned(),
        })?;
        // Else one issuer could hand out the keys of another's tokens.
        if metadata.issuer != self.issuer {
            let found = shorten(&metadata.issuer);
            return Err(OidcError::OtherIssuer { configured: self.issuer.clone(), found });
        }
        for Endpoint(url) in metadata.endpoints() {
            self.check_endpoint(url)?;
        }
        let url = &metadata.jwks_uri.0;
        let body = self.http.fetch(url, self.http.get(url)).await?;
        let wrong = |why| OidcError::Answer { url: public(url), why };
        Ok(Known { keys: Keys::parse(&body).map_err(wrong)?, metadata })
    }

    /// Endpoints may be on other hosts (Google's are), but not without TLS, except that an issuer on this machine
    /// may name its own.
    fn check_endpoint(&self, endpoint: &Url) -> Result<(), OidcError> {
        let plain_is_safe = self.document.scheme() == "http" && is_loopback(endpoint);
        match endpoint.scheme() {
            "https" => Ok(()),
            "http" if plain_is_safe => Ok(()),
            _ => Err(OidcError::Answer {
                url: public(&self.document),
                why: format!("its endpoint {} is not protected by TLS", public(endpoint)),
            }),
        }
    }

    fn usable(&self) -> Option<Arc<Known>> {
        self.state(|state, now| state.known.clone().filter(|_| age(state.fetched, now) < STALE))
    }

    /// Whether the last attempt is so long ago that there may be another one.
    fn is_due(&self, pause: Duration) -> bool {
        self.state(|state, now| {
            let nothing_to_lose = age(state.fetched, now) >= STALE;
            age(state.attempted, now) >= if nothing_to_lose { PAUSE } else { pause }
        })
    }

    /// Looks at the state and the clock together, so that no time in the state is later than `now`.
    fn state<T>(&self, look: impl FnOnce(&mut State, SystemTime) -> T) -> T {
        // Nothing panics while the lock is held; whatever happens, the state is whole.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut state, (self.clock)())
    }

    fn unreachable(&self, why: &str) -> OidcError {
        OidcError::Unreachable { url: public(&self.document), why: why.to_owned() }
    }
}

impl Metadata {
    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let optional = [
            &self.authorization_endpoint,
            &self.token_endpoint,
            &self.userinfo_endpoint,
            &self.end_session_endpoint,
        ];
        std::iter::once(&self.jwks_uri).chain(optional.into_iter().flatten())
    }
}

/// How long ago that was. A moment that lies ahead was told by a clock that has been set back since: it counts as
/// long ago, or nothing would be asked until the clock is there again.
fn age(moment: Option<SystemTime>, now: SystemTime) -> Duration {
    moment.and_then(|moment| now.duration_since(moment).ok()).unwrap_or(Duration::MAX)
}

/// Checks the address of an issuer.
pub(crate) fn parse_issuer(issuer: &str) -> Result<Url, OidcError> {
    let url: Url = issuer.parse().map_err(|_| address(issuer, "it is no web address"))?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    if !safe {
        return Err(address(issuer, "it must begin with https:// (http:// is for this machine's loopback)"));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || issuer.len() > 1000
    {
        return Err(address(issuer, "it must be at most 1000 characters without user, query or fragment"));
    }
    Ok(url)
}

fn address(issuer: &str, why: &'static str) -> OidcError {
    OidcError::Address { address: shorten(issuer), what: "an issuer", why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_protected_by_tls_or_on_this_machine() {
        let check = |issuer: &str, good: bool| assert_eq!(parse_issuer(issuer).is_ok(), good, "{issuer}");
        check("https://token.actions.githubusercontent.com", true);
        check("https://tenant.eu.auth0.com/", true);
        check("http://127.0.0.1:8080/realms/a", true);
        check("http://localhost", true);
        for issuer in [
            "",
            "issuer.test",
            "ftp://issuer.test",
            "http://issuer.test",
            "http://10.0.0.1",
            "https://user@issuer.test",
            "https://issuer.test/?a",
            "https://issuer.test/#a",
        ] {
            check(issuer, false);
        }
        check(&format!("https://issuer.test/{}", "a".repeat(1000)), false);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_the_asking() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(age(None, now), Duration::MAX);
        assert_eq!(age(Some(now - PAUSE), now), PAUSE);
        assert_eq!(age(Some(now + PAUSE), now), Duration::MAX);
    }
}
