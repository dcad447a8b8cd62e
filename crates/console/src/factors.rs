//! One's second factors: passkeys, an app, and the codes for who has lost them.

use askama::Template;
use http::StatusCode;
use http_kit::Query;
use identity::model::{OneTimeCodeShown, Passkey, RecoveryCodesShown, SecondFactor, TotpStart};
use identity::{Confirmed, IdentityError, PASSKEY_NAME_MAX, PASSKEYS_PER_USER, Purpose, Secret, date};

use crate::Console;
use crate::account::{Visitor, explain};
use crate::page::Reply;
use crate::second_step::detail;
use crate::sign_in::code;
use crate::visit::Visit;

/// What an app shows above its codes, where the browser has not said what it calls this host.
const ISSUER: &str = "Wharf";

const CONFIRM: &str = "/account/confirm?next=/account/factors";

#[derive(Template)]
#[template(path = "factors.html")]
struct FactorsPage<'a> {
    base: &'a str,
    csrf: &'a str,
    user: &'a str,
    message: Option<&'a str>,
    problem: Option<&'a str>,
    codes: Option<&'a RecoveryCodesShown>,
    one_time: Option<&'a OneTimeCodeShown>,
    must_enrol: bool,
    /// Whether something can be changed just now.
    confirmed: bool,
    /// Whether passkeys are offered.
    offered: bool,
    most: usize,
    factor: SecondFactor,
    passkeys: Vec<Row>,
    /// What the browser asks a passkey for, for the command line.
    cli_options: Option<String>,
}

struct Row {
    id: String,
    name: String,
    created: String,
    last_used: String,
}

#[derive(Template)]
#[template(path = "new_passkey.html")]
struct NewPasskeyPage<'a> {
    base: &'a str,
    csrf: &'a str,
    user: &'a str,
    message: Option<&'a str>,
    options: &'a str,
    name: &'a str,
    longest: usize,
}

#[derive(Template)]
#[template(path = "new_app.html")]
struct NewAppPage<'a> {
    base: &'a str,
    csrf: &'a str,
    user: &'a str,
    message: Option<&'a str>,
    start: &'a TotpStart,
}

/// What the page tells besides.
#[derive(Default)]
struct Told<'a> {
    message: Option<&'a str>,
    problem: Option<&'a str>,
    codes: Option<&'a RecoveryCodesShown>,
    one_time: Option<&'a OneTimeCodeShown>,
}

impl Console {
    pub(crate) async fn factors_page(&self, visit: &Visit<'_>) -> Reply {
        let message = match visit.query.first("done").as_deref() {
            Some("passkey") => Some("The passkey is yours from now on."),
            Some("passkey-removed") => Some("The passkey is removed."),
            Some("app-removed") => Some("The app is removed."),
            _ => None,
        };
        match self.session(visit).await {
            Ok(Some(visitor)) => {
                self.factors(visit, &visitor, StatusCode::OK, Told { message, ..Told::default() }).await
            }
            Ok(None) => Reply::to(visit, "/login?next=/account/factors"),
            Err(reply) => reply,
        }
    }

    async fn factors(
        &self,
        visit: &Visit<'_>,
        visitor: &Visitor,
        status: StatusCode,
        told: Told<'_>,
    ) -> Reply {
        let (directory, subject) = (self.identity.directory(), &visitor.subject);
        let found = async {
            let factor = directory.second_factor(subject).await?;
            let passkeys = directory.own_passkeys(subject).await?;
            let wanted = self.identity.wanted_to_confirm(&visitor.id, subject, Purpose::OneTimeCode).await?;
            Ok((factor, passkeys, wanted.and_then(|wanted| wanted.passkey)))
        };
        let (factor, passkeys, cli_options) = match found.await {
            Ok(found) => found,
            Err(error) => return failed(visit, &error),
        };
        let (csrf, user) = (visitor.id.csrf(), subject.actor().to_string());
        let has_script = cli_options.is_some();
        let page = FactorsPage {
            base: visit.base(),
            csrf: csrf.expose(),
            user: &user,
            message: told.message,
            problem: told.problem,
            codes: told.codes,
            one_time: told.one_time,
            must_enrol: visitor.must_enrol,
            confirmed: visitor.confirmed.is_some(),
            offered: self.identity.offers_passkeys(),
            most: PASSKEYS_PER_USER,
            factor,
            passkeys: passkeys.into_iter().map(row).collect(),
            cli_options,
        };
        let reply = Reply::page(status, &page);
        if has_script { reply.with_script() } else { reply }
    }

