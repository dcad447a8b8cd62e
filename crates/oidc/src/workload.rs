//! Workload identity: the token that a CI job or a pod has anyway stands in for a password.
//!
//! A rule names an issuer, the audience that the token must be made for, and what its claims must be. What a matched
//! rule allows is decided elsewhere, by the rule's name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::token::Token;
use crate::{Claims, Clock, Issuer, IssuerSettings, OidcError, Pattern, shorten};

/// Claims that every token has which gets so far: they tell no workload from another.
const NO_CONDITION: [&str; 2] = ["iss", "aud"];

/// Why a rule is no rule, or a token is not exchanged. The token is not in the message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// A pattern is not one.
    #[error("`{pattern}` is no pattern for a claim: {why}")]
    Pattern {
        /// The text.
        pattern: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A rule without an audience.
    #[error(
        "a rule for {issuer} has no audience: give one that only tokens for this registry have, such as its address"
    )]
    NoAudience {
        /// Whose tokens.
        issuer: String,
    },
    /// A rule that would take anybody's token.
    #[error(
        "a rule for {issuer} says nothing about who may use it, so that everybody with a token of that issuer could: match at least one claim besides iss and aud, with more than stars"
    )]
    NoCondition {
        /// Whose tokens.
        issuer: String,
    },
    /// Two rules with one name.
    #[error("two rules have the name `{0}`: give each its own")]
    SameName(String),
    /// One issuer with different settings.
    #[error("two rules for {0} differ in the issuer's certificates or keys: give both the same")]
    Contradiction(String),
    /// The token is not genuine, or cannot be judged.
    #[error(transparent)]
    Token(#[from] OidcError),
    /// No rule is for tokens of that issuer.
    #[error(
        "the token is from the issuer `{found}`, which no rule is for. If it should be, add an [[auth.workload]] rule with exactly this issuer"
    )]
    UnknownIssuer {
        /// Who issued it.
        found: String,
    },
    /// The token was made for somebody else.
    #[error(
        "the token is for the audience {found}: have the job ask for one with the audience of its rule, which is {wanted}"
    )]
    Audience {
        /// What the rules want.
        wanted: String,
        /// What the token says.
        found: String,
    },
    /// No rule fits.
    #[error(
        "the token of `{subject}` is genuine, but no rule for {issuer} fits its claims: compare them with the rules' match tables"
    )]
    NoRule {
        /// Who issued it.
        issuer: String,
        /// Who it is about.
        subject: String,
    },
}

/// Which tokens are taken for which workload.
#[derive(Clone, Debug)]
pub struct Rule {
    issuer: IssuerSettings,
    audience: String,
    conditions: BTreeMap<String, Pattern>,
}

impl Rule {
    /// A rule: all conditions (the path of a claim, and what it must look like) must hold. One that would take every
    /// token of the issuer is refused.
    pub fn new(
        issuer: IssuerSettings,
        audience: impl Into<String>,
        conditions: BTreeMap<String, Pattern>,
    ) -> Result<Self, WorkloadError> {
        let audience = audience.into();
        if audience.is_empty() {
            return Err(WorkloadError::NoAudience { issuer: issuer.url });
        }
        let tells_apart = |(claim, pattern): (&String, &Pattern)| {
            !NO_CONDITION.contains(&claim.as_str()) && pattern.says_something()
        };
        if !conditions.iter().any(tells_apart) {
            return Err(WorkloadError::NoCondition { issuer: issuer.url });
        }
        Ok(Self { issuer, audience, conditions })
    }

    fn fits(&self, claims: &Claims) -> bool {
        let holds = |(claim, pattern): (&String, &Pattern)| {
            claims.get(claim).is_some_and(|value| pattern.matches_claim(value))
        };
        self.conditions.iter().all(holds)
    }

    fn is_for_audience(&self, claims: &Claims) -> bool {
        claims.check_audience(&self.audience).is_ok()
    }
}

/// A token that a rule fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched {
    /// The name of the rule.
    pub rule: String,
    /// Who it is, in the issuer's words (`sub`).
    pub subject: String,
    /// Who says so.
    pub issuer: String,
    /// All that it says.
    pub claims: Claims,
    /// When the token ends.
    pub expires: SystemTime,
}

/// All rules, each issuer known once.
pub struct Exchange {
    rules: Vec<(String, Rule)>,
    issuers: BTreeMap<String, Issuer>,
}

impl Exchange {
    /// Rules with their names, in the order in which they are tried. No issuer is asked yet.
    pub fn new(rules: Vec<(String, Rule)>, clock: Clock) -> Result<Self, WorkloadError> {
        let mut names = BTreeSet::new();
        let mut settings: BTreeMap<&str, &IssuerSettings> = BTreeMap::new();
        for (name, rule) in &rules {
            if !names.insert(name) {
                return Err(WorkloadError::SameName(name.clone()));
            }
            let first = settings.entry(&rule.issuer.url).or_insert(&rule.issuer);
            if **first != rule.issuer {
                return Err(WorkloadError::Contradiction(rule.issuer.url.clone()));
            }
        }
        let issuer = |(url, settings): (&str, _)| Ok((url.to_owned(), Issuer::new(settings, clock.clone())?));
        let issuers: Result<_, OidcError> = settings.into_iter().map(issuer).collect();
        Ok(Self { issuers: issuers?, rules })
    }

    /// The first rule that fits a token.
    pub async fn exchange(&self, token: &str) -> Result<Matched, WorkloadError> {
        let token = Token::parse(token)?;
        // The token names its issuer, and only those of the rules are ever asked whether that is so.
        let named = token.claims.text("iss").unwrap_or_default();
        let Some(issuer) = self.issuers.get(named) else {
            return Err(WorkloadError::UnknownIssuer { found: shorten(named) });
        };
        let claims = issuer.authenticate(token).await?;
        let subject = claims.subject()?.to_owned();
        let expires = claims.expires().ok_or(OidcError::Claim { claim: "exp", problem: "is missing" })?;
        let of_issuer = self.rules.iter().filter(|(_, rule)| rule.issuer.url == issuer.url());
        let (mine, others): (Vec<_>, Vec<_>) = of_issuer.partition(|(_, rule)| rule.is_for_audience(&claims));
        match mine.iter().find(|(_, rule)| rule.fits(&claims)) {
            Some((rule, _)) => {
                let (rule, issuer) = (rule.clone(), issuer.url().to_owned());
                Ok(Matched { rule, subject, issuer, claims, expires })
            }
            None if mine.is_empty() => {
                let wanted: BTreeSet<&str> = others.iter().map(|(_, rule)| rule.audience.as_str()).collect();
                let wanted =
                    wanted.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
                Err(WorkloadError::Audience { wanted, found: claims.audience() })
            }
            None => {
                let (issuer, subject) = (issuer.url().to_owned(), shorten(&subject));
                Err(WorkloadError::NoRule { issuer, subject })
            }
        }
    }
}
