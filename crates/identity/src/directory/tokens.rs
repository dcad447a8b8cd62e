//! Personal access tokens: a user's secrets for machines that act in their place.

use std::time::Duration;

use access::{Action, Context, Grant, Subject, Target};
use meta::{Entry, EntryKind, Origin, Timestamp};

use super::{Directory, New, check_text, entry_name, expect, origin};
use crate::IdentityError;
use crate::model::{NewToken, Shown, Token, TokenRecord, UserRecord};
use crate::names::UserName;
use crate::token_secret::{TokenKind, TokenSecret};

const DAY: u64 = 86_400;

impl Directory {
    /// Somebody's own tokens.
    pub async fn own_tokens(&self, subject: &Subject) -> Result<Vec<Token>, IdentityError> {
        self.tokens(&without_bounds(subject)?).await
    }

    /// The tokens of a user.
    pub async fn tokens_of(&self, grant: &Grant, user: &UserName) -> Result<Vec<Token>, IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        self.get::<UserRecord>(EntryKind::User, user.as_str()).await?;
        self.tokens(user).await
    }

    /// The longest life of a token, in days; none for no end.
    pub fn token_days(&self) -> Option<u64> {
        self.limits.token_days
    }

    /// The moment so many days from now on.
    pub fn in_days(&self, days: u64) -> Timestamp {
        self.now().plus(Duration::from_secs(days.saturating_mul(DAY)))
    }

    async fn tokens(&self, user: &UserName) -> Result<Vec<Token>, IdentityError> {
        let mut tokens = Vec::new();
        for (entry, record) in
            self.owned::<TokenRecord>(EntryKind::User, user.as_str(), EntryKind::Token).await?
        {
            let last_used = self.last_used(entry.name.as_str()).await?;
            tokens.push(shown(&entry, record, last_used));
        }
        Ok(tokens)
    }

    /// Makes a token for the one who asks. Its secret is shown this once.
    pub async fn create_token(
        &self,
        subject: &Subject,
        context: &Context,
        new: NewToken,
    ) -> Result<Shown<Token>, IdentityError> {
        let user = without_bounds(subject)?;
        // A token that could make another one would outlive itself.
        if !matches!(subject.via(), "password" | "ldap" | "oidc") {
            let message = "a token is made by who signed in as a person, and not by another token: sign in";
            return Err(IdentityError::Invalid(message.into()));
        }
        check_text("label", &new.label, 100)?;
        let expires = self.end(new.expires, self.limits.token_days, "token")?;
        if self.tokens(&user).await?.len() >= self.limits.tokens_per_user {
            return Err(IdentityError::TooMany { what: "tokens", limit: self.limits.tokens_per_user });
        }
        let secret = TokenSecret::generate(TokenKind::Personal)?;
        let record = TokenRecord {
            user: user.clone(),
            label: new.label,
            hash: secret.hash(),
            expires,
            permissions: new.permissions,
        };
        let owners = vec![(EntryKind::User, user.to_string())];
        let entry = New { kind: EntryKind::Token, name: secret.id().into(), record: &record, owners };
        self.create_as(by(&user, context), entry).await?;
        let (entry, record) = self.get::<TokenRecord>(EntryKind::Token, secret.id()).await?;
        Ok(Shown { about: shown(&entry, record, None), secret: secret.text().clone() })
    }

    /// Ends one of somebody's own tokens.
    pub async fn delete_own_token(
        &self,
        subject: &Subject,
        context: &Context,
        id: &str,
    ) -> Result<(), IdentityError> {
        let user = without_bounds(subject)?;
        self.delete_token(&user, id, by(&user, context)).await
    }

    /// Ends a token of a user.
    pub async fn delete_token_of(
        &self,
        grant: &Grant,
        subject: &Subject,
        user: &UserName,
        id: &str,
    ) -> Result<(), IdentityError> {
        expect(grant, Action::ManageUsers, &Target::System)?;
        let (_, record) = self.get::<UserRecord>(EntryKind::User, user.as_str()).await?;
        self.check_covers(subject, &self.rights_of_user(user, &record).await?)?;
        self.delete_token(user, id, origin(grant)).await
    }

    async fn delete_token(&self, user: &UserName, id: &str, origin: Origin) -> Result<(), IdentityError> {
        let (_, record) = self.get::<TokenRecord>(EntryKind::Token, id).await?;
        if record.user != *user {
            let name = id.chars().take(80).collect();
            return Err(IdentityError::Unknown { what: "token", name });
        }
        let write = meta::Write::DropEntry { kind: EntryKind::Token, name: entry_name(id)? };
        self.change(meta::Batch::of(origin, write)).await.map(|_| ())
    }

    /// When something ends that should end at `wanted`, within so many days.
    pub(super) fn end(
        &self,
        wanted: Option<Timestamp>,
        days: Option<u64>,
        what: &str,
    ) -> Result<Option<Timestamp>, IdentityError> {
        let latest = days.map(|days| self.now().plus(Duration::from_secs(days * DAY)));
        match (wanted, latest) {
            (Some(wanted), _) if wanted <= self.now() => Err(IdentityError::Invalid(format!(
                "the {what} would have ended already: choose a later moment"
            ))),
            (Some(wanted), Some(latest)) if wanted > latest => Err(IdentityError::Invalid(format!(
                "a {what} lives {} days at most: choose an earlier end",
                days.unwrap_or_default()
            ))),
            (wanted, latest) => Ok(wanted.or(latest)),
        }
    }
}

/// The user who asks for something of their own.
pub(crate) fn oneself(subject: &Subject) -> Result<UserName, IdentityError> {
    match subject.actor() {
        access::Actor::User(name) => name.parse().map_err(|error| IdentityError::Invalid(format!("{error}"))),
        _ => Err(IdentityError::Invalid("only users have this: sign in as one".into())),
    }
}

/// The same for one who came with a credential that is good for all. One that was made for a few things must not end
/// the others of its user, nor see what they are called.
fn without_bounds(subject: &Subject) -> Result<UserName, IdentityError> {
    if !subject.scopes().is_empty() {
        let message = "this credential is for some things only, and your tokens are none of them: sign in with your \
                       password";
        return Err(IdentityError::Invalid(message.into()));
    }
    oneself(subject)
}

pub(super) fn by(user: &UserName, context: &Context) -> Origin {
    Origin {
        actor: user.to_string(),
        address: context.address,
        agent: context.agent.clone(),
        request: context.request.clone(),
    }
}

fn shown(entry: &Entry, record: TokenRecord, last_used: Option<String>) -> Token {
    Token {
        id: entry.name.as_str().to_owned(),
        user: record.user,
        label: record.label,
        created: entry.created,
        expires: record.expires,
        permissions: record.permissions,
        last_used,
    }
}