    /// The same with what is shown once. The session is looked at anew: it may be good for more now.
    async fn factors_with(&self, visit: &Visit<'_>, told: Told<'_>) -> Reply {
        match self.session(visit).await {
            Ok(Some(visitor)) => self.factors(visit, &visitor, StatusCode::OK, told).await,
            Ok(None) => Reply::to(visit, "/login?next=/account/factors"),
            Err(reply) => reply,
        }
    }

    /// Who sent a form, and has confirmed just now that it is them.
    async fn changing(&self, visit: &Visit<'_>, form: &str) -> Result<(Visitor, Confirmed), Reply> {
        let visitor = self.any_visitor(visit, form).await?;
        match visitor.confirmed.clone() {
            Some(confirmed) => Ok((visitor, confirmed)),
            None => Err(Reply::to(visit, CONFIRM)),
        }
    }

    async fn problem(&self, visit: &Visit<'_>, visitor: &Visitor, error: &IdentityError) -> Reply {
        let (status, problem) = explain(error);
        self.factors(visit, visitor, status, Told { problem: Some(&problem), ..Told::default() }).await
    }

    pub(crate) async fn new_passkey_page(&self, visit: &Visit<'_>) -> Reply {
        match self.session(visit).await {
            Ok(Some(visitor)) => match &visitor.confirmed {
                Some(confirmed) => self.new_passkey(visit, confirmed, StatusCode::OK, None, "").await,
                None => Reply::to(visit, "/account/confirm?next=/account/factors/passkey"),
            },
            Ok(None) => Reply::to(visit, "/login?next=/account/factors/passkey"),
            Err(reply) => reply,
        }
    }

    async fn new_passkey(
        &self,
        visit: &Visit<'_>,
        by: &Confirmed,
        status: StatusCode,
        message: Option<&str>,
        name: &str,
    ) -> Reply {
        let options = match self.identity.begin_passkey(by).await {
            Ok(options) => options,
            Err(error) => return failed(visit, &error),
        };
        let (csrf, user) = (by.csrf(), by.user());
        let page = NewPasskeyPage {
            base: visit.base(),
            csrf: csrf.expose(),
            user: &user,
            message,
            options: &options,
            name,
            longest: PASSKEY_NAME_MAX,
        };
        Reply::page(status, &page).with_script()
    }

    pub(crate) async fn finish_passkey(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let (_, by) = match self.changing(visit, form).await {
            Ok(found) => found,
            Err(reply) => return reply,
        };
        let field = |name| Query::form(form).first(name).unwrap_or_default();
        let (name, answer) = (field("name"), field("answer"));
        match self.identity.finish_passkey(&by, &visit.context, name.trim(), &answer).await {
            Ok(None) => Reply::to(visit, "/account/factors?done=passkey"),
            Ok(Some(codes)) => {
                let message = Some("Your second factor is on.");
                self.factors_with(visit, Told { message, codes: Some(&codes), ..Told::default() }).await
            }
            Err(error) => {
                let (status, message) = explain(&error);
                self.new_passkey(visit, &by, status, Some(&message), &name).await
            }
        }
    }

