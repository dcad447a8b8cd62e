//! Who somebody is: names, opaque credentials, and the tokens that Wharf signs itself.
//!
//! Secrets never show: not in `Debug`, not in an error, not in a log.

mod crypto;
mod names;
mod secret;
mod signer;
mod signing_key;
mod token_secret;

pub use crypto::CryptoError;
pub use names::{GroupName, NameError, RobotName, UserName};
pub use secret::{Secret, SecretHash};
pub use signer::{AccessEntry, Claims, Signer, TokenError};
pub use signing_key::SigningKey;
pub use token_secret::{TokenKind, TokenSecret};
