//! `cargo xtask bench`: Wharf beside its rivals, interleaved in one run, on this machine.
//!
//! CPU time of the server for each request or byte decides, since on a small machine the load generator
//! shares the cores; throughput is reported beside it. Every figure is a median over interleaved pairs with
//! its 95 % interval. The configurations of all servers lie in `config/`.

mod access;
mod cached;
mod client;
mod context;
mod copy;
mod fair;
mod footprint;
mod gc_load;
mod hit_ratio;
mod load;
mod memory;
mod pairs;
mod payload;
mod process;
mod reads;
mod receiver;
mod report;
mod scale;
mod server;
mod stats;
mod store;
mod tiers;
mod writes;

use crate::tools::{self, Purpose};
use anyhow::{Context as _, Result, bail, ensure};
use context::{Context, Options};
use report::Section;
use server::{Kind, Programs};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const USAGE: &str = "\
usage: cargo xtask bench [NAME ...] [options]
       cargo xtask bench hit-ratio [--quick]

  --only NAME[,NAME]   run these benchmarks only
  --json                 ends with a line of JSON, of benchmarks that have one
  --pairs N            interleaved pairs of each comparison (20)
  --quick              few pairs, small stores: shows that everything runs, measures nothing worth quoting
  --wharf PATH         measure this binary instead of building one
  --subject NAME       judge another server than wharf
";

/// A benchmark: its name, and what runs it.
type Bench = (&'static str, fn(&Context) -> Result<Section>);

/// A command that a benchmark starts, in a namespace maybe.
type Hidden = fn(&[String]) -> Result<()>;

const BENCHES: &[Bench] = &[
    ("self-check", reads::self_check),
    ("blob-get", reads::blobs),
    ("manifest-get", reads::manifests),
    ("access", access::run),
    ("cached", cached::run),
    ("fair", fair::run),
    ("push-64m", writes::large),
    ("push-4k", writes::small),
    ("copy", copy::run),
    ("tiers", tiers::run),
    ("herd", tiers::herd::run),
    ("footprint", footprint::run),
    ("scale", scale::run),
    ("gc-load", gc_load::run),
];

/// Runs the chore.
pub fn run(args: &[String]) -> Result<()> {
    if cfg!(debug_assertions) {
        return run_optimised(args);
    }
    if args.first().is_some_and(|arg| arg == receiver::COMMAND) {
        return receiver::run(&args[1..]);
    }
    if args.first().is_some_and(|arg| arg == fair::COMMAND) {
        return fair::load(&args[1..]);
    }
    let hidden: [(&str, Hidden); 6] = [
        (tiers::relay::COMMAND, tiers::relay::run),
        (tiers::node::COMMAND, tiers::node::run),
        (tiers::PUSH, tiers::push),
        (tiers::herd::COMMAND, tiers::herd::clients),
        (tiers::herd::FIRST_BYTE, tiers::herd::first_bytes),
        (hit_ratio::COMMAND, hit_ratio::run),
    ];
    if let Some((_, run)) = hidden.iter().find(|(name, _)| args.first().is_some_and(|arg| arg == name)) {
        return run(&args[1..]);
    }
    let options = parse(args)?;
    let json = options.json;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let wharf = match &options.wharf {
        Some(binary) => binary.clone(),
        None => root.join("target/release/wharf"),
    };
    if options.subject == Kind::Wharf && options.wharf.is_none() {
        tools::run(cargo().current_dir(root).args(["build", "--release", "--package", "wharf"]))?;
    }
    let programs = Programs { wharf, tools: tools::install(Purpose::Bench)? };
    let context = Context { options, programs, output: root.join("target/bench") };
    context::remove(&context.output.join("data"))?;
    let mut sections = Vec::new();
    for (name, bench) in wanted(&context.options) {
        eprintln!("xtask bench: {name}");
        sections.push(bench(&context).with_context(|| format!("benchmark {name}"))?);
    }
    let command = format!("cargo xtask bench {}", args.join(" "));
    report::publish(&context, command.trim_end(), &sections)?;
    if json && let Some(headline) = sections.iter().rev().find_map(|section| section.headline.as_ref()) {
        println!("{headline}");
    }
    Ok(())
}

/// A load generator that is not optimised would measure itself.
fn run_optimised(args: &[String]) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "xtask", "--", "bench"]).args(args);
    bail!("cannot start cargo: {}", command.exec())
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn wanted(options: &Options) -> impl Iterator<Item = &'static Bench> {
    let only = &options.only;
    BENCHES.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|one| one == name))
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options =
        Options { pairs: 0, quick: false, json: false, only: Vec::new(), subject: Kind::Wharf, wharf: None };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--json" => options.json = true,
            name if !name.starts_with('-') => options.only.push(name.to_owned()),
            "--pairs" => options.pairs = value()?.parse().context("--pairs needs a number")?,
            "--only" => options.only.extend(value()?.split(',').map(str::to_owned)),
            "--wharf" => options.wharf = Some(std::path::absolute(value()?)?),
            "--subject" => options.subject = Kind::from_name(value()?)?,
            _ => bail!("unknown option {arg}\n{USAGE}"),
        }
    }
    if options.pairs == 0 {
        options.pairs = if options.quick { 3 } else { 20 };
    }
    for only in &options.only {
        let names = BENCHES.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        ensure!(names.contains(&only.as_str()), "no benchmark {only}; there are {}", names.join(", "));
    }
    Ok(options)
}
