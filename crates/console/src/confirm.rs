//! Once more, before somebody changes what they sign in with: the second factor, or the password where there is none.

use access::Unauthenticated;
use askama::Template;
use http::StatusCode;
use http_kit::Query;
use identity::{IdentityError, Purpose, Secret};

use crate::Console;
use crate::account::{Visitor, explain};
use crate::page::Reply;
use crate::second_step::{SecondStep, detail};
use crate::sign_in::code;
use crate::visit::Visit;

/// Where to go from here, where nothing else was said.
const FACTORS: &str = "/account/factors";

#[derive(Template)]
#[template(path = "confirm_password.html")]
struct PasswordPage<'a> {
    base: &'a str,
    csrf: &'a str,
    message: Option<&'a str>,
    next: &'a str,
    user: &'a str,
}

impl Console {
    pub(crate) async fn confirm_page(&self, visit: &Visit<'_>) -> Reply {
        match self.session(visit).await {
            Ok(Some(visitor)) => self.confirm(visit, &visitor, StatusCode::OK, None, None).await,
            Ok(None) => Reply::to(visit, "/login?next=/account/factors"),
            Err(reply) => reply,
        }
    }

    async fn confirm(
        &self,
        visit: &Visit<'_>,
        visitor: &Visitor,
        status: StatusCode,
        message: Option<&str>,
        form: Option<&str>,
    ) -> Reply {
        let next = visit.next(form).unwrap_or_else(|| FACTORS.into());
        let wanted = self.identity.wanted_to_confirm(&visitor.id, &visitor.subject, Purpose::Confirm).await;
        let (csrf, base) = (visitor.id.csrf(), visit.base());
        let csrf = csrf.expose();
        match wanted {
            Ok(Some(wanted)) => {
                let page = SecondStep {
                    base,
                    csrf,
                    title: "Confirm that it is you",
                    why: "For five minutes from then on you can change what you sign in with.",
                    message,
                    next: Some(&next),
                    wanted,
                    passkey_action: "/account/confirm/passkey",
                    code_action: "/account/confirm/code",
                };
                page.reply(status)
            }
            Ok(None) => {
                let user = visitor.subject.actor().to_string();
                Reply::page(status, &PasswordPage { base, csrf, message, next: &next, user: &user })
            }
            Err(error) => {
                let (status, message) = explain(&error);
                Reply::failure(visit, status, &message)
            }
        }
    }

    pub(crate) async fn confirm_with_password(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let visitor = match self.any_visitor(visit, form).await {
            Ok(visitor) => visitor,
            Err(reply) => return reply,
        };
        let password = Secret::new(Query::form(form).first("password").unwrap_or_default());
        let outcome = self
            .identity
            .confirm_with_password(&visitor.id, &visitor.subject, password, &visit.context)
            .await;
        self.confirmed(visit, &visitor, form, outcome).await
    }

    pub(crate) async fn confirm_with_code(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let visitor = match self.any_visitor(visit, form).await {
            Ok(visitor) => visitor,
            Err(reply) => return reply,
        };
        let outcome = match code(form) {
            Some(code) => {
                self.identity.confirm_with_code(&visitor.id, &visitor.subject, &code, &visit.context).await
            }
            None => Err(Unauthenticated::WrongCode.into()),
        };
        self.confirmed(visit, &visitor, form, outcome).await
    }

    pub(crate) async fn confirm_with_passkey(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let visitor = match self.any_visitor(visit, form).await {
            Ok(visitor) => visitor,
            Err(reply) => return reply,
        };
        let answer = Query::form(form).first("answer").unwrap_or_default();
        let outcome =
            self.identity.confirm_with_passkey(&visitor.id, &visitor.subject, &answer, &visit.context).await;
        self.confirmed(visit, &visitor, form, outcome).await
    }

    async fn confirmed(
        &self,
        visit: &Visit<'_>,
        visitor: &Visitor,
        form: &str,
        outcome: Result<(), IdentityError>,
    ) -> Reply {
        let Err(error) = outcome else {
            return Reply::to(visit, visit.next(Some(form)).as_deref().unwrap_or(FACTORS));
        };
        self.refused(visit, &visitor.subject.actor().to_string(), &detail(&error));
        let (status, message) = explain(&error);
        self.confirm(visit, visitor, status, Some(&message), Some(form)).await
    }
}
