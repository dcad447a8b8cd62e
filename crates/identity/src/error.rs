//! What can go wrong in the directory.

use access::ActionSet;
use meta::MetaError;

/// Why the directory did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is nothing of this name.
    #[error("there is no {what} `{name}`")]
    Unknown {
        /// What it was to be.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// There is something of this name.
    #[error("there is a {what} `{name}` already: choose another name")]
    Exists {
        /// What it is.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The request says something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Nobody can give what they have not got.
    #[error("you cannot give what you may not do yourself: {missing} {place}")]
    Exceeds {
        /// What is missing.
        missing: ActionSet,
        /// Where.
        place: String,
    },
    /// The project holds repositories or projects.
    #[error("the project `{0}` is not empty: delete what it holds first, or move it")]
    ProjectInUse(String),
    /// Nobody would be left who administers.
    #[error(
        "nobody would be left who administers the registry: give somebody else the role `system-admin` first, a user \
         whose password is kept here. By the socket on the server's machine it can be done all the same"
    )]
    LastAdministrator,
    /// Somebody else changed it at the same time.
    #[error("somebody else changed this at the same time: look at it again, then try again")]
    Conflict,
    /// The current password is not this one, or there were too many attempts.
    #[error(transparent)]
    Unauthenticated(#[from] access::Unauthenticated),
    /// What a browser said of a passkey was not accepted.
    #[error(transparent)]
    Passkey(#[from] crate::passkey::PasskeyError),
    /// A page waited for too long, or another browser began what this one ends.
    #[error("this was begun in another browser, or took more than five minutes: begin again")]
    Expired,
    /// There are as many as there can be.
    #[error("there are {limit} {what} already, the most that there can be: delete some first")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most.
        limit: usize,
    },
    /// The grant is for something else: a mistake in the house.
    #[error("the permission that was checked is not the one that this needs")]
    WrongGrant,
    /// Randomness, hashing or signing failed.
    #[error(transparent)]
    Crypto(#[from] crate::CryptoError),
    /// What is kept cannot be read.
    #[error("what is kept of `{name}` cannot be read: {reason}")]
    Damaged {
        /// Of what.
        name: String,
        /// Why.
        reason: String,
    },
    /// The metadata store failed.
    #[error("the users could not be read or changed")]
    Meta(#[from] MetaError),
}
