//! The audit journal: who did what, on disk, bounded, searched and exported, and so that tampering shows.
//!
//! ```text
//! DATA/audit/
//!   00000000000000000001.jsonl   named by its first record; one line each: a header, records, seals
//!   00000000000000070001.jsonl   the next: the one before had reached its size, or its day was over
//!   HEAD                         the last seal that is durable: shows that the end was cut off
//!   ANCHOR                       the last seal in the files that retention removed: shows that more were
//!   INTAKE                       records that are in no file yet
//! ```
//!
//! A record is put into INTAKE, a file that is mapped into memory, before the answer ends: the kernel has it then, and a
//! process that is killed loses none; the next one writes down what it finds there. [`Journal::flush`],
//! called every 100 ms, appends them to the last file, makes them durable, and now and then adds a seal: the hash of all lines since the seal before it
//! and of that seal. Each file's header has the hash of the last seal before it, so the seals are one chain, and
//! [`verify`] finds the first place that was touched. With a [`SealKey`] who can write the folder cannot forge seals.
//!
//! What is beyond HEAD at start may be what a power cut has left: it is cut off from the first damaged line on.
//! What HEAD covers was durable, so nobody but a tamperer or a broken disk has damaged it: it stays as evidence, a new file
//! begins, and its first record tells of it.
//!
//! One process at a time may open a journal; seeing to that is the caller's part. Searching and verifying need no more than
//! the folder. All of it waits for the disk; [`Journal::append`] only where the disk has not kept up.

mod chain;
mod error;
mod export;
mod folder;
mod intake;
mod journal;
mod line;
mod lines;
mod position;
mod record;
mod recover;
mod retain;
mod search;
mod time;
mod verify;

pub use chain::SealKey;
pub use error::AuditError;
pub use export::{json_line, syslog};
pub use journal::{Clock, Journal, Options};
pub use record::{FIELD_BYTES, NewRecord, Outcome, Record, TEXTS};
pub use search::{Page, Query, Window, search};
pub use verify::{Problem, Report, verify};
