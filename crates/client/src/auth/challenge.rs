//! The `WWW-Authenticate` header (RFC 9110, section 11): what a registry wants to see.

/// What a server asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A name and a password in each request.
    Basic,
    /// A token from somewhere.
    Bearer {
        /// Where tokens are given out.
        realm: String,
        /// What the token is for.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The same, as far as it holds for other requests, too.
    pub fn without_scope(mut self) -> Self {
        if let Self::Bearer { scope, .. } = &mut self {
            *scope = None;
        }
        self
    }
}

/// The best challenge that the headers offer: a token before a password.
pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut all: Vec<Challenge> = headers.flat_map(parse).collect();
    let best = all.iter().position(|challenge| *challenge != Challenge::Basic).unwrap_or(0);
    (!all.is_empty()).then(|| all.swap_remove(best))
}

/// All challenges of one header that are known here.
fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut scanner = Scanner(header);
    let mut open: Option<(String, Vec<(String, String)>)> = None;
    while let Some(token) = scanner.token() {
        if let Some(value) = scanner.value() {
            if let Some((_, parameters)) = &mut open {
                parameters.push((token.to_ascii_lowercase(), value));
            }
        } else {
            found.extend(open.take().and_then(finish));
            open = Some((token.to_ascii_lowercase(), Vec::new()));
        }
    }
    found.extend(open.and_then(finish));
    found
}

fn finish((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let get = |name: &str| {
        parameters
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.clone())
    };
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") })
        }
        _ => None,
    }
}

/// Reads `token` and `="value"` off the front of a header.
struct Scanner<'a>(&'a str);

impl Scanner<'_> {
    fn token(&mut self) -> Option<String> {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
        let end = self.0.find(|c: char| !is_token(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then(|| token.to_owned())
    }

    /// The value after `=`, when one follows.
    fn value(&mut self) -> Option<String> {
        let rest = self.0.trim_start_matches([' ', '\t']).strip_prefix('=')?;
        let rest = rest.trim_start_matches([' ', '\t']);
        match rest.strip_prefix('"') {
            Some(quoted) => Some(self.quoted(quoted)),
            None => {
                // Lenient: some servers leave out the quotes round addresses.
                let end = rest.find([',', ' ', '\t']).unwrap_or(rest.len());
                self.0 = &rest[end..];
                Some(rest[..end].to_owned())
            }
        }
    }

    /// Reads up to the closing quote; `text`, the end of the header, begins after the opening one.
    fn quoted(&mut self, text: &str) -> String {
        let mut value = String::new();
        let mut characters = text.char_indices();
        let mut end = text.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                _ => value.push(character),
            }
        }
        let consumed = self.0.len() - text.len() + end;
        self.0 = &self.0[consumed..];
        value
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        })
    }

    #[test]
    fn challenges_are_read() {
        let check = |header: &str, expect: Option<Challenge>| {
            assert_eq!(choose([header].into_iter()), expect, "{header}");
        };
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:a/b:pull,push"),
            ),
        );
        check(r#"bearer realm = "r" , service = "s""#, bearer("r", Some("s"), None));
        check(r#"Bearer realm=https://h/t,service=s"#, bearer("https://h/t", Some("s"), None));
        check(r#"Bearer realm="a\"b""#, bearer("a\"b", None, None));
        check(r#"Basic realm="Registry""#, Some(Challenge::Basic));
        check(r#"Basic realm="x", Bearer realm="r""#, bearer("r", None, None));
        check(r#"Negotiate, Basic realm="x""#, Some(Challenge::Basic));
        check("Bearer", None);
        check(r#"Bearer realm="""#, None);
        check(r#"Digest realm="x""#, None);
        check("", None);
        let two = [r#"Basic realm="x""#, r#"Bearer realm="r""#];
        assert_eq!(choose(two.into_iter()), bearer("r", None, None));
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "(Bearer |Basic )?[a-z=\", \\\\é]{0,60}") {
            choose([text.as_str()].into_iter());
        }

        #[test]
        fn what_was_written_is_found(realm in "[a-z:/.?=&,]{1,30}", scope in "[a-z:/, ]{1,30}") {
            let header = format!("Bearer realm=\"{realm}\",scope=\"{scope}\"");
            prop_assert_eq!(choose([header.as_str()].into_iter()), bearer(&realm, None, Some(&scope)));
        }
    }
}
