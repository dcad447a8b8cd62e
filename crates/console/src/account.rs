//! One's own account: who one is, one's tokens, one's password.

use std::sync::Arc;

use access::{Action, ActionSet, ROLES, Subject, Unauthenticated};
use askama::Template;
use http::StatusCode;
use http_kit::Query;
use identity::model::{
    Actions, NewToken, PasswordChange, Permission, SecondFactor, Shown, Source, Token, User, Whoami,
};
use identity::{Confirmed, IdentityError, Seen, SessionId, SignIn, date};
use oci::ProjectName;

use crate::Console;
use crate::cookie::Cookie;
use crate::page::Reply;
use crate::sign_in::{self, NewPassword};
use crate::visit::Visit;

pub(crate) const OTHER_FORM: &str =
    "This form was not sent from a page of your session, so nothing was done. Open the page and try again.";

/// What a token can be made for, besides all that its user may do.
const USES: [(&str, &str, ActionSet); 3] = [
    ("pull", "pulling", ActionSet::of(&[Action::Pull, Action::ReadProject])),
    ("push", "pulling and pushing", ActionSet::of(&[Action::Pull, Action::ReadProject, Action::Push])),
    (
        "delete",
        "pulling, pushing and deleting",
        ActionSet::of(&[
            Action::Pull,
            Action::ReadProject,
            Action::Push,
            Action::DeleteTag,
            Action::DeleteArtifact,
        ]),
    ),
];

/// How long a token lives that nobody says more of, in days.
const DAYS: u64 = 30;

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    base: &'a str,
    csrf: &'a str,
    host: &'a str,
    message: Option<&'a str>,
    problem: Option<&'a str>,
    user: User,
    is_local: bool,
    /// What one signs in with besides the password; none where a provider asks for that.
    factors: Option<String>,
    wants_code: bool,
    source: &'static str,
    places: Vec<Place>,
    tokens: Vec<TokenRow>,
    made: Option<&'a Shown<Token>>,
    days: u64,
    days_max: Option<u64>,
    draft: Draft<'a>,
}

/// What one may do somewhere.
struct Place {
    name: String,
    role: Option<&'static str>,
    actions: String,
}

struct TokenRow {
    id: String,
    label: String,
    good_for: String,
    created: String,
    expires: String,
    last_used: String,
}

/// What a form of a new token said that was not accepted.
#[derive(Default)]
struct Draft<'a> {
    label: &'a str,
    project: &'a str,
}

/// Somebody with a session.
pub(crate) struct Visitor {
    pub(crate) id: SessionId,
    pub(crate) subject: Arc<Subject>,
    /// Whether they must set a second factor up before anything else.
    pub(crate) must_enrol: bool,
    /// That they have shown just now what there is to show.
    pub(crate) confirmed: Option<Confirmed>,
}

/// What the page tells besides.
#[derive(Default)]
struct Told<'a> {
    message: Option<&'a str>,
    problem: Option<&'a str>,
    made: Option<&'a Shown<Token>>,
    draft: Draft<'a>,
}

impl Console {
    /// Who has the session of this browser.
    pub(crate) async fn session(&self, visit: &Visit<'_>) -> Result<Option<Visitor>, Reply> {
        let Some(id) = visit.session_id() else { return Ok(None) };
        match self.identity.session(&id).await {
            Ok(seen) => Ok(seen.map(|Seen { subject, must_enrol, confirmed }| Visitor {
                id,
                subject,
                must_enrol,
                confirmed,
            })),
            Err(error) => {
                let (status, message, _) = sign_in::explain(&error);
                Err(Reply::failure(visit, status, &message))
            }
        }
    }

