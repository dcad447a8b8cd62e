//! Signing in with a password, and signing out.

use access::{Subject, Unauthenticated};
use askama::Template;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use http_kit::Query;
use identity::model::PasswordChange;
use identity::{IdentityError, Opened, Secret, SessionId, SignIn};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cookie::Cookie;
use crate::observe::{Event, Observation};
use crate::page::Reply;
use crate::visit::Visit;
use crate::{Console, account};

/// The most characters of a name that was made up.
const CLAIMED_MAX: usize = 80;

pub(crate) const OTHER_FORM: &str =
    "This form was open for too long, or was not opened in this browser. Please try again.";

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    base: &'a str,
    csrf: &'a str,
    message: Option<&'a str>,
    user: &'a str,
    next: Option<&'a str>,
    provider: Option<&'a str>,
    /// What the link to the provider ends with.
    query: &'a str,
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage<'a> {
    base: &'a str,
    csrf: &'a str,
    message: Option<&'a str>,
    user: &'a str,
    next: Option<&'a str>,
    wants_code: bool,
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOutPage<'a> {
    base: &'a str,
    /// What the provider is called, and where the session there ends.
    provider: Option<(&'a str, &'a str)>,
}

/// What the form to sign in shows.
#[derive(Default)]
pub(crate) struct LoginForm<'a> {
    pub(crate) message: Option<&'a str>,
    pub(crate) user: &'a str,
    pub(crate) next: Option<&'a str>,
}

/// The fields of a form for a new password.
pub(crate) struct NewPassword {
    pub(crate) current: Secret,
    pub(crate) new: Secret,
    /// The code of a second factor, where there is one.
    pub(crate) code: Option<Secret>,
}

impl NewPassword {
    /// Both, where the new one was typed twice alike.
    pub(crate) fn read(form: &str) -> Result<Self, &'static str> {
        let field = |name| Secret::new(Query::form(form).first(name).unwrap_or_default());
        let (current, new, repeated) = (field("current"), field("new"), field("repeated"));
        if new.expose() != repeated.expose() {
            return Err("The new password and its repetition differ.");
        }
        Ok(Self { current, new, code: code(form) })
    }
}

/// The code of a second factor that a form has.
pub(crate) fn code(form: &str) -> Option<Secret> {
    let code = Query::form(form).first("code").map(|code| code.trim().to_owned());
    code.filter(|code| !code.is_empty()).map(Secret::new)
}

impl Console {
    /// Browsers come here first.
    pub(crate) async fn home(&self, visit: &Visit<'_>) -> Reply {
        match self.session(visit).await {
            Ok(Some(_)) => Reply::to(visit, "/account"),
            Ok(None) => Reply::to(visit, "/login"),
            Err(reply) => reply,
        }
    }

    pub(crate) async fn login_page(&self, visit: &Visit<'_>) -> Reply {
        let next = visit.next(None);
        match self.session(visit).await {
            Ok(Some(_)) => Reply::to(visit, next.as_deref().unwrap_or("/account")),
            Ok(None) => {
                let form = LoginForm { next: next.as_deref(), ..LoginForm::default() };
                self.login_form(visit, StatusCode::OK, &form)
            }
            Err(reply) => reply,
        }
    }

    /// The form to sign in, bound to the browser that asks.
    pub(crate) fn login_form(&self, visit: &Visit<'_>, status: StatusCode, form: &LoginForm<'_>) -> Reply {
        let LoginForm { message, user, next } = *form;
        let provider = self.provider.as_ref().map(crate::Provider::name);
        let encode = |next| format!("?next={}", utf8_percent_encode(next, NON_ALPHANUMERIC));
        let query = next.map(encode).unwrap_or_default();
        self.with_login(visit, |csrf| {
            let base = visit.base();
            let page = LoginPage { base, csrf, message, user, next, provider, query: &query };
            Reply::page(status, &page)
        })
    }

    fn password_form(
        &self,
        visit: &Visit<'_>,
        status: StatusCode,
        user: &str,
        message: Option<&str>,
        next: Option<&str>,
    ) -> Reply {
        self.with_login(visit, |csrf| {
            // Who has a second factor has shown it on the way here.
            let page = PasswordPage { base: visit.base(), csrf, message, user, next, wants_code: false };
            Reply::page(status, &page)
        })
    }

