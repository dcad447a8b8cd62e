//! What every benchmark needs: the options, the programs and a folder to work in.

use super::client::Connection;
use super::load::{self, Operation, Plan, Sample};
use super::pairs::Contestant;
use super::server::{Kind, Programs, Server};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The options of the command line.
pub struct Options {
    /// Interleaved pairs of each comparison.
    pub pairs: usize,
    /// Fewer rounds and smaller stores: shows that everything runs, measures nothing worth quoting.
    pub quick: bool,
    /// Whether a line of JSON ends it.
    pub json: bool,
    /// The benchmarks to run; all where empty.
    pub only: Vec<String>,
    /// The server that is judged.
    pub subject: Kind,
    /// The binary of wharf where it is not to be built.
    pub wharf: Option<PathBuf>,
}

/// What a benchmark is given.
pub struct Context {
    /// The options of the command line.
    pub options: Options,
    /// Where the programs are.
    pub programs: Programs,
    /// `target/bench` of the checkout.
    pub output: PathBuf,
}

impl Context {
    /// How long a time-bound sample takes.
    pub fn sample_time(&self) -> Duration {
        Duration::from_millis(if self.options.quick { 150 } else { 500 })
    }

    /// `full`, or `quick` when the options say so.
    pub fn scaled<T>(&self, full: T, quick: T) -> T {
        if self.options.quick { quick } else { full }
    }

    /// Starts a server over an empty folder of that name.
    pub fn start(&self, kind: Kind, name: &str) -> Result<Server> {
        let folder = self.folder(name);
        remove(&folder)?;
        Server::start(kind, &self.programs, &folder)
    }

    /// The folder that a server of that name works in.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.output.join("data").join(name)
    }

    /// Starts the subject and the rivals, each over an empty folder.
    pub fn field(&self, rivals: &[Kind]) -> Result<Field> {
        let kinds = std::iter::once(&self.options.subject).chain(rivals);
        let servers = kinds
            .enumerate()
            .map(|(index, kind)| self.start(*kind, &format!("{index}-{}", kind.name())))
            .collect::<Result<_>>()?;
        Ok(Field { servers })
    }
}

/// The servers of one benchmark, the subject first.
pub struct Field {
    /// All of them.
    pub servers: Vec<Server>,
}

impl Field {
    /// Each server as a contestant under the same load.
    pub fn contestants<'a>(
        &'a self,
        plan: impl Fn(usize) -> Plan<'a> + Copy + 'a,
        operation: impl Fn(&Server, &mut Connection, u64) -> Result<u64> + Sync + Copy + 'a,
    ) -> Vec<Contestant<'a>> {
        let contestant = |server: &'a Server| Contestant {
            name: server.kind.name().to_owned(),
            measure: Box::new(move |round| -> Result<Sample> {
                let operation: &Operation = &|connection, number| operation(server, connection, number);
                load::measure(server, plan(round), operation)
            }),
        };
        self.servers.iter().map(contestant).collect()
    }

    /// Stops all servers and removes what they stored.
    pub fn finish(self) -> Result<()> {
        for server in self.servers {
            let folder = server.folder.clone();
            server.stop()?;
            remove(&folder)?;
        }
        Ok(())
    }
}

/// Removes a folder that need not be there.
pub fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
