//! Connections for reading, opened when they are needed and kept.

use std::ops::Deref;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::Config;
use crate::connection::Place;
use crate::error::Result;

/// At most so many connections that read.
pub(crate) struct Pool {
    place: Place,
    config: Config,
    limit: usize,
    /// How much of the file each connection maps.
    mmap_bytes: u64,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    open: usize,
    /// How many wait: to wake nobody costs a system call.
    waiting: usize,
}

impl Pool {
    pub(crate) fn new(place: Place, config: Config, limit: usize, mmap_bytes: u64) -> Self {
        Self {
            place,
            config,
            limit: limit.max(1),
            mmap_bytes,
            state: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// A connection, for the time of one query. Blocks while all are in use.
    pub(crate) fn take(&self) -> Result<Lease<'_>> {
        let mut state = self.lock();
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(self.lease(connection));
            }
            if state.open < self.limit {
                break;
            }
            state.waiting += 1;
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state.open += 1;
        drop(state);
        self.place
            .open_reader(&self.config, self.mmap_bytes)
            .map(|connection| self.lease(connection))
            .inspect_err(|_| self.give_back(|state| state.open -= 1))
    }

    const fn lease(&self, connection: Connection) -> Lease<'_> {
        Lease { pool: self, connection: Some(connection) }
    }

    /// Makes room for one who waits.
    fn give_back(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        if state.waiting > 0 {
            self.returned.notify_one();
        }
    }

    /// Nothing that holds the lock can leave the state half changed, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that goes back to its pool.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    /// Taken only by `drop`.
    connection: Option<Connection>,
}

impl Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("a lease has its connection until it is dropped"),
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(|state| state.idle.push(connection));
        }
    }
}
