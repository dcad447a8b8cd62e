//! The `Link` header of lists (RFC 8288): where the next page is.

/// The target of the first link with `rel="next"`.
pub(crate) fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (target, parameters) = rest.strip_prefix('<')?.split_once('>')?;
        let (found, after) = parameters_of(parameters);
        if found {
            return Some(target);
        }
        rest = after?;
    }
}

/// Whether the parameters up to the next comma say `rel=next`, and what comes after that comma.
fn parameters_of(text: &str) -> (bool, Option<&str>) {
    let mut in_string = false;
    let mut escaped = false;
    let end = text.find(|c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            ',' => return !in_string,
            _ => {}
        }
        false
    });
    let own = &text[..end.unwrap_or(text.len())];
    let is_next = own.split(';').any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        let mut relations = value.trim().trim_matches('"').split(' ');
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|r| r.eq_ignore_ascii_case("next"))
    });
    (is_next, end.map(|at| &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_next_page_is_found() {
        let check = |header: &str, expect: Option<&str>| assert_eq!(next_link(header), expect, "{header}");
        check(r#"</v2/_catalog?last=a&n=5>; rel="next""#, Some("/v2/_catalog?last=a&n=5"));
        check("<x>;rel=next", Some("x"));
        check(r#"<a>; rel="prev", <b>; title="x, y"; rel="next""#, Some("b"));
        check(r#"<a>; rel="first next""#, Some("a"));
        check(r#"<a,b>; REL=Next"#, Some("a,b"));
        for none in ["", "<a", "<a>", "a; rel=next", r#"<a>; rel="prev""#, r#"<a>; title="rel=next""#] {
            check(none, None);
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "[<>;,=\"\\\\a rel next]{0,60}") {
            next_link(&text);
        }

        #[test]
        fn what_was_written_is_found(target in "[a-z/?&=,;]{1,40}") {
            let header = format!("<other>; rel=\"prev\", <{target}>; rel=\"next\"");
            prop_assert_eq!(next_link(&header), Some(target.as_str()));
        }
    }
}
