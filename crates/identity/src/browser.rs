//! Sessions of browsers: who signed in on a page stays signed in for a while.
//!
//! They are kept in memory, so that a restart signs everybody out. Of a session's id only the SHA-256 is kept. What a
//! session stands for is the proof that opened it, which is held against the directory again at each epoch: a session
//! ends with the password, with the user, and when the user is kept out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use access::{Subject, Unauthenticated};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meta::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::IdentityError;
use crate::crypto::{self, CryptoError};
use crate::directory::ProviderAccount;
use crate::gate::Identity;
use crate::names::UserName;
use crate::page_factors::Confirmed;
use crate::proof::{self, By, Credential, Known, Proof, Standing, mark_of};
use crate::secret::Secret;

/// The most sessions at once, of all and of one user. Beyond, those end that have rested longest.
const SESSIONS_MAX: usize = 10_000;
const SESSIONS_PER_USER: usize = 20;

/// How long a second factor stands that was shown in a session for what changes them.
const CONFIRMED_FOR: Duration = Duration::from_mins(5);

/// What tells the token of a session's forms from its id.
const CSRF: &str = "wharf csrf\n";

/// How long sessions live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrowserLimits {
    /// Without a request.
    pub idle: Duration,
    /// In all.
    pub longest: Duration,
}

impl Default for BrowserLimits {
    fn default() -> Self {
        Self { idle: Duration::from_mins(30), longest: Duration::from_hours(12) }
    }
}

/// The id of a session, which only its browser holds: 256 random bits.
#[derive(Clone, Debug)]
pub struct SessionId(Secret);

impl SessionId {
    /// A new one.
    pub fn generate() -> Result<Self, CryptoError> {
        Ok(Self(Secret::new(URL_SAFE_NO_PAD.encode(crypto::random::<32>()?.as_slice()))))
    }

    /// An id as a browser sends it back.
    pub fn parse(text: &str) -> Option<Self> {
        let is_whole = URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32);
        is_whole.then(|| Self(Secret::new(text)))
    }

    /// The text, for the cookie.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// What the forms of the session's pages carry. It tells nothing of the id.
    pub fn csrf(&self) -> Secret {
        let hash = Sha256::new().chain_update(CSRF).chain_update(self.0.expose()).finalize();
        Secret::new(URL_SAFE_NO_PAD.encode(hash))
    }

    /// Whether a form came from a page of this session.
    pub fn made(&self, csrf: &str) -> bool {
        crypto::equal(self.csrf().expose().as_bytes(), csrf.as_bytes())
    }

    /// The hash, under which something of the browser is kept.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose()).into()
    }
}

/// Somebody who has just signed in.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The session.
    pub id: SessionId,
    /// Who it is.
    pub subject: Arc<Subject>,
}

/// Somebody with a session.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Who it is.
    pub subject: Arc<Subject>,
    /// Whether they must set a second factor up before anything else.
    pub must_enrol: bool,
    /// Stands for having shown just now what there is to show.
    pub confirmed: Option<Confirmed>,
}

/// Whose session has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Who it was.
    pub subject: Arc<Subject>,
    /// What the OpenID provider said of them, to be shown to it where the session there is to end, too.
    pub id_token: Option<Secret>,
}

/// The session that somebody has at their OpenID provider.
#[derive(Clone, Debug)]
pub(crate) struct AtProvider {
    subject: String,
    session: Option<String>,
    id_token: Secret,
}

#[derive(Clone)]
struct Session {
    user: UserName,
    proof: Proof,
    subject: Arc<Subject>,
    epoch: u64,
    /// When to ask again who keeps the user elsewhere; never where absent.
    fresh: Option<Timestamp>,
    /// When it ends, whatever is done in it; only by its age where absent.
    ends: Option<Timestamp>,
    opened: Timestamp,
    used: Timestamp,
    /// Whether a second factor is required, and there is none.
    must_enrol: bool,
    /// When a second factor, or where there is none the password, was shown for what changes them.
    confirmed: Option<Timestamp>,
    provider: Option<AtProvider>,
}

impl Session {
    fn seen(&self, id: &SessionId, subject: Arc<Subject>, must_enrol: bool, now: Timestamp) -> Seen {
        let is_confirmed = self.confirmed.is_some_and(|shown| now < shown.plus(CONFIRMED_FOR));
        let confirmed = is_confirmed.then(|| Confirmed {
            id: id.clone(),
            subject: Arc::clone(&subject),
            factor: self.proof.factor.clone(),
        });
        Seen { subject, must_enrol, confirmed }
    }

