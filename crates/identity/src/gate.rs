//! The gate: who asks? Credentials are verified once and then remembered, by the SHA-256 of what was sent.
//!
//! What is remembered is the proof (this password, this token) and what its holder might do at one epoch of the
//! directory. In another epoch the proof is held against the directory again, which costs a few look-ups and no hash
//! of a password: so a role, a token or a robot that is taken away stops working at the next request.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use access::{Answer, Gate, Grant, PrepareError, Presented, Projects, Subject, Unauthenticated};
use meta::{EntryKind, Timestamp};
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::attempts::Attempts;
use crate::authorization::Authorization;
use crate::browser::Browsers;
use crate::directory::Directory;
use crate::keys::Keys;
use crate::model::{PasswordChange, RobotRecord, TokenRecord, UserRecord};
use crate::names::{RobotName, UserName};
use crate::proof::{Credential, Known, Proof, scope_of, unavailable};
use crate::secret::Secret;
use crate::signer::Claims;
use crate::token_secret::{TokenKind, TokenSecret};
use crate::{CryptoError, IdentityError};

/// How many credentials are remembered.
const REMEMBERED: usize = 20_000;

/// How long one is remembered at most, so that a password is looked at again some time.
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);

/// Who gives access tokens out, and for whom.
pub(crate) const ISSUER: &str = "wharf";
pub(crate) const AUDIENCE: &str = "wharf";

/// Everybody, and the gate that they come through.
pub struct Identity {
    directory: Arc<Directory>,
    attempts: Attempts,
    remembered: Cache<[u8; 32], Arc<Remembered>>,
    pub(crate) keys: Keys,
    pub(crate) browsers: Browsers,
    anonymous: Arc<Subject>,
    local: Arc<Subject>,
}

/// A credential that was verified.
pub(crate) struct Remembered {
    pub(crate) proof: Proof,
    pub(crate) subject: Arc<Subject>,
    epoch: u64,
    until: Timestamp,
}

