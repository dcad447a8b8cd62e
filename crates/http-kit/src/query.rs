//! Queries and forms: names and values, percent-encoded.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The names and values of a query or of a form's body, read where they stand.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    text: &'a str,
    form: bool,
}

impl<'a> Query<'a> {
    /// The query of a URI. A plus sign stands for itself: media types have some.
    pub const fn new(text: &'a str) -> Self {
        Self { text, form: false }
    }

    /// What a form sends, in a URI or a body (`application/x-www-form-urlencoded`): a plus sign is a space.
    pub const fn form(text: &'a str) -> Self {
        Self { text, form: true }
    }

    /// Names and values, in their order. What has no equals sign has an empty value.
    pub fn pairs(self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let pairs = self.text.split('&').filter(|pair| !pair.is_empty());
        pairs.map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name, self.decode(value))
        })
    }

    /// All values of a name.
    pub fn all(self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        self.pairs().filter(move |(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The first value of a name.
    pub fn first(self, name: &str) -> Option<Cow<'a, str>> {
        self.all(name).next()
    }

    fn decode(self, value: &'a str) -> Cow<'a, str> {
        if self.form && value.contains('+') {
            let spaced = value.replace('+', " ");
            Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
        } else {
            percent_decode_str(value).decode_utf8_lossy()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let text = "a=1&b=x%2Fy+z&a=2&c&=d";
        assert_eq!(Query::new(text).all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(Query::new(text).first("b").as_deref(), Some("x/y+z"));
        assert_eq!(Query::form(text).first("b").as_deref(), Some("x/y z"));
        assert_eq!(Query::new(text).first("c").as_deref(), Some(""));
        assert_eq!(Query::new(text).first("d"), None);
        assert_eq!(Query::new("a=%ff%2").first("a").as_deref(), Some("\u{fffd}%2"));
    }
}
