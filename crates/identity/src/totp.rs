//! The second factor: codes of six digits that an app shows for thirty seconds (RFC 6238).

use std::fmt;

use meta::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use totp_rs::{Builder, Totp};

use crate::crypto::{self, CryptoError};
use crate::names::UserName;
use crate::secret::Secret;

/// 160 bits, as RFC 4226 recommends and every app understands.
const BYTES: usize = 20;
/// How many characters of the issuer's name an app is told, so that the QR code stays one that can be scanned.
const ISSUER_MAX: usize = 64;

/// The secret that Wharf and an app share. It never shows; as JSON it stands in base 32, for who stores it.
#[derive(Clone)]
pub struct TotpSecret(Totp);

impl TotpSecret {
    /// A new secret.
    pub fn generate() -> Result<Self, CryptoError> {
        Ok(Self::from_bytes(*crypto::random::<BYTES>()?))
    }

    /// Six digits, thirty seconds, SHA-1, and one step of difference between clocks: what every app understands.
    fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(Builder::new().with_secret(bytes).build_noncompliant())
    }

    /// Reads what was stored.
    fn from_base32(text: &str) -> Option<Self> {
        let secret = totp_rs::Secret::try_from_base32(text).ok()?;
        secret.as_bytes().try_into().ok().map(Self::from_bytes)
    }

    /// The secret in base 32, for who cannot scan and must type it.
    pub fn base32(&self) -> Secret {
        Secret::new(self.0.secret().to_base32())
    }

    /// What an app reads from the QR code. The issuer is what the app shows above the code, such as the host's name.
    pub fn provisioning_uri(&self, issuer: &str, account: &UserName) -> Secret {
        // A colon parts issuer and account, and is legal in neither.
        let issuer: String =
            issuer.chars().take(ISSUER_MAX).map(|c| if c == ':' { ' ' } else { c }).collect();
        let issuer = utf8_percent_encode(&issuer, NON_ALPHANUMERIC);
        let account = utf8_percent_encode(account.as_str(), NON_ALPHANUMERIC);
        let secret = self.base32();
        Secret::new(format!("otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}", secret.expose()))
    }

    /// The step of time whose code it is, if it is the code of this step, the one before or the one after, and that
    /// lies after `last_step`.
    ///
    /// Keep the step, and give it as `last_step` from then on, or else whoever sees a code can use it too.
    pub fn verify(&self, code: &str, now: Timestamp, last_step: Option<u64>) -> Option<u64> {
        let seconds = u64::try_from(now.micros()).ok()? / 1_000_000;
        let step = self.0.check(code, seconds)?;
        last_step.is_none_or(|last| step > last).then_some(step)
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(***)")
    }
}

impl Serialize for TotpSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.base32().store(serializer)
    }
}

impl<'de> Deserialize<'de> for TotpSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Secret::deserialize(deserializer)?;
        let fail = || serde::de::Error::custom("the secret of a second factor must be 20 bytes in base 32");
        Self::from_base32(text.expose()).ok_or_else(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The secret of the test vectors: RFC 6238, appendix B.
    fn known() -> TotpSecret {
        TotpSecret::from_bytes(*b"12345678901234567890")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, SHA-1; the last six of its eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let step = u64::try_from(seconds / 30).unwrap();
            assert_eq!(known().verify(code, at(seconds), None), Some(step), "{code}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_early_and_late_and_once() {
        let secret = known();
        let code = "005924";
        let (first, step) = (1_234_567_890, 41_152_263);
        let check =
            |seconds, last, expect| assert_eq!(secret.verify(code, at(seconds), last), expect, "{seconds}");
        check(first - 31, None, None);
        check(first - 30, None, Some(step));
        check(first, None, Some(step));
        check(first + 59, None, Some(step));
        check(first + 60, None, None);
        check(first, Some(step - 1), Some(step));
        check(first, Some(step), None);
        check(first, Some(step + 1), None);
        check(-1, None, None);
    }

    #[test]
    fn only_six_digits_are_a_code() {
        for code in ["", "5924", "05924", "0005924", "+05924", "005924 ", "００５９２４", "005925", "abcdef"]
        {
            assert_eq!(known().verify(code, at(1_234_567_890), None), None, "{code}");
        }
    }

    #[test]
    fn apps_are_told_everything_in_one_uri() {
        let check = |issuer: &str, account: &str, expect: &str| {
            let uri = known().provisioning_uri(issuer, &account.parse().unwrap());
            assert_eq!(uri.expose(), expect);
        };
        check(
            "Wharf",
            "ada",
            "otpauth://totp/Wharf:ada?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Wharf",
        );
        check(
            "hub.example:5000&x",
            "ada@example.com",
            "otpauth://totp/hub%2Eexample%205000%26x:ada%40example%2Ecom\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=hub%2Eexample%205000%26x",
        );
        let longest = known().provisioning_uri(&"🦀".repeat(1_000), &"a".repeat(64).parse().unwrap());
        assert!(crate::qr::Qr::new(longest.expose()).is_some());
    }

    #[test]
    fn a_secret_is_stored_as_text_and_does_not_show() {
        let secret = TotpSecret::generate().unwrap();
        let json = serde_json::to_string(&secret).unwrap();
        let read: TotpSecret = serde_json::from_str(&json).unwrap();
        assert_eq!(read.base32().expose(), secret.base32().expose());
        assert_ne!(TotpSecret::generate().unwrap().base32().expose(), secret.base32().expose());
        assert_eq!(format!("{secret:?}"), "TotpSecret(***)");
        for broken in ["\"\"", "\"GEZDGNBV\"", "\"not base 32!\"", "5"] {
            serde_json::from_str::<TotpSecret>(broken).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(code in "\\PC{0,12}", micros: i64, last: Option<u64>) {
            if let Some(step) = known().verify(&code, Timestamp::from_micros(micros), last) {
                prop_assert!(last.is_none_or(|last| step > last));
            }
        }
    }
}
