//! The results: a Markdown section for docs/benchmarks.md and JSON with every sample.

use super::context::Context;
use super::load::Sample;
use super::pairs::{Comparison, Goal, Measure, Series};
use super::server::Kind;
use super::stats::{Estimate, estimate};
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

/// The results of one benchmark.
#[derive(Serialize)]
pub struct Section {
    /// Its name on the command line.
    pub name: &'static str,
    title: &'static str,
    comparisons: Vec<Comparison>,
    facts: Vec<Fact>,
    notes: Vec<String>,
    /// What the benchmark comes to, for programs.
    pub headline: Option<serde_json::Value>,
}

/// One measured value that is not a ratio.
#[derive(Serialize)]
struct Fact {
    what: String,
    measured: String,
    goal: String,
    met: Option<bool>,
}

impl Section {
    /// An empty section.
    pub fn new(name: &'static str, title: &'static str) -> Section {
        Section { name, title, comparisons: Vec::new(), facts: Vec::new(), notes: Vec::new(), headline: None }
    }

    /// Adds comparisons.
    pub fn compare(&mut self, comparisons: Vec<Comparison>) {
        for comparison in &comparisons {
            eprintln!("  {}", row(comparison));
        }
        self.comparisons.extend(comparisons);
    }

    /// Adds a value that is only reported.
    pub fn fact(&mut self, what: impl Into<String>, measured: impl Into<String>) {
        self.push_fact(what.into(), measured.into(), "reported".into(), None);
    }

    /// Adds a value that the issue sets a goal for.
    pub fn goal(
        &mut self,
        what: impl Into<String>,
        measured: impl Into<String>,
        goal: impl Into<String>,
        met: bool,
    ) {
        self.push_fact(what.into(), measured.into(), goal.into(), Some(met));
    }

    fn push_fact(&mut self, what: String, measured: String, goal: String, met: Option<bool>) {
        let fact = Fact { what, measured, goal, met };
        eprintln!("  {}", fact_row(&fact));
        self.facts.push(fact);
    }

    /// Adds a sentence below the tables.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Sets what the benchmark comes to.
    pub fn headline(&mut self, values: serde_json::Value) {
        self.headline = Some(values);
    }

    /// The section in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}: {}\n\n", self.name, self.title);
        if !self.comparisons.is_empty() {
            text += "| case | against | CPU ratio (95 %) | throughput ratio (95 %) | goal | met | \
                     subject: CPU/op, rate, p99 | rival: CPU/op, rate, p99 |\n\
                     |---|---|---|---|---|---|---|---|\n";
            self.comparisons.iter().for_each(|comparison| text += &(row(comparison) + "\n"));
            text.push('\n');
        }
        if !self.facts.is_empty() {
            text += "| what | measured | goal | met |\n|---|---|---|---|\n";
            self.facts.iter().for_each(|fact| text += &(fact_row(fact) + "\n"));
            text.push('\n');
        }
        self.notes.iter().for_each(|note| text += &format!("{note}\n"));
        text
    }
}

fn row(comparison: &Comparison) -> String {
    let Comparison { case, goal, subject, rival, .. } = comparison;
    let deciding = comparison.deciding();
    let (cpu, rate) = match comparison.decided_by {
        Measure::Cpu => (format!("**{}**", ratio(comparison.cpu)), ratio(comparison.rate)),
        Measure::Clock => (ratio(comparison.cpu), format!("**{}**", ratio(comparison.rate))),
    };
    let (goal, met) = match goal {
        Goal::AtLeast(bound) => (format!("at least {bound}x"), verdict(deciding, *bound, false)),
        Goal::AtMost(bound) => (format!("cost at most {bound}x"), verdict(deciding, *bound, true)),
        Goal::None => ("-".into(), "-"),
    };
    format!(
        "| {case} | {} | {cpu} | {rate} | {goal} | {met} | {} | {} |",
        rival.name,
        describe(subject),
        describe(rival)
    )
}

