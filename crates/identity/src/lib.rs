//! Who somebody is: the directory of users, groups, roles, tokens, robots and projects; the gate that finds out who
//! asks; and the token service.
//!
//! Secrets never show: not in `Debug`, not in an error, not in a log.

mod attempts;
mod authorization;
mod browser;
mod common_passwords;
mod crypto;
mod directory;
mod error;
mod external;
mod gate;
mod hasher;
mod keys;
pub mod model;
mod names;
mod page_factors;
mod passkey;
mod password;
mod proof;
mod qr;
mod recovery;
mod schema;
mod second_factor;
mod secret;
mod sessions;
mod signer;
mod signing_key;
mod time;
mod token_secret;
mod token_service;
mod totp;

pub use browser::{BrowserLimits, Ended, Opened, Seen, SessionId};
pub use crypto::CryptoError;
pub use directory::{Directory, FirstStart, Limits, PAGE, Page, ProviderAccount, SecondFactorFor};
pub use error::IdentityError;
pub use external::{External, LdapConfig, LdapSettings, WorkloadRule};
pub use gate::Identity;
pub use names::{GroupName, NameError, RobotName, UserName};
pub use page_factors::{Confirmed, Purpose, SignIn, Wanted};
pub use passkey::{
    Asking, Credential, PASSKEY_NAME_MAX, PASSKEYS_PER_USER, PasskeyError, Passkeys, Question, Registering,
};
pub use password::{PASSWORD_BYTES_MAX, PasswordHash, PasswordPolicy, WeakPassword};
pub use second_factor::Caller;
pub use secret::{Secret, SecretHash};
pub use time::{date, text as moment};
pub use token_secret::{TokenKind, TokenSecret};
pub use token_service::{Claimant, Issued, TokenRequest};
