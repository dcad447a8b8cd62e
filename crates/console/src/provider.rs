//! Signing in at an OpenID provider, and what the provider says of sessions that ended there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http_kit::Query;
use identity::model::ProviderSubject;
use identity::{IdentityError, Opened, ProviderAccount, Secret, SessionId};
use oidc::{Callback, Client, OidcError, Pending};

use crate::cookie::Cookie;
use crate::observe::{Event, Observation};
use crate::page::Reply;
use crate::sign_in::LoginForm;
use crate::visit::Visit;
use crate::{Console, account};

/// How long somebody may take at the provider.
const PENDING_FOR: Duration = Duration::from_mins(10);

/// How many may be there at once. Beyond, who began first must begin again.
const PENDING_MAX: usize = 10_000;

/// How many logout tokens are remembered, so that each counts once.
const TOKENS_MAX: usize = 10_000;

/// An OpenID provider, and how this registry is known to it.
pub struct ProviderSettings {
    /// Its address, exactly as its tokens have it.
    pub issuer: String,
    /// What people call it.
    pub name: String,
    /// Where browsers see this registry, without a slash at the end.
    pub public_url: String,
}

/// The provider.
pub struct Provider {
    client: Client,
    settings: ProviderSettings,
    origin: String,
    clock: oidc::Clock,
    waiting: Mutex<HashMap<String, Waiting>>,
    /// The logout tokens that were used, and when each ends.
    used: Mutex<HashMap<String, SystemTime>>,
}

/// Somebody who is at the provider.
struct Waiting {
    pending: Pending,
    browser: [u8; 32],
    next: Option<String>,
    since: SystemTime,
}

impl Provider {
    /// A provider that is asked when somebody signs in.
    pub fn new(client: Client, settings: ProviderSettings, clock: oidc::Clock) -> Self {
        let (scheme, rest) = settings.public_url.split_once("://").unwrap_or_default();
        let origin = format!("{scheme}://{}", rest.split('/').next().unwrap_or_default());
        Self { client, settings, origin, clock, waiting: Mutex::default(), used: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Where the session at the provider ends, if it offers that.
    pub(crate) async fn logout_url(&self, id_token: &Secret) -> Option<String> {
        let hint = oidc::Secret::from(id_token.expose().to_owned());
        let back = format!("{}/login", self.settings.public_url);
        self.client.logout_url(&hint, &back).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the provider was not asked for its logout");
            None
        })
    }

    fn wait(&self, browser: &SessionId, pending: Pending, next: Option<String>) {
        let now = (self.clock)();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, waiting| is_within(waiting.since, PENDING_FOR, now));
        if waiting.len() >= PENDING_MAX {
            let first = waiting.iter().min_by_key(|(_, waiting)| waiting.since);
            if let Some(state) = first.map(|(state, _)| state.clone()) {
                waiting.remove(&state);
            }
        }
        let state = pending.state.expose().to_owned();
        waiting.insert(state, Waiting { pending, browser: browser.hash(), next, since: now });
    }

    /// What was begun by this browser.
    fn take(&self, browser: Option<&SessionId>, state: Option<&str>) -> Option<Waiting> {
        let (browser, state) = (browser?.hash(), state?);
        let now = (self.clock)();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let found = waiting.get(state)?;
        // Another browser's is left to that one.
        let is_own = found.browser == browser && is_within(found.since, PENDING_FOR, now);
        if is_own { waiting.remove(state) } else { None }
    }

    /// Whether a logout token was not used before; it is from then on.
    fn is_new(&self, id: &str, expires: SystemTime) -> bool {
        let now = (self.clock)();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // The clock of the provider may be a little behind ours.
        used.retain(|_, expires| is_within(*expires, Duration::from_mins(1), now));
        if used.len() >= TOKENS_MAX || used.contains_key(id) {
            return false;
        }
        used.insert(id.to_owned(), expires);
        true
    }

    fn account(&self, who: oidc::SignedIn) -> ProviderAccount {
        ProviderAccount {
            subject: ProviderSubject { issuer: self.settings.issuer.clone(), subject: who.subject },
            name: who.name,
            email: who.email,
            display_name: who.display_name,
            groups: who.groups,
            session: who.session,
            id_token: Secret::new(who.id_token.expose()),
        }
    }
}

