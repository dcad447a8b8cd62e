//! Who may do what: subjects, actions, the policy that decides, and the grant that proves it did.
//!
//! Core operations take a [`Grant`], and only this crate can make one: a forgotten check does not compile.
//! Deciding is pure: no I/O, so it costs nothing worth caching.

mod grant;
mod policy;

pub use grant::{Action, Actor, Context, Denied, Grant, Listing, authorise, authorise_listing};
pub use policy::{Decision, OpenPolicy, Policy, Visibility};
