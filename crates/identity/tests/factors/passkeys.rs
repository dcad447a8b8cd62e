//! Passkeys, with a judge that believes what an answer says: an id and a counter.

use access::Unauthenticated;
use identity::{
    Asking, Confirmed, Credential, IdentityError, PASSKEYS_PER_USER, PasskeyError, Passkeys, Purpose,
    Question, Registering, SecondFactorFor, Secret, SessionId, SignIn, UserName,
};

use crate::house::{House, PASSWORD, STEP, context, password_of, users, why};

/// Believes an answer such as `key 5`, where the counter is above that of the key.
pub(crate) struct Judge;

struct Judging(Vec<Credential>);

fn read(answer: &str) -> Result<Credential, PasskeyError> {
    let (id, counter) = answer.split_once(' ').ok_or(PasskeyError::Refused("no answer".into()))?;
    Ok(Credential { id: id.into(), key: counter.parse::<u64>().unwrap().into() })
}

impl Passkeys for Judge {
    fn register(
        &self,
        _: &UserName,
        _: [u8; 16],
        known: &[Credential],
    ) -> Result<Question<dyn Registering>, PasskeyError> {
        Ok(Question { options: "{}".into(), judge: Box::new(Judging(known.to_vec())) })
    }

    fn ask(&self, known: &[Credential]) -> Result<Question<dyn Asking>, PasskeyError> {
        if known.iter().any(|known| known.id == "unreadable") {
            return Err(PasskeyError::Refused("what is kept of it cannot be read".into()));
        }
        Ok(Question { options: "{}".into(), judge: Box::new(Judging(known.to_vec())) })
    }
}

impl Registering for Judging {
    fn finish(self: Box<Self>, answer: &str) -> Result<Credential, PasskeyError> {
        read(answer)
    }
}

impl Asking for Judging {
    fn finish(self: Box<Self>, answer: &str) -> Result<Credential, PasskeyError> {
        let shown = read(answer)?;
        let known = self.0.into_iter().find(|known| known.id == shown.id);
        let known = known.ok_or(PasskeyError::Refused("unknown".into()))?;
        if shown.key.as_u64() <= known.key.as_u64() {
            return Err(PasskeyError::Copied { id: shown.id });
        }
        Ok(shown)
    }
}

/// Gives the password on a page. Who has no second factor has a session then; others, a browser that waits for it.
pub(crate) async fn begin(house: &House, user: &str) -> Result<SessionId, SessionId> {
    match house.identity.begin_sign_in(user, Secret::new(PASSWORD), None).await.unwrap() {
        SignIn::Open(opened) => Ok(opened.id),
        SignIn::Factor(browser) => Err(browser),
    }
}

/// The same up to the question for a passkey.
pub(crate) async fn asked(house: &House, user: &str) -> SessionId {
    let browser = begin(house, user).await.unwrap_err();
    assert!(house.identity.wanted_to_sign_in(&browser).await.unwrap().passkey.is_some());
    browser
}

pub(crate) async fn confirmed(house: &House, session: &SessionId) -> Option<Confirmed> {
    house.identity.session(session).await.unwrap().unwrap().confirmed
}

pub(crate) async fn add(house: &House, by: &Confirmed, name: &str) -> Result<bool, IdentityError> {
    house.identity.begin_passkey(by).await.unwrap();
    let answer = format!("{name} 1");
    house.identity.finish_passkey(by, &context(), name, &answer).await.map(|codes| codes.is_some())
}

pub(crate) async fn show(
    house: &House,
    browser: &SessionId,
    answer: &str,
) -> Result<SessionId, IdentityError> {
    let shown = house.identity.sign_in_with_passkey(browser, answer, &context()).await;
    shown.map(|(opened, _)| opened.id)
}

