//! Who knows what one registry wants to see, and has it ready for all who ask it something.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use transfer::Retry;

use super::challenge::{self, Challenge};
use super::passes::{Flight, Pass, Passes};
use super::token::{Realm, bearer, sensitive};
use super::{AuthError, Credential, Keyring, Scope};
use crate::clients::Clients;
use crate::headers::LONGEST;
use crate::{Host, Settings};

/// How long a credential is sent before it is looked for again: somebody may have changed it.
const STORED: Duration = Duration::from_secs(300);

/// What one registry wants to see. All state is behind a lock that is held for moments only: whoever waits for a token
/// server waits for nothing else, and nobody else waits for it.
pub(crate) struct Authenticator(Arc<Inner>);

struct Inner {
    host: Host,
    secure: bool,
    clients: Arc<Clients>,
    keyring: Keyring,
    retry: Retry,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the registry asked for last, whatever the scope.
    challenge: Option<Challenge>,
    passes: Passes,
}

impl Authenticator {
    /// For requests to `host`; `secure` when they go over TLS.
    pub fn new(host: Host, secure: bool, clients: Arc<Clients>, settings: &Settings) -> Self {
        let (keyring, retry) = (settings.keyring.clone(), settings.retry);
        Self(Arc::new(Inner { host, secure, clients, keyring, retry, state: Mutex::default() }))
    }

    /// The `Authorization` header for a request, as far as the registry has asked for one before.
    pub async fn header(&self, scope: &Scope) -> Result<Option<HeaderValue>, AuthError> {
        let flight = {
            let mut state = self.0.state();
            let now = Instant::now();
            let slot = state.passes.get(scope);
            if let Some(pass) = slot.and_then(|slot| slot.fresh(now)) {
                return Ok(pass.header.clone());
            }
            let own = slot.and_then(|slot| slot.challenge.clone());
            let Some(challenge) = own.or_else(|| state.challenge.clone()) else { return Ok(None) };
            self.flight(&mut state, scope, challenge, now)
        };
        Ok(flight.await?.header)
    }

    /// After a 401: the header to try next, or nothing when there is nothing better than what was `sent`.
    pub async fn answer(
        &self,
        scope: &Scope,
        headers: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, AuthError> {
        let offered = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = challenge::choose(offered.filter(|text| text.len() <= LONGEST)) else {
            return Ok(None);
        };
        let flight = {
            let mut state = self.0.state();
            let now = Instant::now();
            state.challenge = Some(challenge.clone().without_scope());
            let slot = state.passes.slot(scope, now);
            slot.challenge = Some(challenge.clone());
            // What was refused is not used again; what somebody else got meanwhile is.
            match slot.fresh(now).filter(|pass| pass.header.as_ref() != sent) {
                Some(pass) => return Ok(pass.header.clone()),
                None => {
                    slot.pass = None;
                    self.flight(&mut state, scope, challenge, now)
                }
            }
        };
        Ok(flight.await?.header.filter(|header| Some(header) != sent))
    }

    /// Was there a credential for requests of this scope? For the message when the registry refuses.
    pub fn has_credential(&self, scope: &Scope) -> bool {
        self.0.state().passes.get(scope).and_then(|slot| slot.pass.as_ref()).is_some_and(|pass| pass.known)
    }

    /// Joins who is getting a pass of this scope, or begins.
    fn flight(&self, state: &mut State, scope: &Scope, challenge: Challenge, now: Instant) -> Flight {
        let slot = state.passes.slot(scope, now);
        if let Some(flight) = slot.flight.as_ref().and_then(|flight| flight.upgrade()) {
            return flight;
        }
        let (inner, scope) = (self.0.clone(), scope.clone());
        let flight = async move {
            let outcome = inner.buy(&scope, &challenge).await;
            inner.settle(&scope, &outcome);
            outcome
        };
        let flight = flight.boxed().shared();
        slot.flight = flight.downgrade();
        flight
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn buy(&self, scope: &Scope, challenge: &Challenge) -> Result<Pass, AuthError> {
        let credential = self.keyring.find(&self.host, scope.of.as_ref()).await?;
        let known = credential.is_some();
        let stored = |header| Pass { header, until: Instant::now() + STORED, known };
        match (challenge, &credential) {
            (_, Some(Credential::Registry(token))) => Ok(stored(bearer(token.expose()))),
            (Challenge::Basic, credential) => {
                let text = credential.as_ref().and_then(Credential::basic);
                Ok(stored(text.and_then(|text| sensitive(&text))))
            }
            (Challenge::Bearer { realm, service, scope: asked }, credential) => {
                let realm = Realm::new(realm, service.clone(), &self.host, self.secure)?;
                let scopes = scope.with_challenge(asked.as_deref());
                let token = realm.token(&self.clients, &self.retry, credential.as_ref(), &scopes).await?;
                Ok(Pass { header: Some(token.header), until: token.until, known })
            }
        }
    }

    fn settle(&self, scope: &Scope, outcome: &Result<Pass, AuthError>) {
        let mut state = self.state();
        match outcome {
            Ok(pass) => {
                if let Some(slot) = state.passes.get_mut(scope) {
                    slot.pass = Some(pass.clone());
                    slot.flight = None;
                }
            }
            // Perhaps the registry has another token server by now: let it say so again.
            Err(_) => {
                state.passes.remove(scope);
                state.challenge = None;
            }
        }
    }
}