    pub(crate) async fn account_page(&self, visit: &Visit<'_>) -> Reply {
        let message = match visit.query.first("done").as_deref() {
            Some("revoked") => Some("The token is revoked."),
            Some("password") => Some("Your password is changed. Other browsers of yours are signed out."),
            _ => None,
        };
        match self.session(visit).await {
            Ok(Some(Visitor { must_enrol: true, .. })) => Reply::to(visit, "/account/factors"),
            Ok(Some(visitor)) => {
                self.account(visit, &visitor, StatusCode::OK, Told { message, ..Told::default() }).await
            }
            Ok(None) => Reply::to(visit, "/login?next=/account").cookie(Cookie::Session.unset(visit.place)),
            Err(reply) => reply,
        }
    }

    async fn account(
        &self,
        visit: &Visit<'_>,
        visitor: &Visitor,
        status: StatusCode,
        told: Told<'_>,
    ) -> Reply {
        let directory = self.identity.directory();
        let found = async {
            let subject = &visitor.subject;
            let user = directory.own_user(subject).await?;
            Ok((user, directory.own_tokens(subject).await?, directory.second_factor(subject).await?))
        };
        let (user, tokens, factor) = match found.await {
            Ok(found) => found,
            Err(error) => {
                let (status, message) = explain(&error);
                return Reply::failure(visit, status, &message);
            }
        };
        let days_max = directory.token_days();
        let csrf = visitor.id.csrf();
        let page = AccountPage {
            base: visit.base(),
            csrf: csrf.expose(),
            host: visit.host(),
            message: told.message,
            problem: told.problem,
            is_local: user.source == Source::Local,
            factors: (user.source != Source::Oidc).then(|| in_words(&factor)),
            wants_code: factor.on && visitor.confirmed.is_none(),
            source: match user.source {
                Source::Local => "this registry",
                Source::Ldap => "the directory",
                Source::Oidc => "the identity provider",
            },
            user,
            places: Whoami::of(&visitor.subject, SecondFactor::default())
                .permissions
                .iter()
                .map(place)
                .collect(),
            tokens: tokens.into_iter().map(row).collect(),
            made: told.made,
            days: days_max.map_or(DAYS, |most| most.min(DAYS)),
            days_max,
            draft: told.draft,
        };
        Reply::page(status, &page)
    }

    /// Who sent a form, from a page of their own session, and may do so.
    async fn visitor(&self, visit: &Visit<'_>, form: &str) -> Result<Visitor, Reply> {
        let visitor = self.any_visitor(visit, form).await?;
        if visitor.must_enrol { Err(Reply::to(visit, "/account/factors")) } else { Ok(visitor) }
    }

    /// The same, also who must set a second factor up before anything else.
    pub(crate) async fn any_visitor(&self, visit: &Visit<'_>, form: &str) -> Result<Visitor, Reply> {
        let id = visit.session_id();
        if !visit.is_own_form(form, id.as_ref()) {
            return Err(Reply::failure(visit, StatusCode::FORBIDDEN, OTHER_FORM));
        }
        self.session(visit).await?.ok_or_else(|| Reply::to(visit, "/login?next=/account"))
    }

    pub(crate) async fn create_token(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let visitor = match self.visitor(visit, form).await {
            Ok(visitor) => visitor,
            Err(reply) => return reply,
        };
        let field = |name| Query::form(form).first(name).unwrap_or_default();
        let (label, project) = (field("label"), field("project"));
        let outcome = match self.new_token(&label, project.trim(), &field("use"), field("days").trim()) {
            Ok(new) => {
                let made =
                    self.identity.directory().create_token(&visitor.subject, &visit.context, new).await;
                made.map_err(|error| explain(&error))
            }
            Err(message) => Err((StatusCode::BAD_REQUEST, message)),
        };
        match outcome {
            Ok(made) => {
                let told = Told { made: Some(&made), ..Told::default() };
                self.account(visit, &visitor, StatusCode::OK, told).await
            }
            Err((status, problem)) => {
                let draft = Draft { label: &label, project: &project };
                let told = Told { problem: Some(&problem), draft, ..Told::default() };
                self.account(visit, &visitor, status, told).await
            }
        }
    }

