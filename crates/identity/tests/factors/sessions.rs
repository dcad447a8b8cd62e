//! Sessions, and what asks for a code once more.

use std::time::Duration;

use access::Unauthenticated;
use identity::Secret;
use identity::model::{NewToken, PasswordChange};

use crate::house::{HERE, House, PASSWORD, context, password_of, token_of, why};

#[tokio::test]
async fn what_cannot_be_undone_asks_once_more() {
    let house = House::volunteers().await;
    let token = token_of(&house.identity, "ann").await;
    let (app, recovery) = house.enrol("ann").await;
    let check = async |header: &str, signed: Option<&str>, code: Option<&str>, expect| {
        let caller = house.caller(header, signed).await.unwrap();
        let outcome = house.identity.step_up(&caller, code.map(Secret::new).as_ref(), HERE).await;
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
    house.identity.change_password("ann", change, Some(&code), HERE).await.unwrap();
    assert_eq!(house.caller(&session, None).await.err(), over, "the password is another");
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
