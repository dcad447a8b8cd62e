//! The part of BER that LDAP uses (RFC 4511, 5.1): one byte of tag, a definite length, the content.
//!
//! Reading goes over one level at a time and never into the depth by itself, so that no message can exhaust the stack.

/// The tags that are not an operation's own.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const OCTETS: u8 = 0x04;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
}

/// The most bytes that a length takes after its first; with four, everything that a memory holds can be told.
const LENGTH_BYTES: usize = 4;

/// One element.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 2 + LENGTH_BYTES);
    bytes.push(tag);
    // What is sent is bounded far below 4 GiB by the limits of the configuration and of names and passwords.
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    if content.len() < 0x80 {
        bytes.push(length[3]);
    } else {
        bytes.push(0x84);
        bytes.extend(length);
    }
    bytes.extend(content);
    bytes
}

/// A whole number that is not negative.
pub(crate) fn integer(tag: u8, number: u32) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let mut content: &[u8] = &bytes;
    while let [0, next, ..] = content
        && next & 0x80 == 0
    {
        content = &content[1..];
    }
    // A set first bit would mean a negative number.
    match content[0] & 0x80 {
        0 => element(tag, content),
        _ => element(tag, &[&[0], content].concat()),
    }
}

/// The length that begins with `first`, and how many more bytes tell it: `Err(count)` where they are needed.
pub(crate) fn length(first: u8) -> Option<Result<usize, usize>> {
    match first {
        0..=0x7f => Some(Ok(usize::from(first))),
        0x81..=0x84 => Some(Err(usize::from(first & 0x7f))),
        // An indefinite length, which LDAP forbids, or one beyond all limits.
        _ => None,
    }
}

/// The number that up to four bytes mean.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 4 {
        return None;
    }
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// Reads the elements of one level, one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next element's tag and content; `None` where there is none, or no whole one.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        let (length, rest) = match length(*first)? {
            Ok(length) => (length, rest),
            Err(count) => {
                let (length, rest) = rest.split_at_checked(count)?;
                (usize::try_from(number(length)?).ok()?, rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The content of the next element, if it has this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// The next element as a number that is not negative.
    pub(crate) fn take_number(&mut self, tag: u8) -> Option<u32> {
        let content = self.take(tag)?;
        if content.first().is_some_and(|first| first & 0x80 != 0) {
            return None;
        }
        number(content.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let check = |number, content: &[u8]| {
            let bytes = integer(tag::INTEGER, number);
            assert_eq!(&bytes[2..], content, "{number}");
            assert_eq!(Reader::new(&bytes).take_number(tag::INTEGER), Some(number));
        };
        check(0, &[0]);
        check(127, &[127]);
        check(128, &[0, 128]);
        check(255, &[0, 255]);
        check(256, &[1, 0]);
        check(1_000, &[3, 232]);
        check(u32::MAX, &[0, 255, 255, 255, 255]);
    }

    #[test]
    fn what_is_cut_or_not_of_ldap_is_refused() {
        let check = |bytes: &[u8]| assert_eq!(Reader::new(bytes).next(), None, "{bytes:?}");
        check(&[]);
        check(&[0x30]);
        check(&[0x30, 3, 1, 2]);
        check(&[0x30, 0x80, 0, 0]);
        check(&[0x30, 0x82, 1]);
        check(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]);
        check(&[0x30, 0x85, 0, 0, 0, 0, 1, 7]);
        check(&[0x30, 0xff]);
    }

    proptest! {
        #[test]
        fn elements_come_back(first: u8, contents in prop::collection::vec(any::<u8>(), 0..700), second: u8) {
            let bytes = [element(first, &contents), element(second, b"x")].concat();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.next(), Some((first, contents.as_slice())));
            prop_assert_eq!(reader.take(second), Some(b"x".as_slice()));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while let Some((_, content)) = reader.next() {
                prop_assert!(content.len() < bytes.len());
            }
        }
    }
}
