//! What a token says.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::{LEEWAY, OidcError, shorten};

/// Seconds since 1970 that stand for no moment anybody means (the year 5138): some issuers write milliseconds.
const END_OF_TIME: u64 = 100_000_000_000;

/// The claims of a token: a JSON object no larger than the token was.
#[derive(Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Claims as they are, checked or not.
    pub(crate) fn new(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// The claim at a dotted path, such as `kubernetes.io.serviceaccount.name`.
    ///
    /// Names of claims hold dots themselves (`kubernetes.io`, `https://example.com/groups`): of the names that the path
    /// may begin with, the longest that is there counts.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let mut map = &self.0;
        let mut path = path;
        loop {
            if let Some(value) = map.get(path) {
                return Some(value);
            }
            let mut dots = path.rmatch_indices('.');
            let (value, rest) = dots.find_map(|(at, _)| Some((map.get(&path[..at])?, &path[at + 1..])))?;
            (map, path) = (value.as_object()?, rest);
        }
    }

    /// A claim that is text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// A claim that is a list of texts, or one text. What else a list holds is left out.
    pub fn texts(&self, path: &str) -> Option<Vec<&str>> {
        match self.get(path)? {
            Value::String(text) => Some(vec![text]),
            Value::Array(values) => Some(values.iter().filter_map(Value::as_str).collect()),
            _ => None,
        }
    }

    /// A claim that is true or false, which some issuers write as text.
    pub fn flag(&self, path: &str) -> Option<bool> {
        match self.get(path)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// When the token ends. Claims that were verified have this.
    pub fn expires(&self) -> Option<SystemTime> {
        self.moment("exp").ok().flatten()
    }

    /// Whether the claims come from this issuer and are in force.
    pub(crate) fn check(&self, issuer: &str, now: SystemTime) -> Result<(), OidcError> {
        let found = self.text("iss").ok_or(missing("iss"))?;
        if found != issuer {
            return Err(OidcError::WrongIssuer { wanted: issuer.to_owned(), found: shorten(found) });
        }
        if self.moment("exp")?.ok_or(missing("exp"))? + LEEWAY <= now {
            return Err(OidcError::Expired);
        }
        for claim in ["nbf", "iat"] {
            if self.moment(claim)?.is_some_and(|moment| moment > now + LEEWAY) {
                return Err(OidcError::NotYet);
            }
        }
        Ok(())
    }

    /// Whether the token was made for this audience.
    pub(crate) fn check_audience(&self, wanted: &str) -> Result<(), OidcError> {
        if self.texts("aud").ok_or(missing("aud"))?.contains(&wanted) {
            return Ok(());
        }
        Err(OidcError::Audience { wanted: wanted.to_owned(), found: self.audience() })
    }

    /// The audiences, for a message.
    pub(crate) fn audience(&self) -> String {
        let names = self.texts("aud").unwrap_or_default();
        let names: Vec<String> = names.iter().take(5).map(|name| format!("`{}`", shorten(name))).collect();
        names.join(", ")
    }

    /// Who the token is about.
    pub(crate) fn subject(&self) -> Result<&str, OidcError> {
        let subject = self.text("sub").filter(|subject| !subject.is_empty()).ok_or(missing("sub"))?;
        // OpenID Connect Core 1.0, section 2: no more than 255 characters.
        if subject.len() > 255 {
            return Err(OidcError::Claim { claim: "sub", problem: "has more than 255 characters" });
        }
        Ok(subject)
    }

    fn moment(&self, claim: &'static str) -> Result<Option<SystemTime>, OidcError> {
        let Some(value) = self.0.get(claim) else { return Ok(None) };
        // RFC 7519 allows fractions of a second, which nobody needs.
        let seconds = value.as_u64().or_else(|| value.as_f64().filter(|s| *s >= 0.0).map(|s| s as u64));
        match seconds.filter(|seconds| *seconds < END_OF_TIME) {
            Some(seconds) => Ok(Some(UNIX_EPOCH + Duration::from_secs(seconds))),
            None => Err(OidcError::Claim { claim, problem: "is no number of seconds since 1970" }),
        }
    }
}

impl fmt::Debug for Claims {
    /// The names alone: the values are about people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn missing(claim: &'static str) -> OidcError {
    OidcError::Claim { claim, problem: "is missing: such a token cannot be accepted" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Claims {
        Claims::new(value.as_object().expect("claims are an object").clone())
    }

    #[test]
    fn paths_lead_to_claims_whose_names_hold_dots() {
        let claims = claims(json!({
            "sub": "x",
            "kubernetes.io": { "namespace": "ci", "serviceaccount": { "name": "builder" } },
            "a": { "b": { "c": "nested" }, "b.c": "dotted" },
            "a.b": { "d": "longest name first" },
            "https://example.com/groups": ["one"],
        }));
        let check = |path: &str, expect: Option<&str>| assert_eq!(claims.text(path), expect, "{path}");
        check("sub", Some("x"));
        check("kubernetes.io.namespace", Some("ci"));
        check("kubernetes.io.serviceaccount.name", Some("builder"));
        check("a.b.d", Some("longest name first"));
        check("a.b.c", None);
        for path in ["", ".", "sub.", "sub.x", ".sub", "kubernetes", "kubernetes.io", "kubernetes.io.", "b"] {
            check(path, None);
        }
        assert_eq!(claims.texts("https://example.com/groups"), Some(vec!["one"]));
    }

    #[test]
    fn values_are_read_as_their_types() {
        let claims = claims(json!({
            "list": ["a", 1, "b", null], "text": "a", "number": 1,
            "yes": true, "no": "false", "maybe": "maybe",
        }));
        assert_eq!(claims.texts("list"), Some(vec!["a", "b"]));
        assert_eq!(claims.texts("text"), Some(vec!["a"]));
        assert_eq!(claims.texts("number"), None);
        assert_eq!(claims.flag("yes"), Some(true));
        assert_eq!(claims.flag("no"), Some(false));
        assert_eq!(claims.flag("maybe"), None);
    }

    #[test]
    fn a_token_has_its_time() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |times: Value, expect: Result<(), OidcError>| {
            let mut token = json!({ "iss": "https://issuer.test" });
            token.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
            assert_eq!(claims(token).check("https://issuer.test", now), expect, "{times}");
        };
        let no_number = |claim| OidcError::Claim { claim, problem: "is no number of seconds since 1970" };
        check(json!({ "exp": 1_000_001 }), Ok(()));
        check(json!({ "exp": 1_000_000.5 }), Ok(()));
        check(json!({ "exp": 999_971 }), Ok(()));
        check(json!({ "exp": 999_970 }), Err(OidcError::Expired));
        check(json!({ "exp": 0 }), Err(OidcError::Expired));
        check(json!({ "exp": 1_000_100, "nbf": 1_000_030, "iat": 1_000_030 }), Ok(()));
        check(json!({ "exp": 1_000_100, "nbf": 1_000_031 }), Err(OidcError::NotYet));
        check(json!({ "exp": 1_000_100, "iat": 1_000_031 }), Err(OidcError::NotYet));
        check(json!({}), Err(missing("exp")));
        for wrong in [json!(-1), json!("1000001"), json!(1e300), json!(u64::MAX), json!(null)] {
            check(json!({ "exp": wrong }), Err(no_number("exp")));
            check(json!({ "exp": 1_000_100, "nbf": wrong }), Err(no_number("nbf")));
        }
    }

    #[test]
    fn no_value_is_shown() {
        assert_eq!(format!("{:?}", claims(json!({ "email": "mia@example.com" }))), r#"{"email"}"#);
    }
}
