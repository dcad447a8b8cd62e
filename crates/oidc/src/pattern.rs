//! What a claim must look like.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::shorten;
use crate::workload::WorkloadError;

/// What divides the parts of such claims as `repo:org/app:ref:refs/heads/main` or `org/app/ci.yml@refs/tags/v1`.
const DIVIDERS: [char; 3] = ['/', ':', '@'];

/// The most characters of a pattern.
const PATTERN_MAX: usize = 500;

/// The most stars of a pattern.
const STARS_MAX: usize = 8;

/// A text that a claim must equal, in which each `*` stands for any characters, also none, except `/`, `:` and `@`.
///
/// So a star never reaches beyond the part it stands in: `repo:org/*:ref:refs/heads/main` is that branch of any
/// repository of `org`, and no name of a branch or a repository can be chosen so that it means something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text is as the pattern says.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        // The earliest place of each part leaves the most for the others. A star that would have to pass a divider
        // to get there cannot be helped by a later place either.
        for part in parts {
            let Some(at) = rest.find(part).filter(|at| !rest[..*at].contains(DIVIDERS)) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.strip_suffix(last).is_some_and(|between| !between.contains(DIVIDERS))
    }

    /// Whether a claim is as the pattern says: a text, a number, true or false, or a list that holds such a one.
    pub(crate) fn matches_claim(&self, claim: &Value) -> bool {
        match claim {
            Value::Array(values) => values.iter().any(|value| !value.is_array() && self.matches_claim(value)),
            Value::String(text) => self.matches(text),
            Value::Bool(_) | Value::Number(_) => self.matches(&claim.to_string()),
            Value::Null | Value::Object(_) => false,
        }
    }

    /// Whether it says anything at all: stars and dividers alone do not.
    pub(crate) fn says_something(&self) -> bool {
        self.0.chars().any(|c| c != '*' && !DIVIDERS.contains(&c))
    }
}

impl FromStr for Pattern {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let wrong = |why| Err(WorkloadError::Pattern { pattern: shorten(text), why });
        if text.is_empty() || text.chars().count() > PATTERN_MAX || text.chars().any(char::is_control) {
            return wrong("it must have 1 to 500 characters, none of them a control character");
        }
        if text.contains("**") {
            return wrong("`**` has no meaning: one `*` stands for any characters but `/`, `:` and `@`");
        }
        if text.matches('*').count() > STARS_MAX {
            return wrong("it may have at most 8 stars");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("the pattern is one")
    }

    #[test]
    fn a_star_stays_within_its_part() {
        let check = |glob: &str, text: &str, expect: bool| {
            assert_eq!(pattern(glob).matches(text), expect, "{glob} {text}");
        };
        let main = "repo:org/app:ref:refs/heads/main";
        check(main, main, true);
        check(main, "repo:org/app:ref:refs/heads/main2", false);
        check(main, "xrepo:org/app:ref:refs/heads/main", false);
        check("repo:org/*:ref:refs/heads/main", main, true);
        check("repo:org/a*p:ref:refs/heads/*", main, true);
        check("repo:*/*:ref:refs/*/main", main, true);
        check("repo:org/*", main, false);
        check("repo:org/*:ref:refs/heads/main", "repo:org/app:pull_request:ref:refs/heads/main", false);
        check("repo:org/*:ref:refs/heads/main", "repo:org/a/b:ref:refs/heads/main", false);
        check("refs/heads/*", "refs/heads/feature/x", false);
        check("refs/heads/*/*", "refs/heads/feature/x", true);
        check("org/ci/*.yml@refs/heads/main", "org/ci/a.yml@refs/heads/main", true);
        check("*@refs", "a.yml@x@refs", false);
        check("a*", "a", true);
        check("*a", "ba", true);
        check("a*a", "a", false);
        check("a*b*c", "a-b-b-c", true);
        check("a*bc*", "abbcc", true);
        check("*", "", true);
        check("*", "a/b", false);
        check("é*", "éß", true);
    }

    #[test]
    fn claims_of_every_type_are_compared() {
        let check = |glob: &str, claim: Value, expect: bool| {
            assert_eq!(pattern(glob).matches_claim(&claim), expect, "{glob} {claim}");
        };
        check("true", json!(true), true);
        check("true", json!("true"), true);
        check("true", json!(false), false);
        check("42", json!(42), true);
        check("b*", json!(["a", "bc"]), true);
        check("b*", json!([["bc"]]), false);
        check("*", json!([]), false);
        check("*", json!(null), false);
        check("*", json!({ "a": "b" }), false);
    }

    #[test]
    fn patterns_that_mislead_are_refused() {
        for bad in ["", "a**", "a\nb", "*a*a*a*a*a*a*a*a*", &"a".repeat(501)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
        for (text, expect) in [("*", false), ("*/*", false), ("*:*@*", false), ("a*", true), ("true", true)] {
            assert_eq!(pattern(text).says_something(), expect, "{text}");
        }
    }

    /// The same by trying every length of every star: slow, and plainly right.
    fn naive(glob: &[char], text: &[char]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => {
                naive(rest, text)
                    || text
                        .split_first()
                        .is_some_and(|(c, after)| !DIVIDERS.contains(c) && naive(glob, after))
            }
            Some((c, rest)) => text.split_first().is_some_and(|(d, after)| c == d && naive(rest, after)),
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_trying_all_gives(glob in "[ab/:*]{1,8}", text in "[ab/:]{0,10}") {
            if let Ok(pattern) = glob.parse::<Pattern>() {
                let chars = |text: &str| text.chars().collect::<Vec<_>>();
                prop_assert_eq!(pattern.matches(&text), naive(&chars(&glob), &chars(&text)));
            }
        }

        #[test]
        fn no_text_panics(glob in "\\PC{0,20}", text in "\\PC{0,20}") {
            if let Ok(pattern) = glob.parse::<Pattern>() {
                pattern.matches(&text);
            }
        }
    }
}