    fn is_over(&self, limits: &BrowserLimits, now: Timestamp) -> bool {
        let is_over = self.ends.is_some_and(|ends| ends <= now);
        is_over || self.used.plus(limits.idle) <= now || self.opened.plus(limits.longest) <= now
    }
}

/// All sessions.
pub(crate) struct Browsers {
    limits: BrowserLimits,
    most: usize,
    sessions: Mutex<HashMap<[u8; 32], Session>>,
}

impl Browsers {
    pub(crate) fn new(limits: BrowserLimits) -> Self {
        Self { limits, most: SESSIONS_MAX, sessions: Mutex::default() }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a new session; where there are too many, others end.
    fn open(&self, id: &SessionId, session: Session, now: Timestamp) {
        let mut sessions = self.sessions();
        sessions.retain(|_, session| !session.is_over(&self.limits, now));
        let own = sessions.values().filter(|other| other.user == session.user).count();
        if own >= SESSIONS_PER_USER {
            drop_oldest(&mut sessions, |other| other.user == session.user);
        }
        if sessions.len() >= self.most {
            drop_oldest(&mut sessions, |_| true);
        }
        sessions.insert(id.hash(), session);
    }

    /// The session of this id, which is used now.
    fn touch(&self, id: &SessionId, now: Timestamp) -> Option<Session> {
        let (key, mut sessions) = (id.hash(), self.sessions());
        let session = sessions.get_mut(&key)?;
        if session.is_over(&self.limits, now) {
            sessions.remove(&key);
            return None;
        }
        session.used = session.used.max(now);
        Some(session.clone())
    }

    /// What its user may do at another epoch.
    fn renew(&self, id: &SessionId, known: &Known, epoch: u64) {
        // It may have ended meanwhile.
        if let Some(session) = self.sessions().get_mut(&id.hash()) {
            (session.subject, session.epoch, session.fresh) =
                (Arc::clone(&known.subject), epoch, known.fresh);
            session.must_enrol = known.standing == Standing::Due;
        }
    }

    /// Notes that a second factor was shown, which the session stands on from then on; or the password.
    pub(crate) fn confirm(&self, id: &SessionId, factor: Option<String>, now: Timestamp) {
        if let Some(session) = self.sessions().get_mut(&id.hash()) {
            session.confirmed = Some(now);
            if factor.is_some() {
                session.proof.factor = factor;
            }
        }
    }

    /// Has a session that stands on one factor stand on the one that took its place.
    pub(crate) fn follow(&self, id: &SessionId, before: &str, now: String) {
        if let Some(session) = self.sessions().get_mut(&id.hash())
            && session.proof.factor.as_deref() == Some(before)
        {
            session.proof.factor = Some(now);
        }
    }

    /// Ends a session, unless it stands on another factor by now. Whether it is over.
    fn close_on(&self, id: &SessionId, factor: Option<&str>) -> bool {
        let (key, mut sessions) = (id.hash(), self.sessions());
        let stands = sessions.get(&key).is_some_and(|session| session.proof.factor.as_deref() != factor);
        if !stands {
            sessions.remove(&key);
        }
        !stands
    }

    fn close(&self, id: &SessionId) -> Option<Ended> {
        let session = self.sessions().remove(&id.hash())?;
        Some(Ended { subject: session.subject, id_token: session.provider.map(|provider| provider.id_token) })
    }

    fn close_of_provider(&self, subject: Option<&str>, session: Option<&str>) -> Vec<Arc<Subject>> {
        let mut ended = Vec::new();
        self.sessions().retain(|_, kept| {
            let is_meant = kept.provider.as_ref().is_some_and(|at| is_meant(at, subject, session));
            if is_meant {
                ended.push(Arc::clone(&kept.subject));
            }
            !is_meant
        });
        ended
    }
}

/// Whether a provider that ends sessions means this one. One that never said which of its sessions this is ends all
/// of the person.
fn is_meant(at: &AtProvider, subject: Option<&str>, session: Option<&str>) -> bool {
    let same_subject = subject.is_none_or(|subject| at.subject == subject);
    let same_session = match (session, at.session.as_deref()) {
        (Some(session), Some(known)) => session == known,
        (Some(_), None) => subject.is_some(),
        (None, _) => subject.is_some(),
    };
    same_subject && same_session
}

fn drop_oldest(sessions: &mut HashMap<[u8; 32], Session>, among: impl Fn(&Session) -> bool) {
    let candidates = sessions.iter().filter(|(_, session)| among(session));
    if let Some(oldest) = candidates.min_by_key(|(_, session)| session.used).map(|(key, _)| *key) {
        sessions.remove(&oldest);
    }
}

/// An id for a browser that may go on.
pub(crate) fn new_id() -> Result<SessionId, Unauthenticated> {
    SessionId::generate().map_err(|error| {
        tracing::error!(%error, "nobody can sign in");
        Unauthenticated::Unavailable
    })
}

impl Identity {
    /// Signs somebody in whom the OpenID provider knows, and who is a user from then on.
    pub async fn sign_in_from_provider(
        &self,
        account: ProviderAccount,
        address: Option<IpAddr>,
    ) -> Result<Opened, IdentityError> {
        let user = self.directory().provider_user(&account, address).await?;
        let (entry, record) = self.directory().live_user(&user).await?;
        let proof = Proof::of(Credential::Provider { user: user.clone(), mark: mark_of(&entry, &record) });
        let ProviderAccount { subject, session, id_token, .. } = account;
        let at = AtProvider { subject: subject.subject, session, id_token };
        Ok(self.open_browser(user, proof, Some(at)).await?)
    }

