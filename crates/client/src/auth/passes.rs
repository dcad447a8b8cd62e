//! What was got ready to be sent, by scope: so many at most, whatever the registry and its clients ask for.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::future::{BoxFuture, Shared, WeakShared};
use reqwest::header::HeaderValue;

use super::challenge::Challenge;
use super::{AuthError, Scope};

/// The most scopes that are remembered.
const MOST: usize = 1000;

/// What a request of a scope sends.
#[derive(Clone)]
pub(super) struct Pass {
    /// The `Authorization` header; none where there is no credential for what the registry wants.
    pub header: Option<HeaderValue>,
    /// When it must be got anew.
    pub until: Instant,
    /// Whether there was a credential to get it with.
    pub known: bool,
}

/// Getting a pass, for all who wait for it. It ends when the last of them has left.
pub(super) type Flight = Shared<BoxFuture<'static, Result<Pass, AuthError>>>;

/// What is known of a scope.
pub(super) struct Slot {
    /// What the registry asked for when this was asked for.
    pub challenge: Option<Challenge>,
    pub pass: Option<Pass>,
    /// Who is getting a pass. The map is no reason to go on with it.
    pub flight: Option<WeakShared<BoxFuture<'static, Result<Pass, AuthError>>>>,
    since: Instant,
}

impl Slot {
    /// The pass, as long as it is good.
    pub fn fresh(&self, now: Instant) -> Option<&Pass> {
        self.pass.as_ref().filter(|pass| now < pass.until)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.fresh(now).is_none() && self.flight.as_ref().is_none_or(|flight| flight.upgrade().is_none())
    }
}

/// All slots.
#[derive(Default)]
pub(super) struct Passes(HashMap<Scope, Slot>);

impl Passes {
    pub fn get(&self, scope: &Scope) -> Option<&Slot> {
        self.0.get(scope)
    }

    pub fn get_mut(&mut self, scope: &Scope) -> Option<&mut Slot> {
        self.0.get_mut(scope)
    }

    /// The slot of a scope, which is made where there is none. For one too many, those go that are good for nothing any
    /// more, or else the oldest.
    pub fn slot(&mut self, scope: &Scope, now: Instant) -> &mut Slot {
        if !self.0.contains_key(scope) && self.0.len() >= MOST {
            self.0.retain(|_, slot| !slot.is_idle(now));
            let oldest = self.0.iter().min_by_key(|(_, slot)| slot.since).map(|(scope, _)| scope.clone());
            if let Some(oldest) = oldest.filter(|_| self.0.len() >= MOST) {
                self.0.remove(&oldest);
            }
        }
        let empty = || Slot { challenge: None, pass: None, flight: None, since: now };
        self.0.entry(scope.clone()).or_insert_with(empty)
    }

    /// Forgets all of a scope.
    pub fn remove(&mut self, scope: &Scope) {
        self.0.remove(scope);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn scope(n: usize) -> Scope {
        Scope::repository(&format!("a/{n}").parse().unwrap(), "pull")
    }

    #[test]
    fn what_is_ended_goes_before_what_is_old_and_nothing_grows() {
        let start = Instant::now();
        let at = |second: usize| start + Duration::from_secs(second as u64);
        let mut passes = Passes::default();
        let put = |passes: &mut Passes, n: usize, until: Instant| {
            let pass = Pass { header: None, until, known: false };
            passes.slot(&scope(n), at(n)).pass = Some(pass);
        };
        // All last for ever, but one that is in the middle.
        let (now, ever) = (MOST + 10, at(1_000_000));
        for n in 0..MOST {
            put(&mut passes, n, if n == 500 { at(now) } else { ever });
        }
        let has = |passes: &Passes, n: usize| passes.get(&scope(n)).is_some();
        put(&mut passes, now, ever);
        assert!(!has(&passes, 500) && has(&passes, 0) && has(&passes, now));
        put(&mut passes, now + 1, ever);
        assert!(!has(&passes, 0) && has(&passes, 1) && has(&passes, now + 1));
        put(&mut passes, 1, ever);
        assert!(has(&passes, 2), "what is there already takes no room");
        assert_eq!(passes.0.len(), MOST);
    }
}
