//! The token service: access tokens for what a client asks for and its user may do (the Docker token specification).
//!
//! What is asked for and not allowed is left out, and is no error. An access token is short-lived and says only what
//! it is good for: what its holder may do is looked up at each use.

use std::net::IpAddr;
use std::time::Duration;

use access::{Action, Context, Subject, Target, Unauthenticated, allowed, authorise_listing};
use meta::Timestamp;
use oci::RepoName;
use schemars::JsonSchema;
use serde::Serialize;

use crate::crypto::random_id;
use crate::gate::{AUDIENCE, ISSUER, Identity, refused};
use crate::keys::REFRESH_LIFE;
use crate::proof::{By, CATALOG, Credential, Known, Proof, Standing};
use crate::secret::Secret;
use crate::signer::{AccessEntry, Claims};
use crate::{IdentityError, time};

/// How long an access token is good.
const LIFE: Duration = Duration::from_secs(300);

/// Whom refresh tokens are for.
const REFRESH_AUDIENCE: &str = "wharf/refresh";

/// What RFC 8693 calls an access token.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The most scopes that a client may ask for at once.
const SCOPES_MAX: usize = 100;

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// The scopes, such as `repository:team/app:pull,push`.
    pub scopes: Vec<String>,
    /// What it will pull where those scopes name repositories that are called otherwise here: many clients ask for a
    /// token under the name that they use, and not under that of the challenge.
    pub mirrored: Vec<RepoName>,
    /// Whether it wants a refresh token, to be kept instead of the password.
    pub offline: bool,
}

impl TokenRequest {
    /// The repositories that it would pull from, by the names that it uses.
    pub fn pulls(&self) -> impl Iterator<Item = RepoName> {
        let scopes = self.scopes.iter().take(SCOPES_MAX).filter_map(|scope| parse_scope(scope));
        scopes
            .filter(|(kind, _, words)| *kind == "repository" && wants(words, "pull"))
            .filter_map(|(_, name, _)| name.parse().ok())
    }
}