#[tokio::test]
async fn a_passkey_is_shown_after_the_password_and_each_answer_counts_once() {
    let house = House::with_passkeys(SecondFactorFor::Volunteers).await;
    let session = begin(&house, "ann").await.unwrap();
    let by = confirmed(&house, &session).await.unwrap();
    assert!(add(&house, &by, "key").await.unwrap(), "the first comes with recovery codes");
    assert!(house.identity.session(&session).await.unwrap().is_some(), "the session stands on it");
    assert_eq!(house.pulls(&password_of("ann")).await, Err(Unauthenticated::SecondFactor));

    let (one, two) = (asked(&house, "ann").await, asked(&house, "ann").await);
    show(&house, &one, "key 5").await.unwrap();
    let late = show(&house, &two, "key 3").await;
    assert!(matches!(late, Err(IdentityError::Expired)), "a copy, asked before the other answered: {late:?}");
    let again = show(&house, &one, "key 6").await;
    assert!(matches!(again, Err(IdentityError::Expired)), "{again:?}");
    let copy = show(&house, &asked(&house, "ann").await, "key 5").await;
    assert!(matches!(copy, Err(IdentityError::Passkey(PasskeyError::Copied { .. }))), "{copy:?}");
    let long = format!("key {}", "7".repeat(20_000));
    let long = show(&house, &asked(&house, "ann").await, &long).await;
    assert!(matches!(long, Err(IdentityError::Passkey(PasskeyError::Refused(_)))), "{long:?}");
    let slow = asked(&house, "ann").await;
    house.clock.advance(10 * STEP);
    assert!(matches!(show(&house, &slow, "key 9").await, Err(IdentityError::Expired)));
    show(&house, &asked(&house, "ann").await, "key 9").await.unwrap();
}

#[tokio::test]
async fn there_are_so_many_each_with_a_name_and_a_session_ends_with_its_own() {
    let house = House::with_passkeys(SecondFactorFor::Volunteers).await;
    let session = begin(&house, "ann").await.unwrap();
    let by = confirmed(&house, &session).await.unwrap();
    for name in ["", &"x".repeat(51), "a\nb"] {
        assert!(matches!(add(&house, &by, name).await, Err(IdentityError::Invalid(_))), "{name}");
    }
    for number in 0..PASSKEYS_PER_USER {
        let by = confirmed(&house, &session).await.unwrap();
        assert_eq!(add(&house, &by, &format!("key{number}")).await.unwrap(), number == 0);
    }
    let late = house.identity.begin_passkey(&by).await;
    assert!(
        matches!(late, Err(IdentityError::Expired)),
        "the password alone adds none beside another: {late:?}"
    );
    let by = confirmed(&house, &session).await.unwrap();
    let twice = add(&house, &by, "key1").await;
    assert!(matches!(twice, Err(IdentityError::TooMany { .. })), "{twice:?}");

    let browser = asked(&house, "ann").await;
    let other = show(&house, &browser, "key1 2").await.unwrap();
    assert!(confirmed(&house, &other).await.is_none(), "it is shown once more before anything changes");
    let subject = house.identity.session(&other).await.unwrap().unwrap().subject;
    house.identity.wanted_to_confirm(&other, &subject, Purpose::OneTimeCode).await.unwrap();
    let purpose = house.identity.confirm_with_passkey(&other, &subject, "key1 3", &context()).await;
    assert!(matches!(purpose, Err(IdentityError::Expired)), "it was asked for something else: {purpose:?}");
    let keys = house.directory().own_passkeys(&subject).await.unwrap();
    let id = &keys.iter().find(|key| key.name == "key1").unwrap().id;
    house.identity.remove_passkey(&by, &context(), id).await.unwrap();
    assert!(house.identity.session(&other).await.unwrap().is_none(), "the passkey that it stood on is gone");
    assert!(house.identity.session(&session).await.unwrap().is_some());
    assert!(matches!(add(&house, &by, "key2").await, Err(IdentityError::Exists { .. })), "one of that name");
    let ann = "ann".parse().unwrap();
    house.directory().delete_factor_of(&users(), &access::Subject::local(), &ann).await.unwrap();
    assert!(begin(&house, "ann").await.is_ok(), "an administrator removed them all");
}

