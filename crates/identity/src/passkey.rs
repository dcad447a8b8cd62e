//! Passkeys (WebAuthn), as a port: crate `passkey` judges what browsers say of them, and here is what comes of it.
//!
//! What a browser is asked stays on the server until the answer is there: for five minutes, for that browser only, and
//! for one answer. So no answer counts twice, for another browser or for something else.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meta::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::UserName;

/// The most passkeys of one user.
pub const PASSKEYS_PER_USER: usize = 10;

/// The most characters of a passkey's name.
pub const PASSKEY_NAME_MAX: usize = 50;

/// The longest answer of a browser that is looked at, in bytes.
pub(crate) const ANSWER_MAX: usize = 12 << 10;

/// The longest passkey that is kept, in bytes: what it says of itself may be as long as its maker likes.
pub(crate) const CREDENTIAL_MAX: usize = 4 << 10;

/// How long what was begun on a page waits to be ended.
const WAITS_FOR: Duration = Duration::from_mins(5);

/// How much may wait at once. Beyond, what was begun first must be begun again.
const WAITING_MAX: usize = 10_000;

/// A passkey as whoever judges it keeps it: a public key and what is remembered of it, and nothing secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credential {
    /// What its authenticator calls it, in base 64 for addresses.
    pub id: String,
    /// The rest, which only the judge reads.
    pub key: serde_json::Value,
}

/// Why an answer was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PasskeyError {
    /// It proves nothing: another key, another site, another challenge, or no answer at all.
    #[error("the passkey was not accepted: {0}")]
    Refused(String),
    /// The signature is right, and the counter is not above the last one: there may be a copy of the key.
    #[error("the counter of the passkey `{id}` went back: it may have been copied")]
    Copied {
        /// Which, as its authenticator calls it.
        id: String,
    },
}

/// Makes questions for browsers, as JSON.
pub trait Passkeys: Send + Sync {
    /// Asks for a new passkey, on none of the authenticators that have one of these. `handle` means the user to
    /// authenticators.
    fn register(
        &self,
        user: &UserName,
        handle: [u8; 16],
        known: &[Credential],
    ) -> Result<Question<dyn Registering>, PasskeyError>;

    /// Asks for one of these.
    fn ask(&self, known: &[Credential]) -> Result<Question<dyn Asking>, PasskeyError>;
}

/// What a browser is asked, and what judges its answer.
pub struct Question<T: ?Sized> {
    /// The options, as JSON.
    pub options: String,
    /// The judge of this one answer.
    pub judge: Box<T>,
}

/// Judges an answer with a new passkey.
pub trait Registering: Send {
    /// The passkey.
    fn finish(self: Box<Self>, answer: &str) -> Result<Credential, PasskeyError>;
}

/// Judges an answer that shows a passkey.
pub trait Asking: Send {
    /// The passkey that was shown, with the counter that it has from now on.
    fn finish(self: Box<Self>, answer: &str) -> Result<Credential, PasskeyError>;
}

/// What waits for the next form of a browser.
pub(crate) struct Waiting<T>(Mutex<HashMap<[u8; 32], (Timestamp, T)>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Waiting<T> {
    fn all(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Timestamp, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps something for a browser, in place of what it had.
    pub(crate) fn put(&self, browser: [u8; 32], what: T, now: Timestamp) {
        let mut all = self.all();
        all.retain(|_, (since, _)| now < since.plus(WAITS_FOR));
        if all.len() >= WAITING_MAX
            && !all.contains_key(&browser)
            && let Some(first) = all.iter().min_by_key(|(_, (since, _))| *since).map(|(key, _)| *key)
        {
            all.remove(&first);
        }
        all.insert(browser, (now, what));
    }

    /// What waits for a browser, which is kept no longer.
    pub(crate) fn take(&self, browser: &[u8; 32], now: Timestamp) -> Option<T> {
        let (since, what) = self.all().remove(browser)?;
        (now < since.plus(WAITS_FOR)).then_some(what)
    }
}

impl<T: Clone> Waiting<T> {
    /// What waits for a browser, and goes on waiting.
    pub(crate) fn look(&self, browser: &[u8; 32], now: Timestamp) -> Option<T> {
        let all = self.all();
        all.get(browser).filter(|(since, _)| now < since.plus(WAITS_FOR)).map(|(_, what)| what.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn browser(number: usize) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn what_waits_is_ended_once_in_time_and_by_the_browser_that_began_it() {
        let waiting = Waiting::default();
        waiting.put(browser(1), "one", at(0));
        assert_eq!(waiting.take(&browser(2), at(1)), None);
        assert_eq!(waiting.look(&browser(1), at(1)), Some("one"));
        assert_eq!(waiting.take(&browser(1), at(1)), Some("one"));
        assert_eq!(waiting.take(&browser(1), at(1)), None, "once");
        waiting.put(browser(1), "two", at(0));
        waiting.put(browser(1), "three", at(0));
        assert_eq!(waiting.take(&browser(1), at(299)), Some("three"), "the newest counts");
        waiting.put(browser(1), "four", at(0));
        assert_eq!(waiting.look(&browser(1), at(300)), None, "too late");
        assert_eq!(waiting.take(&browser(1), at(300)), None, "too late");
    }

    #[test]
    fn so_much_waits_and_no_more() {
        let waiting = Waiting::default();
        for number in 0..=WAITING_MAX {
            waiting.put(browser(number), number, at(i64::from(number > 0)));
        }
        assert_eq!(waiting.all().len(), WAITING_MAX);
        assert_eq!(waiting.look(&browser(0), at(1)), None, "what was first had to go");
        assert_eq!(waiting.look(&browser(WAITING_MAX), at(1)), Some(WAITING_MAX));
        waiting.put(browser(0), 0, at(301));
        assert_eq!(waiting.all().len(), 1, "what is over is not kept");
    }
}
