//! The gate: who asks? Credentials are verified once and then remembered, by the SHA-256 of what was sent and from
//! where: who must wait because of wrong guesses would learn the right one otherwise, while somebody else uses it.
//!
//! What is remembered is the proof (this password, this token) and what its holder might do at one epoch of the
//! directory. In another epoch the proof is held against the directory again, which costs a few look-ups and no hash
//! of a password: so a role, a token or a robot that is taken away stops working at the next request.
//!
//! A password with a code of the second factor is the exception: a code is good once, so what it proved is good for
//! that one request. Who has more to do opens a session with it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use access::{Answer, Context, Gate, Grant, PrepareError, Presented, Projects, Subject, Unauthenticated};
use meta::{EntryKind, Timestamp};
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::attempts::{Attempts, network};
use crate::authorization::Authorization;
use crate::browser::Browsers;
use crate::directory::Directory;
use crate::external::External;
use crate::keys::Keys;
use crate::model::{PasswordChange, RobotRecord, TokenRecord, UserRecord};
use crate::names::{RobotName, UserName};
use crate::page_factors::Asked;
use crate::passkey::{Passkeys, Registering, Waiting};
use crate::proof::{By, Credential, Known, Proof, SessionId, Standing, mark_of, scope_of, unavailable};
use crate::secret::Secret;
use crate::sessions::{SESSION_AUDIENCE, Sessions};
use crate::signer::{Claims, TokenError};
use crate::token_secret::{TokenKind, TokenSecret};
use crate::{CryptoError, IdentityError};

/// How many credentials are remembered.
const REMEMBERED: usize = 20_000;

/// How long one is remembered at most, so that a password is looked at again some time.
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);

/// How many characters of a name that no user can have are counted by.
const STRANGE_MAX: usize = 100;

/// Who gives access tokens out, and for whom.
pub(crate) const ISSUER: &str = "wharf";
pub(crate) const AUDIENCE: &str = "wharf";

/// Everybody, and the gate that they come through.
pub struct Identity {
    directory: Arc<Directory>,
    pub(crate) attempts: Attempts,
    /// Held while a code is looked at, so that nobody can try many at once before the first is counted; and from a
    /// change of somebody's factors until the session that made it stands on what it left.
    pub(crate) codes: tokio::sync::Mutex<()>,
    pub(crate) sessions: Sessions,
    remembered: Cache<[u8; 32], Arc<Remembered>>,
    pub(crate) keys: Keys,
    pub(crate) external: External,
    pub(crate) browsers: Browsers,
    /// Who judges passkeys; nobody where they are not offered.
    pub(crate) passkeys: Option<Arc<dyn Passkeys>>,
    /// What those have proved whose password was right.
    pub(crate) pending: Waiting<Proof>,
    pub(crate) asked: Waiting<Asked>,
    /// The judges of new passkeys that browsers were asked for.
    pub(crate) registering: Waiting<Box<dyn Registering>>,
    anonymous: Arc<Subject>,
    local: Arc<Subject>,
}

/// A credential that was verified.
pub(crate) struct Remembered {
    pub(crate) proof: Proof,
    pub(crate) subject: Arc<Subject>,
    pub(crate) standing: Standing,
    epoch: u64,
    /// Until when the subject is as it was.
    fresh: Timestamp,
    /// Until when the proof is good.
    until: Timestamp,
}

impl Remembered {
    fn is_fresh(&self, epoch: u64, now: Timestamp) -> bool {
        self.epoch == epoch && now < self.fresh
    }

    /// Whether it is good for images, and not only for administration.
    pub(crate) fn check_general(&self) -> Result<(), Unauthenticated> {
        match (&self.proof.by, &self.standing) {
            (By::Session(_), _) => Err(Unauthenticated::Wrong),
            (_, Standing::Due) => Err(Unauthenticated::SecondFactorDue),
            (_, Standing::Without | Standing::Has(_)) => Ok(()),
        }
    }
}

impl Identity {
    /// The gate in front of a directory.
    pub async fn open(directory: Arc<Directory>) -> Result<Self, IdentityError> {
        let keys = Keys::open(&directory).await?;
        Ok(Self {
            browsers: Browsers::new(directory.limits.browser),
            passkeys: None,
            pending: Waiting::default(),
            asked: Waiting::default(),
            registering: Waiting::default(),
            attempts: Attempts::new(),
            codes: tokio::sync::Mutex::default(),
            sessions: Sessions::new(directory.limits.session_idle),
            directory,
            remembered: Cache::new(REMEMBERED),
            keys,
            external: External::default(),
            anonymous: Arc::new(Subject::anonymous()),
            local: Arc::new(Subject::local()),
        })
    }

