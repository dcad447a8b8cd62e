//! Sessions that were ended by hand. A session is a token and nothing is kept of it, so what is kept is that it ended:
//! until the token would have ended by itself.

use std::time::Duration;

use access::{Context, Unauthenticated};
use meta::{Batch, EntryKind, Timestamp, Write};
use serde::{Deserialize, Serialize};

use super::tokens::by;
use super::{Directory, New};
use crate::IdentityError;
use crate::names::UserName;
use crate::proof::{SessionId, unavailable};
use crate::signer::LEEWAY;

/// How many are kept of one user: more than there are codes of a second factor in the twelve hours that a session
/// lives where nothing else is set.
const ENDED_MAX: usize = 2_000;

/// A session that has ended, as kept under its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct EndedRecord {
    /// When its token ends by itself, in microseconds since 1970.
    ends: i64,
}

impl Directory {
    /// Ends a session, and forgets those of its user whose tokens have ended by themselves.
    pub(crate) async fn end_session(
        &self,
        user: &UserName,
        session: &SessionId,
        context: &Context,
    ) -> Result<(), IdentityError> {
        let kind = EntryKind::EndedSession;
        let kept = self.owned::<EndedRecord>(EntryKind::User, user.as_str(), kind).await?;
        let is_over = |record: &EndedRecord| {
            Timestamp::from_micros(record.ends).plus(Duration::from_secs(LEEWAY)) <= self.now()
        };
        let (over, good): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(_, record)| is_over(record));
        if good.len() >= ENDED_MAX {
            return Err(IdentityError::Invalid(format!(
                "{ENDED_MAX} sessions of yours were ended lately, the most that are remembered: this one ends by \
                 itself, or with a new password"
            )));
        }
        let record = EndedRecord { ends: session.ends.micros() };
        let owners = vec![(EntryKind::User, user.to_string())];
        let ended = New { kind, name: session.id.as_str().into(), record: &record, owners };
        let batch = Batch::of(by(user, context), Write::Entry(ended.entry()?));
        let drops = over.into_iter().map(|(entry, _)| Write::DropEntry { kind, name: entry.name });
        self.change(drops.fold(batch, Batch::then)).await.map(|_| ())
    }

    /// Whether a session was ended by hand.
    pub(crate) async fn has_ended(&self, session: &SessionId) -> Result<bool, Unauthenticated> {
        let found = self.find::<EndedRecord>(EntryKind::EndedSession, &session.id).await;
        Ok(found.map_err(unavailable)?.is_some())
    }
}
