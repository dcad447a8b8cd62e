//! Sessions, and what asks for a code once more.

use std::time::Duration;

use access::{Subject, Unauthenticated};
use identity::Secret;
use identity::model::{NewToken, PasswordChange, UserPatch};

use crate::house::{House, PASSWORD, context, password_of, token_of, users, why};

#[tokio::test]
async fn what_cannot_be_undone_asks_once_more() {
    let house = House::volunteers().await;
    let token = token_of(&house.identity, "ann").await;
    let (app, recovery) = house.enrol("ann").await;
    let check = async |header: &str, signed: Option<&str>, code: Option<&str>, expect| {
        let caller = house.caller(header, signed).await.unwrap();
        let outcome = house.identity.step_up(&caller, code.map(Secret::new).as_ref(), &context()).await;
        assert_eq!(why(outcome), expect, "{signed:?} {code:?}");
    };
    let wanted = || Some(Unauthenticated::CodeWanted);
    check(&password_of("bob"), None, None, None).await;
    let code = app.code(&house);
    check(&password_of("ann"), Some(&code), Some(&code), None).await;
    check(&token, None, None, wanted()).await;
    check(&token, None, Some(&code), Some(Unauthenticated::WrongCode)).await;
    check(&token, None, Some(&app.next_code(&house)), None).await;
    check(&token, None, None, wanted()).await;
    let session = house.session("ann", Some(&app.next_code(&house))).await.unwrap();
    house.clock.advance(Duration::from_secs(299));
    check(&session, None, None, None).await;
    house.clock.advance(Duration::from_secs(1));
    check(&session, None, None, wanted()).await;
    check(&session, None, Some(&app.code(&house)), None).await;
    check(&session, None, None, wanted()).await;
    check(&session, None, Some(recovery[0].expose()), None).await;
}

#[tokio::test]
async fn a_session_ends() {
    let house = House::volunteers().await;
    let (app, _) = house.enrol("ann").await;
    let open = async || house.session("ann", Some(&app.next_code(&house))).await.unwrap();
    let minutes = |minutes: u64| house.clock.advance(Duration::from_mins(minutes));
    let over = Some(Unauthenticated::Wrong);

    let rested = open().await;
    for _ in 0..2 {
        minutes(29);
        house.caller(&rested, None).await.unwrap();
    }
    minutes(30);
    assert_eq!(house.caller(&rested, None).await.err(), over);

    let long = open().await;
    for _ in 0..24 {
        minutes(29);
        house.caller(&long, None).await.unwrap();
    }
    minutes(25);
    assert_eq!(house.caller(&long, None).await.err(), over, "twelve hours are over");

    let session = open().await;
    let ann = house.caller(&session, None).await.unwrap();
    assert_eq!((ann.subject.actor().to_string().as_str(), ann.with_code), ("ann", false));
    assert_eq!(house.pulls(&session).await.err(), over, "it is for administration only");
    assert_eq!(why(house.token_for(&session).await), over);
    let new = NewToken { label: "ci".into(), expires: None, permissions: None };
    house.directory().create_token(&ann.subject, &context(), new).await.unwrap();
    let change =
        PasswordChange { current: Secret::new(PASSWORD), new: Secret::new("another long passphrase") };
    let code = Secret::new(app.next_code(&house));
    house.identity.change_password("ann", change, Some(&code), &context()).await.unwrap();
    assert_eq!(house.caller(&session, None).await.err(), over, "the password is another");
}

#[tokio::test]
async fn who_signs_out_ends_the_session_for_good_and_no_other() {
    let house = House::volunteers().await;
    let over = Some(Unauthenticated::Wrong);
    let open = async || house.session("ann", None).await.unwrap();
    let (session, other) = (open().await, open().await);
    let ann = house.caller(&session, None).await.unwrap();
    house.identity.end_session(&ann, &context()).await.unwrap();
    house.identity.end_session(&ann, &context()).await.unwrap();
    let again = house.another(&house.limits).await;
    for identity in [&house.identity, &again] {
        assert_eq!(crate::caller(identity, &session, None).await.err(), over);
        crate::caller(identity, &other, None).await.unwrap();
    }
    let password = house.caller(&password_of("ann"), None).await.unwrap();
    let refused = house.identity.end_session(&password, &context()).await.unwrap_err();
    assert!(refused.to_string().contains("no session"), "{refused}");
}

#[tokio::test]
async fn of_sessions_that_were_ended_only_those_are_kept_that_could_live() {
    let house = House::volunteers().await;
    let end = async || {
        let session = house.session("ann", None).await.unwrap();
        let ann = house.caller(&session, None).await.unwrap();
        house.identity.end_session(&ann, &context()).await.unwrap();
        session
    };
    end().await;
    house.clock.advance(house.limits.session_life);
    let session = end().await;
    assert_eq!(house.ended_sessions().await, 2, "clocks may differ by some seconds");
    house.clock.advance(Duration::from_secs(5));
    end().await;
    assert_eq!(house.ended_sessions().await, 2);
    assert_eq!(house.caller(&session, None).await.err(), Some(Unauthenticated::Wrong));
}

#[tokio::test]
async fn who_was_kept_out_signs_in_again() {
    let house = House::volunteers().await;
    let (app, _) = house.enrol("ann").await;
    let ann = "ann".parse().unwrap();
    let patch = async |patch: UserPatch| {
        house.directory().change_user(&users(), &Subject::local(), &ann, patch).await.unwrap();
    };
    let session = house.session("ann", Some(&app.next_code(&house))).await.unwrap();
    let of_bob = house.session("bob", None).await.unwrap();
    house.caller(&session, None).await.unwrap();
    for disabled in [true, false] {
        patch(UserPatch { disabled: Some(disabled), ..UserPatch::default() }).await;
    }
    let over = Some(Unauthenticated::Wrong);
    assert_eq!(house.caller(&session, None).await.err(), over, "ann was kept out meanwhile");
    house.caller(&of_bob, None).await.unwrap();

    let session = house.session("ann", Some(&app.next_code(&house))).await.unwrap();
    house.caller(&session, None).await.unwrap();
    patch(UserPatch { password: Some(Secret::new("another long passphrase")), ..UserPatch::default() }).await;
    let change =
        PasswordChange { current: Secret::new("another long passphrase"), new: Secret::new(PASSWORD) };
    let code = Secret::new(app.next_code(&house));
    house.identity.change_password("ann", change, Some(&code), &context()).await.unwrap();
    assert_eq!(house.caller(&session, None).await.err(), over, "the password was set meanwhile");
}

#[tokio::test]
async fn a_session_outlives_a_restart_where_it_has_not_rested_long() {
    let house = House::volunteers().await;
    let session = house.session("ann", None).await.unwrap();
    house.clock.advance(Duration::from_mins(29));
    house.caller(&session, None).await.unwrap();
    let again = house.another(&house.limits).await;
    crate::caller(&again, &session, None).await.unwrap();
    house.clock.advance(Duration::from_mins(1));
    let later = house.another(&house.limits).await;
    let over = Some(Unauthenticated::Wrong);
    assert_eq!(crate::caller(&later, &session, None).await.err(), over, "nobody knows of its use");
    crate::caller(&again, &session, None).await.unwrap();
}
