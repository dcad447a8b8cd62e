//! Proofs: what showed who somebody is, so that what they may do can be worked out anew without showing it again.

use std::collections::HashMap;
use std::sync::Arc;

use access::{Action, ActionSet, Actor, Scope, Subject, Unauthenticated};
use meta::{EntryKind, Timestamp};
use oci::RepoName;

use crate::model::{ProviderSubject, RobotRecord, Source, TokenRecord, UserRecord, rights};
use crate::names::{RobotName, UserName};
use crate::password::PasswordHash;
use crate::secret::SecretHash;
use crate::signer::Claims;
use crate::{Directory, IdentityError};

/// The catalog, as scopes of access tokens name it.
pub(crate) const CATALOG: (&str, &str) = ("registry", "catalog");

/// What somebody signed in with.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// Nothing: an access token was given to nobody in particular.
    Nothing,
    /// A password.
    Password { user: UserName, hash: String },
    /// A personal access token.
    Token { id: String, hash: String },
    /// A robot's secret.
    Robot { name: RobotName, hash: String },
    /// That an OpenID provider said who it is.
    Provider { user: UserName, hash: String },
}

/// What showed who somebody is.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    pub(crate) credential: Credential,
    /// That of the access token that stood for it, and when that ends.
    pub(crate) token: Option<(Scope, Timestamp)>,
}

impl Credential {
    pub(crate) fn password(user: &UserName, hash: &PasswordHash) -> Self {
        Self::Password { user: user.clone(), hash: fingerprint_of_password(hash) }
    }

    pub(crate) fn token(id: &str, hash: &SecretHash) -> Self {
        Self::Token { id: id.to_owned(), hash: fingerprint(hash) }
    }

    pub(crate) fn robot(name: &RobotName, hash: &SecretHash) -> Self {
        Self::Robot { name: name.clone(), hash: fingerprint(hash) }
    }

    pub(crate) fn provider(user: &UserName, subject: &ProviderSubject) -> Self {
        Self::Provider { user: user.clone(), hash: fingerprint_of_subject(subject) }
    }

    /// What an access token says of it: a name, a way, and what tells this secret from the one that replaces it.
    pub(crate) fn claims(&self) -> (String, String) {
        match self {
            Self::Nothing => (String::new(), "anonymous".into()),
            Self::Password { user, hash } => (user.to_string(), format!("password:{hash}")),
            Self::Token { id, hash } => (id.clone(), format!("token:{hash}")),
            Self::Robot { name, hash } => (name.to_string(), format!("robot:{hash}")),
            Self::Provider { user, hash } => (user.to_string(), format!("oidc:{hash}")),
        }
    }

    /// What an access token said of it, read back.
    pub(crate) fn of_claims(claims: &Claims) -> Option<Self> {
        let uid = &claims.uid;
        if claims.via == "anonymous" {
            return uid.is_empty().then_some(Self::Nothing);
        }
        let (way, hash) = claims.via.split_once(':')?;
        let hash = hash.to_owned();
        match way {
            "password" => Some(Self::Password { user: uid.parse().ok()?, hash }),
            "token" => Some(Self::Token { id: uid.clone(), hash }),
            "robot" => Some(Self::Robot { name: uid.parse().ok()?, hash }),
            "oidc" => Some(Self::Provider { user: uid.parse().ok()?, hash }),
            _ => None,
        }
    }
}

/// Enough of a hash to tell one secret from another, and too little to be worth having.
fn fingerprint(hash: &SecretHash) -> String {
    hash.to_hex().chars().take(16).collect()
}

fn fingerprint_of_password(hash: &PasswordHash) -> String {
    fingerprint(&SecretHash::of(&crate::Secret::new(hash.as_str())))
}

fn fingerprint_of_subject(subject: &ProviderSubject) -> String {
    fingerprint(&SecretHash::of(&crate::Secret::new(subject.key())))
}

/// Somebody, and until when that can be believed without looking again.
pub(crate) struct Known {
    pub(crate) subject: Arc<Subject>,
    pub(crate) until: Option<Timestamp>,
}

impl Directory {
    /// Who it is whom a proof is of, and what they may do now. Fails where that is over: the user is gone or kept out,
    /// or the secret was replaced.
    pub(crate) async fn subject_of(&self, proof: &Proof) -> Result<Known, Unauthenticated> {
        let (subject, end) = match &proof.credential {
            Credential::Nothing => (Subject::anonymous(), None),
            Credential::Password { user, hash } => (self.by_password(user, hash).await?, None),
            Credential::Token { id, hash } => self.by_token(id, hash).await?,
            Credential::Robot { name, hash } => self.by_robot(name, hash).await?,
            Credential::Provider { user, hash } => (self.by_provider(user, hash).await?, None),
        };
        let Some((scope, expires)) = &proof.token else {
            return Ok(Known { subject: Arc::new(subject), until: end });
        };
        let until = Some(end.map_or(*expires, |end| end.min(*expires)));
        Ok(Known { subject: Arc::new(subject.within(scope.clone())), until })
    }