    /// A page with a form, for a browser that has a cookie from then on.
    fn with_login(&self, visit: &Visit<'_>, page: impl FnOnce(&str) -> Reply) -> Reply {
        match visit.login_id().map_or_else(SessionId::generate, Ok) {
            Ok(id) => page(id.csrf().expose()).cookie(Cookie::Login.set(&id, visit.place)),
            Err(error) => {
                tracing::error!(%error, "nobody can sign in");
                Reply::failure(visit, StatusCode::INTERNAL_SERVER_ERROR, "Nobody can sign in at the moment.")
            }
        }
    }

    pub(crate) async fn sign_in(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let next = visit.next(Some(form));
        let user = Query::form(form).first("user").unwrap_or_default();
        let shown = LoginForm { user: &user, next: next.as_deref(), ..LoginForm::default() };
        if !visit.is_own_form(form, visit.login_id().as_ref()) {
            let form = LoginForm { message: Some(OTHER_FORM), ..shown };
            return self.login_form(visit, StatusCode::FORBIDDEN, &form);
        }
        let password = Secret::new(Query::form(form).first("password").unwrap_or_default());
        let outcome = self.identity.begin_sign_in(&user, password, visit.context.address).await;
        self.begun(visit, outcome, &shown).await
    }

    /// How a sign-in goes on after the password.
    async fn begun(
        &self,
        visit: &Visit<'_>,
        outcome: Result<SignIn, Unauthenticated>,
        shown: &LoginForm<'_>,
    ) -> Reply {
        match outcome {
            Ok(SignIn::Open(opened)) => self.welcome(visit, &opened, shown.next, ""),
            Ok(SignIn::Factor(browser)) => self.factor_wanted(visit, &browser, shown.next).await,
            Err(error @ Unauthenticated::PasswordExpired) => {
                self.refused(visit, shown.user, error.of_right_password().unwrap_or_default());
                self.expired(visit, shown.user, shown.next)
            }
            Err(error) => {
                self.refused(visit, shown.user, "");
                let (status, message, wait) = explain(&error);
                let form = LoginForm { message: Some(&message), ..*shown };
                let reply = self.login_form(visit, status, &form);
                match wait {
                    Some(seconds) => reply.with(RETRY_AFTER, Ok(HeaderValue::from(seconds))),
                    None => reply,
                }
            }
        }
    }

    /// The form of a new password, which must be there before anything else.
    pub(crate) fn expired(&self, visit: &Visit<'_>, user: &str, next: Option<&str>) -> Reply {
        let message = "Your password must be changed before you can go on.";
        self.password_form(visit, StatusCode::OK, user, Some(message), next)
    }

    /// A new password for who must have one before the sign-in, which follows.
    pub(crate) async fn replace_password(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let next = visit.next(Some(form));
        let user = Query::form(form).first("user").unwrap_or_default();
        if !visit.is_own_form(form, visit.login_id().as_ref()) {
            let form = LoginForm { message: Some(OTHER_FORM), user: &user, next: next.as_deref() };
            return self.login_form(visit, StatusCode::FORBIDDEN, &form);
        }
        let Some(browser) = visit.login_id() else { return Reply::to(visit, "/login") };
        let again =
            |status, message: &str| self.password_form(visit, status, &user, Some(message), next.as_deref());
        let NewPassword { current, new, code } = match NewPassword::read(form) {
            Ok(fields) => fields,
            Err(message) => return again(StatusCode::BAD_REQUEST, message),
        };
        let (context, change) = (&visit.context, PasswordChange { current, new: new.clone() });
        if let Err(error) =
            self.identity.change_password_on_page(Ok(&browser), &user, change, code.as_ref(), context).await
        {
            if matches!(error, IdentityError::Unauthenticated(_)) {
                self.refused(visit, &user, "");
            }
            let (status, message) = account::explain(&error);
            return again(status, &message);
        }
        // A code is good once: who has a second factor signs in with the next one.
        let outcome = self.identity.begin_sign_in(&user, new, context.address).await;
        let shown = LoginForm { user: &user, next: next.as_deref(), ..LoginForm::default() };
        self.begun(visit, outcome, &shown).await
    }

