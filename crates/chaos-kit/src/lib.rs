//! Crashes a registry again and again, and proves that it kept every word it gave.
//!
//! A [`Plan`] starts a real server on one data folder that lives through all rounds. In each round workers push,
//! tag, mount, delete and abandon uploads at once while garbage is collected; at a random moment the server is
//! killed, or the power of its disk is cut ([`power_cut`]). The server starts again, and everything is compared
//! with the [`Ledger`]: what was acknowledged is there and verifies, what was deleted stays deleted, nothing is
//! served that nobody pushed, and abandoned uploads go.
//!
//! Both `cargo xtask chaos` and the short tests of the `wharf` crate run it. It knows a registry only by its
//! protocol and its command line.

mod content;
mod error;
mod http;
mod ledger;
mod register;
mod run;
mod server;
mod site;
mod verify;
mod worker;

pub use content::{Blob, Document, digest};
pub use error::{Error, Result};
pub use http::{Answer, Http};
pub use ledger::Ledger;
pub use run::{Crash, Plan, Summary};
pub use server::{Program, Server};
pub use site::{Site, Stop};
pub use verify::verify;
pub use worker::Worker;