    pub(crate) async fn open_browser(
        &self,
        user: UserName,
        proof: Proof,
        provider: Option<AtProvider>,
    ) -> Result<Opened, Unauthenticated> {
        let epoch = self.directory().epoch();
        let now = self.directory().now();
        let ends = now.plus(self.directory().limits.browser.longest);
        let by = By::Session(proof::SessionId { id: String::new(), started: now, ends });
        let proof = Proof { by, ..proof };
        let Known { subject, standing, fresh, until } = self.subject_of(&proof).await?;
        let id = new_id()?;
        let subject_now = Arc::clone(&subject);
        let session = Session {
            user,
            proof,
            subject: subject_now,
            epoch,
            fresh,
            ends: until,
            opened: now,
            used: now,
            must_enrol: standing == Standing::Due,
            // Who has a second factor shows it for itself before it is changed.
            confirmed: (!matches!(standing, Standing::Has(_))).then_some(now),
            provider,
        };
        self.browsers.open(&id, session, now);
        Ok(Opened { id, subject })
    }

    /// Who has this session; nobody where it has ended.
    pub async fn session(&self, id: &SessionId) -> Result<Option<Seen>, Unauthenticated> {
        loop {
            let now = self.directory().now();
            let Some(session) = self.browsers.touch(id, now) else { return Ok(None) };
            let epoch = self.directory().epoch();
            if session.epoch == epoch && session.fresh.is_none_or(|fresh| now < fresh) {
                let subject = Arc::clone(&session.subject);
                return Ok(Some(session.seen(id, subject, session.must_enrol, now)));
            }
            match self.subject_of(&session.proof).await {
                Ok(known) => {
                    self.browsers.renew(id, &known, epoch);
                    let must_enrol = known.standing == Standing::Due;
                    return Ok(Some(session.seen(id, known.subject, must_enrol, now)));
                }
                // That nobody could be asked ends no session.
                Err(error @ (Unauthenticated::Unavailable | Unauthenticated::Busy)) => return Err(error),
                Err(_) => {
                    // Another tab may have changed factors, and be about to have the session stand on the new one.
                    let _one_after_another = self.codes.lock().await;
                    if self.browsers.close_on(id, session.proof.factor.as_deref()) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Ends a session.
    pub fn sign_out(&self, id: &SessionId) -> Option<Ended> {
        self.browsers.close(id)
    }

    /// Ends the sessions that an OpenID provider has ended: those of a person, or one of them.
    pub fn sign_out_from_provider(&self, subject: Option<&str>, session: Option<&str>) -> Vec<Arc<Subject>> {
        self.browsers.close_of_provider(subject, session)
    }
}

#[cfg(test)]
mod tests {
    use access::{Actor, Rights};

    use super::*;

    const LIMITS: BrowserLimits =
        BrowserLimits { idle: Duration::from_secs(60), longest: Duration::from_secs(600) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn open(browsers: &Browsers, user: &str, now: i64, provider: Option<(&str, Option<&str>)>) -> SessionId {
        let id = SessionId::generate().unwrap();
        let at_provider = |(subject, session): (&str, Option<&str>)| AtProvider {
            subject: subject.into(),
            session: session.map(str::to_owned),
            id_token: Secret::new("token"),
        };
        let session = Session {
            user: user.parse().unwrap(),
            proof: Proof::of(Credential::Nothing),
            fresh: None,
            ends: None,
            subject: Arc::new(Subject::new(
                Actor::User(user.into()),
                "password",
                Arc::new(Rights::default()),
            )),
            epoch: 1,
            opened: at(now),
            used: at(now),
            must_enrol: false,
            confirmed: None,
            provider: provider.map(at_provider),
        };
        browsers.open(&id, session, at(now));
        id
    }

    #[test]
    fn a_session_ends_when_it_rests_and_when_it_is_old() {
        let browsers = Browsers::new(LIMITS);
        let (rests, works) = (open(&browsers, "ann", 0, None), open(&browsers, "ann", 0, None));
        for time in (30..600).step_by(30) {
            assert_eq!(browsers.touch(&rests, at(time)).is_some(), time == 30, "{time}");
            assert!(browsers.touch(&works, at(time)).is_some(), "{time}");
            if time == 30 {
                assert!(browsers.touch(&rests, at(90)).is_none());
            }
        }
        assert!(browsers.touch(&works, at(600)).is_none());
        assert!(browsers.sessions().is_empty(), "what has ended is not kept");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_session_longer() {
        let browsers = Browsers::new(LIMITS);
        let id = open(&browsers, "ann", 100, None);
        assert!(browsers.touch(&id, at(50)).is_some());
        assert!(browsers.touch(&id, at(159)).is_some());
        assert!(browsers.touch(&id, at(219)).is_none());
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let browsers = Browsers { most: 100, ..Browsers::new(LIMITS) };
        let other = open(&browsers, "bob", 0, None);
        let mine: Vec<_> = (0..25).map(|now| open(&browsers, "ann", now, None)).collect();
        let left: Vec<bool> = mine.iter().map(|id| browsers.touch(id, at(25)).is_some()).collect();
        assert_eq!(
            left,
            (0..25).map(|at| at >= 5).collect::<Vec<_>>(),
            "those that rested longest have ended"
        );
        assert!(browsers.touch(&other, at(25)).is_some());
        for user in 0..100 {
            open(&browsers, &format!("u{user}"), 26, None);
        }
        assert_eq!(browsers.sessions().len(), 100);
        assert!(browsers.touch(&other, at(26)).is_none());
        open(&browsers, "late", 90, None);
        assert_eq!(browsers.sessions().len(), 1, "what is over makes room");
    }

    #[test]
    fn the_id_is_in_nothing_that_is_kept_or_shown() {
        let browsers = Browsers::new(LIMITS);
        let id = open(&browsers, "ann", 0, None);
        let text = id.secret().expose().to_owned();
        assert_eq!(text.len(), 43);
        assert!(!format!("{id:?}{:?}", id.csrf()).contains(&text));
        let again = SessionId::parse(&text).unwrap();
        assert!(browsers.touch(&again, at(1)).is_some());
        assert!(browsers.sessions().contains_key::<[u8; 32]>(&Sha256::digest(&text).into()));
        for bad in ["", "x", &text[1..], &format!("{text}A"), &text.replace(&text[..1], "!")] {
            assert!(SessionId::parse(bad).is_none(), "{bad}");
        }
        assert!(id.made(id.csrf().expose()));
        let other = SessionId::generate().unwrap();
        for bad in ["", &text, other.csrf().expose()] {
            assert!(!id.made(bad));
        }
    }

    #[test]
    fn a_provider_ends_the_sessions_that_it_means() {
        let check = |subject: Option<&str>, session: Option<&str>, expect: [bool; 4]| {
            let browsers = Browsers::new(LIMITS);
            let kept = [
                open(&browsers, "ann", 0, Some(("s-ann", Some("1")))),
                open(&browsers, "ann", 0, Some(("s-ann", None))),
                open(&browsers, "bob", 0, Some(("s-bob", Some("2")))),
                open(&browsers, "root", 0, None),
            ];
            let ended = browsers.close_of_provider(subject, session);
            let gone = kept.map(|id| browsers.touch(&id, at(1)).is_none());
            assert_eq!(gone, expect, "{subject:?} {session:?}");
            assert_eq!(ended.len(), gone.iter().filter(|gone| **gone).count());
        };
        check(Some("s-ann"), None, [true, true, false, false]);
        check(Some("s-ann"), Some("1"), [true, true, false, false]);
        check(Some("s-ann"), Some("9"), [false, true, false, false]);
        check(None, Some("2"), [false, false, true, false]);
        check(Some("s-bob"), Some("1"), [false; 4]);
        check(None, None, [false; 4]);
    }
}
