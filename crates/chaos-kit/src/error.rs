//! Why a run ended early.

use std::io;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something outside the registry went wrong.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk under test could not be mounted or unmounted.
    #[error(transparent)]
    Disk(#[from] power_cut::Error),
    /// The server did not answer after it was started.
    #[error("round {round}: the server does not answer after its start (--seed {seed})\n{log}")]
    NotReady {
        /// Repeats the run.
        seed: u64,
        /// The round in which it happened.
        round: u64,
        /// The end of the server's log.
        log: String,
    },
    /// The registry broke its word.
    #[error("round {round}: {} broken promises (--seed {seed})\n  {}\n{log}", faults.len(), faults.join("\n  "))]
    Broken {
        /// Repeats the run.
        seed: u64,
        /// The round in which it was seen.
        round: u64,
        /// What was lost, or answered wrong.
        faults: Vec<String>,
        /// The end of the server's log.
        log: String,
    },
}

impl Error {
    /// Says what was tried when the system refused.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
