//! Proofs: what showed who somebody is, so that what they may do can be worked out anew without showing it again.

use std::collections::HashMap;
use std::sync::Arc;

use access::{Action, ActionSet, Actor, Scope, Subject, Unauthenticated};
use meta::{Entry, EntryKind, Timestamp};
use oci::RepoName;

use crate::external::BELIEVED_FOR;
use crate::gate::seconds;
use crate::model::{RobotRecord, Source, TokenRecord, UserRecord, rights};
use crate::names::{RobotName, UserName};
use crate::secret::SecretHash;
use crate::signer::Claims;
use crate::{Directory, Identity, IdentityError};

/// The catalog, as scopes of access tokens name it.
pub(crate) const CATALOG: (&str, &str) = ("registry", "catalog");

/// What somebody signed in with.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// Nothing: an access token was given to nobody in particular.
    Nothing,
    /// A password.
    Password { user: UserName, mark: String },
    /// A personal access token.
    Token { id: String, hash: String },
    /// A robot's secret.
    Robot { name: RobotName, hash: String },
    /// A password that an LDAP directory took at that moment.
    Ldap { user: UserName, since: Timestamp, mark: String },
    /// The token of a CI job or a pod, which ends at that moment.
    Workload { rule: String, subject: String, until: Timestamp },
    /// That an OpenID provider said who it is.
    Provider { user: UserName, mark: String },
}

/// What showed who somebody is.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    pub(crate) credential: Credential,
    /// What tells the second factor that was shown, too.
    pub(crate) factor: Option<String>,
    /// What stood for both.
    pub(crate) by: By,
}

/// What stood for a credential.
#[derive(Clone, Debug)]
pub(crate) enum By {
    /// The credential itself.
    Itself,
    /// An access token, good for this, until then.
    Token(Scope, Timestamp),
    /// A session.
    Session(SessionId),
}

/// Which session it is.
#[derive(Clone, Debug)]
pub(crate) struct SessionId {
    pub(crate) id: String,
    pub(crate) started: Timestamp,
    pub(crate) ends: Timestamp,
}

/// How somebody stands with second factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// They have none, and need none.
    Without,
    /// They must set one up before anything else.
    Due,
    /// They have those that these tell.
    Has(Vec<String>),
}

impl Proof {
    /// A credential that was shown as it is.
    pub(crate) fn of(credential: Credential) -> Self {
        Self { credential, factor: None, by: By::Itself }
    }

    /// Whether it was good for one request only, because a code is good only once.
    pub(crate) fn is_spent(&self) -> bool {
        self.factor.is_some() && matches!(self.by, By::Itself)
    }
}

impl Credential {
    pub(crate) fn token(id: &str, hash: &SecretHash) -> Self {
        Self::Token { id: id.to_owned(), hash: fingerprint(hash) }
    }

    pub(crate) fn robot(name: &RobotName, hash: &SecretHash) -> Self {
        Self::Robot { name: name.clone(), hash: fingerprint(hash) }
    }

    /// Whether a person gave it, of whom a second factor can be asked.
    const fn is_by_hand(&self) -> bool {
        match self {
            Self::Password { .. } | Self::Ldap { .. } => true,
            Self::Nothing
            | Self::Token { .. }
            | Self::Robot { .. }
            | Self::Workload { .. }
            | Self::Provider { .. } => false,
        }
    }

    /// The user who gave a password.
    pub(crate) fn user(&self) -> Option<UserName> {
        match self {
            Self::Password { user, .. } | Self::Ldap { user, .. } => Some(user.clone()),
            Self::Nothing
            | Self::Token { .. }
            | Self::Robot { .. }
            | Self::Workload { .. }
            | Self::Provider { .. } => None,
        }
    }

    /// What an access token says of it: a name, a way, and what tells this secret from the one that replaces it.
    pub(crate) fn claims(&self) -> (String, String) {
        match self {
            Self::Nothing => (String::new(), "anonymous".into()),
            Self::Password { user, mark } => (user.to_string(), format!("password:{mark}")),
            Self::Token { id, hash } => (id.clone(), format!("token:{hash}")),
            Self::Robot { name, hash } => (name.to_string(), format!("robot:{hash}")),
            Self::Ldap { user, since, mark } => (user.to_string(), format!("ldap:{}:{mark}", since.micros())),
            Self::Workload { rule, subject, .. } => (subject.clone(), format!("workload:{rule}")),
            Self::Provider { user, mark } => (user.to_string(), format!("oidc:{mark}")),
        }
    }

