//! A directory with two users, a clock that stands, and an app that shows codes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use access::{Action, Context, Gate, Grant, Presented, Subject, Target, Unauthenticated};
use base64::Engine as _;
use identity::model::{Member, NewSession, NewToken, NewUser, Principal};
use identity::{
    Caller, Claimant, Directory, Identity, IdentityError, Limits, SecondFactorFor, Secret, TokenRequest,
};
use meta::contract::TestClock;
use meta::{Clock, EntryKind, ReadEntries as _};
use meta_sql::SqliteMeta;

pub(crate) const PASSWORD: &str = "a rather long passphrase";
pub(crate) const STEP: Duration = Duration::from_secs(30);
pub(crate) const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

/// A directory, and the gate in front of it.
pub(crate) struct House {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) limits: Limits,
    store: Arc<SqliteMeta>,
}

/// What is on a user's telephone.
pub(crate) struct App(totp_rs::Totp);

impl House {
    /// The users `ann` and `bob`, under a policy.
    pub(crate) async fn new(second_factor: SecondFactorFor) -> Self {
        let clock = Arc::new(TestClock::new());
        let store = Arc::new(SqliteMeta::in_memory(Arc::clone(&clock) as _).unwrap());
        let limits = Limits { second_factor, ..Limits::default() };
        let identity = open(&store, &clock, &limits).await;
        let house = Self { clock, identity, limits, store };
        for name in ["ann", "bob"] {
            house.directory().create_user(&users(), new_user(name)).await.unwrap();
        }
        house
    }

    /// The same, with somebody who judges passkeys.
    pub(crate) async fn with_passkeys(second_factor: SecondFactorFor) -> Self {
        let house = Self::new(second_factor).await;
        let clock = Arc::clone(&house.clock);
        house.by_clock(clock).await
    }

    /// The same, where those who sign in are looked at by another clock.
    pub(crate) async fn by_clock(self, clock: Arc<dyn Clock>) -> Self {
        let directory = Directory::open(Arc::clone(&self.store) as _, clock, self.limits.clone());
        let identity = Identity::open(Arc::new(directory.await.unwrap())).await.unwrap();
        Self { identity: Arc::new(identity.with_passkeys(Arc::new(crate::passkeys::Judge))), ..self }
    }

    /// The same, where nobody must have a second factor.
    pub(crate) async fn volunteers() -> Self {
        Self::new(SecondFactorFor::Volunteers).await
    }

    pub(crate) fn directory(&self) -> &Directory {
        self.identity.directory()
    }

    /// Another process on the same store.
    pub(crate) async fn another(&self, limits: &Limits) -> Arc<Identity> {
        open(&self.store, &self.clock, limits).await
    }

    pub(crate) async fn caller(&self, header: &str, code: Option<&str>) -> Result<Caller, Unauthenticated> {
        caller(&self.identity, header, code).await
    }

    /// As images are pulled.
    pub(crate) async fn pulls(&self, header: &str) -> Result<(), Unauthenticated> {
        let presented = Presented { authorization: Some(header), address: HERE, local: false };
        let known = self.identity.recall(&presented);
        let outcome = self.identity.authenticate(presented).await.map(|_| ());
        assert!(known.is_none() || outcome.is_ok(), "what is remembered is no more than what is so");
        outcome
    }

    /// As docker signs in.
    pub(crate) async fn token_for(&self, header: &str) -> Result<(), IdentityError> {
        let wanted = TokenRequest { offline: true, ..TokenRequest::default() };
        self.identity.issue(Claimant::Header(header), &wanted, HERE).await.map(|_| ())
    }

    /// Gives a user a second factor.
    pub(crate) async fn enrol(&self, user: &str) -> (App, Vec<Secret>) {
        let caller = self.caller(&password_of(user), None).await.unwrap();
        let start = self.identity.start_totp(&caller, &context(), None, "hub.example:5000").await.unwrap();
        let app = App::reading(start.uri.expose());
        let code = Secret::new(app.code(self));
        let shown = self.identity.confirm_totp(&caller.subject, &context(), &code).await.unwrap();
        self.clock.advance(STEP);
        (app, shown.recovery_codes)
    }

