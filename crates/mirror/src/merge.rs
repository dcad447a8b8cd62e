//! Two pages of the same list, from here and from elsewhere, as one.

use std::collections::BTreeMap;

use registry::{Page, RegistryError};

use crate::fallback::is_missing;

/// A page of a union.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Merged<T, K> {
    pub page: Page<T>,
    /// How far it reaches, where there may be more: farther than its last entry, if what came then was left out.
    pub end: Option<K>,
}

/// A page from here, and one from elsewhere.
pub(crate) type Pages<T> = (Page<T>, Page<T>);

/// The union of two pages that begin `after` the same key. It ends where the shorter of those ends after which more comes;
/// `other_end` is where the other one ended before anything was left out of it. What both have is told as it is here.
pub(crate) fn merged<T, K: Ord + Clone>(
    (here, other): Pages<T>,
    other_end: Option<K>,
    after: Option<&K>,
    limit: usize,
    key: impl Fn(&T) -> K,
) -> Merged<T, K> {
    let here_end = here.entries.last().filter(|_| here.more).map(&key);
    let mut end = match (here_end, other_end) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let all = other.entries.into_iter().chain(here.entries).map(|entry| (key(&entry), entry));
    let mut all: BTreeMap<K, T> = all.collect();
    all.retain(|key, _| after.is_none_or(|after| key > after) && end.as_ref().is_none_or(|end| key <= end));
    if all.len() > limit {
        end = all.keys().take(limit).last().cloned();
    }
    let entries = all.into_values().take(limit).collect();
    Merged { page: Page { entries, more: end.is_some() }, end }
}

/// Both of two pages, where one of them may be missing; nothing where both are. A page from elsewhere that cannot be had
/// is as good as none where there is one here, unless that is empty and to say so would be `an_answer`.
pub(crate) fn both<T>(
    here: Result<Page<T>, RegistryError>,
    other: Result<Page<T>, RegistryError>,
    empty_is_an_answer: bool,
) -> Result<Option<Pages<T>>, RegistryError> {
    let none = || Page { entries: Vec::new(), more: false };
    match (here, other) {
        (Err(error), _) if !is_missing(&error) => Err(error),
        (Ok(here), Ok(other)) => Ok(Some((here, other))),
        (Err(_), Ok(other)) => Ok(Some((none(), other))),
        (Ok(here), Err(error)) if is_missing(&error) || empty_is_an_answer || !here.entries.is_empty() => {
            tracing::debug!(%error, "a list has only what is here");
            Ok(Some((here, none())))
        }
        (Err(_), Err(error)) if is_missing(&error) => Ok(None),
        (_, Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str, more: bool) -> Page<char> {
        Page { entries: text.chars().collect(), more }
    }

    #[test]
    fn a_page_ends_where_the_shorter_one_does() {
        let check = |here: (&str, bool), other: (&str, bool), limit: usize, expect: (&str, Option<char>)| {
            let (here, other) = (page(here.0, here.1), page(other.0, other.1));
            let end = other.entries.last().filter(|_| other.more).copied();
            let found = merged((here, other), end, None, limit, |entry| *entry);
            let text: String = found.page.entries.iter().collect();
            assert_eq!((text.as_str(), found.end), expect);
            assert_eq!(found.page.more, found.end.is_some());
        };
        check(("ace", false), ("bd", false), 9, ("abcde", None));
        check(("abc", false), ("abc", false), 9, ("abc", None));
        check(("ace", true), ("bd", false), 9, ("abcde", Some('e')));
        check(("ac", true), ("bd", false), 9, ("abc", Some('c')));
        check(("ac", true), ("bd", true), 9, ("abc", Some('c')));
        check(("axz", false), ("bd", true), 9, ("abd", Some('d')));
        check(("ace", false), ("bd", false), 3, ("abc", Some('c')));
        check(("", false), ("", false), 3, ("", None));
    }

    #[test]
    fn what_was_left_out_still_counts_for_how_far_a_page_reaches() {
        let found = merged((page("ax", false), page("", true)), Some('m'), None, 9, |entry| *entry);
        assert_eq!((found.page.entries, found.end), (vec!['a'], Some('m')));
        let found = merged((page("x", false), page("", true)), Some('m'), None, 9, |entry| *entry);
        assert_eq!((found.page.entries, found.end), (vec![], Some('m')));
        let found = merged((page("ax", false), page("b", false)), None, Some(&'b'), 9, |entry| *entry);
        assert_eq!((found.page.entries, found.end), (vec!['x'], None));
    }
}
