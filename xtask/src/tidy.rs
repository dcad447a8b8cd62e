//! `cargo xtask tidy`: the architecture is a test.
//!
//! The cheap checks come first and report everything they find at once; then formatting and lints.

mod edges;
mod files;
mod licences;

use crate::tools;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::process::Command;

/// Runs the chore.
pub fn run(args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "tidy takes no arguments");
    let mut problems = Vec::new();
    edges::check(&metadata()?, &mut problems);
    licences::check(&mut problems)?;
    files::check(&mut problems)?;
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    ensure!(problems.is_empty(), "{} problems", problems.len());
    tools::run(Command::new(cargo()).args(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    tools::run(Command::new(cargo()).args(clippy))?;
    // The README starts the product by `cargo run -- serve`: cargo must know which program that is.
    tools::run(Command::new(cargo()).args(["run", "--quiet", "--", "--version"]))?;
    println!("tidy: all is well");
    Ok(())
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The part of `cargo metadata` that the checks read.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev` or `build`; absent for an ordinary dependency.
    kind: Option<String>,
}

fn metadata() -> Result<Metadata> {
    let mut command = Command::new(cargo());
    command.args(["metadata", "--format-version", "1", "--locked", "--no-deps"]);
    let output = command.output().context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata has another form than expected")
}
