//! Where to go after the sign-in: only to a page of this very server, so that nobody can lend its name to a link that
//! leads elsewhere.

/// The longest path, in bytes.
const NEXT_MAX: usize = 500;

/// The path, if it is one here.
pub(crate) fn local(path: &str) -> Option<&str> {
    let rest = path.strip_prefix('/')?;
    // Browsers read `//host` and `/\host` as another host, and leave out line breaks and tabs before they look.
    let leads_away = rest.starts_with(['/', '\\']);
    let is_plain =
        path.len() <= NEXT_MAX && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (!leads_away && is_plain).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_local_paths_are_gone_to() {
        for good in ["/", "/account", "/account?after=x#tokens", "/a//b"] {
            assert_eq!(local(good), Some(good));
        }
        let long = format!("/{}", "a".repeat(NEXT_MAX));
        for bad in [
            "",
            "account",
            "//evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/a b",
            "/a\r\nLocation: x",
            "/ä",
            "javascript:alert(1)",
            "/a\\b",
            &long,
        ] {
            assert_eq!(local(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_gone_to_stays_here(path in "[/\\\\a-z:.\t\n @?#]{0,12}") {
            if let Some(path) = local(&path) {
                prop_assert!(path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '\t', '\n']));
            }
        }
    }
}