    /// The directory behind it.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What has to be done from time to time: keys are replaced, the last uses of tokens are written.
    pub async fn tend(&self) -> Result<(), IdentityError> {
        self.keys.tend(&self.directory).await?;
        self.directory.write_uses().await
    }

    /// The public halves of the keys that access tokens are signed with (RFC 7517).
    pub fn jwks(&self) -> serde_json::Value {
        self.keys.signer().jwks(self.directory.now())
    }

    /// Gives somebody the password that they chose, after a look at the one before, and at a code where they have a
    /// second factor. It is for those who must change theirs, too, so they need not be signed in.
    pub async fn change_password(
        &self,
        user: &str,
        change: PasswordChange,
        code: Option<&Secret>,
        context: &Context,
    ) -> Result<(), IdentityError> {
        check_new(&change)?;
        let (name, _) = self.check_password(user, change.current, context.address).await?;
        self.check_factor(&name, code, context).await?;
        self.directory.set_own_password(&name, &change.new, context).await
    }

    /// The same for who has shown what there is to show besides the password.
    pub(crate) async fn change_proven_password(
        &self,
        user: &str,
        change: PasswordChange,
        context: &Context,
    ) -> Result<(), IdentityError> {
        check_new(&change)?;
        let (name, _) = self.check_password(user, change.current, context.address).await?;
        self.directory.set_own_password(&name, &change.new, context).await
    }

    /// A credential that was remembered, at whatever epoch.
    fn recollect(&self, key: &[u8; 32]) -> Option<Arc<Remembered>> {
        let found = self.remembered.get(key)?;
        (self.directory.now() < found.until).then_some(found)
    }

    /// Who sent this header, and how they proved it; with a code of their second factor, maybe.
    pub(crate) async fn verify(
        &self,
        header: &str,
        code: Option<&Secret>,
        context: &Context,
    ) -> Result<Arc<Remembered>, Unauthenticated> {
        let key = key_of(header, context.address);
        // What changes from here on makes what is worked out now look older than it is, and never newer.
        let epoch = self.directory.epoch();
        // A password that was remembered alone does not tell whether the code that came along is right.
        let remembered = self.recollect(&key).filter(|_| code.is_none());
        let now = self.directory.now();
        if let Some(found) = remembered.as_ref().filter(|found| found.is_fresh(epoch, now)) {
            return self.sessions.touch(Arc::clone(found), now);
        }
        let (proof, Known { subject, standing, fresh, until }) = match self.again(remembered).await? {
            Some(known) => known,
            None => {
                let proof = self.prove(header, code, context).await?;
                let known = self.subject_of(&proof).await?;
                (proof, known)
            }
        };
        let latest = self.directory.now().plus(REMEMBERED_FOR);
        let until = until.map_or(latest, |until| until.min(latest));
        let fresh = fresh.map_or(until, |fresh| fresh.min(until));
        let verified = Arc::new(Remembered { proof, subject, standing, epoch, fresh, until });
        if !verified.proof.is_spent() {
            self.remembered.insert(key, Arc::clone(&verified));
        }
        self.sessions.touch(verified, self.directory.now())
    }

