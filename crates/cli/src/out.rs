//! Standard output: what a command is run for. A reader that goes away is no error.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use anyhow::Result;

/// Where a command's output goes.
pub(crate) struct Out(BufWriter<Stdout>);

impl Out {
    /// The standard output.
    pub fn stdout() -> Self {
        Self(BufWriter::new(io::stdout()))
    }

    /// Writes a line.
    pub fn line(&mut self, text: impl std::fmt::Display) -> Result<()> {
        writeln!(self.0, "{text}")?;
        // Whoever watches a long list sees it grow; whoever reads it all is served in large pieces.
        if io::stdout().is_terminal() {
            self.0.flush()?;
        }
        Ok(())
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes)?)
    }

    /// Writes out what is waiting. What fails on the way must be known before success is told.
    pub fn finish(&mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}

/// Did the reader of the output go away?
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