/// Whether less time has passed since then. What lies ahead is not over.
fn is_within(since: SystemTime, time: Duration, now: SystemTime) -> bool {
    now.duration_since(since).is_ok_and(|passed| passed < time) || since > now
}

impl Console {
    /// Sends the browser to the provider.
    pub(crate) async fn begin_at_provider(&self, visit: &Visit<'_>) -> Reply {
        let Some(provider) = &self.provider else { return no_provider(visit) };
        let browser = match visit.login_id().map_or_else(SessionId::generate, Ok) {
            Ok(browser) => browser,
            Err(error) => return self.provider_failed(visit, &IdentityError::from(error)),
        };
        match provider.client.begin().await {
            Ok(started) => {
                provider.wait(&browser, started.pending, visit.next(None));
                Reply::away(&started.url).cookie(Cookie::Login.set(&browser, visit.place))
            }
            Err(error) => self.oidc_failed(visit, &error),
        }
    }

    /// The browser is back.
    pub(crate) async fn finish_at_provider(&self, visit: &Visit<'_>) -> Reply {
        let Some(provider) = &self.provider else { return no_provider(visit) };
        let field = |name| visit.query.first(name).map(std::borrow::Cow::into_owned);
        let callback = Callback {
            code: field("code"),
            state: field("state"),
            iss: field("iss"),
            error: field("error"),
            error_description: field("error_description"),
        };
        let Some(waiting) = provider.take(visit.login_id().as_ref(), callback.state.as_deref()) else {
            return self.oidc_failed(visit, &OidcError::OtherSignIn("state"));
        };
        let who = match provider.client.finish(&waiting.pending, &callback).await {
            Ok(who) => who,
            Err(error) => return self.oidc_failed(visit, &error),
        };
        let claimed = who.name.clone().unwrap_or_default();
        let account = provider.account(who);
        match self.identity.sign_in_from_provider(account, visit.context.address).await {
            Ok(Opened { id, subject }) => {
                self.welcome(visit, &Opened { id, subject }, waiting.next.as_deref(), "")
            }
            Err(error) => {
                self.refused(visit, &claimed, "oidc");
                self.provider_failed(visit, &error)
            }
        }
    }

    /// The provider says that sessions have ended there (OpenID Connect Back-Channel Logout 1.0).
    pub(crate) async fn end_by_provider(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let Some(provider) = &self.provider else { return no_provider(visit) };
        let token = Query::form(form).first("logout_token").unwrap_or_default();
        let out = match provider.client.logout_token(&token).await {
            Ok(out) => out,
            Err(error) => {
                tracing::warn!(%error, client = ?visit.context.address, "a logout token was refused");
                return Reply::bare(StatusCode::BAD_REQUEST);
            }
        };
        if !provider.is_new(&out.id, out.expires) {
            tracing::warn!(client = ?visit.context.address, "a logout token was sent again");
            return Reply::bare(StatusCode::BAD_REQUEST);
        }
        let ended = self.identity.sign_out_from_provider(out.subject.as_deref(), out.session.as_deref());
        for subject in ended {
            self.tell(visit, Event::SignedOut, Some(&subject), "by the identity provider");
        }
        Reply::bare(StatusCode::OK)
    }

    fn oidc_failed(&self, visit: &Visit<'_>, error: &OidcError) -> Reply {
        tracing::warn!(%error, request = ?visit.context.request, "a sign-in at the identity provider failed");
        let (status, message) = match error {
            OidcError::OtherSignIn(_) | OidcError::NoCode => (
                StatusCode::BAD_REQUEST,
                "This sign-in was begun elsewhere, or took too long. Please begin again.",
            ),
            OidcError::Refused(_) => (
                StatusCode::FORBIDDEN,
                "The identity provider did not let you in. Begin again, or ask who runs it.",
            ),
            _ => (
                StatusCode::BAD_GATEWAY,
                "The identity provider cannot be used at the moment. The log of the registry says why.",
            ),
        };
        let detail = error.to_string();
        self.observer.observe(&Observation {
            event: Event::Refused,
            subject: None,
            claimed: None,
            context: &visit.context,
            detail: &detail,
        });
        self.login_form(visit, status, &LoginForm { message: Some(message), ..LoginForm::default() })
    }