    /// What was remembered, held against the directory again. Where that refuses it, nothing is known: the secret may
    /// have been replaced by one that is the same, as when somebody goes back to the password that they had.
    async fn again(
        &self,
        remembered: Option<Arc<Remembered>>,
    ) -> Result<Option<(Proof, Known)>, Unauthenticated> {
        let Some(found) = remembered else { return Ok(None) };
        match self.subject_of(&found.proof).await {
            Ok(known) => Ok(Some((found.proof.clone(), known))),
            Err(Unauthenticated::Wrong) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn prove(
        &self,
        header: &str,
        code: Option<&Secret>,
        context: &Context,
    ) -> Result<Proof, Unauthenticated> {
        match Authorization::parse(header).ok_or(Unauthenticated::Malformed)? {
            Authorization::Bearer(token) => match TokenSecret::parse(token.expose()) {
                Some(secret) => self.prove_opaque(None, &secret).await,
                None => self.prove_signed(&token),
            },
            Authorization::Basic { name, secret } => match TokenSecret::parse(secret.expose()) {
                Some(secret) => self.prove_opaque(Some(&name), &secret).await,
                None => self.prove_password(&name, secret, code, context).await,
            },
        }
    }

    /// A password, with a code where there is a second factor: of a client, or of a person on a page.
    pub(crate) async fn prove_password(
        &self,
        name: &str,
        password: Secret,
        code: Option<&Secret>,
        context: &Context,
    ) -> Result<Proof, Unauthenticated> {
        let credential = self.prove_first(name, password, context.address).await?;
        let factor = match credential.user() {
            Some(user) => self.check_factor(&user, code, context).await?,
            None => None,
        };
        Ok(Proof { credential, factor, by: By::Itself })
    }

    /// A password alone, which proves nothing where there is a second factor.
    pub(crate) async fn prove_first(
        &self,
        name: &str,
        password: Secret,
        address: Option<IpAddr>,
    ) -> Result<Credential, Unauthenticated> {
        if let Some(credential) = self.prove_elsewhere(name, &password, address).await? {
            return Ok(credential);
        }
        Ok(self.check_password(name, password, address).await?.1)
    }

    /// A personal access token or a robot's secret, with the name of its user or robot, or without.
    ///
    /// They are not counted as attempts: nobody guesses 260 bits. Were they, whoever has any token of a user could
    /// forgive guesses at the password with it, and a job with an old secret would make all behind its address wait.
    async fn prove_opaque(&self, name: Option<&str>, secret: &TokenSecret) -> Result<Proof, Unauthenticated> {
        let credential = match secret.kind() {
            TokenKind::Personal => self.prove_token(name, secret).await?,
            TokenKind::Robot => self.prove_robot(name, secret).await?,
        };
        let credential = credential.ok_or(Unauthenticated::Wrong)?;
        Ok(Proof::of(credential))
    }

    async fn prove_token(
        &self,
        name: Option<&str>,
        secret: &TokenSecret,
    ) -> Result<Option<Credential>, Unauthenticated> {
        let found = self.directory.find::<TokenRecord>(EntryKind::Token, secret.id()).await;
        let record = found.map_err(unavailable)?.map(|(_, record)| record).filter(|record| {
            record.hash == secret.hash() && name.is_none_or(|name| record.user.as_str() == name)
        });
        Ok(record.map(|record| Credential::token(secret.id(), &record.hash)))
    }

    /// A robot must say its name: its secret does not tell whose it is.
    async fn prove_robot(
        &self,
        name: Option<&str>,
        secret: &TokenSecret,
    ) -> Result<Option<Credential>, Unauthenticated> {
        let Some(robot) = name.and_then(|name| name.parse::<RobotName>().ok()) else { return Ok(None) };
        let found = self.directory.find::<RobotRecord>(EntryKind::Robot, &robot.to_string()).await;
        let Some((_, record)) = found.map_err(unavailable)? else { return Ok(None) };
        let hash = secret.hash();
        let known = record.secrets.iter().any(|kept| kept.hash == hash);
        Ok(known.then(|| Credential::robot(&robot, &hash)))
    }

    /// An access token, or a session.
    fn prove_signed(&self, token: &Secret) -> Result<Proof, Unauthenticated> {
        let (claims, is_session) = match self.claims(token, AUDIENCE) {
            Err(TokenError::Audience) => (self.claims(token, SESSION_AUDIENCE).map_err(refused)?, true),
            outcome => (outcome.map_err(refused)?, false),
        };
        let credential = Credential::of_claims(&claims).ok_or(Unauthenticated::Wrong)?;
        let ends = seconds(claims.exp);
        let by = if is_session {
            By::Session(SessionId { id: claims.jti, started: seconds(claims.iat), ends })
        } else {
            By::Token(scope_of(&claims), ends)
        };
        Ok(Proof { credential, factor: Some(claims.factor).filter(|factor| !factor.is_empty()), by })
    }

    /// What a token says that was signed here.
    pub(crate) fn claims(&self, token: &Secret, audience: &str) -> Result<Claims, TokenError> {
        self.keys.signer().verify(token.expose(), audience, ISSUER, self.directory.now())
    }

    /// Looks at a password. Unknown users cost what wrong passwords cost.
    async fn check_password(
        &self,
        name: &str,
        password: Secret,
        address: Option<IpAddr>,
    ) -> Result<(UserName, Credential), Unauthenticated> {
        let user = name.parse::<UserName>().ok();
        // What can be nobody's name must not be that of a count of another kind.
        let strange = || format!("?{}", name.chars().take(STRANGE_MAX).collect::<String>());
        let name = &*user.as_ref().map_or_else(strange, ToString::to_string);
        self.may_try(name, address)?;
        let found = match &user {
            Some(user) => self.directory.find::<UserRecord>(EntryKind::User, user.as_str()).await,
            None => Ok(None),
        };
        let found = found.map_err(unavailable)?.filter(|(_, record)| !record.disabled);
        let hash = found.as_ref().and_then(|(_, record)| record.password.clone());
        let is_known = hash.is_some();
        let turn = self.directory.hasher.turn().await.map_err(|error| busy(&error))?;
        // Others may have failed while this one waited for its turn.
        self.may_try(name, address)?;
        let same = turn.verify(hash, password).await.map_err(|error| busy(&error))? && is_known;
        self.tried(name, address, same);
        match (user, found) {
            (Some(user), Some((entry, record))) if same => {
                let mark = mark_of(&entry, &record);
                Ok((user.clone(), Credential::Password { user, mark }))
            }
            _ => Err(Unauthenticated::Wrong),
        }
    }

    pub(crate) fn may_try(&self, name: &str, address: Option<IpAddr>) -> Result<(), Unauthenticated> {
        let outcome = self.attempts.check(name, place(address), self.directory.now());
        outcome.map_err(|wait| Unauthenticated::TooManyAttempts(wait.seconds))
    }

    pub(crate) fn tried(&self, name: &str, address: Option<IpAddr>, succeeded: bool) {
        let now = self.directory.now();
        if succeeded {
            self.attempts.succeeded(name, place(address), now);
        } else {
            self.attempts.failed(name, place(address), now);
        }
    }
}

fn check_new(change: &PasswordChange) -> Result<(), IdentityError> {
    if change.new.expose() == change.current.expose() {
        return Err(IdentityError::Invalid("the new password is the old one: choose another".into()));
    }
    Ok(())
}

/// What comes by a socket counts as one address.
fn place(address: Option<IpAddr>) -> IpAddr {
    address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn busy(error: &CryptoError) -> Unauthenticated {
    match error {
        CryptoError::Busy => Unauthenticated::Busy,
        error => {
            tracing::error!(%error, "a password could not be looked at");
            Unauthenticated::Unavailable
        }
    }
}

/// Only the log is told why.
pub(crate) fn refused(error: TokenError) -> Unauthenticated {
    tracing::debug!(%error, "a signed token was refused");
    Unauthenticated::Wrong
}

fn key_of(header: &str, address: Option<IpAddr>) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(header.as_bytes());
    // No header has a zero byte.
    let hash = match network(place(address)) {
        IpAddr::V4(address) => hash.chain_update([0, 4]).chain_update(address.octets()),
        IpAddr::V6(address) => hash.chain_update([0, 6]).chain_update(address.octets()),
    };
    hash.finalize().into()
}

/// A moment that is given in seconds since 1970.
pub(crate) fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000))
}