    /// Whether it would be known here if it were over, so that it can stand behind a token for weeks.
    pub(crate) fn is_kept_here(&self) -> bool {
        !matches!(self, Self::Ldap { .. } | Self::Workload { .. })
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
            "password" => Some(Self::Password { user: uid.parse().ok()?, mark: hash }),
            "token" => Some(Self::Token { id: uid.clone(), hash }),
            "robot" => Some(Self::Robot { name: uid.parse().ok()?, hash }),
            "ldap" => {
                let (since, mark) = hash.split_once(':')?;
                let since = Timestamp::from_micros(since.parse().ok()?);
                Some(Self::Ldap { user: uid.parse().ok()?, since, mark: mark.to_owned() })
            }
            "workload" => {
                Some(Self::Workload { rule: hash, subject: uid.clone(), until: seconds(claims.exp) })
            }
            "oidc" => Some(Self::Provider { user: uid.parse().ok()?, mark: hash }),
            _ => None,
        }
    }
}

/// Enough of a hash to tell one secret from another, and too little to be worth having.
pub(crate) fn fingerprint(hash: &SecretHash) -> String {
    hash.to_hex().chars().take(16).collect()
}

/// What tells a user from another one of that name, from themselves with another password, and from themselves before
/// they were kept out.
pub(crate) fn mark_of(entry: &Entry, record: &UserRecord) -> String {
    let secret = match (&record.password, &record.subject) {
        (Some(hash), _) => hash.as_str().to_owned(),
        (None, Some(subject)) => subject.key(),
        (None, None) => String::new(),
    };
    let text = format!("{} {} {secret}", entry.created.micros(), record.times_disabled);
    fingerprint(&SecretHash::of(&crate::Secret::new(text)))
}

/// Somebody, and until when that can be believed.
pub(crate) struct Known {
    pub(crate) subject: Arc<Subject>,
    pub(crate) standing: Standing,
    /// When to ask again who keeps the user elsewhere; never where absent.
    pub(crate) fresh: Option<Timestamp>,
    /// When the proof ends; not by itself where absent.
    pub(crate) until: Option<Timestamp>,
}

impl Identity {
    /// Who it is whom a proof is of, and what they may do now. Fails where that is over: the user is gone or kept out,
    /// or the secret was replaced, or the session ended; or where a password stands alone, and there is a second factor.
    pub(crate) async fn subject_of(&self, proof: &Proof) -> Result<Known, Unauthenticated> {
        // An access token ends after minutes: nobody else is asked about its user.
        let fresh = match &proof.by {
            By::Token(..) => None,
            By::Itself | By::Session(_) => self.confirm(&proof.credential).await?,
        };
        let directory = self.directory();
        if let By::Session(session) = &proof.by
            && directory.has_ended(session).await?
        {
            return Err(Unauthenticated::Wrong);
        }
        let ((subject, standing), end) = match &proof.credential {
            Credential::Nothing => ((Subject::anonymous(), Standing::Without), None),
            Credential::Password { user, mark } => {
                (directory.by_person(user, mark, (Source::Local, "password")).await?, None)
            }
            Credential::Token { id, hash } => directory.by_token(id, hash).await?,
            Credential::Robot { name, hash } => {
                let (robot, end) = directory.by_robot(name, hash).await?;
                ((robot, Standing::Without), end)
            }
            Credential::Ldap { user, since, mark } => {
                // A session must not outlive a password that was changed there for longer than a password would.
                let end = matches!(proof.by, By::Itself | By::Session(_)).then(|| since.plus(BELIEVED_FOR));
                (directory.by_person(user, mark, (Source::Ldap, "ldap")).await?, end)
            }
            Credential::Provider { user, mark } => {
                (directory.by_person(user, mark, (Source::Oidc, "oidc")).await?, None)
            }
            Credential::Workload { rule, subject, until } => {
                ((self.by_workload(rule, subject)?, Standing::Without), Some(*until))
            }
        };
        if let Standing::Has(factors) = &standing
            && proof.credential.is_by_hand()
            && !proof.factor.as_ref().is_some_and(|shown| factors.contains(shown))
        {
            return Err(Unauthenticated::SecondFactor);
        }
        let (subject, expires) = match &proof.by {
            By::Itself => (subject, None),
            By::Token(scope, expires) => (subject.within(scope.clone()), Some(*expires)),
            By::Session(session) => (subject, Some(session.ends)),
        };
        let until = [end, expires].into_iter().flatten().min();
        Ok(Known { subject: Arc::new(subject), standing, fresh, until })
    }
}

