//! Who may do what: actions and roles, subjects and what they hold, projects and their rules, the pure decision, and
//! the grant that proves it.
//!
//! Core operations take a [`Grant`], and only this crate can make one: a forgotten check does not compile. Deciding
//! is pure: no I/O and no lock, a few look-ups in memory, so it costs nothing worth caching. Finding out *who* asks
//! is behind the port [`Gate`].

mod action;
mod decide;
mod gate;
mod grant;
mod project;
mod role;
mod subject;

pub use action::{Action, ActionSet, UnknownAction};
pub use decide::{Target, allowed, allowed_actions, authorise, authorise_listing};
pub use gate::{Answer, Caller, Gate, OpenGate, PrepareError, Presented, Unauthenticated};
pub use grant::{Actor, Context, Denied, Grant, Listing, Visibility};
pub use project::{FirstPush, ProjectRules, Projects, Settings};
pub use role::{ROLES, RoleDefinition, built_in};
pub use subject::{Rights, Scope, Subject};