    fn provider_failed(&self, visit: &Visit<'_>, error: &IdentityError) -> Reply {
        let (status, message) = match error {
            IdentityError::Unauthenticated(access::Unauthenticated::Wrong) => {
                (StatusCode::FORBIDDEN, "Your account is disabled in this registry.".to_owned())
            }
            error => account::explain(error),
        };
        self.login_form(visit, status, &LoginForm { message: Some(&message), ..LoginForm::default() })
    }
}

fn no_provider(visit: &Visit<'_>) -> Reply {
    Reply::failure(visit, StatusCode::NOT_FOUND, "This registry has no identity provider.")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    use super::*;

    fn provider() -> (Provider, Arc<AtomicU64>) {
        let seconds = Arc::new(AtomicU64::new(1_800_000_000));
        let now = Arc::clone(&seconds);
        let clock: oidc::Clock =
            Arc::new(move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::SeqCst)));
        let settings = oidc::ClientSettings {
            issuer: "https://id.example".into(),
            ca: None,
            client_id: "wharf".into(),
            client_secret: "secret".to_owned().into(),
            redirect_uri: "https://r.example/registry/login/oidc/callback".into(),
            scopes: Vec::new(),
            groups_claim: "groups".into(),
            name_claim: "name".into(),
            email_claim: "email".into(),
        };
        let client = Client::new(settings, Arc::clone(&clock)).unwrap();
        let settings = ProviderSettings {
            issuer: "https://id.example".into(),
            name: "Example".into(),
            public_url: "https://r.example/registry".into(),
        };
        (Provider::new(client, settings, clock), seconds)
    }

    fn pending(state: &str) -> Pending {
        let secret = |text: &str| oidc::Secret::from(text.to_owned());
        Pending { state: secret(state), nonce: secret("nonce"), verifier: secret("verifier") }
    }

    #[test]
    fn a_sign_in_is_ended_once_in_time_and_by_the_browser_that_began_it() {
        let (provider, seconds) = provider();
        assert_eq!(provider.origin(), "https://r.example");
        let (mine, other) = (SessionId::generate().unwrap(), SessionId::generate().unwrap());
        let take = |browser: Option<&SessionId>, state: Option<&str>| provider.take(browser, state).is_some();
        provider.wait(&mine, pending("one"), None);
        assert!(!take(Some(&other), Some("one")) && !take(None, Some("one")) && !take(Some(&mine), None));
        assert!(!take(Some(&mine), Some("two")));
        assert!(take(Some(&mine), Some("one")));
        assert!(!take(Some(&mine), Some("one")), "once");
        provider.wait(&mine, pending("two"), None);
        seconds.fetch_add(600, Ordering::SeqCst);
        assert!(!take(Some(&mine), Some("two")), "too late");
        provider.wait(&mine, pending("first"), None);
        seconds.fetch_add(1, Ordering::SeqCst);
        for state in 1..PENDING_MAX {
            let (browser, since) = (other.hash(), (provider.clock)());
            let waiting = Waiting { pending: pending("x"), browser, next: None, since };
            provider.waiting.lock().unwrap().insert(state.to_string(), waiting);
        }
        provider.wait(&mine, pending("last"), None);
        assert!(!take(Some(&mine), Some("first")) && take(Some(&mine), Some("last")), "the first had to go");
    }

    #[test]
    fn a_logout_token_counts_once() {
        let (provider, seconds) = provider();
        let end = (provider.clock)() + Duration::from_secs(120);
        assert!(provider.is_new("a", end) && !provider.is_new("a", end) && provider.is_new("b", end));
        seconds.fetch_add(130, Ordering::SeqCst);
        assert!(!provider.is_new("a", end), "a clock may be behind");
        seconds.fetch_add(60, Ordering::SeqCst);
        assert!(provider.is_new("c", end + Duration::from_secs(120)));
        assert_eq!(provider.used.lock().unwrap().len(), 1, "what has ended is forgotten");
    }
}
