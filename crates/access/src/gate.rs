//! The gate: who asks? A port, which the crate `identity` implements; and the gate of a registry without users.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::{Action, ActionSet, Actor, Denied, Grant, Projects, Rights, Subject};

/// A future of something.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a request shows of who sends it.
#[derive(Clone, Copy, Default)]
pub struct Presented<'a> {
    /// The value of its `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The client's address, where it has one.
    pub address: Option<IpAddr>,
    /// Whether it came by the socket in the data folder.
    pub local: bool,
}

/// Why a credential was not accepted. It never says which part of it was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// The user, robot or token is not known, or the secret is not its own.
    #[error("the user name or the secret is wrong, or the token has expired or was revoked: sign in again")]
    Wrong,
    /// Neither Basic nor Bearer, or not in their form.
    #[error(
        "the Authorization header cannot be read: send `Basic` with a user name and a secret, or `Bearer` with a token"
    )]
    Malformed,
    /// The password is right, and there is a second factor.
    #[error(
        "this account has a second factor, so its password alone is not enough: docker and other clients sign in with a personal access token in place of the password; to administer, send a code in `X-Wharf-OTP`, too"
    )]
    SecondFactor,
    /// What was asked for needs a code of the second factor with the very request.
    #[error("this needs your second factor once more: send a code in `X-Wharf-OTP` with the request")]
    CodeWanted,
    /// The code is not one of the second factor, or was used before.
    #[error(
        "the code is wrong, or has been used: send the next one that the app shows, or a recovery code, in `X-Wharf-OTP`"
    )]
    WrongCode,
    /// A second factor is required, and not set up: nothing else is allowed until then.
    #[error(
        "this registry requires a second factor of you: set one up first (`POST /api/v1/me/totp`, with your password), then sign in again"
    )]
    SecondFactorDue,
    /// Too many failures: the next try is looked at after this many seconds.
    #[error("too many failed attempts: try again in {0} seconds")]
    TooManyAttempts(u64),
    /// The password is right and must be changed first.
    #[error("the password must be changed before it can be used here: set a new one")]
    PasswordExpired,
    /// Too many sign-ins are being checked.
    #[error("too many sign-ins are being checked: try again in a moment")]
    Busy,
    /// Users cannot be looked up.
    #[error("who you are cannot be looked up now: try again in a moment")]
    Unavailable,
}

impl Unauthenticated {
    /// What is told of a password that was right, and not enough: whoever sent it may have guessed it. Without a
    /// password, it says nothing.
    pub const fn of_right_password(&self) -> Option<&'static str> {
        match self {
            Self::SecondFactor | Self::CodeWanted => {
                Some("the password was right; a second factor is wanted")
            }
            Self::WrongCode => Some("the password was right; the code was wrong"),
            Self::PasswordExpired => Some("the password was right; it must be changed first"),
            Self::Wrong
            | Self::Malformed
            | Self::SecondFactorDue
            | Self::TooManyAttempts(_)
            | Self::Busy
            | Self::Unavailable => None,
        }
    }
}

/// What was found out about who sends a request.
#[derive(Debug)]
pub struct Caller {
    /// Who it is.
    pub subject: Result<Arc<Subject>, Unauthenticated>,
    /// Whether a name and a secret were verified for this very request, and not remembered.
    pub signed_in: bool,
    /// Who they said they were, where that was not accepted.
    pub claimed: Option<String>,
}

impl Caller {
    /// Asks the gate who sends a request. What cannot be read of it at all was never presented.
    pub async fn of(gate: &dyn Gate, presented: Result<Presented<'_>, Unauthenticated>) -> Self {
        let presented = match presented {
            Ok(presented) => presented,
            Err(error) => return Self { subject: Err(error), signed_in: false, claimed: None },
        };
        if let Some(subject) = gate.recall(&presented) {
            return Self { subject: Ok(subject), signed_in: false, claimed: None };
        }
        match gate.authenticate(presented).await {
            Ok(subject) => {
                // An access token is the fruit of a sign-in, and none itself.
                let signed_in = !subject.has_token_scope();
                Self { subject: Ok(subject), signed_in, claimed: None }
            }
            Err(error) => Self { subject: Err(error), signed_in: false, claimed: gate.claimed(&presented) },
        }
    }
}