fn verdict(deciding: Estimate, bound: f64, at_most: bool) -> &'static str {
    let sign = if at_most { -1.0 } else { 1.0 };
    let above = |value: f64| (value - bound) * sign >= 0.0;
    match (above(deciding.median), above(deciding.low), above(deciding.high)) {
        (true, true, true) => "yes",
        (true, ..) => "yes, by the median",
        (false, false, false) => "no",
        (false, ..) => "no, by the median",
    }
}

/// A ratio with its interval.
pub fn ratio(value: Estimate) -> String {
    format!("{:.2} ({:.2}-{:.2})", value.median, value.low, value.high)
}

fn describe(series: &Series) -> String {
    let median = |value: fn(&Sample) -> f64| estimate(series.samples.iter().map(value)).median;
    let moved = median(|sample| sample.bytes as f64 / sample.operations as f64);
    let rate = if moved >= 1_048_576.0 {
        format!("{:.0} MiB/s", median(|sample| sample.bytes as f64 / sample.seconds) / 1_048_576.0)
    } else {
        let rate = median(Sample::rate);
        if rate < 10.0 { format!("{rate:.2}/s") } else { format!("{rate:.0}/s") }
    };
    let (cpu, p99) = (median(Sample::cpu_per_operation), median(|sample| sample.p99));
    format!("{}, {rate}, {}", duration(cpu), duration(p99))
}

fn fact_row(fact: &Fact) -> String {
    let met = match fact.met {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    format!("| {} | {} | {} | {met} |", fact.what, fact.measured, fact.goal)
}

/// Seconds for people.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// Bytes for people.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// Writes `target/bench/report.md` and one JSON file for each benchmark; prints the Markdown.
pub fn publish(context: &Context, command: &str, sections: &[Section]) -> Result<()> {
    let mut text = heading(context, command)?;
    for section in sections {
        write!(text, "\n{}", section.markdown())?;
        let file = context.output.join(format!("{}.json", section.name));
        fs::write(&file, serde_json::to_vec_pretty(section)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    fs::write(context.output.join("report.md"), &text)?;
    println!("{text}");
    Ok(())
}

fn heading(context: &Context, command: &str) -> Result<String> {
    let mut text = format!("## {}\n\n", said_by("date", &["-u", "+%Y-%m-%d"])?);
    writeln!(text, "- command: `{command}`")?;
    let dirty = if said_by("git", &["status", "--porcelain"])?.is_empty() { "" } else { ", with changes" };
    // A binary that was given may be of any commit: that of the tree says nothing about it.
    let of = if context.options.wharf.is_some() {
        " of the harness; wharf is a binary that was given"
    } else {
        ""
    };
    writeln!(text, "- commit: {}{dirty}{of}", said_by("git", &["rev-parse", "--short=12", "HEAD"])?)?;
    writeln!(text, "- machine: {}", machine()?)?;
    let mut kinds = vec![Kind::Distribution, Kind::DockerRegistry, Kind::Nginx];
    if !kinds.contains(&context.options.subject) {
        kinds.insert(0, context.options.subject);
    }
    for kind in kinds {
        writeln!(text, "- {}: `{}`", kind.name(), context.programs.version(kind)?)?;
    }
    let subject = context.options.subject.name();
    writeln!(
        text,
        "- {} interleaved pairs; ratios say how many times as good as the rival {subject} is (with a goal \
         \"cost at most\": how many times the rival's cost), as the median over the pairs with its 95 % \
         interval; CPU is that of the server with its workers, by the kernel's CPU clock of the process",
        context.options.pairs
    )?;
    Ok(text)
}

fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown CPU", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kilobytes: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .context("/proc/meminfo has no MemTotal")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{model}, {cores} cores, {} GiB, Linux {}", kilobytes >> 20, kernel.trim()))
}

/// The first line that a program prints.
fn said_by(program: &str, args: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}
