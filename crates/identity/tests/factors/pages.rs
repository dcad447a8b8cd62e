//! Sessions of browsers while factors change: which go on, and which end.

use std::pin::{Pin, pin};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use access::Unauthenticated;
use identity::{SecondFactorFor, Secret, SessionId};
use meta::contract::TestClock;
use meta::{Clock, Timestamp};

use crate::house::{App, House, STEP, context, password_of};
use crate::passkeys::{add, asked, begin, confirmed, show};

/// What is done when somebody asks for the time, until it says that it is done.
type Between = Box<dyn FnMut() -> bool + Send>;

/// A clock that something can come in between with, at the moment at which it is asked.
struct Interrupted {
    clock: Arc<TestClock>,
    between: Mutex<Option<Between>>,
}

impl Clock for Interrupted {
    fn now(&self) -> Timestamp {
        // What comes in between asks for the time, too.
        let between = self.between.lock().unwrap().take();
        if let Some(mut between) = between
            && !between()
        {
            *self.between.lock().unwrap() = Some(between);
        }
        self.clock.now()
    }
}

/// Goes on with something as far as it can without waiting.
fn go_on<T>(doing: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match doing.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

async fn is_open(house: &House, session: &SessionId) -> bool {
    house.identity.session(session).await.unwrap().is_some()
}

/// Signs in with a code after the password.
async fn by_code(house: &House, code: &str) -> SessionId {
    let browser = begin(house, "ann").await.unwrap_err();
    house.identity.sign_in_with_code(&browser, &Secret::new(code), &context()).await.unwrap().id
}

/// Shows a code once more, in a session.
async fn confirm(house: &House, session: &SessionId, code: &Secret) {
    let subject = house.identity.session(session).await.unwrap().unwrap().subject;
    house.identity.confirm_with_code(session, &subject, code, &context()).await.unwrap();
}

/// Makes the first factor while another tab of the browser looks, at the moment at which the factor counts already and
/// the session does not stand on it yet.
async fn first_factor(with_app: bool) {
    let house = House::volunteers().await;
    let clock = Arc::new(Interrupted { clock: Arc::clone(&house.clock), between: Mutex::default() });
    let house = house.by_clock(Arc::clone(&clock) as _).await;
    let session = begin(&house, "ann").await.unwrap();
    let by = confirmed(&house, &session).await.unwrap();
    let start = house.identity.begin_app(&by, &context(), "hub").await.unwrap();
    house.identity.begin_passkey(&by).await.unwrap();

    let subject = house.identity.session(&session).await.unwrap().unwrap().subject;
    let (identity, id) = (Arc::clone(&house.identity), session.clone());
    let mut tab = Some(Box::pin(async move { identity.session(&id).await.unwrap().is_some() }));
    let (sender, looked) = channel();
    let identity = Arc::clone(&house.identity);
    let look = move || {
        let factor = go_on(pin!(identity.directory().second_factor(&subject)));
        let is_on = factor.expect("what is looked up is there at once").unwrap().on;
        if let Some(mut tab) = tab.take_if(|_| is_on) {
            let seen = go_on(tab.as_mut());
            sender.send((tab, seen)).unwrap();
        }
        is_on
    };
    *clock.between.lock().unwrap() = Some(Box::new(look));
    if with_app {
        let code = Secret::new(App::reading(start.uri.expose()).code(&house));
        house.identity.finish_app(&by, &context(), &code).await.unwrap();
    } else {
        house.identity.finish_passkey(&by, &context(), "key", "key 1").await.unwrap();
    }
    let (tab, seen) = looked.try_recv().expect("the other tab has looked");
    let seen = match seen {
        Some(seen) => seen,
        None => tab.await,
    };
    assert!(seen, "the other tab, with an app: {with_app}");
    assert!(confirmed(&house, &session).await.is_some(), "this one, with an app: {with_app}");
}

#[tokio::test]
async fn another_tab_that_looks_while_the_first_factor_is_made_ends_no_session() {
    first_factor(true).await;
    first_factor(false).await;
}

#[tokio::test]
async fn new_recovery_codes_end_what_an_old_one_opened_beside_an_app() {
    let house = House::volunteers().await;
    let (app, recovery) = house.enrol("ann").await;
    let by_app = by_code(&house, &app.code(&house)).await;
    let header_by_app = house.session("ann", Some(&app.next_code(&house))).await.unwrap();
    let by_recovery = by_code(&house, recovery[0].expose()).await;
    let header_by_recovery = house.session("ann", Some(recovery[1].expose())).await.unwrap();
    let renewing = by_code(&house, recovery[2].expose()).await;
    confirm(&house, &renewing, &recovery[3]).await;
    house.clock.advance(9 * STEP);

    let by = confirmed(&house, &renewing).await.unwrap();
    let renewed = house.identity.renew_codes(&by, &context()).await.unwrap().recovery_codes;
    assert!(is_open(&house, &renewing).await, "where they are shown");
    assert!(is_open(&house, &by_app).await);
    house.caller(&header_by_app, None).await.unwrap();
    assert!(!is_open(&house, &by_recovery).await);
    let over = Some(Unauthenticated::SecondFactor);
    assert_eq!(house.caller(&header_by_recovery, None).await.err(), over);
    house.clock.advance(STEP);
    assert!(confirmed(&house, &renewing).await.is_none(), "new codes show nothing once more");

    // A code of the app makes the others, and so does the API.
    let by_new = by_code(&house, renewed[0].expose()).await;
    confirm(&house, &by_app, &Secret::new(app.next_code(&house))).await;
    let by = confirmed(&house, &by_app).await.unwrap();
    let again = house.identity.renew_codes(&by, &context()).await.unwrap().recovery_codes;
    assert!(is_open(&house, &by_app).await && !is_open(&house, &by_new).await);
    assert!(!is_open(&house, &renewing).await);
    let by_last = by_code(&house, again[0].expose()).await;
    let caller = house.caller(&password_of("ann"), Some(again[1].expose())).await.unwrap();
    house.identity.renew_recovery_codes(&caller, &context(), None).await.unwrap();
    assert!(is_open(&house, &by_app).await && !is_open(&house, &by_last).await);
}

#[tokio::test]
async fn new_recovery_codes_end_what_an_old_one_opened_beside_a_passkey() {
    let house = House::with_passkeys(SecondFactorFor::Volunteers).await;
    let first = begin(&house, "ann").await.unwrap();
    let by = confirmed(&house, &first).await.unwrap();
    assert!(add(&house, &by, "key").await.unwrap());
    let by = confirmed(&house, &first).await.unwrap();
    let recovery = house.identity.renew_codes(&by, &context()).await.unwrap().recovery_codes;
    let by_passkey = show(&house, &asked(&house, "ann").await, "key 2").await.unwrap();
    let by_recovery = by_code(&house, recovery[0].expose()).await;
    let adding = by_code(&house, recovery[1].expose()).await;
    confirm(&house, &adding, &recovery[2]).await;

    // An app that comes to the passkeys brings new ones.
    let by = confirmed(&house, &adding).await.unwrap();
    let start = house.identity.begin_app(&by, &context(), "hub").await.unwrap();
    let code = Secret::new(App::reading(start.uri.expose()).code(&house));
    house.identity.finish_app(&by, &context(), &code).await.unwrap();
    for (session, expect) in [(&first, true), (&by_passkey, true), (&adding, true), (&by_recovery, false)] {
        assert_eq!(is_open(&house, session).await, expect);
    }
}
