//! Metadata in SQL: the adapter of the `meta` port to an embedded SQLite database.
//!
//! One thread writes, and puts what has queued up into one transaction, so that many small pushes share one
//! flush (`writer`). Readers have connections of their own and see the last committed state: look-ups of one
//! thing run where they are asked for, in a few microseconds; lists and walks run on the blocking threads.

mod connection;
mod error;
mod migrate;
#[cfg(test)]
mod plans;
mod pool;
mod read;
mod sql;
mod store;
mod write;
mod writer;

pub use store::{Config, SqliteMeta};