    fn new_token(&self, label: &str, project: &str, good_for: &str, days: &str) -> Result<NewToken, String> {
        if label.trim().is_empty() {
            return Err("Give the token a label, so that you know it again.".into());
        }
        let project = match project {
            "" => None,
            name => Some(name.parse::<ProjectName>().map_err(|error| error.to_string())?),
        };
        let chosen = USES.iter().find(|(name, _, _)| *name == good_for).map(|(_, _, actions)| *actions);
        let permissions = match (chosen, project) {
            (None, None) => None,
            (chosen, project) => {
                Some(vec![Permission { project, actions: Actions(chosen.unwrap_or(ActionSet::ALL)) }])
            }
        };
        let directory = self.identity.directory();
        let days = match days {
            "" => None,
            days => Some(days.parse::<u32>().map_err(|_| "The days are a number, such as 30.".to_owned())?),
        };
        // A page that is filled in for some while must not miss the last moment that is allowed.
        let expires = days.filter(|days| Some(u64::from(*days)) != directory.token_days());
        let expires = expires.map(|days| directory.in_days(days.into()));
        Ok(NewToken { label: label.trim().to_owned(), expires, permissions })
    }

    pub(crate) async fn revoke_token(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let visitor = match self.visitor(visit, form).await {
            Ok(visitor) => visitor,
            Err(reply) => return reply,
        };
        let id = Query::form(form).first("id").unwrap_or_default();
        match self.identity.directory().delete_own_token(&visitor.subject, &visit.context, &id).await {
            Ok(()) => Reply::to(visit, "/account?done=revoked"),
            Err(error) => {
                let (status, problem) = explain(&error);
                self.account(visit, &visitor, status, Told { problem: Some(&problem), ..Told::default() })
                    .await
            }
        }
    }

    /// A new password ends all sessions of its user: this browser gets another.
    pub(crate) async fn change_password(&self, visit: &Visit<'_>, form: &str) -> Reply {
        let visitor = match self.visitor(visit, form).await {
            Ok(visitor) => visitor,
            Err(reply) => return reply,
        };
        let user = visitor.subject.actor().to_string();
        let outcome = match NewPassword::read(form) {
            Ok(fields) => self.exchange(visit, &visitor, &user, fields).await,
            Err(message) => Err((StatusCode::BAD_REQUEST, message.to_owned())),
        };
        match outcome {
            Ok(reply) => reply,
            Err((status, problem)) => {
                self.account(visit, &visitor, status, Told { problem: Some(&problem), ..Told::default() })
                    .await
            }
        }
    }

    async fn exchange(
        &self,
        visit: &Visit<'_>,
        visitor: &Visitor,
        user: &str,
        fields: NewPassword,
    ) -> Result<Reply, (StatusCode, String)> {
        let NewPassword { current, new, code } = fields;
        let context = &visit.context;
        let change = PasswordChange { current, new: new.clone() };
        let changed = match &visitor.confirmed {
            Some(confirmed) => {
                let code = code.as_ref();
                self.identity.change_password_on_page(Err(confirmed), user, change, code, context).await
            }
            None => self.identity.change_password(user, change, code.as_ref(), context).await,
        };
        changed.map_err(|error| explain(&error))?;
        // Who has a second factor signs in with it anew.
        let next = Some("/account?done=password");
        match self.identity.begin_sign_in(user, new, context.address).await {
            Ok(SignIn::Open(opened)) => Ok(self.welcome(visit, &opened, next, "")),
            Ok(SignIn::Factor(browser)) => {
                let page = self.factor_wanted(visit, &browser, next).await;
                Ok(page.cookie(Cookie::Session.unset(visit.place)))
            }
            Err(error) => {
                let (status, message, _) = sign_in::explain(&error);
                Err((status, message))
            }
        }
    }
}

/// What somebody signs in with besides the password.
fn in_words(factor: &SecondFactor) -> String {
    let passkeys = match factor.passkeys {
        0 => None,
        1 => Some("a passkey".to_owned()),
        many => Some(format!("{many} passkeys")),
    };
    let app = factor.totp.then(|| "an app".to_owned());
    let all: Vec<String> = [passkeys, app].into_iter().flatten().collect();
    if all.is_empty() { "You have none.".into() } else { format!("You have {}.", all.join(" and ")) }
}

