//! The messages of LDAP that Wharf sends and reads (RFC 4511, 4.1 to 4.14).

use crate::ber::{Reader, element, integer, tag};

/// The operations' own tags.
mod operation {
    pub(super) const BIND: u8 = 0x60;
    pub(super) const BOUND: u8 = 0x61;
    pub(super) const SEARCH: u8 = 0x63;
    pub(super) const ENTRY: u8 = 0x64;
    pub(super) const DONE: u8 = 0x65;
    pub(super) const REFERENCE: u8 = 0x73;
    pub(super) const EXTENDED: u8 = 0x77;
    pub(super) const EXTENDED_DONE: u8 = 0x78;
}

/// The results that mean something special here.
pub(crate) mod code {
    pub(crate) const SUCCESS: u32 = 0;
    pub(crate) const SIZE_LIMIT: u32 = 4;
    pub(crate) const CONSTRAINT: u32 = 19;
    pub(crate) const NO_SUCH_OBJECT: u32 = 32;
    pub(crate) const INAPPROPRIATE: u32 = 48;
    pub(crate) const INVALID_CREDENTIALS: u32 = 49;
    pub(crate) const UNWILLING: u32 = 53;
}

/// The names of results that an administrator may meet.
const CODES: &[(u32, &str)] = &[
    (1, "operations error; without auth.ldap.bind_dn a directory may refuse to search"),
    (3, "time limit exceeded"),
    (4, "size limit exceeded"),
    (8, "stronger authentication required; use ldaps:// or start_tls"),
    (10, "referral; another server holds it, and Wharf follows no referrals"),
    (11, "administrative limit exceeded"),
    (13, "confidentiality required; use ldaps:// or start_tls"),
    (19, "constraint violation"),
    (32, "no such object"),
    (34, "invalid name"),
    (48, "inappropriate authentication"),
    (49, "invalid credentials"),
    (50, "insufficient access rights"),
    (51, "busy"),
    (52, "unavailable"),
    (53, "unwilling to perform"),
];

/// The most characters of what the directory says that go into an error.
const TEXT: usize = 200;

/// The extended operation that begins TLS.
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";

/// How much of the tree a search looks at.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    /// The base alone.
    Base = 0,
    /// The base and everything below it.
    Subtree = 2,
}

/// A search that is to be made.
pub(crate) struct Search<'a> {
    pub(crate) base: &'a str,
    pub(crate) scope: Scope,
    /// The filter as it is sent.
    pub(crate) filter: Vec<u8>,
    pub(crate) attributes: Vec<&'a str>,
    /// The most entries that are wanted.
    pub(crate) limit: u32,
}

/// An operation with a result, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Response {
    Bound(Outcome),
    Entry(Entry),
    /// Another server holds more. It is not asked.
    Reference,
    Done(Outcome),
    Extended(Outcome),
}

/// How an operation ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: u32,
    said: String,
}

impl Outcome {
    /// For errors: the code, its name, what the directory said about it.
    pub(crate) fn text(&self) -> String {
        let name = CODES.iter().find(|(code, _)| *code == self.code).map_or("", |(_, name)| name);
        [&format!("result {}", self.code), name, &self.said]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// An entry that was found, with the attributes that were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) dn: String,
    attributes: Vec<(String, Vec<String>)>,
}

impl Entry {
    /// The values of an attribute that are text; there may be none.
    pub(crate) fn values(&self, attribute: &str) -> &[String] {
        let found = self.attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        found.map_or(&[], |(_, values)| values)
    }

