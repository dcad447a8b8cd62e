//! The second step of a sign-in: a passkey, or a code. The password of the first is not asked for again.

use access::Unauthenticated;
use askama::Template;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use http_kit::Query;
use identity::{IdentityError, Opened, SessionId, Wanted};

use crate::Console;
use crate::account::explain;
use crate::cookie::Cookie;
use crate::observe::Event;
use crate::page::Reply;
use crate::sign_in::{LoginForm, OTHER_FORM, code};
use crate::visit::Visit;

/// The page that wants a second factor: to sign in, or once more.
#[derive(Template)]
#[template(path = "second_step.html")]
pub(crate) struct SecondStep<'a> {
    pub(crate) base: &'a str,
    pub(crate) csrf: &'a str,
    pub(crate) title: &'a str,
    pub(crate) why: &'a str,
    pub(crate) message: Option<&'a str>,
    pub(crate) next: Option<&'a str>,
    pub(crate) wanted: Wanted,
    pub(crate) passkey_action: &'a str,
    pub(crate) code_action: &'a str,
}

impl SecondStep<'_> {
    pub(crate) fn reply(&self, status: StatusCode) -> Reply {
        let reply = Reply::page(status, self);
        if self.wanted.passkey.is_some() { reply.with_script() } else { reply }
    }
}

impl Console {
    /// Asks whoever has just given their password for their second factor, in the browser that has this id from then
    /// on. That is told: maybe somebody has guessed the password.
    pub(crate) async fn factor_wanted(
        &self,
        visit: &Visit<'_>,
        browser: &SessionId,
        next: Option<&str>,
    ) -> Reply {
        let user = self.identity.pending_user(browser).map(|user| user.to_string()).unwrap_or_default();
        let detail = Unauthenticated::SecondFactor.of_right_password().unwrap_or_default();
        self.tell_of(visit, Event::FactorWanted, &user, detail);
        self.second_step(visit, browser, StatusCode::OK, None, next).await
    }

    async fn second_step(
        &self,
        visit: &Visit<'_>,
        browser: &SessionId,
        status: StatusCode,
        message: Option<&str>,
        next: Option<&str>,
    ) -> Reply {
        let wanted = match self.identity.wanted_to_sign_in(browser).await {
            Ok(wanted) => wanted,
            Err(error) => return self.begin_again(visit, &error, next),
        };
        let csrf = browser.csrf();
        let page = SecondStep {
            base: visit.base(),
            csrf: csrf.expose(),
            title: "Second factor",
            why: "Your password is right. Now show that it is you.",
            message,
            next,
            wanted,
            passkey_action: "/login/passkey",
            code_action: "/login/code",
        };
        page.reply(status).cookie(Cookie::Login.set(browser, visit.place))
    }

    fn begin_again(&self, visit: &Visit<'_>, error: &IdentityError, next: Option<&str>) -> Reply {
        let (status, message) = explain(error);
        let form = LoginForm { message: Some(&message), next, ..LoginForm::default() };
        self.login_form(visit, status, &form)
    }

    pub(crate) async fn sign_in_with_code(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let browser = match self.browser_of_login(visit, form) {
            Ok(browser) => browser,
            Err(reply) => return reply,
        };
        let outcome = match code(form) {
            Some(code) => self.identity.sign_in_with_code(&browser, &code, &visit.context).await,
            None => Err(Unauthenticated::WrongCode.into()),
        };
        self.end_sign_in(visit, form, &browser, outcome.map(|opened| (opened, "with a code".to_owned())))
            .await
    }

    pub(crate) async fn sign_in_with_passkey(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let browser = match self.browser_of_login(visit, form) {
            Ok(browser) => browser,
            Err(reply) => return reply,
        };
        let answer = Query::form(form).first("answer").unwrap_or_default();
        let outcome = self.identity.sign_in_with_passkey(&browser, &answer, &visit.context).await;
        let outcome = outcome.map(|(opened, name)| (opened, format!("with the passkey `{name}`")));
        self.end_sign_in(visit, form, &browser, outcome).await
    }

    fn browser_of_login(&self, visit: &Visit<'_>, form: &str) -> Result<SessionId, Reply> {
        let browser = visit.login_id();
        let is_own = visit.is_own_form(form, browser.as_ref());
        browser.filter(|_| is_own).ok_or_else(|| {
            let next = visit.next(Some(form));
            let form = LoginForm { message: Some(OTHER_FORM), next: next.as_deref(), ..LoginForm::default() };
            self.login_form(visit, StatusCode::FORBIDDEN, &form)
        })
    }

    async fn end_sign_in(
        &self,
        visit: &Visit<'_>,
        form: &str,
        browser: &SessionId,
        outcome: Result<(Opened, String), IdentityError>,
    ) -> Reply {
        let next = visit.next(Some(form));
        let next = next.as_deref();
        let error = match outcome {
            Ok((opened, how)) => return self.welcome(visit, &opened, next, &how),
            Err(error) => error,
        };
        let user = self.identity.pending_user(browser).map(|user| user.to_string()).unwrap_or_default();
        if matches!(error, IdentityError::Unauthenticated(Unauthenticated::PasswordExpired)) {
            return self.expired(visit, &user, next);
        }
        self.refused(visit, &user, &detail(&error));
        let (status, message) = explain(&error);
        let reply = self.second_step(visit, browser, status, Some(&message), next).await;
        match error {
            IdentityError::Unauthenticated(Unauthenticated::TooManyAttempts(seconds)) => {
                reply.with(RETRY_AFTER, Ok(HeaderValue::from(seconds)))
            }
            _ => reply,
        }
    }
}

/// What the journal is told of a second factor that was not accepted.
pub(crate) fn detail(error: &IdentityError) -> String {
    match error {
        IdentityError::Passkey(error) => error.to_string(),
        IdentityError::Unauthenticated(Unauthenticated::WrongCode) => "a wrong code".into(),
        _ => String::new(),
    }
}
