//! `cargo xtask chaos kill|power`: the long runs that crash a server in the middle of everything.
//!
//! What is done and what must hold is in the crate `chaos-kit`; here is only the command.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use chaos_kit::{Crash, Plan, Program, Summary};

const USAGE: &str = "\
usage: cargo xtask chaos kill|power [--rounds 200] [--seed S] [--workers 6] [--control DISTRIBUTION]

  kill     ends the server with SIGKILL in each round
  power    cuts the power of its disk in each round: all that was not synced is lost, or a random part of it

  --seed     repeats what a former run did; without it every run does something else
  --control  runs this binary of Distribution in place of Wharf, which must lose images when the power is cut
";

/// A line of progress after so many rounds.
const REPORT_EVERY: u64 = 10;

struct Options {
    crash: Crash,
    rounds: u64,
    seed: u64,
    workers: u64,
    control: Option<PathBuf>,
}

/// Runs the chore.
pub fn run(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    let work = Path::new("target").join("chaos").join(std::process::id().to_string());
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let work = work.canonicalize()?;
    let program = match options.control {
        Some(binary) => Program::Distribution(binary),
        None => Program::Wharf(wharf()?),
    };
    let Options { crash, rounds, seed, workers, .. } = options;
    println!("chaos {crash:?}: {rounds} rounds, {workers} workers, --seed {seed}, in {}", work.display());
    let start = Instant::now();
    let plan = Plan { program, crash, rounds, seed, workers, work: work.clone() };
    let report = |summary: &Summary| {
        let Summary { rounds, crashes, acknowledged, manifests } = summary;
        let seconds = start.elapsed().as_secs();
        format!(
            "{rounds} rounds, {crashes} crashes, {acknowledged} acknowledged, {manifests} manifests, {seconds} s"
        )
    };
    let summary = plan.run(&mut |summary| {
        if summary.rounds.is_multiple_of(REPORT_EVERY) {
            println!("{}", report(summary));
        }
    });
    // On failure the folder stays, for whoever looks into it.
    let summary = summary.with_context(|| format!("data and log are in {}", work.display()))?;
    std::fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    println!("nothing was lost: {}", report(&summary));
    Ok(())
}

/// The release build, or the binary that `$WHARF_BIN` names, as in the tests.
fn wharf() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("WHARF_BIN") {
        return Ok(binary.into());
    }
    let status = Command::new("cargo").args(["build", "--release", "--quiet", "-p", "wharf"]).status()?;
    ensure!(status.success(), "the release build of wharf failed");
    Ok(Path::new("target/release/wharf").canonicalize()?)
}

fn parse(args: &[String]) -> Result<Options> {
    let mut args = args.iter();
    let crash = match args.next().map(String::as_str) {
        Some("kill") => Crash::Kill,
        Some("power") => Crash::PowerCut,
        _ => bail!("say kill or power\n{USAGE}"),
    };
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| u64::from(since.subsec_nanos()));
    let mut options = Options { crash, rounds: 200, seed, workers: 6, control: None };
    while let Some(name) = args.next() {
        let value = args.next().with_context(|| format!("{name} needs a value\n{USAGE}"))?;
        let number = || value.parse().with_context(|| format!("{name}: {value} is no number"));
        match name.as_str() {
            "--rounds" => options.rounds = number()?,
            "--seed" => options.seed = number()?,
            "--workers" => options.workers = number()?,
            "--control" => options.control = Some(value.into()),
            _ => bail!("{name} is unknown\n{USAGE}"),
        }
    }
    Ok(options)
}