impl Directory {
    async fn by_person(
        &self,
        name: &UserName,
        mark: &str,
        (source, via): (Source, &'static str),
    ) -> Result<(Subject, Standing), Unauthenticated> {
        let (entry, record) = self.live_user(name).await?;
        if record.source != source || mark_of(&entry, &record) != mark {
            return Err(Unauthenticated::Wrong);
        }
        if record.must_change_password {
            return Err(Unauthenticated::PasswordExpired);
        }
        self.user_subject(name, &record, via).await
    }

    async fn by_token(
        &self,
        id: &str,
        hash: &str,
    ) -> Result<((Subject, Standing), Option<Timestamp>), Unauthenticated> {
        let found = self.find::<TokenRecord>(EntryKind::Token, id).await.map_err(unavailable)?;
        let (_, token) = found.ok_or(Unauthenticated::Wrong)?;
        let now = self.now();
        if fingerprint(&token.hash) != hash || token.expires.is_some_and(|end| end <= now) {
            return Err(Unauthenticated::Wrong);
        }
        let (_, user) = self.live_user(&token.user).await?;
        self.note_use(id, now);
        let (subject, standing) = self.user_subject(&token.user, &user, "token").await?;
        let subject = match &token.permissions {
            None => subject,
            Some(permissions) => {
                let rights = rights(permissions);
                subject.within(Scope::Projects { projects: rights.projects, anywhere: rights.system })
            }
        };
        Ok(((subject, standing), token.expires))
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

    /// A user who is not kept out.
    pub(crate) async fn live_user(&self, name: &UserName) -> Result<(Entry, UserRecord), Unauthenticated> {
        let found = self.find::<UserRecord>(EntryKind::User, name.as_str()).await.map_err(unavailable)?;
        found.filter(|(_, record)| !record.disabled).ok_or(Unauthenticated::Wrong)
    }

    async fn user_subject(
        &self,
        name: &UserName,
        record: &UserRecord,
        via: &'static str,
    ) -> Result<(Subject, Standing), Unauthenticated> {
        let bindings = self.bindings_of_user(name, record).await.map_err(unavailable)?;
        let factors = self.factors(name).await.map_err(unavailable)?;
        let standing = if factors.is_on() {
            Standing::Has(factors.fingerprints())
        } else if record.source != Source::Oidc && self.requires_factor(&bindings) {
            // Whom an OpenID provider lets in has shown there what is to be shown.
            Standing::Due
        } else {
            Standing::Without
        };
        let rights = Arc::new(self.rights_of(&bindings));
        Ok((Subject::new(Actor::User(name.as_str().into()), via, rights), standing))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_tokens_say_what_stands_behind_them() {
        let end = seconds(1_800_000_300);
        let check = |credential: Credential, uid: &str, via: &str| {
            let (uid, via) = {
                let claims = credential.claims();
                assert_eq!((claims.0.as_str(), claims.1.as_str()), (uid, via));
                claims
            };
            let claims = Claims {
                factor: String::new(),
                iss: String::new(),
                sub: String::new(),
                aud: String::new(),
                exp: 1_800_000_300,
                nbf: 0,
                iat: 0,
                jti: String::new(),
                uid,
                via,
                access: Vec::new(),
            };
            let back = Credential::of_claims(&claims).unwrap();
            assert_eq!(format!("{back:?}"), format!("{credential:?}"));
        };
        let (hash, user): (String, UserName) = ("0123456789abcdef".into(), "ann".parse().unwrap());
        check(Credential::Nothing, "", "anonymous");
        let mark = hash.clone();
        check(Credential::Password { user: user.clone(), mark }, "ann", "password:0123456789abcdef");
        check(Credential::Token { id: "x".into(), hash: hash.clone() }, "x", "token:0123456789abcdef");
        let name: RobotName = "robot$team+ci".parse().unwrap();
        check(Credential::Robot { name, hash }, "robot$team+ci", "robot:0123456789abcdef");
        let ldap = Credential::Ldap { user: user.clone(), since: seconds(7), mark: "0123".into() };
        check(ldap, "ann", "ldap:7000000:0123");
        check(Credential::Provider { user, mark: "0123".into() }, "ann", "oidc:0123");
        let (rule, subject) = ("main".to_owned(), "repo:org/app:ref:refs/heads/main".to_owned());
        let workload = Credential::Workload { rule, subject: subject.clone(), until: end };
        check(workload, &subject, "workload:main");
    }
}
