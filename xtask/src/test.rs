//! `cargo xtask test [filter...]`: installs what the tests need, then runs every test of the workspace.
//!
//! A filter is a part of a test's name, as `cargo test` takes it; with none everything runs.

use crate::tools::{self, Purpose};
use anyhow::Result;
use std::process::Command;

/// Runs the chore; its last lines are those of `cargo test`.
pub fn run(filters: &[String]) -> Result<()> {
    let tools = tools::install(Purpose::Test)?;
    // First, so that a program that does not build says so before hundreds of test binaries are linked.
    tools::run(cargo().args(["build", "--package", "wharf"]))?;
    let mut test = cargo();
    test.args(["test", "--workspace", "--no-fail-fast", "--"]).args(filters);
    tools::run(test.env("WHARF_TOOLS", tools))
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