impl Identity {
    /// The gate in front of a directory.
    pub async fn open(directory: Arc<Directory>) -> Result<Self, IdentityError> {
        let keys = Keys::open(&directory).await?;
        Ok(Self {
            browsers: Browsers::new(directory.limits.browser),
            directory,
            attempts: Attempts::new(),
            remembered: Cache::new(REMEMBERED),
            keys,
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

    /// Gives somebody the password that they chose, after a look at the one before. It is for those who must change
    /// theirs, too, so they need not be signed in.
    pub async fn change_password(
        &self,
        user: &str,
        change: PasswordChange,
        address: Option<IpAddr>,
    ) -> Result<(), IdentityError> {
        if change.new.expose() == change.current.expose() {
            return Err(IdentityError::Invalid("the new password is the old one: choose another".into()));
        }
        let (name, _) = self.check_password(user, change.current, address).await?;
        self.directory.set_own_password(&name, &change.new, address).await
    }

    /// A credential that was remembered, at whatever epoch.
    fn recollect(&self, key: &[u8; 32]) -> Option<Arc<Remembered>> {
        let found = self.remembered.get(key)?;
        (self.directory.now() < found.until).then_some(found)
    }

    /// Who sent this header, and how they proved it.
    pub(crate) async fn verify(
        &self,
        header: &str,
        address: Option<IpAddr>,
    ) -> Result<Arc<Remembered>, Unauthenticated> {
        let key = key_of(header);
        // What changes from here on makes what is worked out now look older than it is, and never newer.
        let epoch = self.directory.epoch();
        let proof = match self.recollect(&key) {
            Some(found) if found.epoch == epoch => return Ok(found),
            Some(found) => found.proof.clone(),
            None => self.prove(header, address).await?,
        };
        let Known { subject, until } = self.directory.subject_of(&proof).await?;
        let latest = self.directory.now().plus(REMEMBERED_FOR);
        let until = until.map_or(latest, |until| until.min(latest));
        let verified = Arc::new(Remembered { proof, subject, epoch, until });
        self.remembered.insert(key, Arc::clone(&verified));
        Ok(verified)
    }

    async fn prove(&self, header: &str, address: Option<IpAddr>) -> Result<Proof, Unauthenticated> {
        match Authorization::parse(header).ok_or(Unauthenticated::Malformed)? {
            Authorization::Bearer(token) => match TokenSecret::parse(token.expose()) {
                Some(secret) => self.prove_opaque(None, &secret, address).await,
                None => self.prove_access_token(&token),
            },
            Authorization::Basic { name, secret } => match TokenSecret::parse(secret.expose()) {
                Some(secret) => self.prove_opaque(Some(&name), &secret, address).await,
                None => self.prove_password(&name, secret, address).await,
            },
        }
    }

    /// A password: of a client, or of a person on a page.
    pub(crate) async fn prove_password(
        &self,
        name: &str,
        password: Secret,
        address: Option<IpAddr>,
    ) -> Result<Proof, Unauthenticated> {
        let (user, record) = self.check_password(name, password, address).await?;
        let hash = record.password.as_ref().ok_or(Unauthenticated::Wrong)?;
        Ok(Proof { credential: Credential::password(&user, hash), token: None })
    }

    /// A personal access token or a robot's secret, with the name of its user or robot, or without.
    async fn prove_opaque(
        &self,
        name: Option<&str>,
        secret: &TokenSecret,
        address: Option<IpAddr>,
    ) -> Result<Proof, Unauthenticated> {
        let counted = name.unwrap_or_else(|| secret.id());
        self.may_try(counted, address)?;
        let credential = match secret.kind() {
            TokenKind::Personal => self.prove_token(name, secret).await?,
            TokenKind::Robot => self.prove_robot(name, secret).await?,
        };
        self.tried(counted, address, credential.is_some());
        let credential = credential.ok_or(Unauthenticated::Wrong)?;
        Ok(Proof { credential, token: None })
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

    fn prove_access_token(&self, token: &Secret) -> Result<Proof, Unauthenticated> {
        let claims = self.claims(token, AUDIENCE)?;
        let credential = Credential::of_claims(&claims).ok_or(Unauthenticated::Wrong)?;
        Ok(Proof { credential, token: Some((scope_of(&claims), seconds(claims.exp))) })
    }

    /// What a token says that was signed here.
    pub(crate) fn claims(&self, token: &Secret, audience: &str) -> Result<Claims, Unauthenticated> {
        let claims = self.keys.signer().verify(token.expose(), audience, ISSUER, self.directory.now());
        claims.map_err(|error| {
            tracing::debug!(%error, "an access token was refused");
            Unauthenticated::Wrong
        })
    }

    /// Looks at a password. Unknown users cost what wrong passwords cost.
    async fn check_password(
        &self,
        name: &str,
        password: Secret,
        address: Option<IpAddr>,
    ) -> Result<(UserName, UserRecord), Unauthenticated> {
        self.may_try(name, address)?;
        let user = name.parse::<UserName>().ok();
        let found = match &user {
            Some(user) => self.directory.find::<UserRecord>(EntryKind::User, user.as_str()).await,
            None => Ok(None),
        };
        let record = found.map_err(unavailable)?.map(|(_, record)| record).filter(|record| !record.disabled);
        let hash = record.as_ref().and_then(|record| record.password.clone());
        let is_known = hash.is_some();
        let turn = self.directory.hasher.turn().await.map_err(|error| busy(&error))?;
        // Others may have failed while this one waited for its turn.
        self.may_try(name, address)?;
        let same = turn.verify(hash, password).await.map_err(|error| busy(&error))? && is_known;
        self.tried(name, address, same);
        match (user, record) {
            (Some(user), Some(record)) if same => Ok((user, record)),
            _ => Err(Unauthenticated::Wrong),
        }
    }

    fn may_try(&self, name: &str, address: Option<IpAddr>) -> Result<(), Unauthenticated> {
        let outcome = self.attempts.check(name, place(address), self.directory.now());
        outcome.map_err(|wait| Unauthenticated::TooManyAttempts(wait.seconds))
    }

    fn tried(&self, name: &str, address: Option<IpAddr>, succeeded: bool) {
        let now = self.directory.now();
        if succeeded {
            self.attempts.succeeded(name, place(address), now);
        } else {
            self.attempts.failed(name, place(address), now);
        }
    }
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

fn key_of(header: &str) -> [u8; 32] {
    Sha256::digest(header.as_bytes()).into()
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
        let found = self.recollect(&key_of(header))?;
        (found.epoch == self.directory.epoch()).then(|| Arc::clone(&found.subject))
    }

    fn authenticate<'a>(
        &'a self,
        presented: Presented<'a>,
    ) -> Answer<'a, Result<Arc<Subject>, Unauthenticated>> {
        Box::pin(async move {
            match presented.authorization {
                Some(header) => {
                    let verified = self.verify(header, presented.address).await?;
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
