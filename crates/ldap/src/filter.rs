//! Search filters: the text of RFC 4515 with the holes `{user}` and `{dn}`, parsed once, and sent as RFC 4511 has them.

use crate::ber::{element, tag};

/// How deep a filter may nest; far beyond what anybody can read.
const DEPTH: usize = 16;
/// The most bytes of a filter's text.
const LENGTH: usize = 4096;

/// A parsed filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// `(&...)` or `(|...)`.
    Several(u8, Vec<Filter>),
    /// `(!...)`.
    Not(Box<Filter>),
    /// `(a=b)`, `(a>=b)`, `(a<=b)`, `(a~=b)`.
    Compare(u8, String, Value),
    /// `(a=b*c*d)`; the first and the last piece are empty where the value begins or ends with a star.
    Substrings(String, Vec<Value>),
    /// `(a=*)`.
    Present(String),
    /// `(a:dn:rule:=b)`.
    Extensible { attribute: String, is_dn: bool, rule: String, value: Value },
}

/// What is compared with: text and holes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Value(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Hole(Hole),
}

/// What is put into a filter when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hole {
    /// `{user}`.
    User,
    /// `{dn}`.
    Dn,
}

/// What the holes are filled with.
#[derive(Clone, Copy)]
pub(crate) struct Filling<'a> {
    pub(crate) user: &'a str,
    pub(crate) dn: &'a str,
}

mod choice {
    pub(super) const AND: u8 = 0xa0;
    pub(super) const OR: u8 = 0xa1;
    pub(super) const NOT: u8 = 0xa2;
    pub(super) const EQUAL: u8 = 0xa3;
    pub(super) const SUBSTRINGS: u8 = 0xa4;
    pub(super) const GREATER: u8 = 0xa5;
    pub(super) const LESS: u8 = 0xa6;
    pub(super) const PRESENT: u8 = 0x87;
    pub(super) const ALIKE: u8 = 0xa8;
    pub(super) const EXTENSIBLE: u8 = 0xa9;
}

impl Filter {
    /// Parses a filter's text; the error says what is wrong where.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LENGTH {
            return Err(format!("it is longer than {LENGTH} bytes"));
        }
        let mut parser = Parser { text, at: 0 };
        let filter = parser.filter(DEPTH)?;
        match parser.rest() {
            "" => Ok(filter),
            _ => Err(parser.wrong("nothing after the last parenthesis")),
        }
    }

    /// Whether there is such a hole.
    pub(crate) fn has(&self, hole: Hole) -> bool {
        match self {
            Filter::Several(_, filters) => filters.iter().any(|filter| filter.has(hole)),
            Filter::Not(filter) => filter.has(hole),
            Filter::Compare(_, _, value) | Filter::Extensible { value, .. } => value.has(hole),
            Filter::Substrings(_, values) => values.iter().any(|value| value.has(hole)),
            Filter::Present(_) => false,
        }
    }

    /// The filter as it is sent. Whatever fills a hole is a value of its own in the message: it cannot change the filter.
    pub(crate) fn encode(&self, filling: Filling<'_>) -> Vec<u8> {
        match self {
            Filter::Several(choice, filters) => {
                let filters: Vec<_> = filters.iter().map(|filter| filter.encode(filling)).collect();
                element(*choice, &filters.concat())
            }
            Filter::Not(filter) => element(choice::NOT, &filter.encode(filling)),
            Filter::Compare(choice, attribute, value) => {
                let parts = [octets(attribute), element(tag::OCTETS, &value.fill(filling))];
                element(*choice, &parts.concat())
            }
            Filter::Substrings(attribute, values) => {
                let parts = [octets(attribute), element(tag::SEQUENCE, &substrings(values, filling))];
                element(choice::SUBSTRINGS, &parts.concat())
            }
            Filter::Present(attribute) => element(choice::PRESENT, attribute.as_bytes()),
            Filter::Extensible { attribute, is_dn, rule, value } => {
                let mut parts = Vec::new();
                for (tag, text) in [(0x81, rule), (0x82, attribute)] {
                    if !text.is_empty() {
                        parts.extend(element(tag, text.as_bytes()));
                    }
                }
                parts.extend(element(0x83, &value.fill(filling)));
                if *is_dn {
                    parts.extend(element(0x84, &[0xff]));
                }
                element(choice::EXTENSIBLE, &parts)
            }
        }
    }
}

fn octets(text: &str) -> Vec<u8> {
    element(tag::OCTETS, text.as_bytes())
}

/// The pieces between the stars: the first is tagged 0, the last 2, those between 1.
fn substrings(values: &[Value], filling: Filling<'_>) -> Vec<u8> {
    let last = values.len() - 1;
    let pieces = values.iter().enumerate().map(|(index, value)| {
        let tag = match index {
            0 => 0x80,
            index if index == last => 0x82,
            _ => 0x81,
        };
        (tag, value.fill(filling))
    });
    // LDAP allows no empty piece.
    pieces.filter(|(_, bytes)| !bytes.is_empty()).flat_map(|(tag, bytes)| element(tag, &bytes)).collect()
}

