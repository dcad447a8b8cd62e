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

/// How much may wait at once, of all and of one user. Beyond, what was begun first must be begun again.
const WAITING_MAX: usize = 10_000;
const WAITING_PER_USER: usize = 20;

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
pub(crate) struct Waiting<T>(Mutex<HashMap<[u8; 32], Kept<T>>>);

struct Kept<T> {
    since: Timestamp,
    /// Who began it: it is nobody else's.
    user: UserName,
    what: T,
}

impl<T> Kept<T> {
    fn is_over(&self, now: Timestamp) -> bool {
        self.since.plus(WAITS_FOR) <= now
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Waiting<T> {
    fn all(&self) -> MutexGuard<'_, HashMap<[u8; 32], Kept<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps something for a user's browser, in place of what it had.
    pub(crate) fn put(&self, browser: [u8; 32], user: UserName, what: T, now: Timestamp) {
        let mut all = self.all();
        all.retain(|key, kept| *key != browser && !kept.is_over(now));
        // Nobody pushes all others out by beginning again and again.
        if all.values().filter(|kept| kept.user == user).count() >= WAITING_PER_USER {
            drop_first(&mut all, |kept| kept.user == user);
        }
        if all.len() >= WAITING_MAX {
            drop_first(&mut all, |_| true);
        }
        all.insert(browser, Kept { since: now, user, what });
    }

    /// What waits for a browser of this user, which is kept no longer.
    pub(crate) fn take(&self, browser: &[u8; 32], user: &UserName, now: Timestamp) -> Option<T> {
        let mut all = self.all();
        all.get(browser).filter(|kept| kept.user == *user)?;
        all.remove(browser).filter(|kept| !kept.is_over(now)).map(|kept| kept.what)
    }
}

impl<T: Clone> Waiting<T> {
    /// What waits for a browser, and whose it is; it goes on waiting.
    pub(crate) fn look(&self, browser: &[u8; 32], now: Timestamp) -> Option<(UserName, T)> {
        let all = self.all();
        let kept = all.get(browser).filter(|kept| !kept.is_over(now))?;
        Some((kept.user.clone(), kept.what.clone()))
    }
}

fn drop_first<T>(all: &mut HashMap<[u8; 32], Kept<T>>, among: impl Fn(&Kept<T>) -> bool) {
    let candidates = all.iter().filter(|(_, kept)| among(kept));
    if let Some(first) = candidates.min_by_key(|(_, kept)| kept.since).map(|(key, _)| *key) {
        all.remove(&first);
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

    fn user(number: usize) -> UserName {
        format!("u{number}").parse().unwrap()
    }

    #[test]
    fn what_waits_is_ended_once_in_time_and_by_the_browser_that_began_it() {
        let waiting = Waiting::default();
        let (ann, bob) = (user(1), user(2));
        waiting.put(browser(1), ann.clone(), "one", at(0));
        assert_eq!(waiting.take(&browser(2), &ann, at(1)), None);
        assert_eq!(waiting.take(&browser(1), &bob, at(1)), None, "another user's");
        assert_eq!(waiting.look(&browser(1), at(1)), Some((ann.clone(), "one")));
        assert_eq!(waiting.take(&browser(1), &ann, at(1)), Some("one"));
        assert_eq!(waiting.take(&browser(1), &ann, at(1)), None, "once");
        waiting.put(browser(1), ann.clone(), "two", at(0));
        waiting.put(browser(1), ann.clone(), "three", at(0));
        assert_eq!(waiting.take(&browser(1), &ann, at(299)), Some("three"), "the newest counts");
        waiting.put(browser(1), ann.clone(), "four", at(0));
        assert_eq!(waiting.look(&browser(1), at(300)), None, "too late");
        assert_eq!(waiting.take(&browser(1), &ann, at(300)), None, "too late");
    }

    #[test]
    fn so_much_waits_and_no_more() {
        let waiting = Waiting::default();
        for number in 0..=WAITING_MAX {
            waiting.put(browser(number), user(number), number, at(i64::from(number > 0)));
        }
        assert_eq!(waiting.all().len(), WAITING_MAX);
        assert_eq!(waiting.look(&browser(0), at(1)), None, "what was first had to go");
        let last = (user(WAITING_MAX), WAITING_MAX);
        assert_eq!(waiting.look(&browser(WAITING_MAX), at(1)), Some(last));
        waiting.put(browser(0), user(0), 0, at(301));
        assert_eq!(waiting.all().len(), 1, "what is over is not kept");
    }

    #[test]
    fn who_begins_often_pushes_nobody_else_out() {
        let waiting = Waiting::default();
        waiting.put(browser(0), user(0), 0, at(0));
        for number in 1..=WAITING_MAX {
            waiting.put(browser(number), user(1), number, at(i64::from(number > 1)));
        }
        assert_eq!(waiting.all().len(), 1 + WAITING_PER_USER);
        assert!(waiting.look(&browser(0), at(1)).is_some());
        assert!(waiting.look(&browser(1), at(1)).is_none(), "their own first one had to go");
        assert!(waiting.look(&browser(WAITING_MAX), at(1)).is_some());
        // Another form of a browser that waits pushes nothing out.
        waiting.put(browser(WAITING_MAX), user(1), 1, at(2));
        assert_eq!(waiting.all().len(), 1 + WAITING_PER_USER);
    }
}
