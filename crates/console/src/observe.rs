//! What the audit journal is told of the pages. What they change is told by its event.

use access::{Context, Subject};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody signed in.
    SignedIn,
    /// Somebody was not let in.
    Refused,
    /// Somebody gave a password that was right, and it is not enough.
    FactorWanted,
    /// Somebody signed out, or their provider ended the session.
    SignedOut,
}

/// Something that happened.
#[derive(Clone, Copy)]
pub struct Observation<'a> {
    /// What.
    pub event: Event,
    /// Who it is, where that is known.
    pub subject: Option<&'a Subject>,
    /// Who they said they were, where it is not.
    pub claimed: Option<&'a str>,
    /// From where.
    pub context: &'a Context,
    /// What else there is to say.
    pub detail: &'a str,
}

/// Is told before the answer goes out.
pub trait Observe: Send + Sync {
    /// Something happened.
    fn observe(&self, observation: &Observation<'_>);
}
