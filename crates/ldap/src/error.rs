//! What can go wrong between Wharf and a directory.

use std::path::PathBuf;
use std::time::Duration;

/// Why the directory could not be asked, or gave no usable answer. No password is in any message.
#[derive(Debug, thiserror::Error)]
pub enum LdapError {
    /// A setting cannot be used.
    #[error("auth.ldap.{key}: {reason}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What is wrong with it, and what to write.
        reason: String,
    },
    /// The file of authorities cannot be used.
    #[error("auth.ldap.ca: cannot use {}: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing answers at the address.
    #[error(
        "cannot connect to the directory {server}: {reason}; check that it runs, auth.ldap.url and the network"
    )]
    Connect {
        /// Host and port.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// No encrypted connection came about.
    #[error(
        "no TLS with the directory {server}: {reason}; auth.ldap.url must have the name that its certificate is for, and \
         auth.ldap.ca the authority that signed it where the system does not know that"
    )]
    Tls {
        /// Host and port.
        server: String,
        /// What is wrong.
        reason: String,
    },
    /// The directory took too long.
    #[error(
        "the directory {server} did not answer a {operation} within {limit:?}; check its load, or raise auth.ldap.timeout"
    )]
    Timeout {
        /// Host and port.
        server: String,
        /// What was tried.
        operation: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A connection that had come about ended.
    #[error(
        "the connection to the directory {server} broke off: {reason}; try again, and look at the directory's log"
    )]
    Broken {
        /// Host and port.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The answer is not what LDAP allows, or larger than any that is needed.
    #[error("the directory {server} sent {what}; check that auth.ldap.url names an LDAP server")]
    Protocol {
        /// Host and port.
        server: String,
        /// What came.
        what: &'static str,
    },
    /// As many people sign in as may.
    #[error(
        "too many people sign in at once for auth.ldap.connections = {connections}; try again, or raise it"
    )]
    Busy {
        /// The limit.
        connections: usize,
    },
    /// The account that searches may not bind.
    #[error(
        "the directory {server} refuses auth.ldap.bind_dn `{dn}`: {text}; check it and auth.ldap.bind_password"
    )]
    ServiceAccount {
        /// Host and port.
        server: String,
        /// The account.
        dn: String,
        /// What the directory said.
        text: String,
    },
    /// The directory refuses an operation.
    #[error(
        "the directory {server} refuses a {operation}: {text}; look at its log, and at the rights of auth.ldap.bind_dn"
    )]
    Refused {
        /// Host and port.
        server: String,
        /// What was tried.
        operation: &'static str,
        /// The result's code, by which RFC 4511 knows it.
        code: u32,
        /// The code, its name and what the directory said.
        text: String,
    },
    /// There is nothing where people or groups are to be.
    #[error("there is no entry `{base}`, or auth.ldap.bind_dn may not see it; check auth.ldap.{key}")]
    NoBase {
        /// The setting.
        key: &'static str,
        /// Its value.
        base: String,
    },
    /// A name stands for several people.
    #[error(
        "more than one entry matches the name `{name}`; narrow auth.ldap.user_filter or auth.ldap.user_base"
    )]
    Ambiguous {
        /// The name.
        name: String,
    },
    /// Somebody's entry has no name.
    #[error("the entry `{dn}` has no usable `{attribute}`; check auth.ldap.name_attribute")]
    NoName {
        /// The entry.
        dn: String,
        /// The attribute that was to hold the name.
        attribute: String,
    },
    /// Somebody is in more groups than are read. To leave some out would be to guess at rights.
    #[error(
        "`{name}` is in more than {limit} groups; narrow auth.ldap.group_filter, or raise auth.ldap.max_groups"
    )]
    TooManyGroups {
        /// The person.
        name: String,
        /// The limit.
        limit: u32,
    },
}