    pub(crate) async fn remove_passkey(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let (visitor, by) = match self.changing(visit, form).await {
            Ok(found) => found,
            Err(reply) => return reply,
        };
        let id = Query::form(form).first("id").unwrap_or_default();
        match self.identity.remove_passkey(&by, &visit.context, &id).await {
            Ok(()) => Reply::to(visit, "/account/factors?done=passkey-removed"),
            Err(error) => self.problem(visit, &visitor, &error).await,
        }
    }

    pub(crate) async fn begin_app(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let (_, by) = match self.changing(visit, form).await {
            Ok(found) => found,
            Err(reply) => return reply,
        };
        match self.identity.begin_app(&by, &visit.context, issuer(visit)).await {
            Ok(start) => new_app(visit, &by, StatusCode::OK, None, &start),
            Err(error) => failed(visit, &error),
        }
    }

    pub(crate) async fn finish_app(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let (_, by) = match self.changing(visit, form).await {
            Ok(found) => found,
            Err(reply) => return reply,
        };
        let code = code(form).unwrap_or_else(|| Secret::new(""));
        let error = match self.identity.finish_app(&by, &visit.context, &code).await {
            Ok(codes) => {
                let message = Some("The app is set up.");
                return self
                    .factors_with(visit, Told { message, codes: Some(&codes), ..Told::default() })
                    .await;
            }
            Err(error) => error,
        };
        let (status, message) = explain(&error);
        match self.identity.resume_app(&by, issuer(visit)).await {
            Ok(start) => new_app(visit, &by, status, Some(&message), &start),
            Err(error) => failed(visit, &error),
        }
    }

    pub(crate) async fn remove_app(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let (visitor, by) = match self.changing(visit, form).await {
            Ok(found) => found,
            Err(reply) => return reply,
        };
        match self.identity.remove_app(&by, &visit.context).await {
            Ok(()) => Reply::to(visit, "/account/factors?done=app-removed"),
            Err(error) => self.problem(visit, &visitor, &error).await,
        }
    }

    pub(crate) async fn renew_codes(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let (visitor, by) = match self.changing(visit, form).await {
            Ok(found) => found,
            Err(reply) => return reply,
        };
        match self.identity.renew_codes(&by, &visit.context).await {
            Ok(codes) => {
                let message = Some("The old recovery codes are good no more.");
                self.factors_with(visit, Told { message, codes: Some(&codes), ..Told::default() }).await
            }
            Err(error) => self.problem(visit, &visitor, &error).await,
        }
    }

    pub(crate) async fn one_time_code(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let visitor = match self.any_visitor(visit, form).await {
            Ok(visitor) => visitor,
            Err(reply) => return reply,
        };
        let answer = Query::form(form).first("answer").unwrap_or_default();
        let (id, subject) = (&visitor.id, &visitor.subject);
        match self.identity.one_time_code(id, subject, &visit.context, &answer).await {
            Ok(made) => self.factors_with(visit, Told { one_time: Some(&made), ..Told::default() }).await,
            Err(error) => {
                self.refused(visit, &subject.actor().to_string(), &detail(&error));
                self.problem(visit, &visitor, &error).await
            }
        }
    }
}

/// What an app shows above its codes.
fn issuer<'a>(visit: &'a Visit<'_>) -> &'a str {
    Some(visit.host()).filter(|host| !host.is_empty()).unwrap_or(ISSUER)
}

fn new_app(
    visit: &Visit<'_>,
    by: &Confirmed,
    status: StatusCode,
    message: Option<&str>,
    start: &TotpStart,
) -> Reply {
    let (csrf, user) = (by.csrf(), by.user());
    let (base, csrf) = (visit.base(), csrf.expose());
    Reply::page(status, &NewAppPage { base, csrf, user: &user, message, start })
}

fn failed(visit: &Visit<'_>, error: &IdentityError) -> Reply {
    let (status, message) = explain(error);
    Reply::failure(visit, status, &message)
}

fn row(passkey: Passkey) -> Row {
    Row {
        id: passkey.id,
        name: passkey.name,
        created: date(passkey.created),
        last_used: passkey.last_used.map_or_else(|| "never".into(), date),
    }
}
