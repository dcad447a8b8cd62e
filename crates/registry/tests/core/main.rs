//! The core on real adapters: metadata in SQLite behind its cache, blobs in memory where they can be made to fail.
//!
//! One program for all of these tests, since each one that is linked holds a database.

mod blobs;
mod check;
mod collect;
mod common;
mod crash;
mod evict;
mod full;
mod lists;
mod manifests;
mod mounts;
mod races;
mod rebuild;
mod referrers;
mod segments;
mod uploads;