    pub(crate) async fn session(&self, user: &str, code: Option<&str>) -> Result<String, IdentityError> {
        let otp = code.map(Secret::new);
        let new = NewSession { user: user.into(), password: Secret::new(PASSWORD), otp };
        let session = self.identity.open_session(new, &context()).await?;
        Ok(format!("Bearer {}", session.token.expose()))
    }

    /// How many sessions are remembered that were ended.
    pub(crate) async fn ended_sessions(&self) -> usize {
        self.store.entries(EntryKind::EndedSession, None, 100).await.unwrap().len()
    }

    pub(crate) async fn give(&self, principal: &str, role: &str) {
        let principal: Principal = principal.parse().unwrap();
        let member = Member { principal, role: role.into(), project: None };
        let grant = Grant::system("test", Action::ManageMembers, Target::System);
        self.directory().add_member(&grant, &Subject::local(), &member).await.unwrap();
    }
}

impl App {
    /// Reads the secret as an app does.
    pub(crate) fn reading(uri: &str) -> Self {
        let secret = uri.split_once("secret=").unwrap().1.split('&').next().unwrap();
        let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
        Self(totp_rs::Builder::new().with_secret(secret).build_noncompliant())
    }

    pub(crate) fn code(&self, house: &House) -> String {
        let seconds = u64::try_from(house.clock.now().micros() / 1_000_000).unwrap();
        self.0.generate(seconds).to_string()
    }

    /// The code of the next step of time, which nobody can have used.
    pub(crate) fn next_code(&self, house: &House) -> String {
        house.clock.advance(STEP);
        self.code(house)
    }
}

async fn open(store: &Arc<SqliteMeta>, clock: &Arc<TestClock>, limits: &Limits) -> Arc<Identity> {
    let directory = Directory::open(Arc::clone(store) as _, Arc::clone(clock) as _, limits.clone()).await;
    Arc::new(Identity::open(Arc::new(directory.unwrap())).await.unwrap())
}

pub(crate) async fn caller(
    identity: &Identity,
    header: &str,
    code: Option<&str>,
) -> Result<Caller, Unauthenticated> {
    let presented = Presented { authorization: Some(header), address: HERE, local: false };
    identity.caller(presented, code.map(Secret::new).as_ref(), &context()).await
}

/// A personal access token of whoever signs in so, as they send it.
pub(crate) async fn token_of(identity: &Identity, user: &str) -> String {
    let caller = caller(identity, &password_of(user), None).await.unwrap();
    let new = NewToken { label: "laptop".into(), expires: None, permissions: None };
    let token = identity.directory().create_token(&caller.subject, &context(), new).await.unwrap();
    basic(user, token.secret.expose())
}

pub(crate) fn new_user(name: &str) -> NewUser {
    NewUser {
        source: Default::default(),
        name: name.parse().unwrap(),
        password: Some(Secret::new(PASSWORD)),
        email: String::new(),
        display_name: String::new(),
        must_change_password: false,
    }
}

pub(crate) fn users() -> Grant {
    Grant::system("test", Action::ManageUsers, Target::System)
}

pub(crate) fn context() -> Context {
    Context { address: HERE, ..Context::default() }
}

pub(crate) fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{secret}")))
}

pub(crate) fn password_of(user: &str) -> String {
    basic(user, PASSWORD)
}

/// Why somebody was not let in, if so.
pub(crate) fn why<T>(outcome: Result<T, IdentityError>) -> Option<Unauthenticated> {
    match outcome {
        Ok(_) => None,
        Err(IdentityError::Unauthenticated(why)) => Some(why),
        Err(error) => panic!("{error}"),
    }
}
