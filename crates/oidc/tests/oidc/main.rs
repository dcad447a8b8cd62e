//! The crate from outside: against an issuer made here, which can be told to misbehave, and against a real one.

mod common;
mod issuer;
mod provider;
mod sign_in;
mod workload;
