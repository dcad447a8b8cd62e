//! The command line of Wharf: parses, calls, prints.
//!
//! It names neither the server nor any store. What happens on a server's own machine goes through [`Host`],
//! which the binary implements; all else is done over the network or on local files.

mod accounts;
mod admin;
mod args;
mod bars;
mod clients;
mod copy;
mod delete;
mod doctor;
mod duration;
mod end;
mod host;
mod inspect;
mod lists;
mod out;
mod reach;
mod rehearse;
mod text;
mod upstreams;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

pub use args::{AuthMode, LogFormat, ServeFlags};
pub use host::{Host, Lines, Request};

use args::{AdminCommand, Args, Command};
use out::Out;

/// How long threads of this program may go on after its command has ended.
const LAST_WORK: Duration = Duration::from_secs(2);

/// What a command has to say beside its output: whether what it looked at is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
}

/// Runs the command that the arguments name, the program's name first. Exit codes: 0 it is done, 1 it failed or
/// what was checked is not in order, 2 the arguments are wrong.
pub fn run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>, host: &dyn Host) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Help and version come this way, too. That nobody reads it any more changes nothing.
            error.print().ok();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")
        .and_then(|runtime| {
            let outcome = runtime.block_on(dispatch(args.command, host));
            // A thread that waits for something endless, such as the lock of another copy, must not keep us.
            runtime.shutdown_timeout(LAST_WORK);
            outcome
        });
    match outcome {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        // `wharf tags ... | head` has all that it wanted.
        Err(error) if out::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wharf: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command, host: &dyn Host) -> Result<Verdict> {
    let out = &mut Out::stdout();
    let done = match command {
        // The server ends by its own signals, in good order.
        Command::Serve(flags) => return host.serve(flags).await.map(|()| Verdict::Good),
        Command::Check(flags) => return interruptible(admin::check(flags, host, out)).await,
        Command::Rebuild(flags) => return interruptible(admin::rebuild(flags, host, out)).await,
        Command::Admin(AdminCommand::ResetPassword(flags)) => {
            interruptible(admin::reset_password(flags, host, out)).await
        }
        Command::Gc(flags) => interruptible(admin::gc(flags, host, out)).await,
        Command::Copy(flags) => interruptible(copy::run(flags, out)).await,
        Command::Inspect(flags) => interruptible(inspect::run(flags, out)).await,
        Command::Tags(flags) => interruptible(lists::tags(flags, out)).await,
        Command::Repos(flags) => interruptible(lists::repositories(flags, out)).await,
        Command::Delete(flags) => interruptible(delete::run(flags, out)).await,
        Command::Upstream(command) => interruptible(upstreams::run(command, host, out)).await,
        // It has something to do when it is interrupted.
        Command::Rehearse(command) => return rehearse::run(command, host, out).await,
        Command::Client(command) => interruptible(clients::run(command, host, out)).await,
        Command::Doctor(flags) => return interruptible(doctor::run(&flags, out)).await,
        account => return interruptible(accounts::run(account, out)).await,
    };
    done.map(|()| Verdict::Good)
}

/// Ends the work in good order when the user has had enough, so that no temporary file stays.
async fn interruptible<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be noticed")?;
    tokio::select! {
        outcome = work => return outcome,
        signal = tokio::signal::ctrl_c() => signal.context("interrupts cannot be noticed")?,
        _ = terminate.recv() => {}
    }
    // The work has been dropped. What it had under way ends now, instead of taking the end of its connections,
    // which comes with the runtime's, for a fault.
    tokio::time::sleep(Duration::from_millis(20)).await;
    bail!("interrupted. What is done stays done: the same command goes on from there")
}
