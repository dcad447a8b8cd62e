//! Request ids: the one the client or proxy gave, when it is harmless in a log, else a new one.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The field that carries a request id, in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id taken over; UUIDs, trace ids and what proxies make all fit.
const LEN_MAX: usize = 64;

/// The id of a request. It lives on the stack: making one costs no allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    text: [u8; LEN_MAX],
    len: u8,
}

impl RequestId {
    /// The id that the request carries, or a new one.
    pub fn of(headers: &HeaderMap) -> RequestId {
        headers
            .get(X_REQUEST_ID)
            .and_then(|value| RequestId::parse(value.as_bytes()))
            .unwrap_or_else(RequestId::random)
    }

    /// An id that no other request of any server has.
    pub fn random() -> RequestId {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = [KEYS[0].hash_one(count), KEYS[1].hash_one(count)];
        let mut text = [0; LEN_MAX];
        for (place, half) in text.chunks_exact_mut(16).zip([high, low]) {
            for (digit, shift) in place.iter_mut().zip((0..16).rev()) {
                *digit = b"0123456789abcdef"[(half >> (4 * shift)) as usize & 15];
            }
        }
        RequestId { text, len: 32 }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever put in, so the empty string never comes.
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }

    /// The `X-Request-Id` field.
    pub fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.as_str()).ok()
    }

    fn parse(given: &[u8]) -> Option<RequestId> {
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
        if given.is_empty() || given.len() > LEN_MAX || !given.iter().all(harmless) {
            return None;
        }
        let mut text = [0; LEN_MAX];
        text[..given.len()].copy_from_slice(given);
        Some(RequestId { text, len: given.len() as u8 })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn of(given: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_str(given).unwrap());
        RequestId::of(&headers).to_string()
    }

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        for kept in ["a", "018f-4b_x.1:2/3+4=5@6", &"x".repeat(64)] {
            assert_eq!(of(kept), kept);
        }
        for replaced in ["", "a b", "a\tb", "a\"b", "<script>", &"x".repeat(65)] {
            assert_eq!(of(replaced).len(), 32, "{replaced}");
        }
        assert_eq!(RequestId::of(&HeaderMap::new()).as_str().len(), 32);
    }

    #[test]
    fn new_ids_differ() {
        let ids: HashSet<_> = (0..10_000).map(|_| RequestId::random().to_string()).collect();
        assert_eq!(ids.len(), 10_000);
    }

    proptest! {
        #[test]
        fn an_id_is_always_fit_for_a_header(given: Vec<u8>) {
            if let Some(id) = RequestId::parse(&given) {
                prop_assert_eq!(id.as_str().as_bytes(), &given[..]);
                prop_assert!(id.to_header().is_some());
            }
        }
    }
}
