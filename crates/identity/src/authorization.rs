//! The `Authorization` header (RFC 7617 and RFC 6750).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;

/// The longest header that is looked at: an access token for many repositories is long.
const LENGTH_MAX: usize = 20 << 10;

/// The longest name in it.
const NAME_MAX: usize = 512;

/// What somebody says they are.
#[derive(Debug)]
pub(crate) enum Authorization {
    /// A name with a secret.
    Basic { name: String, secret: Secret },
    /// A token alone.
    Bearer(Secret),
}

impl Authorization {
    /// Reads a header. `None` where it is neither of both.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        if header.len() > LENGTH_MAX {
            return None;
        }
        let (scheme, rest) = header.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return (!rest.is_empty()).then(|| Self::Bearer(Secret::new(rest)));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = zeroize::Zeroizing::new(STANDARD.decode(rest).ok()?);
        let (name, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        let good = !name.is_empty() && name.len() <= NAME_MAX && !name.contains(char::is_control);
        good.then(|| Self::Basic { name: name.to_owned(), secret: Secret::new(secret) })
    }
}

/// The header that says a name and a secret.
pub(crate) fn basic(name: &str, secret: &Secret) -> Secret {
    let plain = zeroize::Zeroizing::new(format!("{name}:{}", secret.expose()));
    Secret::new(format!("Basic {}", STANDARD.encode(plain.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_read() {
        let check = |header: &str, expect: Option<(&str, &str)>| {
            let found = match Authorization::parse(header) {
                Some(Authorization::Basic { name, secret }) => Some((name, secret.expose().to_owned())),
                Some(Authorization::Bearer(token)) => Some((String::new(), token.expose().to_owned())),
                None => None,
            };
            let found = found.as_ref().map(|(name, secret)| (name.as_str(), secret.as_str()));
            assert_eq!(found, expect, "{header}");
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        check(&basic("ann:a:b"), Some(("ann", "a:b")));
        check(&basic("ann:"), Some(("ann", "")));
        check(&basic("robot$team+ci:x").replace("Basic", "bAsIc"), Some(("robot$team+ci", "x")));
        check("Bearer abc", Some(("", "abc")));
        for bad in
            ["", "Basic", "Basic !", "Bearer ", "Digest x", "Basic YQ==", &basic(":x"), &basic("a\n:x")]
        {
            check(bad, None);
        }
        check(&format!("Bearer {}", "x".repeat(LENGTH_MAX)), None);
    }

    proptest! {
        #[test]
        fn no_header_panics(text: String) {
            let _outcome = Authorization::parse(&text);
            let _outcome = Authorization::parse(&format!("Basic {}", STANDARD.encode(&text)));
        }
    }
}
