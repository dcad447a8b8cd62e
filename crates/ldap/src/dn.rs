//! The name of a group, from the distinguished name that `memberOf` gives (RFC 4514).

/// The value of the attribute in the first part of a distinguished name: `a, b` in `CN=a\, b,OU=c`. `None` where the first
/// part is of other attributes, or is not written as it should be.
pub(crate) fn first_value(dn: &str, attribute: &str) -> Option<String> {
    let mut rest = dn.as_bytes();
    loop {
        let sign = rest.iter().position(|byte| *byte == b'=')?;
        let name = std::str::from_utf8(&rest[..sign]).ok()?.trim_matches(' ');
        let (value, after) = value(&rest[sign + 1..])?;
        if name.eq_ignore_ascii_case(attribute) {
            return String::from_utf8(value).ok();
        }
        // A plus joins several attributes to one part.
        rest = after.strip_prefix(b"+")?;
    }
}

/// An attribute's value, and what follows it.
fn value(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = bytes.trim_ascii_start();
    // A number sign begins a value in BER, which no group is named with.
    if rest.starts_with(b"#") {
        return None;
    }
    let mut value = Vec::new();
    // Spaces at the end count only where they are escaped.
    let mut kept = 0;
    while let [first, after @ ..] = rest {
        match first {
            b',' | b'+' | b';' => break,
            b'\\' => {
                let (byte, after) = escaped(after)?;
                value.push(byte);
                kept = value.len();
                rest = after;
            }
            byte => {
                value.push(*byte);
                if *byte != b' ' {
                    kept = value.len();
                }
                rest = after;
            }
        }
    }
    value.truncate(kept);
    Some((value, rest))
}

/// What stands behind a backslash: two hexadecimal digits, or a character that would mean something else.
fn escaped(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match bytes {
        [high, low, after @ ..] if digit(high).is_some() && digit(low).is_some() => {
            Some((digit(high)? << 4 | digit(low)?, after))
        }
        [byte, after @ ..] if byte.is_ascii_punctuation() || *byte == b' ' => Some((*byte, after)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_part_names_the_group() {
        let check =
            |dn: &str, expect: Option<&str>| assert_eq!(first_value(dn, "cn").as_deref(), expect, "{dn}");
        check("cn=developers,ou=groups,dc=a", Some("developers"));
        check("CN=Domain Admins,CN=Users,DC=a", Some("Domain Admins"));
        check("CN=a\\, b,OU=c", Some("a, b"));
        check("cn=a\\2Cb\\C3\\A4,dc=a", Some("a,bä"));
        check("cn = a \\  ,dc=a", Some("a  "));
        check("ou=a+cn=b,dc=a", Some("b"));
        check("ou=a,cn=b", None);
        check("cn=#04026869,dc=a", None);
        check("cn=a\\", None);
        check("cn=\\ff,dc=a", None);
        check("cn", None);
        check("", None);
    }

    proptest! {
        #[test]
        fn any_escaped_name_comes_back(name in "[^\0]{1,30}") {
            let escaped: String = name.bytes().map(|byte| format!("\\{byte:02x}")).collect();
            prop_assert_eq!(first_value(&format!("cn={escaped},dc=a"), "CN"), Some(name));
        }

        #[test]
        fn any_text_can_be_read(dn in "[cn=,+;\\\\# a-f0-9é]{0,30}") {
            first_value(&dn, "cn");
        }
    }
}
