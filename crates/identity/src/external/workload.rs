//! Workloads: CI jobs and pods, who come with a token that their platform signed. Rules in the configuration say which
//! tokens are taken, and what they are good for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use access::{Actor, Rights, Subject, Unauthenticated};
use meta::Clock;
use oidc::{Exchange, IssuerSettings, OidcError, Rule, WorkloadError};

use crate::model::{Permission, rights};
use crate::names::printable;
use crate::proof::{Credential, Proof};
use crate::secret::Secret;
use crate::{Identity, IdentityError};

/// The names under which a workload's token is taken as a password.
const NAMES: [&str; 2] = ["workload", "oidc"];

/// The longest name of a rule.
const RULE_MAX: usize = 64;

/// How much of what an issuer calls a workload is kept, in characters.
const SUBJECT_MAX: usize = 200;

/// The longest life of an access token that a workload gets.
const LIFETIME_MAX: Duration = Duration::from_secs(3_600);

/// Which tokens are taken, and what they are good for.
#[derive(Clone, Debug)]
pub struct WorkloadRule {
    /// Its name, which the audit journal tells.
    pub name: String,
    /// Who signs the tokens.
    pub issuer: String,
    /// For whom they are made.
    pub audience: String,
    /// What their claims must be.
    pub conditions: BTreeMap<String, String>,
    /// Certificates (PEM) to trust besides the system's authorities.
    pub ca: Option<Vec<u8>>,
    /// The issuer's keys, where it cannot be asked for them.
    pub jwks: Option<String>,
    /// What a workload may do.
    pub permissions: Vec<Permission>,
    /// How long an access token is good that it gets.
    pub lifetime: Duration,
}

impl WorkloadRule {
    fn check(&self) -> Result<(), String> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if !(1..=RULE_MAX).contains(&self.name.len()) || !self.name.bytes().all(good) {
            return Err("give it a name of 1 to 64 lowercase letters, digits, `.`, `_` and `-`".into());
        }
        if self.permissions.iter().all(|permission| permission.actions.0.is_empty()) {
            return Err("it allows nothing: say what in permissions, such as \
                 [{ project = \"team\", actions = [\"pull\"] }]"
                .into());
        }
        if !(Duration::from_secs(1)..=LIFETIME_MAX).contains(&self.lifetime) {
            return Err("write a lifetime from 1s to 1h".into());
        }
        Ok(())
    }

    fn rule(&self) -> Result<Rule, WorkloadError> {
        let issuer =
            IssuerSettings { url: self.issuer.clone(), ca: self.ca.clone(), jwks: self.jwks.clone() };
        let conditions = self.conditions.iter().map(|(claim, text)| Ok((claim.clone(), text.parse()?)));
        let conditions = conditions.collect::<Result<_, WorkloadError>>()?;
        Rule::new(issuer, self.audience.clone(), conditions)
    }
}

/// All rules.
pub(super) struct Workloads {
    exchange: Exchange,
    given: BTreeMap<String, Given>,
}

/// What a rule gives.
struct Given {
    rights: Arc<Rights>,
    lifetime: Duration,
}

impl Workloads {
    pub(super) fn new(rules: Vec<WorkloadRule>, clock: Arc<dyn Clock>) -> Result<Self, IdentityError> {
        let mut given = BTreeMap::new();
        let mut known = Vec::new();
        for rule in rules {
            let wrong = |reason: String| {
                let name = printable(&rule.name, RULE_MAX);
                IdentityError::Invalid(format!("in the [[auth.workload]] rule `{name}`: {reason}"))
            };
            rule.check().map_err(wrong)?;
            known.push((rule.name.clone(), rule.rule().map_err(|error| wrong(error.to_string()))?));
            let rights = Arc::new(rights(&rule.permissions));
            given.insert(rule.name, Given { rights, lifetime: rule.lifetime });
        }
        let since = move || u64::try_from(clock.now().micros()).unwrap_or_default();
        let exchange = Exchange::new(known, Arc::new(move || UNIX_EPOCH + Duration::from_micros(since())));
        let exchange =
            exchange.map_err(|error| IdentityError::Invalid(format!("in [[auth.workload]]: {error}")))?;
        Ok(Self { exchange, given })
    }

    /// The rules by name, for the log.
    pub(super) fn names(&self) -> String {
        self.given.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }
}

/// Whether a name and a password are a workload and its token: three parts of base64, of which the first is an object.
pub(super) fn is_meant(name: &str, secret: &Secret) -> bool {
    let text = secret.expose();
    NAMES.contains(&name) && text.starts_with("ey") && text.matches('.').count() == 2
}

impl Identity {
    /// Who sends a token that their platform signed. Failures are not counted: there is nothing to guess, and a name
    /// that all workloads share must not be one that anybody can lock.
    pub(crate) async fn prove_workload(&self, token: &Secret) -> Result<Proof, Unauthenticated> {
        let Some(workloads) = &self.external.workloads else {
            tracing::info!("a workload's token was refused: there is no [[auth.workload]] rule");
            return Err(Unauthenticated::Wrong);
        };
        let matched = workloads.exchange.exchange(token.expose()).await.map_err(|error| refuse(&error))?;
        let subject = printable(&matched.subject, SUBJECT_MAX);
        let credential = Credential::Workload { rule: matched.rule, subject, until: matched.expires.into() };
        Ok(Proof::of(credential))
    }

    /// What a workload may do by its rule, as that is now.
    pub(crate) fn by_workload(&self, rule: &str, subject: &str) -> Result<Subject, Unauthenticated> {
        let given = self.external.workloads.as_ref().and_then(|workloads| workloads.given.get(rule));
        let rights = Arc::clone(&given.ok_or(Unauthenticated::Wrong)?.rights);
        let actor = Actor::Workload(format!("workload:{rule}:{subject}").into());
        Ok(Subject::new(actor, "workload", rights))
    }

    /// How long the access tokens of a credential are good, where that is not as usual.
    pub(crate) fn life_of_token(&self, credential: &Credential) -> Option<Duration> {
        let Credential::Workload { rule, .. } = credential else { return None };
        Some(self.external.workloads.as_ref()?.given.get(rule)?.lifetime)
    }
}

/// The log is told why, so that whoever writes rules can see what is wrong with them.
fn refuse(error: &WorkloadError) -> Unauthenticated {
    tracing::info!(%error, "a workload's token was refused");
    match error {
        WorkloadError::Token(
            OidcError::Unreachable { .. }
            | OidcError::Answer { .. }
            | OidcError::OtherIssuer { .. }
            | OidcError::Keys { .. },
        ) => Unauthenticated::Unavailable,
        _ => Unauthenticated::Wrong,
    }
}
