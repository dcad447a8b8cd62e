//! The project's own chores: `cargo xtask test | bench | chaos | tidy`.
//!
//! Each chore is a module with one `run(args)`; this file only picks one.

mod bench;
mod chaos;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <chore> [options]

  test    install what the tests need, then run every test
  bench   measure Wharf beside its rivals, interleaved in one run
  chaos   the long crash and power-cut runs
  tidy    check the architecture's rules, formatting and lints
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let chore = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let outcome = match chore.as_str() {
        "test" => test::run(&rest),
        "bench" => bench::run(&rest),
        "chaos" => chaos::run(&rest),
        "tidy" => tidy::run(&rest),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {chore}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
