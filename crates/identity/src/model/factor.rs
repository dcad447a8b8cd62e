//! What is kept of second factors, and what is shown of them and of sessions.

use meta::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expose;
use crate::crypto::{self, CryptoError};
use crate::passkey::Credential;
use crate::recovery::RecoveryCodes;
use crate::schema::Moment;
use crate::secret::{Secret, SecretHash};
use crate::time;
use crate::totp::TotpSecret;

/// The secret of somebody's app and all their codes, as kept under the user's name. Passkeys have entries of their own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FactorRecord {
    /// The secret that an app has; none where there are passkeys only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<TotpSecret>,
    /// Whether its user has shown that their app has it: before that it counts for nothing.
    pub(crate) confirmed: bool,
    /// The step of time whose code was used last: neither it nor an earlier one can be used again.
    #[serde(default)]
    pub(crate) last_step: Option<u64>,
    #[serde(default)]
    pub(crate) recovery: RecoveryCodes,
    /// A code for the command line, which a page gave to who had shown a passkey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) one_time: Option<OneTimeCode>,
    /// What tells these recovery codes from those that take their place.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) mark: String,
}

/// A code that is good once, and not for long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OneTimeCode {
    pub(crate) code: RecoveryCodes,
    #[serde(with = "time")]
    pub(crate) until: Timestamp,
    /// What tells the passkey that was shown for it: what the code opens ends with that.
    pub(crate) fingerprint: String,
}

impl FactorRecord {
    /// The most characters of a code that are looked at.
    const CODE_MAX: usize = 40;

    /// A record without an app, for who has passkeys.
    pub(crate) fn new() -> Result<Self, CryptoError> {
        Ok(Self { mark: hex::encode(*crypto::random::<8>()?), ..Self::default() })
    }

    /// Uses up a code: of the app, for recovery, or for the command line. Gives what it stands for, if it was one.
    pub(crate) fn take(&mut self, code: &Secret, now: Timestamp) -> Option<String> {
        if self.confirmed && self.take_of_app(code, now) {
            return Some(self.fingerprint());
        }
        let one_time = self.one_time.as_mut().filter(|kept| now < kept.until);
        if one_time.is_some_and(|kept| kept.code.take(code)) {
            return self.one_time.take().map(|used| used.fingerprint);
        }
        self.recovery.take(code).then(|| self.fingerprint_of_mark())
    }

    /// Uses up a code of the app alone, also of one that waits to be confirmed.
    pub(crate) fn take_of_app(&mut self, code: &Secret, now: Timestamp) -> bool {
        // Apps show a space in the middle of a code.
        let digits: String = code.expose().chars().take(Self::CODE_MAX).filter(|c| *c != ' ').collect();
        let digits = Secret::new(digits);
        let secret = self.secret.as_ref();
        let step = secret.and_then(|secret| secret.verify(digits.expose(), now, self.last_step));
        self.last_step = step.or(self.last_step);
        step.is_some()
    }

    /// What tells the app, or where there is none the recovery codes, from what takes its place.
    pub(crate) fn fingerprint(&self) -> String {
        match &self.secret {
            Some(secret) if self.confirmed => crate::proof::fingerprint(&SecretHash::of(&secret.base32())),
            _ => self.fingerprint_of_mark(),
        }
    }

    /// What tells the recovery codes by themselves.
    pub(crate) fn fingerprint_of_mark(&self) -> String {
        format!("codes:{}", self.mark)
    }
}

/// A passkey, as kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PasskeyRecord {
    pub(crate) name: String,
    pub(crate) credential: Credential,
    #[serde(with = "time::maybe", default)]
    pub(crate) last_used: Option<Timestamp>,
}

/// A passkey of a user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Passkey {
    /// What it is called here and in the audit journal.
    pub id: String,
    /// What its user calls it.
    pub name: String,
    /// Since when it is known.
    #[serde(with = "time")]
    #[schemars(with = "Moment")]
    pub created: Timestamp,
    /// When it was last shown.
    #[serde(with = "time::maybe")]
    #[schemars(with = "Option<Moment>")]
    pub last_used: Option<Timestamp>,
}