    /// The way on for who has signed in: with a session that is new, whatever the browser came with.
    pub(crate) fn welcome(&self, visit: &Visit<'_>, opened: &Opened, next: Option<&str>, how: &str) -> Reply {
        if let Some(before) = visit.session_id() {
            self.identity.sign_out(&before);
        }
        self.tell(visit, Event::SignedIn, Some(&opened.subject), how);
        Reply::to(visit, next.unwrap_or("/account"))
            .cookie(Cookie::Session.set(&opened.id, visit.place))
            .cookie(Cookie::Login.unset(visit.place))
    }

    pub(crate) async fn sign_out(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let Some(id) = visit.session_id() else { return Reply::to(visit, "/login") };
        if !visit.is_own_form(form, Some(&id)) {
            return Reply::failure(visit, StatusCode::FORBIDDEN, account::OTHER_FORM);
        }
        let ended = self.identity.sign_out(&id);
        if let Some(ended) = &ended {
            self.tell(visit, Event::SignedOut, Some(&ended.subject), "");
        }
        let provider = match (&self.provider, ended.and_then(|ended| ended.id_token)) {
            (Some(provider), Some(token)) => {
                provider.logout_url(&token).await.map(|url| (provider.name(), url))
            }
            _ => None,
        };
        let provider = provider.as_ref().map(|(name, url)| (*name, url.as_str()));
        Reply::page(StatusCode::OK, &SignedOutPage { base: visit.base(), provider })
            .cookie(Cookie::Session.unset(visit.place))
    }

    pub(crate) fn tell(&self, visit: &Visit<'_>, event: Event, subject: Option<&Subject>, detail: &str) {
        let context = &visit.context;
        self.observer.observe(&Observation { event, subject, claimed: None, context, detail });
    }

    pub(crate) fn refused(&self, visit: &Visit<'_>, claimed: &str, detail: &str) {
        self.tell_of(visit, Event::Refused, claimed, detail);
    }

    /// Tells of somebody of whom only the name is known that they gave.
    pub(crate) fn tell_of(&self, visit: &Visit<'_>, event: Event, claimed: &str, detail: &str) {
        let claimed: String = claimed.chars().take(CLAIMED_MAX).collect();
        self.observer.observe(&Observation {
            event,
            subject: None,
            claimed: Some(&claimed).filter(|claimed| !claimed.is_empty()).map(String::as_str),
            context: &visit.context,
            detail,
        });
    }
}

/// Why somebody is not let in: never which part of it was wrong.
pub(crate) fn explain(error: &Unauthenticated) -> (StatusCode, String, Option<u64>) {
    let (status, message) = match error {
        Unauthenticated::Wrong | Unauthenticated::Malformed => {
            (StatusCode::FORBIDDEN, "The user name or the password is wrong.")
        }
        Unauthenticated::PasswordExpired => (StatusCode::FORBIDDEN, "Your password must be changed first."),
        Unauthenticated::TooManyAttempts(seconds) => {
            let message = format!("Too many failed attempts. Try again in {seconds} seconds.");
            return (StatusCode::TOO_MANY_REQUESTS, message, Some(*seconds));
        }
        Unauthenticated::SecondFactor | Unauthenticated::CodeWanted => {
            (StatusCode::UNAUTHORIZED, "This needs your second factor. Sign in again with it.")
        }
        Unauthenticated::WrongCode => {
            (StatusCode::FORBIDDEN, "The code is wrong, or was used already. Enter the next one.")
        }
        Unauthenticated::SecondFactorDue => {
            (StatusCode::FORBIDDEN, "You need a second factor before you can go on.")
        }
        Unauthenticated::Busy => {
            (StatusCode::TOO_MANY_REQUESTS, "Too many people sign in right now. Try again in a moment.")
        }
        Unauthenticated::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "Nobody can sign in at the moment. Try again later.")
        }
    };
    (status, message.to_owned(), None)
}