fn place(permission: &Permission) -> Place {
    let actions = permission.actions.0;
    Place {
        name: permission.project.as_ref().map_or_else(|| "the whole registry".into(), ToString::to_string),
        role: ROLES.iter().find(|role| role.actions == actions).map(|role| role.name),
        actions: actions.to_string(),
    }
}

fn row(token: Token) -> TokenRow {
    TokenRow {
        good_for: good_for(token.permissions.as_deref()),
        id: token.id,
        label: token.label,
        created: date(token.created),
        expires: token.expires.map_or_else(|| "never".into(), date),
        last_used: token.last_used.unwrap_or_else(|| "never".into()),
    }
}

/// What a token can do, in words.
fn good_for(permissions: Option<&[Permission]>) -> String {
    let Some(permissions) = permissions else { return "all that you may do".into() };
    let each = permissions.iter().map(|permission| {
        let actions = permission.actions.0;
        let known = USES.iter().find(|(_, _, known)| *known == actions).map(|(_, words, _)| *words);
        let actions = match known {
            Some(words) => words.to_owned(),
            None if actions == ActionSet::ALL => "all that you may do".to_owned(),
            None => actions.to_string(),
        };
        match &permission.project {
            Some(project) => format!("{actions} in {project}"),
            None => actions,
        }
    });
    each.collect::<Vec<_>>().join("; ")
}

/// What went wrong, for the page.
pub(crate) fn explain(error: &IdentityError) -> (StatusCode, String) {
    let status = match error {
        IdentityError::Unauthenticated(Unauthenticated::Wrong) => {
            return (StatusCode::FORBIDDEN, "The current password is wrong.".into());
        }
        IdentityError::Unauthenticated(error) => {
            let (status, message, _) = sign_in::explain(error);
            return (status, message);
        }
        IdentityError::Unknown { .. } => StatusCode::NOT_FOUND,
        IdentityError::Invalid(_) => StatusCode::BAD_REQUEST,
        IdentityError::Passkey(_) | IdentityError::Expired => StatusCode::FORBIDDEN,
        IdentityError::Exceeds { .. } => StatusCode::FORBIDDEN,
        IdentityError::Exists { .. }
        | IdentityError::LastAdministrator
        | IdentityError::ProjectInUse(_)
        | IdentityError::Conflict
        | IdentityError::TooMany { .. } => StatusCode::CONFLICT,
        IdentityError::Crypto(identity::CryptoError::Busy) => StatusCode::TOO_MANY_REQUESTS,
        IdentityError::WrongGrant
        | IdentityError::Crypto(_)
        | IdentityError::Damaged { .. }
        | IdentityError::Meta(_) => {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "a page could not be made");
            let message = "Something went wrong on the server. Its log says what.";
            return (StatusCode::INTERNAL_SERVER_ERROR, message.into());
        }
    };
    (status, sentence(&error.to_string()))
}

/// A message as a page shows it.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_say_what_they_are_good_for() {
        let check = |permissions: &[(Option<&str>, ActionSet)], expect: &str| {
            let permissions: Vec<_> = permissions
                .iter()
                .map(|(project, actions)| Permission {
                    project: project.map(|name| name.parse().unwrap()),
                    actions: Actions(*actions),
                })
                .collect();
            assert_eq!(good_for(Some(&permissions)), expect);
        };
        assert_eq!(good_for(None), "all that you may do");
        check(&[(Some("team"), USES[0].2)], "pulling in team");
        check(
            &[(None, ActionSet::ALL), (Some("a/b"), ActionSet::of(&[Action::Push]))],
            "all that you may do; push in a/b",
        );
        check(&[], "");
    }

    #[test]
    fn messages_are_sentences() {
        assert_eq!(sentence("there is no token `x`"), "There is no token `x`.");
        assert_eq!(sentence(""), ".");
    }
}