/// How it stands with somebody's second factors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SecondFactor {
    /// Whether there is one.
    pub on: bool,
    /// Whether the registry requires one of them.
    pub required: bool,
    /// Whether an app shows codes.
    pub totp: bool,
    /// How many passkeys there are.
    pub passkeys: usize,
    /// How many recovery codes are left.
    pub recovery_codes: usize,
}

/// A second factor that is to be set up: shown this once.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TotpStart {
    /// The secret in base 32, to be typed into an app.
    #[serde(serialize_with = "expose")]
    #[schemars(with = "Secret")]
    pub secret: Secret,
    /// The same as a URI, which an app opens.
    #[serde(serialize_with = "expose")]
    #[schemars(with = "Secret")]
    pub uri: Secret,
    /// The URI as a QR code, for a terminal.
    #[serde(serialize_with = "expose")]
    #[schemars(with = "Secret")]
    pub qr_text: Secret,
    /// The URI as a QR code, for a page.
    #[serde(serialize_with = "expose")]
    #[schemars(with = "Secret")]
    pub qr_svg: Secret,
}

/// Recovery codes: shown this once.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RecoveryCodesShown {
    /// The codes. Each is good once.
    #[serde(serialize_with = "expose_all")]
    #[schemars(with = "Vec<Secret>")]
    pub recovery_codes: Vec<Secret>,
}

fn expose_all<S: serde::Serializer>(secrets: &[Secret], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(secrets.iter().map(Secret::expose))
}

/// What a session is opened with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// A code of the second factor, for who has one.
    #[serde(default)]
    pub otp: Option<Secret>,
}

/// A session: for who administers by hand.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Session {
    /// What is sent as `Authorization: Bearer`.
    #[serde(serialize_with = "expose")]
    #[schemars(with = "Secret")]
    pub token: Secret,
    /// When it ends.
    #[serde(with = "time")]
    #[schemars(with = "Moment")]
    pub expires: Timestamp,
    /// How long it may rest before it ends, in seconds.
    pub idle_seconds: u64,
}

/// A code for the command line: shown this once.
#[derive(Debug)]
pub struct OneTimeCodeShown {
    /// The code.
    pub code: Secret,
    /// How long it is good, in minutes.
    pub minutes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_code_for_the_command_line_is_good_once_and_not_for_long() {
        let (code, kept) = RecoveryCodes::one().unwrap();
        let check = |now: i64, expect: bool| {
            let one_time =
                Some(OneTimeCode { code: kept.clone(), until: at(300), fingerprint: "passkey:p".into() });
            let mut record = FactorRecord { one_time, ..FactorRecord::new().unwrap() };
            assert!(record.take(&Secret::new("00000-00000"), at(now)).is_none());
            assert_eq!(record.take(&code, at(now)).is_some(), expect, "{now}");
            assert!(record.take(&code, at(now)).is_none(), "twice at {now}");
        };
        check(0, true);
        check(299, true);
        check(300, false);
        assert_eq!(code.expose().len(), 11);
    }

    #[test]
    fn what_was_kept_before_there_were_passkeys_is_read() {
        let secret = TotpSecret::generate().unwrap();
        let text = format!(
            r#"{{"secret":"{}","confirmed":true,"last_step":7,"recovery":[]}}"#,
            secret.base32().expose()
        );
        let record: FactorRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(record.secret.as_ref().unwrap().base32().expose(), secret.base32().expose());
        assert_eq!((record.confirmed, record.last_step, record.one_time.is_none()), (true, Some(7), true));
        let only_codes: FactorRecord =
            serde_json::from_str(&serde_json::to_string(&FactorRecord::new().unwrap()).unwrap()).unwrap();
        assert!(only_codes.secret.is_none() && only_codes.fingerprint().len() == "codes:".len() + 16);
        assert_ne!(only_codes.fingerprint(), record.fingerprint());
    }
}