#[tokio::test]
async fn what_is_confirmed_is_so_for_five_minutes() {
    let house = House::with_passkeys(SecondFactorFor::Everybody).await;
    let session = begin(&house, "ann").await.unwrap();
    let seen = house.identity.session(&session).await.unwrap().unwrap();
    assert!(seen.must_enrol && seen.confirmed.is_some());
    house.clock.advance(9 * STEP);
    assert!(confirmed(&house, &session).await.is_some());
    house.clock.advance(STEP);
    assert!(confirmed(&house, &session).await.is_none());
    let password = |password: &str| Secret::new(password);
    let wrong =
        house.identity.confirm_with_password(&session, &seen.subject, password("x"), &context()).await;
    assert!(matches!(wrong, Err(IdentityError::Unauthenticated(Unauthenticated::Wrong))), "{wrong:?}");
    house
        .identity
        .confirm_with_password(&session, &seen.subject, password(PASSWORD), &context())
        .await
        .unwrap();
    let by = confirmed(&house, &session).await.unwrap();
    add(&house, &by, "key").await.unwrap();
    let seen = house.identity.session(&session).await.unwrap().unwrap();
    assert!(!seen.must_enrol);
    let weak =
        house.identity.confirm_with_password(&session, &seen.subject, password(PASSWORD), &context()).await;
    assert!(matches!(weak, Err(IdentityError::Unauthenticated(Unauthenticated::CodeWanted))), "{weak:?}");
}

#[tokio::test]
async fn an_app_beside_passkeys_needs_a_code_and_what_a_code_opened_ends_with_its_passkey() {
    let house = House::with_passkeys(SecondFactorFor::Volunteers).await;
    let session = begin(&house, "ann").await.unwrap();
    let by = confirmed(&house, &session).await.unwrap();
    house.identity.begin_passkey(&by).await.unwrap();
    let shown = house.identity.finish_passkey(&by, &context(), "key", "key 1").await.unwrap().unwrap();
    let mut recovery = shown.recovery_codes.iter().map(Secret::expose);
    let by = confirmed(&house, &session).await.unwrap();
    add(&house, &by, "other").await.unwrap();

    let subject = house.identity.session(&session).await.unwrap().unwrap().subject;
    house.identity.wanted_to_confirm(&session, &subject, Purpose::OneTimeCode).await.unwrap();
    let given = house.identity.one_time_code(&session, &subject, &context(), "other 2").await.unwrap();
    let by_other = house.session("ann", Some(given.code.expose())).await.unwrap();
    let by_recovery = house.session("ann", recovery.next()).await.unwrap();
    for header in [&by_other, &by_recovery] {
        let found = house.caller(header, None).await.unwrap();
        let start = house.identity.start_totp(&found, &context(), None, "hub").await;
        assert_eq!(why(start), Some(Unauthenticated::CodeWanted));
    }
    let found = house.caller(&by_recovery, None).await.unwrap();
    let code = Secret::new(recovery.next().unwrap());
    house.identity.start_totp(&found, &context(), Some(&code), "hub").await.unwrap();

    let keys = house.directory().own_passkeys(&subject).await.unwrap();
    let id = &keys.iter().find(|key| key.name == "other").unwrap().id;
    house.identity.remove_passkey(&by, &context(), id).await.unwrap();
    assert!(house.caller(&by_other, None).await.is_err(), "the passkey that gave its code is gone");
    house.caller(&by_recovery, None).await.unwrap();
}

#[tokio::test]
async fn who_has_a_passkey_that_cannot_be_read_signs_in_with_a_recovery_code() {
    let house = House::with_passkeys(SecondFactorFor::Volunteers).await;
    let session = begin(&house, "ann").await.unwrap();
    let by = confirmed(&house, &session).await.unwrap();
    house.identity.begin_passkey(&by).await.unwrap();
    let shown = house.identity.finish_passkey(&by, &context(), "key", "unreadable 1").await.unwrap().unwrap();
    let browser = begin(&house, "ann").await.unwrap_err();
    assert!(house.identity.wanted_to_sign_in(&browser).await.unwrap().passkey.is_none());
    house.identity.sign_in_with_code(&browser, &shown.recovery_codes[0], &context()).await.unwrap();
}