    async fn by_password(&self, name: &UserName, hash: &str) -> Result<Subject, Unauthenticated> {
        let record = self.live_user(name).await?;
        let same = record.password.as_ref().is_some_and(|now| fingerprint_of_password(now) == hash);
        if !same {
            return Err(Unauthenticated::Wrong);
        }
        if record.must_change_password {
            return Err(Unauthenticated::PasswordExpired);
        }
        self.user_subject(name, &record, "password").await
    }

    async fn by_token(&self, id: &str, hash: &str) -> Result<(Subject, Option<Timestamp>), Unauthenticated> {
        let found = self.find::<TokenRecord>(EntryKind::Token, id).await.map_err(unavailable)?;
        let (_, token) = found.ok_or(Unauthenticated::Wrong)?;
        let now = self.now();
        if fingerprint(&token.hash) != hash || token.expires.is_some_and(|end| end <= now) {
            return Err(Unauthenticated::Wrong);
        }
        let user = self.live_user(&token.user).await?;
        self.note_use(id, now);
        let subject = self.user_subject(&token.user, &user, "token").await?;
        let subject = match &token.permissions {
            None => subject,
            Some(permissions) => {
                let rights = rights(permissions);
                subject.within(Scope::Projects { projects: rights.projects, anywhere: rights.system })
            }
        };
        Ok((subject, token.expires))
    }

    async fn by_robot(
        &self,
        name: &RobotName,
        hash: &str,
    ) -> Result<(Subject, Option<Timestamp>), Unauthenticated> {
        let text = name.to_string();
        let found = self.find::<RobotRecord>(EntryKind::Robot, &text).await.map_err(unavailable)?;
        let (_, robot) = found.ok_or(Unauthenticated::Wrong)?;
        let now = self.now();
        let secret =
            robot.secrets.iter().find(|secret| fingerprint(&secret.hash) == hash && secret.is_good(now));
        let over = robot.disabled || robot.expires.is_some_and(|end| end <= now);
        let Some(secret) = secret.filter(|_| !over) else { return Err(Unauthenticated::Wrong) };
        self.note_use(&text, now);
        let end = [robot.expires, secret.until].into_iter().flatten().min();
        let subject = Subject::new(Actor::Robot(text.into()), "robot", Arc::new(rights(&robot.permissions)));
        Ok((subject, end))
    }

    async fn by_provider(&self, name: &UserName, hash: &str) -> Result<Subject, Unauthenticated> {
        let record = self.live_user(name).await?;
        let same = record.subject.as_ref().is_some_and(|subject| fingerprint_of_subject(subject) == hash);
        if record.source != Source::Oidc || !same {
            return Err(Unauthenticated::Wrong);
        }
        self.user_subject(name, &record, "oidc").await
    }

    /// A user who is not kept out.
    async fn live_user(&self, name: &UserName) -> Result<UserRecord, Unauthenticated> {
        let found = self.find::<UserRecord>(EntryKind::User, name.as_str()).await.map_err(unavailable)?;
        found.map(|(_, record)| record).filter(|record| !record.disabled).ok_or(Unauthenticated::Wrong)
    }

    async fn user_subject(
        &self,
        name: &UserName,
        record: &UserRecord,
        via: &'static str,
    ) -> Result<Subject, Unauthenticated> {
        let rights = self.rights_of_user(name, record).await.map_err(unavailable)?;
        Ok(Subject::new(Actor::User(name.as_str().into()), via, Arc::new(rights)))
    }
}

/// The log is told why; who asks learns that it is not their fault.
pub(crate) fn unavailable(error: IdentityError) -> Unauthenticated {
    tracing::error!(%error, cause = ?std::error::Error::source(&error), "who somebody is could not be looked up");
    Unauthenticated::Unavailable
}

/// The actions of the registry that a word of the Docker token specification means.
pub(crate) fn actions_of(word: &str) -> ActionSet {
    const DELETE: ActionSet = ActionSet::of(&[Action::DeleteTag, Action::DeleteArtifact]);
    match word {
        "pull" => ActionSet::of(&[Action::Pull]),
        "push" => ActionSet::of(&[Action::Push]),
        "delete" => DELETE,
        "*" => DELETE.with(Action::Pull).with(Action::Push),
        _ => ActionSet::NONE,
    }
}

/// The scope that the claims of an access token describe.
pub(crate) fn scope_of(claims: &Claims) -> Scope {
    let mut repositories: HashMap<RepoName, ActionSet> = HashMap::new();
    let mut catalog = false;
    for entry in &claims.access {
        let actions = entry.actions.iter().fold(ActionSet::NONE, |set, word| set.or(actions_of(word)));
        if entry.kind == "repository" {
            if let Ok(name) = entry.name.parse() {
                let held = repositories.entry(name).or_default();
                *held = held.or(actions);
            }
        } else if (entry.kind.as_str(), entry.name.as_str()) == CATALOG {
            catalog = true;
        }
    }
    Scope::Repositories { repositories, catalog }
}
