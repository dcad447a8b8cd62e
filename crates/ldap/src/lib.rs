//! People who sign in with the password that a directory keeps: OpenLDAP, Active Directory and their like.
//!
//! Wharf asks the directory who the person is and whether the password is right, and keeps neither. Three operations of
//! LDAP do it: a bind, a search, and StartTLS. They are spoken here, in bounded messages that are read without recursion:
//! see docs/adr/0023-ldap.md for why no library does it.
//!
//! A filter is parsed once, when the server starts. What a person types is put into the parsed filter as a value, never into
//! its text, so there is nothing to escape and nothing to forget.

mod ber;
mod config;
mod connection;
mod directory;
mod dn;
mod error;
mod filter;
mod message;

pub use config::{LdapConfig, Secret};
pub use directory::{Ldap, Person, Report};
pub use error::LdapError;
