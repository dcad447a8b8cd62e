//! What is kept of second factors, and what is shown of them and of sessions.

use meta::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expose;
use crate::recovery::RecoveryCodes;
use crate::schema::Moment;
use crate::secret::{Secret, SecretHash};
use crate::time;
use crate::totp::TotpSecret;

/// A second factor, as kept under its user's name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FactorRecord {
    pub(crate) secret: TotpSecret,
    /// Whether its user has shown that their app has it: before that it counts for nothing.
    pub(crate) confirmed: bool,
    /// The step of time whose code was used last: neither it nor an earlier one can be used again.
    #[serde(default)]
    pub(crate) last_step: Option<u64>,
    #[serde(default)]
    pub(crate) recovery: RecoveryCodes,
}

impl FactorRecord {
    /// The most characters of a code that are looked at.
    const CODE_MAX: usize = 40;

    /// Uses up a code of the app, or a recovery code. Whether it was one.
    pub(crate) fn take(&mut self, code: &Secret, now: Timestamp) -> bool {
        // Apps show a space in the middle of a code.
        let digits: String = code.expose().chars().take(Self::CODE_MAX).filter(|c| *c != ' ').collect();
        let digits = Secret::new(digits);
        if let Some(step) = self.secret.verify(digits.expose(), now, self.last_step) {
            self.last_step = Some(step);
            return true;
        }
        self.recovery.take(code)
    }

    /// What tells it from the one that takes its place.
    pub(crate) fn fingerprint(&self) -> String {
        crate::proof::fingerprint(&SecretHash::of(&self.secret.base32()))
    }
}

/// How it stands with somebody's second factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SecondFactor {
    /// Whether it is on.
    pub on: bool,
    /// Whether the registry requires one of them.
    pub required: bool,
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
