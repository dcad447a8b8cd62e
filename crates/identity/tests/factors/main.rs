//! Second factors, from the first code to the device that is lost, on a clock that the test sets.

mod enforced;
mod house;
mod pages;
mod passkeys;
mod sessions;

use access::Unauthenticated;
use identity::model::PasswordChange;
use identity::{Claimant, IdentityError, Secret, TokenRequest};

use house::{App, HERE, House, PASSWORD, STEP, basic, caller, context, password_of, token_of, why};

#[tokio::test]
async fn nothing_is_asked_before_the_factor_is_confirmed() {
    let house = House::volunteers().await;
    let header = password_of("ann");
    let caller = house.caller(&header, None).await.unwrap();
    let ann = caller.subject.clone();
    let first = house.identity.start_totp(&caller, &context(), None, "hub").await.unwrap();
    let start = house.identity.start_totp(&caller, &context(), None, "hub").await.unwrap();
    assert_ne!(first.secret.expose(), start.secret.expose());
    assert!(start.uri.expose().starts_with("otpauth://totp/hub:ann?secret="));
    assert!(start.qr_svg.expose().starts_with("<svg") && start.qr_text.expose().contains('█'));
    house.pulls(&header).await.unwrap();
    let replaced = Secret::new(App::reading(first.uri.expose()).code(&house));
    let outcome = house.identity.confirm_totp(&ann, &context(), &replaced).await;
    assert_eq!(why(outcome), Some(Unauthenticated::WrongCode), "the first secret was replaced");
    assert!(!house.directory().second_factor(&ann).await.unwrap().on);
    house.pulls(&header).await.unwrap();
    house.session("ann", None).await.unwrap();
    let code = Secret::new(App::reading(start.uri.expose()).code(&house));
    let shown = house.identity.confirm_totp(&ann, &context(), &code).await.unwrap();
    assert_eq!(shown.recovery_codes.len(), 10);
    let status = house.directory().second_factor(&ann).await.unwrap();
    assert_eq!((status.on, status.required, status.recovery_codes), (true, false, 10));
    let again = house.identity.start_totp(&caller, &context(), None, "hub").await;
    assert!(matches!(again, Err(IdentityError::Invalid(message)) if message.contains("already")));
}

#[tokio::test]
async fn the_password_alone_is_refused_and_tokens_go_on() {
    let house = House::volunteers().await;
    let header = password_of("ann");
    let token = token_of(&house.identity, "ann").await;
    let wanted = TokenRequest { offline: true, ..TokenRequest::default() };
    let issued = house.identity.issue(Claimant::Header(&header), &wanted, HERE).await.unwrap();
    let session = house.session("ann", None).await.unwrap();
    house.pulls(&header).await.unwrap();
    house.enrol("ann").await;
    // Also what was proved before there was a second factor.
    let refused = Some(Unauthenticated::SecondFactor);
    assert_eq!(house.pulls(&header).await.err(), refused);
    assert_eq!(why(house.token_for(&header).await), refused);
    assert_eq!(house.caller(&header, None).await.err(), refused);
    assert_eq!(house.pulls(&format!("Bearer {}", issued.token)).await.err(), refused);
    let refresh = Secret::new(issued.refresh_token.unwrap());
    let outcome = house.identity.issue(Claimant::Refresh(&refresh), &wanted, HERE).await;
    assert_eq!(why(outcome), refused);
    assert_eq!(house.caller(&session, None).await.err(), refused);
    assert_eq!(why(house.session("ann", None).await), refused);
    let change =
        PasswordChange { current: Secret::new(PASSWORD), new: Secret::new("another long passphrase") };
    assert_eq!(why(house.identity.change_password("ann", change, None, &context()).await), refused);
    house.pulls(&token).await.unwrap();
    house.token_for(&token).await.unwrap();
    assert!(!house.caller(&token, None).await.unwrap().with_code);
    house.pulls(&password_of("bob")).await.unwrap();
    assert_eq!(house.pulls(&basic("ann", "wrong")).await.err(), Some(Unauthenticated::Wrong));
}

#[tokio::test]
async fn a_code_is_good_once_and_for_one_request() {
    let house = House::volunteers().await;
    let (app, _) = house.enrol("ann").await;
    let header = password_of("ann");
    let early = app.code(&house);
    let code = app.next_code(&house);
    assert!(house.caller(&header, Some(&code)).await.unwrap().with_code);
    let check = async |code: &str, expect: Option<Unauthenticated>| {
        assert_eq!(house.caller(&header, Some(code)).await.err(), expect, "{code}");
    };
    check(&code, Some(Unauthenticated::WrongCode)).await;
    // It was not used, but is older than one that was.
    check(&early, Some(Unauthenticated::WrongCode)).await;
    assert_eq!(house.caller(&header, None).await.err(), Some(Unauthenticated::SecondFactor));
    assert_eq!(house.pulls(&header).await.err(), Some(Unauthenticated::SecondFactor));
    let late = app.next_code(&house);
    house.clock.advance(STEP);
    let (one, other) = late.split_at(3);
    check(&format!("{one} {other}"), None).await;
    let too_late = app.next_code(&house);
    house.clock.advance(2 * STEP);
    check(&too_late, Some(Unauthenticated::WrongCode)).await;
    let own = app.next_code(&house);
    assert!(!house.caller(&password_of("bob"), Some(&own)).await.unwrap().with_code);
    check(&own, None).await;
}

