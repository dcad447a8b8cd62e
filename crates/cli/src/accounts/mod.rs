//! The commands for accounts: who there is in a registry, and what they may do. Each noun has a file; all of them are
//! requests to the administration API.

mod audit;
mod factors;
mod groups;
mod login;
mod members;
mod password;
mod permission;
pub(crate) mod print;
mod projects;
mod robots;
mod roles;
mod secrets;
pub(crate) mod session;
mod terminal;
mod tokens;
mod users;
mod yaml;

use anyhow::{Result, bail};

use crate::Verdict;
use crate::args::Command;
use crate::out::Out;

/// Runs a command for accounts.
pub(crate) async fn run(command: Command, out: &mut Out) -> Result<Verdict> {
    let mut verdict = Verdict::Good;
    match command {
        Command::Login(flags) => login::login(flags, out).await?,
        Command::Logout(flags) => login::logout(flags, out).await?,
        Command::Whoami(flags) => login::whoami(&flags, out).await?,
        Command::Password(flags) => password::change(flags, out).await?,
        Command::User(command) => users::run(command, out).await?,
        Command::Group(command) => groups::run(command, out).await?,
        Command::Role(command) => roles::run(command, out).await?,
        Command::Project(command) => projects::run(command, out).await?,
        Command::Member(command) => members::run(command, out).await?,
        Command::Robot(command) => robots::run(command, out).await?,
        Command::Token(command) => tokens::run(command, out).await?,
        Command::Secret(command) => secrets::run(command, out).await?,
        Command::TwoFactor(command) => factors::run(command, out).await?,
        Command::Audit(command) => verdict = audit::run(command, out).await?,
        _ => bail!("that is no command for accounts"),
    }
    out.finish()?;
    Ok(verdict)
}
