//! Sessions: for who administers by hand, and can show a code of the second factor once, but not with each request.
//!
//! A session is a token that is signed like an access token, and is for administration only. When it was last used
//! is noted in memory: after a restart it counts as used when it began, so at worst it ends too early. It ends with
//! the password and with the second factor that it was opened with, and when its user is kept out. Who ends one by
//! hand has that written down for as long as the token would be good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::{Context, Unauthenticated};
use meta::Timestamp;

use crate::directory::oneself;
use crate::gate::{Identity, Remembered, seconds};
use crate::model::{NewSession, Session};
use crate::proof::{By, Known, SessionId};
use crate::secret::Secret;
use crate::signer::Claims;
use crate::{Caller, IdentityError};

/// Whom sessions are for.
pub(crate) const SESSION_AUDIENCE: &str = "wharf/api";

/// How many sessions are noted. Those beyond end as if they had not been used.
const NOTES_MAX: usize = 100_000;

/// When each session was last used.
pub(crate) struct Sessions {
    idle: Duration,
    used: Mutex<HashMap<String, Timestamp>>,
}

impl Sessions {
    /// Sessions that may rest so long.
    pub(crate) fn new(idle: Duration) -> Self {
        Self { idle, used: Mutex::default() }
    }

    /// Notes that a session is used, if it is one. Refuses one that has rested too long.
    pub(crate) fn touch(
        &self,
        verified: Arc<Remembered>,
        now: Timestamp,
    ) -> Result<Arc<Remembered>, Unauthenticated> {
        match &verified.proof.by {
            By::Session(session) if !self.note(session, now) => Err(Unauthenticated::Wrong),
            _ => Ok(verified),
        }
    }

    /// Whether the session has not rested too long: then it is noted.
    fn note(&self, session: &SessionId, now: Timestamp) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let last = used.get(&session.id).copied().unwrap_or(session.started);
        if last.plus(self.idle) <= now {
            return false;
        }
        if used.len() >= NOTES_MAX && !used.contains_key(&session.id) {
            used.retain(|_, last| now < last.plus(self.idle));
        }
        if used.len() < NOTES_MAX || used.contains_key(&session.id) {
            used.insert(session.id.clone(), now);
        }
        true
    }
}

impl Identity {
    /// Opens a session, for a password and, where there is a second factor, one of its codes.
    pub async fn open_session(&self, new: NewSession, context: &Context) -> Result<Session, IdentityError> {
        let proof = self.prove_password(&new.user, new.password, new.otp.as_ref(), context).await?;
        // The token of a CI job is a password, too, and nobody's who administers by hand.
        proof.credential.user().ok_or(Unauthenticated::Wrong)?;
        let Known { subject, .. } = self.subject_of(&proof).await?;
        let limits = &self.directory().limits;
        let now = self.directory().now();
        let claims =
            self.new_claims(&proof.credential, &subject, SESSION_AUDIENCE, (now, limits.session_life))?;
        let claims = Claims { factor: proof.factor.unwrap_or_default(), ..claims };
        Ok(Session {
            token: Secret::new(self.keys.signer().sign(&claims)?),
            expires: seconds(claims.exp),
            idle_seconds: limits.session_idle.as_secs(),
        })
    }

    /// Ends the session that a request came in.
    pub async fn end_session(&self, caller: &Caller, context: &Context) -> Result<(), IdentityError> {
        let session = caller.session.as_ref().ok_or_else(|| {
            let message = "this request came in no session: send its token as `Authorization: Bearer`";
            IdentityError::Invalid(message.into())
        })?;
        self.directory().end_session(&oneself(&caller.subject)?, session, context).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_has_rested() {
        let at = |minute: u64| seconds(60 * minute);
        let session = SessionId { id: "1".into(), started: at(0), ends: at(720) };
        let sessions = Sessions::new(Duration::from_mins(30));
        for (minute, expect) in [(29, true), (58, true), (87, true), (117, false), (118, false)] {
            assert_eq!(sessions.note(&session, at(minute)), expect, "{minute}");
        }
        let after_a_restart = Sessions::new(Duration::from_mins(30));
        assert!(!after_a_restart.note(&session, at(30)));
        assert!(after_a_restart.note(&session, at(29)));
    }

    #[test]
    fn notes_have_a_limit() {
        let session = |id: usize| SessionId { id: id.to_string(), started: seconds(0), ends: seconds(9) };
        let sessions = Sessions::new(Duration::from_mins(30));
        for id in 0..=NOTES_MAX {
            assert!(sessions.note(&session(id), seconds(1)));
        }
        assert_eq!(sessions.used.lock().unwrap().len(), NOTES_MAX);
        let late = SessionId { started: seconds(1_801), ..session(NOTES_MAX + 1) };
        assert!(sessions.note(&late, seconds(1_801)));
        assert_eq!(sessions.used.lock().unwrap().len(), 1);
    }
}