#[tokio::test]
async fn a_restart_forgets_no_code() {
    let house = House::volunteers().await;
    let (app, recovery) = house.enrol("ann").await;
    let header = password_of("ann");
    let (code, spare) = (app.code(&house), recovery[0].expose());
    house.caller(&header, Some(&code)).await.unwrap();
    house.caller(&header, Some(spare)).await.unwrap();
    let again = house.another(&house.limits).await;
    for used in [code.as_str(), spare] {
        assert_eq!(caller(&again, &header, Some(used)).await.err(), Some(Unauthenticated::WrongCode));
    }
    caller(&again, &header, Some(&app.next_code(&house))).await.unwrap();
}

#[tokio::test]
async fn of_many_requests_with_one_code_one_is_let_in() {
    let house = House::volunteers().await;
    let token = token_of(&house.identity, "ann").await;
    let (app, recovery) = house.enrol("ann").await;
    for code in [app.code(&house), recovery[3].expose().to_owned()] {
        // Each has a lock of its own, so only the store stands between them; and none of them hashes a password
        // first, so that all have read what is kept before the first has written.
        let mut ready = Vec::new();
        for _ in 0..6 {
            let identity = house.another(&house.limits).await;
            let ann = caller(&identity, &token, None).await.unwrap();
            ready.push((identity, ann));
        }
        let tasks: tokio::task::JoinSet<_> = ready
            .into_iter()
            .map(|(identity, ann)| {
                let code = Secret::new(&*code);
                async move { why(identity.step_up(&ann, Some(&code), &context()).await) }
            })
            .collect();
        let outcomes = tasks.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 1, "{outcomes:?}");
        assert!(outcomes.into_iter().flatten().all(|why| why == Unauthenticated::WrongCode));
    }
}

#[tokio::test]
async fn recovery_codes_are_used_up_and_renewed() {
    let house = House::volunteers().await;
    let (app, recovery) = house.enrol("ann").await;
    let header = password_of("ann");
    let ann = house.caller(&header, Some(&recovery[0].expose().to_uppercase())).await.unwrap();
    assert!(ann.with_code);
    assert_eq!(house.directory().second_factor(&ann.subject).await.unwrap().recovery_codes, 9);
    assert!(house.caller(&header, Some(recovery[0].expose())).await.is_err());
    // The code that signed in will do, for this is the same request.
    let renewed = house.identity.renew_recovery_codes(&ann, &context(), None).await.unwrap();
    assert!(house.caller(&header, Some(recovery[1].expose())).await.is_err());
    house.caller(&header, Some(renewed.recovery_codes[1].expose())).await.unwrap();
    let session = house.session("ann", Some(&app.code(&house))).await.unwrap();
    let in_session = house.caller(&session, None).await.unwrap();
    let outcome = house.identity.delete_totp(&in_session, &context(), None).await;
    assert_eq!(why(outcome), Some(Unauthenticated::CodeWanted), "however young the session is");
    let code = Secret::new(app.next_code(&house));
    house.identity.delete_totp(&in_session, &context(), Some(&code)).await.unwrap();
    house.pulls(&header).await.unwrap();
    house.caller(&session, None).await.unwrap();
    house.enrol("ann").await;
    let over = house.caller(&session, None).await.err();
    assert_eq!(over, Some(Unauthenticated::SecondFactor), "it showed another second factor");
}

#[tokio::test]
async fn a_token_does_not_touch_second_factors() {
    let house = House::volunteers().await;
    let header = token_of(&house.identity, "ann").await;
    let ann = house.caller(&header, None).await.unwrap();
    let start = house.identity.start_totp(&ann, &context(), None, "hub").await;
    assert!(matches!(start, Err(IdentityError::Invalid(message)) if message.contains("password")));
    let (app, _) = house.enrol("ann").await;
    let ann = house.caller(&header, None).await.unwrap();
    let code = Secret::new(app.code(&house));
    assert!(house.identity.delete_totp(&ann, &context(), Some(&code)).await.is_err());
    assert!(house.identity.renew_recovery_codes(&ann, &context(), Some(&code)).await.is_err());
    assert!(house.directory().second_factor(&ann.subject).await.unwrap().on);
}

#[tokio::test]
async fn wrong_codes_are_counted_though_the_password_is_right() {
    let house = House::volunteers().await;
    let (app, _) = house.enrol("ann").await;
    let header = password_of("ann");
    let right = app.code(&house);
    let wrong = if right.starts_with('0') { "111111" } else { "000000" };
    let mut refused = Vec::new();
    for _ in 0..6 {
        refused.extend(house.caller(&header, Some(wrong)).await.err());
        // Signing in to this point does not have them forgotten.
        assert_eq!(house.caller(&header, None).await.err(), Some(Unauthenticated::SecondFactor));
    }
    let wait = Unauthenticated::TooManyAttempts(1);
    assert_eq!(refused[..5], [const { Unauthenticated::WrongCode }; 5]);
    assert_eq!(refused.get(5..), Some(std::slice::from_ref(&wait)));
    assert_eq!(house.caller(&header, Some(&right)).await.err(), Some(wait), "the right one waits, too");
    house.clock.advance(STEP);
    house.caller(&header, Some(&right)).await.unwrap();
}