impl Gate for Identity {
    fn recall(&self, presented: &Presented<'_>) -> Option<Arc<Subject>> {
        let Some(header) = presented.authorization else {
            return Some(Arc::clone(if presented.local { &self.local } else { &self.anonymous }));
        };
        let found = self.recollect(&key_of(header, presented.address))?;
        let is_good = found.is_fresh(self.directory.epoch(), self.directory.now());
        (is_good && found.check_general().is_ok()).then(|| Arc::clone(&found.subject))
    }

    fn authenticate<'a>(
        &'a self,
        presented: Presented<'a>,
    ) -> Answer<'a, Result<Arc<Subject>, Unauthenticated>> {
        Box::pin(async move {
            match presented.authorization {
                Some(header) => {
                    let context = Context { address: presented.address, ..Context::default() };
                    let verified = self.verify(header, None, &context).await?;
                    verified.check_general()?;
                    Ok(Arc::clone(&verified.subject))
                }
                None => self.recall(&presented).ok_or(Unauthenticated::Unavailable),
            }
        })
    }

    fn claimed(&self, presented: &Presented<'_>) -> Option<String> {
        match Authorization::parse(presented.authorization?)? {
            Authorization::Basic { name, .. } => Some(name),
            Authorization::Bearer(_) => None,
        }
    }

    fn projects(&self) -> Arc<Projects> {
        Arc::clone(&self.directory.known().projects)
    }

    fn challenges(&self) -> bool {
        true
    }

    fn prepare<'a>(&'a self, push: &'a Grant, subject: &'a Subject) -> Answer<'a, Result<(), PrepareError>> {
        Box::pin(self.directory.prepare_push(push, subject))
    }
}