    /// Whether the directory gave a part of the values only, as Active Directory does with more than 1500.
    pub(crate) fn is_partial(&self, attribute: &str) -> bool {
        let range = format!("{attribute};range=").to_ascii_lowercase();
        self.attributes.iter().any(|(name, _)| name.to_ascii_lowercase().starts_with(&range))
    }
}

/// A whole message.
pub(crate) fn message(id: u32, operation: &[u8]) -> Vec<u8> {
    element(tag::SEQUENCE, &[&integer(tag::INTEGER, id), operation].concat())
}

/// A simple bind.
pub(crate) fn bind(dn: &str, password: &str) -> Vec<u8> {
    let parts = [integer(tag::INTEGER, 3), octets(dn), element(0x80, password.as_bytes())];
    element(operation::BIND, &parts.concat())
}

/// The request to begin TLS.
pub(crate) fn start_tls() -> Vec<u8> {
    element(operation::EXTENDED, &element(0x80, START_TLS.as_bytes()))
}

/// A search; aliases are not followed. `seconds` is the time that the directory gives up after.
pub(crate) fn search(search: &Search<'_>, seconds: u32) -> Vec<u8> {
    let attributes: Vec<u8> = search.attributes.iter().flat_map(|name| octets(name)).collect();
    let parts = [
        octets(search.base),
        integer(tag::ENUMERATED, search.scope as u32),
        integer(tag::ENUMERATED, 0),
        integer(tag::INTEGER, search.limit),
        integer(tag::INTEGER, seconds),
        element(tag::BOOLEAN, &[0]),
        search.filter.clone(),
        element(tag::SEQUENCE, &attributes),
    ];
    element(operation::SEARCH, &parts.concat())
}

fn octets(text: &str) -> Vec<u8> {
    element(tag::OCTETS, text.as_bytes())
}

/// Reads what a message's sequence holds: the id and the response. `None` where it is no response that LDAP has for us.
pub(crate) fn response(content: &[u8]) -> Option<(u32, Response)> {
    let mut reader = Reader::new(content);
    let id = reader.take_number(tag::INTEGER)?;
    let (operation, content) = reader.next()?;
    let response = match operation {
        operation::BOUND => Response::Bound(outcome(content)?),
        operation::ENTRY => Response::Entry(entry(content)?),
        operation::REFERENCE => Response::Reference,
        operation::DONE => Response::Done(outcome(content)?),
        operation::EXTENDED_DONE => Response::Extended(outcome(content)?),
        _ => return None,
    };
    Some((id, response))
}

fn outcome(content: &[u8]) -> Option<Outcome> {
    let mut reader = Reader::new(content);
    let code = reader.take_number(tag::ENUMERATED)?;
    reader.take(tag::OCTETS)?;
    let said = String::from_utf8_lossy(reader.take(tag::OCTETS)?);
    // It goes to a log: no line ends, no escape sequences.
    let said = said.chars().filter(|c| !c.is_control()).take(TEXT).collect();
    Some(Outcome { code, said })
}

fn entry(content: &[u8]) -> Option<Entry> {
    let mut reader = Reader::new(content);
    let dn = text(reader.take(tag::OCTETS)?)?;
    let mut list = Reader::new(reader.take(tag::SEQUENCE)?);
    let mut attributes = Vec::new();
    while !list.is_empty() {
        let mut attribute = Reader::new(list.take(tag::SEQUENCE)?);
        let name = text(attribute.take(tag::OCTETS)?)?;
        let mut set = Reader::new(attribute.take(tag::SET)?);
        let mut values = Vec::new();
        while !set.is_empty() {
            // What is not text (a photograph, a key) is nothing that was asked for.
            values.extend(text(set.take(tag::OCTETS)?));
        }
        attributes.push((name, values));
    }
    Some(Entry { dn, attributes })
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An entry with one attribute, as a directory sends it.
    fn sent(dn: &[u8], name: &str, values: &[&[u8]]) -> Vec<u8> {
        let set: Vec<u8> = values.iter().flat_map(|value| element(tag::OCTETS, value)).collect();
        let attribute = element(tag::SEQUENCE, &[octets(name), element(tag::SET, &set)].concat());
        let parts = [element(tag::OCTETS, dn), element(tag::SEQUENCE, &attribute)];
        let operation = element(operation::ENTRY, &parts.concat());
        [integer(tag::INTEGER, 7), operation].concat()
    }

    #[test]
    fn a_bind_is_what_the_standard_says() {
        let expect = b"\x30\x10\x02\x01\x01\x60\x0b\x02\x01\x03\x04\x04cn=a\x80\x00";
        assert_eq!(message(1, &bind("cn=a", "")), expect);
    }

    #[test]
    fn entries_are_read() {
        let content = sent(b"uid=ann", "Mail", &[b"a@b", b"\xff", b"c@d"]);
        let Some((7, Response::Entry(entry))) = response(&content) else { panic!("an entry is expected") };
        assert_eq!((entry.dn.as_str(), entry.values("mail").len()), ("uid=ann", 2));
        assert!(entry.values("cn").is_empty() && !entry.is_partial("mail"));
        let content = sent(b"uid=ann", "memberOf;range=0-1499", &[b"cn=a"]);
        let Some((_, Response::Entry(entry))) = response(&content) else { panic!("an entry is expected") };
        assert!(entry.is_partial("memberof"));
        assert_eq!(response(&sent(b"\xff", "cn", &[])), None);
    }

    #[test]
    fn what_the_directory_says_is_bounded_and_printable() {
        let said = format!("no\n\x1b[2J{}", "x".repeat(1_000));
        let result = [integer(tag::ENUMERATED, 49), octets(""), octets(&said)].concat();
        let content = [integer(tag::INTEGER, 1), element(operation::BOUND, &result)].concat();
        let Some((1, Response::Bound(outcome))) = response(&content) else { panic!("a result is expected") };
        let text = outcome.text();
        assert!(text.starts_with("result 49, invalid credentials, no[2Jx") && text.len() < 300, "{text}");
        assert!(!text.contains(char::is_control), "{text}");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>, cut in 0_usize..80) {
            response(&bytes);
            let content = sent(b"uid=ann", "cn", &[&bytes]);
            response(&content[..content.len().saturating_sub(cut)]);
        }
    }
}