/// Finds out who asks, and knows the projects.
pub trait Gate: Send + Sync {
    /// Who it is, where that is known without any work: the hot path.
    fn recall(&self, presented: &Presented<'_>) -> Option<Arc<Subject>>;

    /// Who it is.
    fn authenticate<'a>(
        &'a self,
        presented: Presented<'a>,
    ) -> Answer<'a, Result<Arc<Subject>, Unauthenticated>>;

    /// Who somebody said they were, whether it is true or not: for the record of a refusal.
    fn claimed(&self, _presented: &Presented<'_>) -> Option<String> {
        None
    }

    /// The projects as they are now.
    fn projects(&self) -> Arc<Projects>;

    /// Whether whoever is refused as nobody in particular should sign in and try again.
    fn challenges(&self) -> bool;

    /// Makes what a push needs that was allowed: the project of a new repository.
    fn prepare<'a>(&'a self, push: &'a Grant, subject: &'a Subject) -> Answer<'a, Result<(), PrepareError>>;
}

/// Why a push cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The project is not there, and may not be made by who pushes.
    #[error("there is no project for this repository, and {0}: have the project created first")]
    Denied(Denied),
    /// The project could not be made.
    #[error("the project of the repository could not be created: {0}")]
    Failed(String),
}

/// The gate of a registry without users: everyone who can reach it may pull, push and delete.
///
/// Administering it is for who may open the socket in the data folder. Whoever comes over the network may not,
/// from this machine neither: behind a proxy, everyone comes from this machine.
pub struct OpenGate {
    anybody: Arc<Subject>,
    local: Arc<Subject>,
    projects: Arc<Projects>,
}

impl Default for OpenGate {
    fn default() -> Self {
        let system = ActionSet::of(&[
            Action::Pull,
            Action::Push,
            Action::DeleteTag,
            Action::DeleteArtifact,
            Action::ReadProject,
        ]);
        let rights = Arc::new(Rights { system, ..Rights::default() });
        Self {
            anybody: Arc::new(Subject::new(Actor::Anonymous, "anonymous", rights)),
            local: Arc::new(Subject::local()),
            projects: Arc::default(),
        }
    }
}

impl Gate for OpenGate {
    fn recall(&self, presented: &Presented<'_>) -> Option<Arc<Subject>> {
        Some(Arc::clone(if presented.local { &self.local } else { &self.anybody }))
    }

    fn authenticate<'a>(
        &'a self,
        presented: Presented<'a>,
    ) -> Answer<'a, Result<Arc<Subject>, Unauthenticated>> {
        let known = self.recall(&presented).ok_or(Unauthenticated::Unavailable);
        Box::pin(std::future::ready(known))
    }

    fn projects(&self) -> Arc<Projects> {
        Arc::clone(&self.projects)
    }

    fn challenges(&self) -> bool {
        false
    }

    /// Without users, projects come into being with their repositories.
    fn prepare<'a>(&'a self, _: &'a Grant, _: &'a Subject) -> Answer<'a, Result<(), PrepareError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Target, allowed};

    #[test]
    fn an_open_registry_is_administered_by_its_own_socket() {
        let gate = OpenGate::default();
        let check = |local: bool, administers: bool| {
            let presented = Presented { local, ..Presented::default() };
            let subject = gate.recall(&presented).unwrap();
            let target = Target::Repository("new/app".parse().unwrap());
            for action in [Action::Pull, Action::Push, Action::DeleteTag, Action::DeleteArtifact] {
                assert!(allowed(&gate.projects(), &subject, action, &target));
            }
            assert_eq!(allowed(&gate.projects(), &subject, Action::Administer, &Target::System), administers);
            assert_eq!(
                allowed(&gate.projects(), &subject, Action::ManageUsers, &Target::System),
                administers
            );
        };
        check(true, true);
        check(false, false);
    }
}