/// How a client shows who it is.
pub enum Claimant<'a> {
    /// It does not.
    Nobody,
    /// By an `Authorization` header.
    Header(&'a str),
    /// By a name and a secret.
    Password {
        /// The name.
        name: &'a str,
        /// The password, token or robot's secret.
        secret: &'a Secret,
    },
    /// By a refresh token.
    Refresh(&'a Secret),
    /// By the token that the platform of a CI job or a pod signed (RFC 8693).
    Workload(&'a Secret),
}

/// What a client gets.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Issued {
    /// The access token.
    pub token: String,
    /// The same, under the name that OAuth has for it.
    pub access_token: String,
    /// How it is sent.
    pub token_type: &'static str,
    /// What it is, where it was exchanged for another (RFC 8693, 2.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<&'static str>,
    /// How long it is good, in seconds.
    pub expires_in: u64,
    /// Since when.
    pub issued_at: String,
    /// The scopes that it is good for.
    pub scope: String,
    /// The refresh token, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Who it was given to.
    #[serde(skip)]
    pub subject: Subject,
}

impl Identity {
    /// Gives out an access token.
    pub async fn issue(
        &self,
        claimant: Claimant<'_>,
        request: &TokenRequest,
        address: Option<IpAddr>,
    ) -> Result<Issued, IdentityError> {
        if request.scopes.len() > SCOPES_MAX {
            return Err(IdentityError::Invalid(format!(
                "a token has {SCOPES_MAX} scopes at most: ask for fewer"
            )));
        }
        let exchanged = matches!(claimant, Claimant::Workload(_));
        let (credential, subject) = self.claimant(claimant, address).await?;
        let life = self.life_of_token(&credential).unwrap_or(LIFE);
        let now = self.directory().now();
        let access = self.access(&subject, request);
        let scope =
            access.iter().map(|entry| format!("{}:{}:{}", entry.kind, entry.name, entry.actions.join(",")));
        let scope = scope.collect::<Vec<_>>().join(" ");
        let claims = self.new_claims(&credential, &subject, AUDIENCE, (now, life))?;
        let token = self.keys.signer().sign(&Claims { access, ..claims })?;
        let may_refresh = request.offline && !subject.is_anonymous() && credential.is_kept_here();
        let refresh = || {
            let claims = self.new_claims(&credential, &subject, REFRESH_AUDIENCE, (now, REFRESH_LIFE))?;
            Ok::<_, IdentityError>(self.keys.signer().sign(&claims)?)
        };
        let refresh_token = may_refresh.then(refresh).transpose()?;
        Ok(Issued {
            access_token: token.clone(),
            token,
            token_type: "Bearer",
            issued_token_type: exchanged.then_some(ACCESS_TOKEN),
            expires_in: life.as_secs(),
            issued_at: time::text(now),
            scope,
            refresh_token,
            subject,
        })
    }

    async fn claimant(
        &self,
        claimant: Claimant<'_>,
        address: Option<IpAddr>,
    ) -> Result<(Credential, Subject), IdentityError> {
        match claimant {
            Claimant::Nobody => Ok((Credential::Nothing, Subject::anonymous())),
            Claimant::Header(header) => self.by_header(header, address).await,
            Claimant::Password { name, secret } => {
                let header = crate::authorization::basic(name, secret);
                self.by_header(header.expose(), address).await
            }
            Claimant::Refresh(token) => {
                let claims = self.claims(token, REFRESH_AUDIENCE).map_err(refused)?;
                let credential = Credential::of_claims(&claims).ok_or(Unauthenticated::Wrong)?;
                let proof = Proof::of(credential);
                let Known { subject, standing, .. } = self.subject_of(&proof).await?;
                if standing == Standing::Due {
                    return Err(Unauthenticated::SecondFactorDue.into());
                }
                Ok((proof.credential, (*subject).clone()))
            }
            Claimant::Workload(token) => {
                let proof = self.prove_workload(token).await?;
                let Known { subject, .. } = self.subject_of(&proof).await?;
                Ok((proof.credential, (*subject).clone()))
            }
        }
    }

    async fn by_header(
        &self,
        header: &str,
        address: Option<IpAddr>,
    ) -> Result<(Credential, Subject), IdentityError> {
        let context = Context { address, ..Context::default() };
        let verified = self.verify(header, None, &context).await?;
        verified.check_general()?;
        // An access token cannot be traded for another one: it would never end.
        if !matches!(verified.proof.by, By::Itself) {
            return Err(Unauthenticated::Wrong.into());
        }
        Ok((verified.proof.credential.clone(), (*verified.subject).clone()))
    }

    /// What of the scopes the subject may have.
    fn access(&self, subject: &Subject, request: &TokenRequest) -> Vec<AccessEntry> {
        let projects = &self.directory().known().projects;
        let mirrored = request.mirrored.iter().map(|name| ("repository", name.as_str(), "pull"));
        let wanted = request.scopes.iter().filter_map(|scope| parse_scope(scope)).chain(mirrored);
        let granted = wanted.filter_map(|(kind, name, words)| {
            let actions: Vec<String> = if (kind, name) == CATALOG {
                authorise_listing(projects, subject).is_ok().then(|| "*".to_owned()).into_iter().collect()
            } else if kind == "repository" {
                let target = Target::Repository(name.parse::<RepoName>().ok()?);
                let may = |action| allowed(projects, subject, action, &target);
                let delete = || may(Action::DeleteTag) || may(Action::DeleteArtifact);
                let each = [
                    ("pull", wants(words, "pull") && may(Action::Pull)),
                    ("push", wants(words, "push") && may(Action::Push)),
                    ("delete", wants(words, "delete") && delete()),
                ];
                each.into_iter().filter(|(_, given)| *given).map(|(word, _)| word.to_owned()).collect()
            } else {
                Vec::new()
            };
            (!actions.is_empty()).then(|| AccessEntry { kind: kind.into(), name: name.into(), actions })
        });
        granted.collect()
    }

    /// What a token says that lives so long from then on, and allows nothing yet.
    pub(crate) fn new_claims(
        &self,
        credential: &Credential,
        subject: &Subject,
        audience: &str,
        (now, life): (Timestamp, Duration),
    ) -> Result<Claims, IdentityError> {
        let (uid, via) = credential.claims();
        let iat = u64::try_from(now.micros() / 1_000_000).unwrap_or_default();
        let sub = if subject.is_anonymous() { String::new() } else { subject.actor().to_string() };
        Ok(Claims {
            iss: ISSUER.into(),
            sub,
            aud: audience.into(),
            exp: iat + life.as_secs(),
            nbf: iat,
            iat,
            jti: random_id()?,
            uid,
            via,
            factor: String::new(),
            access: Vec::new(),
        })
    }
}

/// `repository:NAME:ACTIONS`; the type may carry a class, as in `repository(plugin)`, and the name a port.
fn parse_scope(scope: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let kind = kind.split_once('(').map_or(kind, |(kind, _class)| kind);
    Some((kind, name, actions))
}

fn wants(actions: &str, word: &str) -> bool {
    actions.split(',').any(|wanted| wanted == word || wanted == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pulled_is_read_from_scopes() {
        let check = |scope: &str, expect: Option<&str>| {
            let request = TokenRequest { scopes: vec![scope.into()], ..TokenRequest::default() };
            let names: Vec<_> = request.pulls().map(|name| name.to_string()).collect();
            assert_eq!(names, Vec::from_iter(expect), "{scope}");
        };
        check("repository:library/nginx:pull", Some("library/nginx"));
        check("repository:nginx:pull,push", Some("nginx"));
        check("repository:nginx:*", Some("nginx"));
        for none in ["repository:nginx:push", "repository:NGINX:pull", "registry:catalog:*", "repository"] {
            check(none, None);
        }
    }

    #[test]
    fn scopes_are_read() {
        assert_eq!(parse_scope("repository:a/b:pull,push"), Some(("repository", "a/b", "pull,push")));
        assert_eq!(parse_scope("repository(plugin):a:pull"), Some(("repository", "a", "pull")));
        assert_eq!(parse_scope("registry:catalog:*"), Some(("registry", "catalog", "*")));
        for bad in ["", "repository", "repository:a"] {
            assert_eq!(parse_scope(bad), None, "{bad}");
        }
    }
}
