//! The credential of a request.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Why the `Authorization` of a request says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Authorization header is there more than once or is no text: send one")]
pub struct UnreadableCredential;

/// The value of the `Authorization` header, if there is one.
///
/// Two of them are none: a proxy in front may have looked at the other one.
pub fn credential(headers: &HeaderMap) -> Result<Option<&str>, UnreadableCredential> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| UnreadableCredential),
        (Some(_), Some(_)) => Err(UnreadableCredential),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_header_is_one_credential() {
        let check = |values: &[&[u8]], expect: Result<Option<&str>, UnreadableCredential>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            }
            assert_eq!(credential(&headers), expect, "{values:?}");
        };
        check(&[], Ok(None));
        check(&[b"Basic YQ=="], Ok(Some("Basic YQ==")));
        check(&[b""], Ok(Some("")));
        check(&[b"Basic YQ==", b"Basic YQ=="], Err(UnreadableCredential));
        check(&[b"Basic YQ==", b""], Err(UnreadableCredential));
        check(&[b"Basic \xff"], Err(UnreadableCredential));
    }
}
