//! Who somebody is: names, passwords, opaque credentials, second factors, and the tokens that Wharf signs itself.
//!
//! Secrets never show: not in `Debug`, not in an error, not in a log.

mod attempts;
mod common_passwords;
mod crypto;
mod hasher;
mod names;
mod password;
mod qr;
mod recovery;
mod secret;
mod signer;
mod signing_key;
mod token_secret;
mod totp;

pub use attempts::{Attempts, Wait};
pub use crypto::CryptoError;
pub use hasher::{Hasher, Turn};
pub use names::{GroupName, NameError, RobotName, UserName};
pub use password::{PASSWORD_BYTES_MAX, PasswordHash, PasswordPolicy, WeakPassword};
pub use qr::Qr;
pub use recovery::RecoveryCodes;
pub use secret::{Secret, SecretHash};
pub use signer::{AccessEntry, Claims, Signer, TokenError};
pub use signing_key::SigningKey;
pub use token_secret::{TokenKind, TokenSecret};
pub use totp::TotpSecret;