impl Value {
    fn has(&self, hole: Hole) -> bool {
        self.0.contains(&Piece::Hole(hole))
    }

    fn fill(&self, filling: Filling<'_>) -> Vec<u8> {
        let pieces = self.0.iter().flat_map(|piece| match piece {
            Piece::Text(text) => text.as_slice(),
            Piece::Hole(Hole::User) => filling.user.as_bytes(),
            Piece::Hole(Hole::Dn) => filling.dn.as_bytes(),
        });
        pieces.copied().collect()
    }

    fn push(&mut self, byte: u8) {
        match self.0.last_mut() {
            Some(Piece::Text(text)) => text.push(byte),
            _ => self.0.push(Piece::Text(vec![byte])),
        }
    }
}

/// Reads a filter's text from left to right.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, expected: &str) -> String {
        format!("at byte {} of `{}`, {expected} is expected", self.at, self.text)
    }

    fn skip(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    fn expect(&mut self, prefix: &str) -> Result<(), String> {
        if self.skip(prefix) { Ok(()) } else { Err(self.wrong(&format!("`{prefix}`"))) }
    }

    fn filter(&mut self, depth: usize) -> Result<Filter, String> {
        if depth == 0 {
            return Err(format!("it nests deeper than {DEPTH}"));
        }
        self.expect("(")?;
        let filter = if self.skip("&") {
            Filter::Several(choice::AND, self.filters(depth)?)
        } else if self.skip("|") {
            Filter::Several(choice::OR, self.filters(depth)?)
        } else if self.skip("!") {
            Filter::Not(Box::new(self.filter(depth - 1)?))
        } else {
            self.item()?
        };
        self.expect(")")?;
        Ok(filter)
    }

    fn filters(&mut self, depth: usize) -> Result<Vec<Filter>, String> {
        let mut filters = vec![self.filter(depth - 1)?];
        while self.rest().starts_with('(') {
            filters.push(self.filter(depth - 1)?);
        }
        Ok(filters)
    }

    fn item(&mut self) -> Result<Filter, String> {
        let attribute = self.word();
        if self.rest().starts_with(':') {
            return self.extensible(attribute);
        }
        if attribute.is_empty() {
            return Err(self.wrong("an attribute's name"));
        }
        for (sign, choice) in [(">=", choice::GREATER), ("<=", choice::LESS), ("~=", choice::ALIKE)] {
            if self.skip(sign) {
                return Ok(Filter::Compare(choice, attribute, self.value()?));
            }
        }
        self.expect("=")?;
        let mut values = vec![self.value()?];
        while self.skip("*") {
            values.push(self.value()?);
        }
        let is_empty = |value: &Value| value.0.is_empty();
        match values.len() {
            1 => Ok(Filter::Compare(choice::EQUAL, attribute, values.remove(0))),
            2 if values.iter().all(is_empty) => Ok(Filter::Present(attribute)),
            count if values[1..count - 1].iter().any(is_empty) => Err(self.wrong("text between two stars")),
            _ => Ok(Filter::Substrings(attribute, values)),
        }
    }

    /// `attribute`, `:dn` and `:rule`, each of which may be missing, then `:=` and a value.
    fn extensible(&mut self, attribute: String) -> Result<Filter, String> {
        let is_dn = self.rest().starts_with(":dn:") && self.skip(":dn");
        let mut rule = String::new();
        if !self.rest().starts_with(":=") {
            self.expect(":")?;
            rule = self.word();
            if rule.is_empty() {
                return Err(self.wrong("a matching rule"));
            }
        }
        if attribute.is_empty() && rule.is_empty() {
            return Err(self.wrong("a matching rule"));
        }
        self.expect(":=")?;
        Ok(Filter::Extensible { attribute, is_dn, rule, value: self.value()? })
    }

    /// The name of an attribute or of a rule, which may be empty.
    fn word(&mut self) -> String {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ';' | '_');
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_owned()
    }

    /// A value up to its star or parenthesis.
    fn value(&mut self) -> Result<Value, String> {
        let mut value = Value::default();
        loop {
            let Some(next) = self.rest().chars().next() else { return Err(self.wrong("`)`")) };
            match next {
                ')' | '*' => return Ok(value),
                '(' | '\0' | '}' => {
                    return Err(self.wrong("a backslash and two hexadecimal digits for that character"));
                }
                '{' if self.skip("{user}") => value.0.push(Piece::Hole(Hole::User)),
                '{' if self.skip("{dn}") => value.0.push(Piece::Hole(Hole::Dn)),
                '{' => return Err(self.wrong("`{user}`, `{dn}`, or `\\7b` for a brace")),
                '\\' => value.push(self.escaped()?),
                other => {
                    let mut buffer = [0; 4];
                    other.encode_utf8(&mut buffer).bytes().for_each(|byte| value.push(byte));
                    self.at += other.len_utf8();
                }
            }
        }
    }

    fn escaped(&mut self) -> Result<u8, String> {
        let digits =
            self.rest().get(1..3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let byte = byte.ok_or_else(|| self.wrong("two hexadecimal digits after the backslash"))?;
        self.at += 3;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ber::Reader;
    use proptest::prelude::*;

    /// The elements of a sent filter in words, so that a test can say what it expects.
    fn describe(bytes: &[u8]) -> String {
        let mut reader = Reader::new(bytes);
        let mut words = Vec::new();
        while let Some((tag, content)) = reader.next() {
            let is_constructed = tag & 0x20 != 0;
            let inner = if is_constructed { describe(content) } else { content.escape_ascii().to_string() };
            words.push(format!("{tag:02x}[{inner}]"));
        }
        assert!(reader.is_empty(), "a whole number of elements");
        words.join(" ")
    }

    fn sent(text: &str, user: &str) -> String {
        describe(&Filter::parse(text).unwrap().encode(Filling { user, dn: "uid=ann,dc=a" }))
    }

    #[test]
    fn filters_are_sent_as_the_standard_says() {
        let check = |text, expect| assert_eq!(sent(text, "ann"), expect, "{text}");
        check("(uid={user})", "a3[04[uid] 04[ann]]");
        check(
            "(&(objectClass=person)(uid={user}))",
            "a0[a3[04[objectClass] 04[person]] a3[04[uid] 04[ann]]]",
        );
        check(
            "(|(member={dn})(memberUid={user}))",
            "a1[a3[04[member] 04[uid=ann,dc=a]] a3[04[memberUid] 04[ann]]]",
        );
        check("(!(cn=*))", "a2[87[cn]]");
        check("(cn=a*b*c)", "a4[04[cn] 30[80[a] 81[b] 82[c]]]");
        check("(cn=*b*)", "a4[04[cn] 30[81[b]]]");
        check("(mail={user}@*)", "a4[04[mail] 30[80[ann@]]]");
        check("(age>=5)", "a5[04[age] 04[5]]");
        check("(age<=5)", "a6[04[age] 04[5]]");
        check("(cn~=an)", "a8[04[cn] 04[an]]");
        check("(cn=\\2a\\7B\\29)", "a3[04[cn] 04[*{)]]");
        check("(cn=)", "a3[04[cn] 04[]]");
        check(
            "(member:1.2.840.113556.1.4.1941:={dn})",
            "a9[81[1.2.840.113556.1.4.1941] 82[member] 83[uid=ann,dc=a]]",
        );
        check("(ou:dn:=a)", "a9[82[ou] 83[a] 84[\\xff]]");
        check("(:dn:2.4.6:=a)", "a9[81[2.4.6] 83[a] 84[\\xff]]");
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let check = |text: &str, expect: &str| {
            let error = Filter::parse(text).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        };
        check("", "at byte 0");
        check("uid={user}", "`(`");
        check("(uid={user}", "`)`");
        check("(uid={user}))", "nothing after");
        check("(&)", "`(`");
        check("(=a)", "an attribute's name");
        check("(uid={name})", "`{user}`");
        check("(uid=a\\2)", "two hexadecimal digits");
        check("(uid=a\\+1)", "two hexadecimal digits");
        check("(uid=a(b)", "a backslash");
        check("(cn=a**b)", "between two stars");
        check("(:=a)", "a matching rule");
        check(&"(!".repeat(40), "nests deeper");
        check(&"(".repeat(5_000), "longer");
    }

    #[test]
    fn what_somebody_types_stays_one_value() {
        let check = |user: &str| {
            let expect = format!("a3[04[uid] 04[{}]]", user.as_bytes().escape_ascii());
            assert_eq!(sent("(uid={user})", user), expect);
        };
        for user in ["*", "ann)(uid=*", "\\2a", "a\0b", "{dn}", "{user}", "(|(uid=*))", "ä"] {
            check(user);
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "[(){}&|!=*:~<>a-c\\\\0-9é]{0,40}", any in any::<String>()) {
            for text in [text, any] {
                if let Ok(filter) = Filter::parse(&text) {
                    describe(&filter.encode(Filling { user: "u", dn: "d" }));
                }
            }
        }

        #[test]
        fn no_name_changes_the_filter(user: String) {
            let filter = Filter::parse("(&(a=b)(|(uid={user})(mail={user}))(!(c=*)))").unwrap();
            let value = user.as_bytes().escape_ascii();
            let expect = format!("a0[a3[04[a] 04[b]] a1[a3[04[uid] 04[{value}]] a3[04[mail] 04[{value}]]] a2[87[c]]]");
            prop_assert_eq!(describe(&filter.encode(Filling { user: &user, dn: "" })), expect);
        }
    }
}
